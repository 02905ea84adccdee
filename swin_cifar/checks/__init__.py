"""Checks for the exercises of notebooks 02 to 09 and 14: they say what is wrong, never the answer.

    from swin_cifar import checks as check

    check.pad_centred(pad_centred)  # the student's function

prints a verdict of a few lines, and shows what the function does if it is right.
"""

from swin_cifar.checks.attention import attend_in_chunks, one_head, stable_softmax
from swin_cifar.checks.bias import favourite_offset, index_of_rectangle, resize_table
from swin_cifar.checks.bugs import (
    additive_mask,
    bias_per_head,
    drop_branch,
    pad_to_windows,
    received_attention,
    shifts_of,
)
from swin_cifar.checks.masks import assert_mask
from swin_cifar.checks.merging import mean_merge, ungather
from swin_cifar.checks.model import add_branch, drop_rates, our_name
from swin_cifar.checks.patches import absorb_normalization, pad_centred, patches_at_once
from swin_cifar.checks.shift import attend_any_size, cyclic_shift, mask_by_distance
from swin_cifar.checks.training import accumulate, clip_by_hand, trapezoid
from swin_cifar.checks.windows import partition_channels_first, reverse_rectangles, window_for_budget

_ALL = (
    *(pad_centred, patches_at_once, absorb_normalization),  # notebook 02
    *(ungather, mean_merge),
    *(partition_channels_first, window_for_budget, reverse_rectangles),
    *(stable_softmax, one_head, attend_in_chunks),
    *(favourite_offset, index_of_rectangle, resize_table),
    *(cyclic_shift, mask_by_distance, attend_any_size),
    *(drop_rates, our_name, add_branch),
    *(trapezoid, clip_by_hand, accumulate),  # notebook 09
    *(additive_mask, received_attention, drop_branch),  # notebook 14
    *(pad_to_windows, bias_per_head, shifts_of, assert_mask),
)
EXERCISES = {exercise.name: exercise for exercise in _ALL}
