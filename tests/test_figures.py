"""The figures of the notebooks: what they draw is what they are given."""

import io
import os
import time

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from course.figures import (
    draw_attention,
    draw_heat,
    draw_regions,
    draw_top2,
    draw_window_of,
    enlarge,
    panels,
    plot_circles,
    plot_class_accuracy,
    plot_confusion,
    plot_curves,
    plot_differences,
    plot_lines,
    plot_merging_axes,
    plot_mirror_step,
    plot_reliability,
    plot_rolled,
    plot_roofline,
    plot_rungs,
    plot_stacked,
    plot_stages,
    plot_valley_step,
    show,
    show_frames,
    signs,
    top2_in_words,
    watch,
)
from swin_cifar import History, create_model, model_config, relative_position_index, train_config
from swin_cifar.history import Epoch


@pytest.mark.parametrize("signed", [False, True])
def test_numbers_in_a_heat_map_stand_out(signed):
    """From all colours of the scale by 4.5 : 1, as WCAG 2 asks for small letters."""

    def luminance(rgb):
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    _, (ax,) = panels(1, 1)
    values = torch.linspace(-1 if signed else 0, 1, 101)[None]
    draw_heat(ax, values, signed=signed, numbers="{:.2f}")
    image = ax.images[0]
    assert len(ax.texts) == 101
    for text, value in zip(ax.texts, values[0].tolist()):
        letters = {"black": 0, "white": 1}[text.get_color()]
        dark, pale = sorted((letters, luminance(image.cmap(image.norm(value))[:3])))
        assert (pale + 0.05) / (dark + 0.05) > 4.4, value


def test_differences_are_sorted_by_their_mean():
    (ax,) = plot_differences({"up": [1.0, 3.0], "down": [-2.0], "little": [0.5, -0.5]}, "points").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["down", "little", "up"]
    assert [bar.get_width() for bar in ax.patches] == [-2, 0, 2]
    assert [bar.get_hatch() for bar in ax.patches] == ["///", "", ""]  # a single value
    assert ax.lines[2].get_xdata().tolist() == [1, 3]


def test_rungs_keep_their_order_and_show_every_seed():
    values = {"first": [1.0, 3.0], "second": [0.5, 0.5], "other": [9.0]}
    (ax,) = plot_rungs(values, "points", apart=["other"]).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second", "other"]
    assert ax.lines[0].get_xdata().tolist() == [2, 0.5]  # from mean to mean
    assert [line.get_xdata().tolist() for line in ax.lines[2::2]] == [[1, 3], [0.5, 0.5], [9]]
    top, bottom = ax.transData.transform([(0, 0), (0, 1)])[:, 1]
    assert top > bottom


