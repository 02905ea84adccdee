"""Partition, reverse, relative index, mask and cost formulas."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from oracles import true_windows
from swin_cifar import (
    WindowAttention,
    msa_multiply_adds,
    relative_position_index,
    shifted_window_mask,
    window_msa_multiply_adds,
    window_partition,
    window_reverse,
)

small = st.integers(1, 4)


@given(B=small, rows=small, cols=small, M=small, C=small)
def test_reverse_undoes_partition(B, rows, cols, M, C):
    x = torch.randn(B, rows * M, cols * M, C)
    windows = window_partition(x, M)
    assert windows.shape == (B, rows * cols, M * M, C)
    assert torch.equal(window_reverse(windows, M, rows * M, cols * M), x)


@given(rows=small, cols=small, M=small)
def test_windows_and_their_tokens_come_row_by_row(rows, cols, M):
    H, W = rows * M, cols * M
    x = torch.arange(H * W).view(1, H, W, 1)
    windows = window_partition(x, M)
    for r, c, y, z in itertools.product(range(rows), range(cols), range(M), range(M)):
        assert windows[0, r * cols + c, y * M + z, 0] == x[0, r * M + y, c * M + z, 0]


def test_relative_index_of_the_papers_example():
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    index = relative_position_index(2)
    assert index.tolist() == expected
    assert index.dtype == torch.int64


@pytest.mark.parametrize("M", [1, 2, 3, 4, 7])
def test_relative_index_numbers_each_offset_once(M):
    index = relative_position_index(M)
    places = list(itertools.product(range(M), range(M)))
    number = {}
    for (i, (yi, xi)), (j, (yj, xj)) in itertools.product(enumerate(places), repeat=2):
        offset = (yi - yj, xi - xj)
        assert number.setdefault(offset, index[i, j].item()) == index[i, j]
    assert sorted(number.values()) == list(range((2 * M - 1) ** 2))


@given(H=st.integers(1, 11), W=st.integers(1, 11), M=st.integers(1, 5), data=st.data())
def test_mask_lets_exactly_the_true_windows_attend(H, W, M, data):
    shift = data.draw(st.integers(0, M - 1))
    mask = shifted_window_mask(H, W, M, shift)
    home = {}  # real token -> its true window
    for i, (top, bottom) in enumerate(true_windows(H, M, shift)):
        for j, (left, right) in enumerate(true_windows(W, M, shift)):
            home |= {(y, x): (i, j) for y in range(top, bottom) for x in range(left, right)}
    # Follow every place of the padded map through roll and partition by its number.
    Hp, Wp = -(-H // M) * M, -(-W // M) * M
    shifts = [shift if size > M else 0 for size in (H, W)]
    numbers = torch.arange(Hp * Wp).view(1, Hp, Wp, 1)
    numbers = window_partition(numbers.roll([-s for s in shifts], (1, 2)), M)[0, :, :, 0]
    assert mask.shape == (numbers.shape[0], M * M, M * M)
    assert mask.dtype == torch.bool
    for w, window in enumerate(numbers.tolist()):
        places = [divmod(n, Wp) for n in window]
        for (i, p), (j, q) in itertools.product(enumerate(places), repeat=2):
            if p in home:
                assert mask[w, i, j] == (home[p] == home.get(q))
    assert mask.any(dim=2).all()  # a row without a single key would turn softmax into nan


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: window_partition(torch.zeros(4, 4, 2), 2), r"\(B, H, W, C\)"),
        (lambda: window_partition(torch.zeros(1, 4, 6, 2), 4), "multiples"),
        (lambda: window_partition(torch.zeros(1, 4, 4, 2), 0), "at least 1"),
        (lambda: window_reverse(torch.zeros(1, 2, 4), 2, 2, 4), r"\(B, nW, N, C\)"),
        (lambda: window_reverse(torch.zeros(1, 2, 9, 4), 2, 2, 4), "do not fill"),
        (lambda: window_reverse(torch.zeros(1, 3, 4, 4), 2, 4, 4), "do not fill"),
        # 2 x 6 turned into 6 x 2 fits windows of 2 alike; 3 x 4 into windows of 2 does not.
        (lambda: window_reverse(torch.zeros(1, 3, 4, 4), 2, 3, 4), "multiples"),
        (lambda: relative_position_index(0), "at least 1"),
        (lambda: shifted_window_mask(4, 4, 0, 0), "at least 1"),
        (lambda: shifted_window_mask(4, 4, 2, 2), r"\[0, 2\)"),
        (lambda: shifted_window_mask(4, 4, 2, -1), r"\[0, 2\)"),
        (lambda: shifted_window_mask(0, 4, 2, 0), "H, W >= 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_cost_formulas_give_the_articles_figures():
    everywhere, windowed = msa_multiply_adds(64, 64, 96), window_msa_multiply_adds(64, 64, 96, 4)
    assert everywhere == 3_372_220_416
    assert windowed == 163_577_856
    assert everywhere - windowed == 3_208_642_560


@pytest.mark.parametrize("M", [4, 16])
def test_cost_formulas_agree_with_the_multiply_adds_done(M):
    x = torch.randn(1, 16, 16, 96)
    with FlopCounterMode(display=False) as counter:  # it counts a multiply-add as two
        WindowAttention(96, M, 3)(window_partition(x, M))
    assert counter.get_total_flops() == 2 * window_msa_multiply_adds(16, 16, 96, M)
    if M == 16:  # one window that covers the map
        assert counter.get_total_flops() == 2 * msa_multiply_adds(16, 16, 96)
