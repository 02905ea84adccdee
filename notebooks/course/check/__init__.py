"""Checks for the exercises of notebooks 02 to 15: they say what is wrong, never the answer.

    from course import check

    check.pad_centred(pad_centred)  # the student's function

prints a verdict of a few lines, returns it, and shows what the function does if it is right.
"""

from course.check.ablations import needs_mask, paired_interval, seeds_needed
from course.check.bug_hunt import (
    additive_mask,
    assert_mask,
    changed_by,
    differing,
    received_attention,
    shapes_of,
)
from course.check.evaluate import fit_temperature, reliability_table, wilson_interval
from course.check.faster import choose_batch, least_seconds, median_of_turns, split_step
from course.check.look_inside import content_share, fair_control, own_map, rollout
from course.check.patch_embed import absorb_normalization, pad_centred, patch_embed, patches_back
from course.check.patch_merging import mean_merge, patch_merging, ungather
from course.check.relative_position_bias import (
    favourite_offset,
    index_of_rectangle,
    relative_position_index,
    resize_table,
)
from course.check.shifted_windows import (
    cyclic_shift,
    from_windows,
    influence,
    mask_by_distance,
    shifted_window_mask,
    to_windows,
)
from course.check.swin_transformer import (
    add_branch,
    block,
    count_parameters,
    deepen,
    drop_path,
    forward,
    stage,
)
from course.check.train import accumulate, clip_by_hand, learning_rate, training_step, trapezoid
from course.check.window_attention import attend_in_chunks, attention, one_head, stable_softmax
from course.check.window_partition import (
    grid_partition,
    reverse_rectangles,
    window_for_budget,
    window_partition,
    window_reverse,
)
from course.check.your_pictures import hold_out, take_over, to_input

_ALL = (
    *(patch_embed, pad_centred, patches_back, absorb_normalization),  # notebook 02
    *(patch_merging, ungather, mean_merge),
    *(window_partition, window_reverse, grid_partition, window_for_budget, reverse_rectangles),
    *(one_head, attention, stable_softmax, attend_in_chunks),
    *(relative_position_index, favourite_offset, index_of_rectangle, resize_table),
    *(shifted_window_mask, to_windows, from_windows, cyclic_shift, mask_by_distance, influence),
    *(drop_path, block, stage, forward, count_parameters, deepen, add_branch),  # notebook 08
    *(learning_rate, training_step, trapezoid, clip_by_hand, accumulate),  # notebook 09
    *(wilson_interval, reliability_table, fit_temperature),  # notebook 10
    *(fair_control, content_share, rollout, own_map),  # notebook 11
    *(needs_mask, paired_interval, seeds_needed),  # notebook 12
    *(median_of_turns, split_step, least_seconds, choose_batch),  # notebook 13
    *(shapes_of, differing, changed_by),  # notebook 14
    *(additive_mask, assert_mask, received_attention),
    *(hold_out, take_over, to_input),  # notebook 15
)
EXERCISES = {exercise.name: exercise for exercise in _ALL}