def test_the_roof_is_the_lower_of_both_limits():
    points = {"copy": (10, 100, 2.0), "product": (900, 3, 3.0)}  # 0.1 and 300 operations per byte
    (ax,) = plot_roofline(points, operations_per_second=400, bytes_per_second=100).axes
    across, up = ax.lines[0].get_data()
    assert across[1] == 4 and up[1] == up[2] == 400 and up[0] == pytest.approx(across[0] * 100)
    dots = [line.get_data() for line in ax.lines if line.get_marker() == "o"]
    assert [(x[0], y[0]) for x, y in dots] == [(0.1, 5), (300, 300)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1  copy", "2  product"]


@pytest.mark.parametrize("logits", [True, False])
def test_an_untrained_model_is_drawn_without_its_answer(logits):
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    head = plot_stages(create_model("nano"), image, (0.5,) * 3, (0.2,) * 3, list("abcdefghij"), logits).axes[
        3
    ]
    names = [text.get_text() for text in (head.get_yticklabels() if logits else head.texts)]
    assert len(head.patches) == (10 if logits else 0) and names == list("abcdefghij")


@pytest.mark.parametrize(("query", "corner"), [(0, (3, 3)), (10, (1, 1)), (15, (0, 0)), (1, (2, 3))])
def test_the_frame_of_a_query_holds_what_its_window_reads(query, corner):
    table = torch.arange(49)
    _, (ax,) = panels(1, 1)
    draw_window_of(ax, 4, query)
    left, top = (round(n) for n in ax.patches[-1].get_xy())
    assert (left, top) == corner
    framed = table.view(7, 7).flip(0, 1)[top : top + 4, left : left + 4]
    assert framed.flatten().equal(table[relative_position_index(4)[query]])


def test_signs_mark_what_is_clearly_above_zero():
    assert signs(torch.tensor([[1.0, 0.05], [-2.0, 0.3]])) == [["+", ""], ["", "+"]]


def test_the_best_class_stands_on_top():
    figure = plot_class_accuracy(torch.tensor([0.5, 0.75]), [(0.4, 0.6), (0.7, 0.8)], ("low", "high"))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["low", "high"]
    assert [bar.get_width() for bar in ax.patches] == [50, 75]
    assert [tuple(line.get_xdata()) for line in ax.lines] == [(40, 60), (70, 80)]


def test_confusion_shows_every_count_and_shades_mistakes_only():
    (ax,) = plot_confusion(torch.tensor([[90, 4], [7, 80]]), ("a", "b"), ("x", "y")).axes
    texts = {(text.get_position(), text.get_text()) for text in ax.texts}
    assert {((0, 0), "90"), ((1, 0), "4"), ((0, 1), "7"), ((1, 1), "80")} <= texts
    assert ax.images[0].get_array().tolist() == [[0, 4], [7, 0]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]


def test_reliability_shows_bins_and_their_sizes():
    axes = plot_reliability({"before": [(0.5, 0.4, 10), (0.9, 1.0, 30)], "after": [(0.6, 0.6, 40)]}).axes
    assert [values.tolist() for values in axes[0].lines[1].get_data()] == [[0.5, 0.9], [0.4, 1.0]]
    assert [bar.get_height() for bar in axes[2].patches] == [10, 30]
    assert [ax.get_title() for ax in axes[:2]] == ["before", "after"]


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def squares(*colours):
    for colour in colours:
        figure = Figure(figsize=(1, 1))
        figure.patch.set_facecolor(colour)
        yield figure


def test_frames_become_a_moving_picture_with_words(displayed):
    show_frames(squares("red", "lime", "blue", "red"), alt="colours in turn", milliseconds=100)
    (image,) = displayed
    picture = Image.open(io.BytesIO(image.data))
    frames = [
        (frame.convert("RGB").getpixel((40, 40)), frame.info["duration"])
        for frame in ImageSequence.Iterator(picture)
    ]
    red, lime, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert frames == [(red, 400), (lime, 100), (blue, 100), (red, 1200)]
    assert image.alt == "colours in turn" and picture.size == (120, 120)
    assert (image.width, image.height) == (80, 80)


def test_a_single_figure_does_not_move(displayed):
    show(next(squares("red")), alt="red")
    picture = Image.open(io.BytesIO(displayed[0].data))
    assert picture.n_frames == 1 and picture.size == (160, 160) and displayed[0].width == 80


def test_letters_are_large_enough_for_a_slide(displayed):
    figure = Figure(figsize=(12, 6))
    ax, bare = figure.subplots(1, 2)
    ax.set_title("small", fontsize=8)
    large = ax.text(0, 0, "large", fontsize=30)
    hidden = ax.text(0, 0, "hidden", fontsize=5, visible=False)
    bare.axis("off")
    smallest = enlarge(figure)
    scale = min(1184 / 12, 500 / 6)  # pixels of a slide for an inch
    assert smallest / 72 * scale == pytest.approx(18)
    sizes = [label.get_fontsize() for label in ax.get_xticklabels()] + [ax.title.get_fontsize()]
    assert sizes == pytest.approx([smallest] * len(sizes))
    assert large.get_fontsize() == 30 and hidden.get_fontsize() == 5
    show(figure, alt="words")
    assert displayed[0].metadata["letters"] / displayed[0].width * 1000 == pytest.approx(18, abs=0.1)
    assert enlarge(next(squares("red"))) == 0


def test_each_part_of_a_region_has_its_number():
    _, (ax,) = panels(1, 1)
    draw_regions(ax, torch.tensor([[5, 5, 7, 5], [5, 5, 7, 5]]), {5: 0, 7: 1})
    assert sorted((text.get_text(), text.get_position()) for text in ax.texts) == [
        ("5", (0.5, 0.5)), ("5", (3.0, 0.5)), ("7", (2.0, 0.5))]  # fmt: skip


def test_a_rolled_map_takes_its_regions_along():
    image, labels = torch.arange(64).view(1, 8, 8).repeat(3, 1, 1) / 64, torch.tensor([[0, 1], [2, 3]])
    (ax,) = plot_rolled(image, labels, [0] * 4, (4, 2), [(0, 2)]).axes
    assert ax.images[0].get_array()[0, 0, 0] == image[0, 4, 2]
    upper = {text.get_text() for text in ax.texts if text.get_position()[1] < 3.5}
    assert upper == {"2", "3"} and "rows up by 1 tokens, columns left by 0.5" in ax.get_title()


def test_attention_paints_the_picture_where_weights_are():
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    _, (ax,) = panels(1, 1)
    draw_attention(ax, image, torch.tensor([[0.0, 0.5], [0.0, 0.0]]), query=(1, 0))
    pixels = torch.from_numpy(ax.images[0].get_array().data)
    red, green, blue = pixels[0, 3].tolist()
    assert red > 0.8 > 0.5 > green > blue  # orange in the upper right quarter
    assert (pixels[2:] == pixels[2, 0, 0]).all() and pixels[2, 0, 0] > 0.5  # pale grey elsewhere
    assert ax.patches[-1].get_xy() == pytest.approx((0.08 - 0.5, 2.08 - 0.5))


def test_a_limit_makes_panels_comparable():
    image, weights = torch.full((3, 2, 2), 100, dtype=torch.uint8), torch.tensor([[0.5, 0.25], [0.0, 0.0]])
    _, axes = panels(1, 2)
    draw_attention(axes[0], image, weights, limit=0.5)
    draw_attention(axes[1], image, weights / 2, limit=0.5)
    first, second = (torch.from_numpy(ax.images[0].get_array().data) for ax in axes)
    assert torch.equal(first[0, 1], second[0, 0]) and not torch.equal(first[0, 0], second[0, 0])


def test_the_largest_two_shares_are_drawn_and_named():
    _, axes = panels(1, 2)
    draw_top2(axes, torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]), ("a", "b", "c"))
    assert [bar.get_width() for bar in axes[0].patches] == pytest.approx([0.7, 0.2])
    assert [text.get_text() for text in axes[0].texts] == ["c 0.70", "b 0.20"]
    assert [text.get_text() for text in axes[1].texts] == ["a 1.00"]  # nothing is said of 0.00
    assert top2_in_words(torch.tensor([[0.1, 0.2, 0.7]]), ("a", "b", "c")) == "c 0.70, b 0.20"


