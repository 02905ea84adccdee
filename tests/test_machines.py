"""What a step is made of, and the saved machines: counted right, added up, and saved only when asked for."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course import machines
from course.figures import plot_parts, plot_timeline
from swin_cifar import create_model
from swin_cifar.system import count_flops

CPU = torch.device("cpu")
PARTS = {"overhead": 1.0, "arithmetic": 2.0, "bytes": 0.5, "rest": 0.5}


def step_of(model, images):
    return lambda: F.cross_entropy(model(images), torch.zeros(len(images), dtype=torch.long)).backward()


def test_operations_and_bytes_of_a_product():
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    work = machines.count_work(lambda: a @ b)
    assert work.calls == 1 and work.each == [(2 * 2 * 3 * 5, 4 * (6 + 15 + 10))]


def test_views_and_new_memory_move_nothing_but_are_calls():
    x = torch.ones(4, 6)
    work = machines.count_work(lambda: (x.view(24), x.t(), x[1:], torch.empty(7)))
    assert work.calls == 4 and work.bytes == work.operations == 0


def test_what_changes_its_input_moves_bytes_and_a_repeated_number_is_read_once():
    x = torch.ones(8)
    assert machines.count_work(lambda: x.add_(1)).bytes == 4 * (8 + 8)
    wide = torch.ones(1).expand(1000)
    assert machines.count_work(lambda: wide + 1).bytes == 4 * (1 + 1000)


def test_the_backward_pass_is_counted_as_pytorch_counts_it():
    model, images = create_model("nano"), torch.randn(2, 3, 32, 32)
    assert machines.count_work(step_of(model, images)).operations == count_flops(step_of(model, images))


def test_each_operator_waits_for_its_slower_limit():
    work = machines.Work(3, [(100, 10), (10, 100), (0, 7)])
    assert work.least(1.0, 1.0) == {"arithmetic": 100.0, "bytes": 107.0}
    assert work.least(1.0, 1000.0)["arithmetic"] == 110.0


def test_the_parts_add_up_and_the_cause_is_what_fell_most():
    before = machines.parts_of(10.0, 6.0, {"arithmetic": 2.0, "bytes": 1.0})
    after = machines.parts_of(4.0, 1.0, {"arithmetic": 2.0, "bytes": 1.5})
    assert tuple(before) == machines.PARTS and sum(before.values()) == 10
    assert after["rest"] == -0.5
    assert machines.explain_change(before, after) == ("overhead", pytest.approx(5 / 6))
    assert machines.explain_change(before, before)[1] == 0


def test_the_line_goes_through_both_steps():
    overhead, each, enough = machines.split_step({32: 0.121, 2: 0.016})
    assert (overhead, each) == (pytest.approx(0.009), pytest.approx(0.0035))
    assert overhead <= 0.1 * (overhead + enough * each)
    assert overhead > 0.1 * (overhead + (enough - 1) * each)


def test_a_timeline_holds_the_products_in_order():
    linear, x = nn.Linear(64, 64), torch.randn(64, 64)
    bars = machines.timeline(lambda: linear(linear(x).relu()), CPU)
    assert [kind for _, _, kind in bars] == ["product", "other", "product"]
    assert bars[0][0] == 0 and all(start <= end for start, end, _ in bars)
    assert all(end <= start for (_, end, _), (start, _, _) in zip(bars, bars[1:]))


# --- rows --------------------------------------------------------------------------------


def row_of(repeats=9, speed=137.234):
    return machines.make_row(CPU, repeats, (4.534e11, 4.4321e10), {"loops": speed}, {"loops": PARTS}, 0.0123)


def test_a_row_holds_what_was_measured_with_few_digits():
    row = json.loads(json.dumps(row_of()))
    assert row["speeds"] == {"loops": 137.0} and row["noise"] == 0.012
    assert row["operations_per_second"] == 4.53e11 and row["bytes_per_second"] == 4.43e10
    assert row["shares"]["loops"] == {"overhead": 0.25, "arithmetic": 0.5, "bytes": 0.12, "rest": 0.12}
    assert row["threads"] == torch.get_num_threads() and row["dtype"] == "float32"


def test_rows_are_added_and_one_of_the_same_machine_is_replaced(tmp_path):
    file = tmp_path / "machines.json"
    assert machines.load_rows(file) == []
    machines.add_row(row_of(speed=1.0), file)
    machines.add_row(row_of() | {"device": "another"}, file)
    machines.add_row(row_of(speed=2.0), file)
    assert [row["speeds"]["loops"] for row in machines.load_rows(file)] == [137, 2]


def test_a_short_run_is_no_row(tmp_path):
    with pytest.raises(ValueError, match="1 repeats are too few for a row: it takes 5"):
        machines.add_row(row_of(repeats=1), tmp_path / "machines.json")
    assert not list(tmp_path.iterdir())


def test_every_saved_row_is_whole_and_its_shares_add_up(capsys):
    for row in machines.load_rows():
        assert row.keys() == row_of().keys() and row["repeats"] >= machines.REPEATS
        assert row["speeds"].keys() == row["shares"].keys()
        for shares in row["shares"].values():
            assert tuple(shares) == machines.PARTS and sum(shares.values()) == pytest.approx(1, abs=0.03)


def test_rows_are_printed(capsys):
    machines.print_rows([])
    machines.print_rows([row_of() | {"threads": 2}])
    none, first, second, third = capsys.readouterr().out.splitlines()
    assert none == "no machine is saved yet"
    assert "2 threads" in first and "453 billion operations/s, 44 billion bytes/s" in first
    assert second == "  pictures/s: loops 137; twice the same: 1% apart"
    assert third.split() == ["loops", "overhead", "25%", "arithmetic", "50%", "bytes", "12%", "rest", "12%"]


# --- figures -----------------------------------------------------------------------------


def test_a_bar_ends_at_the_sum_of_its_parts_and_a_negative_part_goes_back():
    (ax,) = plot_parts({"a": PARTS, "b": PARTS | {"rest": -1.5}}, "ms").axes
    ends = [line.get_xdata()[0] for line in ax.lines]
    assert ends == [4, 2]
    assert [patch.get_width() for patch in ax.patches[:4]] == [1, 2, 0.5, 0.5]
    assert ax.patches[7].get_hatch() and ax.patches[7].get_x() + ax.patches[7].get_width() == 2
    assert not ax.patches[3].get_hatch()


def test_a_timeline_is_cut_at_its_span():
    bars = {"fast": [(0.0, 0.001, "product")], "slow": [(0.0, 0.001, "other"), (0.0015, 0.9, "product")]}
    (ax,) = plot_timeline(bars, 0.002, {"slow": "2 operators"}).axes
    assert ax.get_xlim() == (0, 2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fast", "slow\n2 operators"]
    boxes = [path.get_extents() for bar in ax.collections for path in bar.get_paths()]
    assert max(box.x1 for box in boxes) == pytest.approx(2)
