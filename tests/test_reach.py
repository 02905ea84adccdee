"""Influence, measured by gradients, against counting along the true windows."""

import pytest
import torch

from course.reach import influence, reach
from oracles import SIZES


@pytest.mark.parametrize("size", SIZES)
def test_a_pixel_has_influence_exactly_where_it_can_reach(model, size):
    H, W = model.forward_features(torch.zeros(1, 3, *size)).shape[1:3]
    for row, col in {(0, 0), (H // 2, W // 2), (H - 1, W - 1)}:
        measured = influence(model, torch.randn(3, *size), row, col)
        counted = reach(model, *size, row, col)
        assert len(measured) == len(counted) == 4
        for found, expected in zip(measured, counted):
            assert torch.equal(found > 0, expected)
    counted = [m.sum() for m in reach(model, *size, H // 2, W // 2)]
    assert 8 * 8 == counted[0] < counted[1] <= counted[2]  # a window of 4 x 4 patches, then its neighbours


def test_a_place_outside_the_last_map_is_refused(model):
    with pytest.raises(ValueError, match="4 x 4"):
        reach(model, 16, 16, 4, 0)