def test_circles_show_where_a_matrix_sends_them():
    matrices = {"before": torch.eye(2), "after": torch.diag(torch.tensor([3.0, 1]))}
    before, after = plot_circles(matrices, torch.eye(2)).axes
    assert before.lines[0].get_xdata().max() == pytest.approx(1)
    assert after.lines[0].get_xdata().max() == pytest.approx(3)
    assert after.lines[0].get_ydata().max() == pytest.approx(1, abs=1e-3)
    assert (after.lines[1].get_xdata()[1], after.lines[2].get_ydata()[1]) == (3, 1)


def test_a_guide_is_named_on_the_side_without_a_line():
    guides = {"below": (16, 2), "above": (4, 1)}
    (ax,) = plot_lines([1, 2, 4], {"a": [1, 4.5, 16], "b": [1, 1.9, 4]}, "x", "y", guides).axes
    assert {text.get_text(): text.xyann[1] < 0 for text in ax.texts} == {"below": True, "above": False}


def test_levels_are_dotted_lines_across():
    (ax,) = plot_curves({"found": ([0, 1], [2.0, 3.0])}, "x", "y", levels={"limit": 2.5}).axes
    assert ax.lines[-1].get_ydata() == [2.5, 2.5] and ax.lines[-1].get_linestyle() == ":"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["found", "limit"]


def test_the_merged_axis_is_column_row_channel():
    texts = [text.get_text() for text in plot_merging_axes().axes[0].texts]
    assert texts[-3:] == ["col\n2", "row\n2", "C\n96"]


