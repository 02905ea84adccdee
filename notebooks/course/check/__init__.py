"""Checks for the exercises of notebooks 02 to 09 and 14: they say what is wrong, never the answer.

    from course import check

    check.pad_centred(pad_centred)  # the student's function

prints a verdict of a few lines, returns it, and shows what the function does if it is right.
"""

from course.check.bug_hunt import (
    additive_mask,
    assert_mask,
    bias_per_head,
    drop_branch,
    pad_to_windows,
    received_attention,
    shifts_of,
)
from course.check.patch_embed import absorb_normalization, pad_centred, patches_at_once
from course.check.patch_merging import mean_merge, ungather
from course.check.relative_position_bias import favourite_offset, index_of_rectangle, resize_table
from course.check.shifted_windows import attend_any_size, cyclic_shift, mask_by_distance
from course.check.swin_transformer import add_branch, drop_rates, our_name
from course.check.train import accumulate, clip_by_hand, trapezoid
from course.check.window_attention import attend_in_chunks, one_head, stable_softmax
from course.check.window_partition import (
    partition_channels_first,
    reverse_rectangles,
    window_for_budget,
    window_partition,
)

_ALL = (
    *(pad_centred, patches_at_once, absorb_normalization),  # notebook 02
    *(ungather, mean_merge),
    *(window_partition, partition_channels_first, window_for_budget, reverse_rectangles),
    *(stable_softmax, one_head, attend_in_chunks),
    *(favourite_offset, index_of_rectangle, resize_table),
    *(cyclic_shift, mask_by_distance, attend_any_size),
    *(drop_rates, our_name, add_branch),
    *(trapezoid, clip_by_hand, accumulate),  # notebook 09
    *(additive_mask, received_attention, drop_branch),  # notebook 14
    *(pad_to_windows, bias_per_head, shifts_of, assert_mask),
)
EXERCISES = {exercise.name: exercise for exercise in _ALL}