def test_stacked_curves_have_an_axis_each_and_share_x():
    curves = {"a": ([1, 2], [5.0, 6.0]), "b": ([1, 2], [0.1, 0.2])}
    upper, lower = plot_stacked(curves, "step", levels={"b": ("limit", 0.15)}).axes
    assert upper.lines[0].get_ydata().tolist() == [5, 6] and lower.lines[0].get_ydata().tolist() == [0.1, 0.2]
    assert upper.get_ylim()[0] > 1 > lower.get_ylim()[1] and upper.get_xlim() == lower.get_xlim()
    assert len(upper.lines) == 1 and lower.lines[1].get_ydata() == [0.15, 0.15]


def test_a_walk_in_the_valley_is_drawn_with_its_loss_at_the_end():
    curvature = torch.tensor([1.0, 50.0])
    near, far = torch.full((20, 2), 0.1), torch.full((20, 2), 1e9)
    near[12] = torch.tensor([0.2, 0.1])  # of the last ten the one with the largest loss
    losses = {"far": [1.0, 1e300], "near": [2.0, 3.0]}
    first, second, ax = plot_valley_step(curvature, {"far": far, "near": near}, 0.5, [0.1, 1], losses).axes
    assert first.lines[0].get_xdata().max() == 50 and second.lines[0].get_xdata().max() == pytest.approx(0.2)
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [dot.get_xdata()[0] for dot in dots] == [0.5, 0.5]
    assert [dot.get_ydata()[0] for dot in dots] == [1e5, pytest.approx((0.04 + 0.5) / 2)]
    assert [dot.get_color() for dot in dots] == [axis.lines[0].get_color() for axis in (first, second)]
    assert ax.lines[-1].get_xdata() == [0.04, 0.04]


def test_a_mirrored_picture_has_the_same_windows_on_changed_sides():
    picture = torch.full((3, 32, 32), 0.5)
    picture[:, 8:16, 24:32] = torch.tensor([1.0, 0.6, 0.0]).view(3, 1, 1)
    places = []
    for turned in (0, 1):
        below = plot_mirror_step(picture, turned).axes[2]
        squares = [(patch.get_facecolor()[:3], patch.get_x()) for patch in below.patches]
        assert len(squares) == 16 and all(patch.get_width() > 0.4 for patch in below.patches)
        places += [x for colour, x in squares if colour == pytest.approx((1, 0.6, 0))]
    assert places[0] > 0 > places[1]


def watched(monkeypatch, folder, *saves):
    """-> what `watch` prints while runs `(name, epochs, of)` are saved, or None is, one after the other."""
    printed, saves = [], list(saves)

    def sleep(seconds):
        if not saves:
            raise TimeoutError("watch goes on although nothing more is saved")
        saved = saves.pop(0)
        if saved is None:
            return
        name, done, epochs = saved
        recipe = train_config("nano", epochs=epochs)
        history = History(model_config("nano"), recipe, "cifar10", 9, 0, "CPU", {})
        history.epochs = [Epoch(n + 1, 2.0, 0.2, 1e-3, 1.0, 9.0) for n in range(done)]
        history.save(folder / name)
        os.utime(folder / name, (time.time() + 60 - len(saves),) * 2)

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("IPython.display.clear_output", lambda wait: None)
    monkeypatch.setattr("builtins.print", printed.append)
    return printed


def test_a_running_training_is_drawn_whenever_it_is_saved(monkeypatch, tmp_path, displayed):
    saves = [("run.json", 0, 3), ("run.json", 1, 3), None, ("run.json", 3, 3)]
    printed = watched(monkeypatch, tmp_path, *saves)
    watch(tmp_path)  # ends by itself: the run has ended
    assert printed == ["run.json: 0 of 3 epochs", "run.json: 1 of 3 epochs", "run.json: 3 of 3 epochs"]
    assert [image.alt for image in displayed] == [
        "The curves of a training as far as epoch 1.",
        "The curves of a training as far as epoch 3.",
    ]


def test_a_run_that_ended_before_is_not_the_one_to_wait_for(monkeypatch, tmp_path, displayed):
    printed = watched(monkeypatch, tmp_path, ("old.json", 2, 2), ("new.json", 1, 2), ("new.json", 2, 2))
    time.sleep(5)  # the old run is there before anybody watches
    watch(tmp_path)
    assert printed == ["old.json: 2 of 2 epochs", "new.json: 1 of 2 epochs", "new.json: 2 of 2 epochs"]
