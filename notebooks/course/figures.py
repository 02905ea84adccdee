"""The figures of the notebooks.

The same thing has the same colour throughout: COLOURS are the eight of Okabe and Ito, which
remain distinct for colour-blind readers; what matters differs in lightness too, for print.
"""

import io
import math
import time
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image

from swin_cifar.curves import plot_history
from swin_cifar.data import normalize
from swin_cifar.history import History
from swin_cifar.windows import shift_per_axis

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
# The parts of a cyclically shifted map: in place, column wrapped around, row wrapped around, both.
REGIONS = (
    {"facecolor": "none"},
    {"facecolor": (COLOURS[6], 0.55), "hatch": "|"},
    {"facecolor": (COLOURS[4], 0.6), "hatch": "-"},
    {"facecolor": (COLOURS[3], 0.75), "hatch": "+"},
)
PADDING = {"facecolor": "#dddddd", "hatch": "///"}


INCH = 80  # pixels of an inch of a figure, as it is shown
SLIDE = (1184, 500)  # pixels that a slide has for a figure and a line of text, see slides/deck.css
LETTERS = 18  # pixels: what one can read from the back row


def show(figure, alt, sharp=2):
    """Display a figure in a notebook as a small PNG with `alt`, its text for those who cannot see it.

    `sharp`: pixels of the picture for each pixel of its size. Letters that could not be read where the
    figure fills a slide are made larger.
    """
    show_frames([figure], alt, sharp=sharp)


def show_frames(figures, alt, milliseconds=350, sharp=1.5):
    """Display figures of one size one after the other, again and again: an animated PNG.

    The first stays four times as long, the last twelve times: there one looks at what has come out. Where
    nothing moves (on paper) the first is seen.
    """
    from IPython import display  # only notebooks have it

    frames = []
    for figure in figures:
        letters = enlarge(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=sharp * INCH)
        frames.append(Image.open(buffer).convert("RGB"))
    width, height = frames[0].size
    strip = Image.new("RGB", (width, height * len(frames)))
    for i, frame in enumerate(frames):
        strip.paste(frame, (0, i * height))
    strip = strip.quantize(256)  # one palette for all frames: a PNG has no more
    frames = [strip.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]
    animation = {}
    if len(frames) > 1:
        moving = [milliseconds] * (len(frames) - 2)
        animation = {"save_all": True, "append_images": frames[1:], "loop": 0}
        animation["duration"] = [4 * milliseconds, *moving, 12 * milliseconds]
    small = io.BytesIO()
    frames[0].save(small, "PNG", optimize=True, **animation)
    size = {"width": round(width / sharp), "height": round(height / sharp)}
    about = {"letters": round(letters * INCH / 72, 1)}  # slides/browser.mjs looks at it
    display.display(display.Image(small.getvalue(), alt=alt, **size, metadata=about))


def enlarge(figure):
    """Make letters of a figure that are too small for a slide larger -> the size of its smallest, in points.

    A figure without letters has 0.
    """
    width, height = figure.get_size_inches()
    least = LETTERS * 72 / min(SLIDE[0] / width, SLIDE[1] / height)
    figure.draw_without_rendering()  # only then all marks of the axes are there
    for ax in figure.axes:
        for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            small = [label for label in axis.get_ticklabels() if label.get_fontsize() < least]
            if ax.axison and small:
                ax.tick_params(axis=name, labelsize=least)
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    for text in seen:
        text.set_fontsize(max(text.get_fontsize(), least))
    return min((text.get_fontsize() for text in seen), default=0)


def panels(rows, columns, size=3.0, **options):
    """-> Figure and its list of axes, row by row, each about `size` inches square and without ticks."""
    figure = Figure(figsize=(columns * size, rows * size), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure, axes


# --- onto axes ---------------------------------------------------------------------------


def draw_picture(ax, image, title=""):
    """(3, h, w) uint8, or float in [0, 1], onto axes."""
    ax.imshow(image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=14)


def draw_patches(ax, patches, title=""):
    """(rows, cols, 3, P, P) uint8, or float in [0, 1], onto axes: the patches pulled apart."""
    rows, cols, channels, P, _ = patches.shape
    patches = patches if patches.is_floating_point() else patches / 255
    # Enlarged, so that the gap can be narrower than a pixel.
    fine = patches.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    side, gap = 4 * P, max(2, P)
    canvas = patches.new_ones(channels, rows * (side + gap) - gap, cols * (side + gap) - gap)
    for i in range(rows):
        for j in range(cols):
            top, left = i * (side + gap), j * (side + gap)
            canvas[:, top : top + side, left : left + side] = fine[i, j]
    draw_picture(ax, canvas, title)
    ax.axis("off")


def draw_grid(ax, rows, cols, unit=1):
    """Thin lines between rows x cols tokens of `unit` pixels: white, and dark-edged for pale pictures."""
    for colour, width in (("#666666", 1.4), ("white", 0.7)):
        for i in range(1, rows):
            ax.axhline(i * unit - 0.5, color=colour, linewidth=width)
        for j in range(1, cols):
            ax.axvline(j * unit - 0.5, color=colour, linewidth=width)


def draw_windows(ax, rows, cols, unit=1, numbers=True, colour=COLOURS[0]):
    """Outline windows given by their bounds [(start, end), ...] in tokens of `unit` pixels, numbered."""
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(cols):
            corner = (left * unit - 0.5 + 0.12 * unit, top * unit - 0.5 + 0.12 * unit)
            width, height = (right - left - 0.24) * unit, (bottom - top - 0.24) * unit
            for edge, line in (("white", 5), (colour, 3)):  # above the lines of a grid
                style = {"fill": False, "edgecolor": edge, "linewidth": line, "zorder": 2.5}
                ax.add_patch(Rectangle(corner, width, height, **style))
            if numbers:
                at = ((left + right) / 2 * unit - 0.5, (top + bottom) / 2 * unit - 0.5)
                box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colour}
                ax.text(*at, i * len(cols) + j, ha="center", va="center", fontsize=14, bbox=box)


def draw_numbers(ax, values, unit=1):
    """Write a (rows, cols) list of numbers or words onto tokens of `unit` pixels, with a white halo."""
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            at = ((j + 0.5) * unit - 0.5, (i + 0.5) * unit - 0.5)
            halo = [withStroke(linewidth=3, foreground="white")]
            ax.text(*at, value, ha="center", va="center", fontsize=14, path_effects=halo)


def draw_mark(ax, row, col, unit=1, colour=COLOURS[0], width=4):
    """Frame the token at (row, col) of `unit` pixels a side: the query, say."""
    corner, side = ((col + 0.04) * unit - 0.5, (row + 0.04) * unit - 0.5), 0.92 * unit
    ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=width + 3))
    ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=width))


def draw_star(ax, token, unit=1):
    """Mark one token (row, column) of `unit` pixels."""
    y, x = ((i + 0.5) * unit - 0.5 for i in token)
    ax.plot(x, y, "*", markersize=20, markerfacecolor="black", markeredgecolor="white", markeredgewidth=1.5)


def draw_heat(ax, values, title="", signed=False, limit=None, numbers=None, bar=False, start=0):
    """(rows, cols) tensor onto axes as a heat map.

    The scale runs from `start` to `limit`, or from -limit to limit if `signed`; None = the largest
    value. `numbers`: a format such as "{:.2f}" to write each value into its cell, or the
    words to write, row by row.
    """
    values = values.detach().cpu()
    limit = limit or max(values.abs().max().item(), 1e-12)
    image = ax.imshow(
        values.numpy(), cmap="PuOr" if signed else "viridis", vmin=-limit if signed else start, vmax=limit
    )
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=13)
    for i, row in enumerate(values.tolist() if numbers else []):
        for j, value in enumerate(row):
            shares = zip((0.2126, 0.7152, 0.0722), image.cmap(image.norm(value)))  # of red, green, blue
            light = sum(share * part**2.2 for share, part in shares)
            colour = "black" if light > 0.18 else "white"  # a contrast of 4.5 : 1 or more
            text = numbers.format(value) if isinstance(numbers, str) else numbers[i][j]
            text = text if text.strip("-0.") else text.lstrip("-")  # 0.0, not -0.0
            ax.text(j, i, text, ha="center", va="center", fontsize=12, color=colour)
    if bar:
        ax.figure.colorbar(image, ax=ax, shrink=0.8).ax.tick_params(labelsize=12)


def label_pairs(ax, N, step=4):
    """Name the axes of an (N, N) heat map: query by row, key by column."""
    ax.set(xticks=range(0, N, step), yticks=range(0, N, step))
    ax.tick_params(labelsize=12)
    ax.set_xlabel("key", fontsize=13)
    ax.set_ylabel("query", fontsize=13)


def signs(values):
    """(rows, cols) tensor -> words for `draw_heat`, for grey print: "+" above a tenth of the largest size."""
    return [["+" if above else "" for above in row] for row in (values > values.abs().max() / 10).tolist()]


def draw_bias_table(ax, values, title="", limit=None, numbers=None):
    """One head's bias table, ((2M-1)²,), onto axes: a cell lies where the key does, the query in the frame.

    The offset is query minus key, so that dy falls downwards and dx to the right.
    """
    side = round(len(values) ** 0.5)
    draw_heat(ax, values.view(side, side).flip(0, 1), title, signed=True, limit=limit, numbers=numbers)
    draw_mark(ax, side // 2, side // 2)
    labels = list(range(side // 2, -side // 2, -1))
    ax.set_xticks(range(side), labels, fontsize=12)
    ax.set_yticks(range(side), labels, fontsize=12)
    ax.set_xlabel("dx", fontsize=13)
    ax.set_ylabel("dy", fontsize=13)


def draw_window_of(ax, M, query):
    """Onto a table that `draw_bias_table` has drawn: a frame around the part that this query reads."""
    top, left = M - 1 - query // M, M - 1 - query % M
    draw_windows(ax, [(top, top + M)], [(left, left + M)], numbers=False, colour=COLOURS[5])


def draw_mask(ax, mask, step, title=""):
    """(N, N) bool: query by row, key by column; white = may attend, black = may not; a line every `step`."""
    ax.imshow(mask.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ticks = range(0, len(mask), step)
    for i in ticks[1:]:
        ax.axhline(i - 0.5, color="#888888", linewidth=1)
        ax.axvline(i - 0.5, color="#888888", linewidth=1)
    ax.set(xticks=ticks, yticks=ticks)
    ax.tick_params(labelsize=12)
    ax.set_xlabel("key", fontsize=13)
    ax.set_ylabel("query", fontsize=13)
    ax.set_title(title, fontsize=13)


def draw_borders(ax, labels, unit=1):
    """Lines between neighbouring tokens of `unit` pixels whose `labels` (H, W) differ."""
    H, W = labels.shape
    for y, x in (labels[1:] != labels[:-1]).nonzero().tolist():
        ax.hlines((y + 1) * unit - 0.5, x * unit - 0.5, (x + 1) * unit - 0.5, color="black", linewidth=2)
    for y, x in (labels[:, 1:] != labels[:, :-1]).nonzero().tolist():
        ax.vlines((x + 1) * unit - 0.5, y * unit - 0.5, (y + 1) * unit - 0.5, color="black", linewidth=2)


def draw_regions(ax, labels, kinds, unit=1):
    """Tint, border and number the regions of equal `labels` (H, W), tokens of `unit` pixels.

    `kinds`: {label: index into REGIONS}. A label below 0 is padding: hatched, without a number.
    """
    for label in labels.unique().tolist():
        places = (labels == label).nonzero()
        style = {"edgecolor": "#555555"} | (PADDING if label < 0 else REGIONS[kinds[label]])
        for y, x in places.tolist():
            corner = (x * unit - 0.5, y * unit - 0.5)
            ax.add_patch(Rectangle(corner, unit, unit, linewidth=0, **style))
        if label >= 0:
            box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black"}
            for y, x in product(*(_middles(t.unique().tolist()) for t in places.T)):  # of each part
                at = ((x + 0.5) * unit - 0.5, (y + 0.5) * unit - 0.5)
                ax.text(*at, label, ha="center", va="center", fontsize=14, bbox=box)
    draw_borders(ax, labels, unit)


def _middles(numbers):
    """The middle of each run of neighbours in sorted whole numbers: [0, 1, 2, 7] -> [1, 7]."""
    starts = [i for i, n in enumerate(numbers) if i == 0 or n > numbers[i - 1] + 1]
    return [(numbers[a] + numbers[b - 1]) / 2 for a, b in zip(starts, [*starts[1:], len(numbers)])]


def draw_changed(ax, changed, token, unit=1):
    """Colour the tokens of `unit` pixels where `changed` (H, W) is True, fade the others, star `token`."""
    for y, x in changed.new_ones(changed.shape).nonzero().tolist():
        colour = (COLOURS[5], 0.55) if changed[y, x] else ("white", 0.6)
        corner = (x * unit - 0.5, y * unit - 0.5)
        ax.add_patch(Rectangle(corner, unit, unit, linewidth=0, facecolor=colour))
    draw_borders(ax, changed, unit)
    draw_star(ax, token, unit)


def draw_attention(ax, image, weights, title="", query=None, limit=None):
    """A picture (3, h, w) uint8 in pale grey, orange where the weights (H, W) are large.

    Unpainted is 0, full orange `limit`; None = the largest weight. With a `query`, its token is
    framed, and a line goes around all weights that are not 0: its window.
    """
    shares = (weights / (limit or weights.max().clamp(min=1e-12))).clamp(max=1)
    shares = F.interpolate(shares[None, None].float(), size=image.shape[1:])[0]  # (1, h, w)
    grey = 0.65 + 0.35 * image.float().mean(0, keepdim=True) / 255
    orange = torch.tensor(to_rgb(COLOURS[5])).view(3, 1, 1)
    draw_picture(ax, torch.lerp(grey.expand(3, -1, -1), orange, 0.9 * shares), title)
    if query:
        unit = image.shape[1] / weights.shape[0]
        draw_borders(ax, weights > 0, unit)
        draw_mark(ax, *query, unit, width=2)


def draw_bars(ax, values, title="", colour=COLOURS[0]):
    """(n,) values in [0, 1] onto axes as bars."""
    ax.bar(range(len(values)), values.tolist(), color=colour)
    ax.set(ylim=(0, 1), yticks=(0, 0.5, 1))
    ax.tick_params(labelsize=12)
    ax.set_title(title, fontsize=13)


def draw_top2(axes, shares, classes):
    """Onto each of several axes the largest two of its row of `shares` (B, classes), named unless 0.00."""
    for ax, row in zip(axes, shares):
        best = row.argsort(descending=True)[:2].tolist()
        ax.barh([1, 0], [row[i].item() for i in best], color=[COLOURS[4], "#cccccc"], height=0.8)
        ax.set(xlim=(0, 1), ylim=(-0.6, 1.6), xticks=[], yticks=[])
        for y, i in zip((1, 0), best):
            if row[i] >= 0.005:
                ax.text(0.03, y, f"{classes[i]} {row[i]:.2f}", va="center", fontsize=12)


def top2_in_words(shares, classes):
    """What `draw_top2` draws, for an alternative text: "cat 0.90, dog 0.05; ..."."""
    best = [[(classes[i], row[i]) for i in row.argsort(descending=True)[:2].tolist()] for row in shares]
    return "; ".join(", ".join(f"{name} {share:.2f}" for name, share in two) for two in best)


# --- whole figures -----------------------------------------------------------------------


def plot_axes(steps, colours):
    """-> Figure: how the axes of a tensor are split, moved and merged, one row a step.

    `steps`: [(text, [axis, ...]), ...] from top to bottom. An axis is a tuple of parts
    (name, size); an axis of several parts was merged from them. `colours`: {name: colour}.
    """
    figure = Figure(figsize=(11, 1.05 * len(steps)), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(0, 11.2), ylim=(len(steps), 0))
    ax.axis("off")
    for row, (text, axes) in enumerate(steps):
        ax.text(0, row + 0.5, text, fontsize=13, va="center", family="monospace")
        x = 4.2
        for parts in axes:
            width = len(parts) if len(parts) > 1 else 1.0
            for i, (name, size) in enumerate(parts):
                box = (x + i * width / len(parts), row + 0.15), width / len(parts), 0.7
                ax.add_patch(Rectangle(*box, facecolor=colours[name], alpha=0.55))
                at = (x + (i + 0.5) * width / len(parts), row + 0.5)
                ax.text(*at, f"{name}\n{size}", ha="center", va="center", fontsize=12)
            ax.add_patch(Rectangle((x, row + 0.15), width, 0.7, fill=False, linewidth=2))
            x += width + 0.12
    return figure


def plot_partition(B, H, W, C, M):
    """-> Figure: the axes of a map in the steps that cut it into windows of M x M."""
    grey, blue, orange, sky, yellow = "#bbbbbb", COLOURS[0], COLOURS[1], COLOURS[4], COLOURS[6]
    colours = {"B": grey, "H/M": blue, "row": orange, "W/M": sky, "col": yellow, "C": grey}
    b, i, row, j, col, c = ("B", B), ("H/M", H // M), ("row", M), ("W/M", W // M), ("col", M), ("C", C)
    steps = [
        ("x", [(b,), (i, row), (j, col), (c,)]),
        (".view(B, H//M, M, W//M, M, C)", [(b,), (i,), (row,), (j,), (col,), (c,)]),
        (".transpose(2, 3)", [(b,), (i,), (j,), (row,), (col,), (c,)]),
        (".reshape(B, nW, N, C)", [(b,), (i, j), (row, col), (c,)]),
    ]
    return plot_axes(steps, colours)


def plot_attention_by_hand(tokens, q, k, v, scores, weights, outputs, query):
    """-> Figure: from tokens (n, d) to queries, keys, values to scores to weights to outputs, in numbers.

    One query is worked out and framed; of the others the scores, weights and outputs are left open.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-0.1, 15.4), ylim=(8.4, -0.9))
    ax.axis("off")

    def table(left, top, values, title, colour, style="{:.0f}", only=None, mark=None):
        rows, columns = values.shape
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                text = style.format(value) if only in (None, i) else "?"
                ax.add_patch(Rectangle((left + j, top + 0.7 * i), 1, 0.7, facecolor=colour, alpha=0.35))
                ax.text(left + j + 0.5, top + 0.7 * i + 0.35, text, ha="center", va="center", fontsize=15)
        for i in range(rows):
            ax.add_patch(Rectangle((left, top + 0.7 * i), columns, 0.7, fill=False, linewidth=1))
        if mark is not None:
            corner = left - 0.04, top + 0.7 * mark - 0.04
            ax.add_patch(Rectangle(corner, columns + 0.08, 0.78, fill=False, linewidth=3.5, zorder=3))
        ax.text(left + columns / 2, top - 0.15, title, ha="center", va="bottom", fontsize=15)

    def arrow(start, end, text="", at=(0, 0)):
        style = {"arrowstyle": "-|>", "linewidth": 2, "color": "#444444"}
        ax.annotate("", end, start, arrowprops=style)
        ax.text(*at, text, ha="center", va="bottom", fontsize=14)

    blue, orange, green, pink = COLOURS[:4]
    table(0, 3, tokens, "tokens", "#bbbbbb", mark=query)
    table(3.2, 0, q, "queries q", blue, mark=query)
    table(3.2, 3, k, "keys k", orange)
    table(3.2, 6, v, "values v", green)
    table(6.6, 1.5, scores, "scores q·k", pink, only=query, mark=query)
    table(10, 1.5, weights, "weights", pink, "{:.2f}", only=query, mark=query)
    table(13.3, 4, outputs, "outputs", green, "{:.1f}", only=query, mark=query)
    for top in (1.05, 4.05, 7.05):
        arrow((2.05, 4.05), (3.15, top))
    arrow((5.25, 1.05), (6.55, 2.3))
    arrow((5.25, 4.05), (6.55, 2.8))
    arrow((9.65, 2.55), (9.95, 2.55), "softmax of each row", (9.8, 4.15))
    arrow((11.5, 3.7), (13.2, 4.9))
    arrow((5.25, 7.05), (13.2, 5.6), "weighted sum of the values", (9.8, 5.7))
    return figure


def plot_qkv_axes():
    """-> Figure: how the outputs of `qkv` become q, k and v with the heads as an axis (notebook 05)."""
    grey = "#bbbbbb"
    colours = {"B": grey, "nW": grey, "N": grey, "3": COLOURS[3], "heads": COLOURS[4], "d": COLOURS[6]}
    colours |= dict(zip("qkv", COLOURS))
    b, w, n, three, h, d = ("B", 1), ("nW", 16), ("N", 16), ("3", "q k v"), ("heads", 3), ("d", 32)
    steps = [
        ("qkv(x)", [(b,), (w,), (n,), (("q", 96), ("k", 96), ("v", 96))]),
        (".unflatten(-1, (3, heads, d))", [(b,), (w,), (n,), (three,), (h,), (d,)]),
        (".permute(3, 0, 1, 4, 2, 5)", [(three,), (b,), (w,), (h,), (n,), (d,)]),
        *((f"{c}: (B, nW, heads, N, d)", [(b,), (w,), (h,), (n,), ((c, 32),)]) for c in "qkv"),
    ]
    return plot_axes(steps, colours)


def plot_flatten(patch):
    """-> Figure: a patch (3, P, P) uint8, its three colours apart, and all its numbers in a line."""
    P = patch.shape[1]
    n, rows = 3 * P * P, (("red", 0), ("green", 1), ("blue", 2))
    figure = Figure(figsize=(11, 11 * (P + 3) / n), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-0.05, n + 0.05), ylim=(P + 2.3, -0.6), aspect="equal")
    ax.axis("off")

    def cell(x, y, rgb, text=""):
        ax.add_patch(Rectangle((x, y), 1, 1, facecolor=rgb, edgecolor="white", linewidth=2))
        colour = "white" if 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 0.5 else "black"
        ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=14, color=colour)

    step = (n - P) / 3
    ax.text(P / 2, -0.15, "patch", ha="center", fontsize=14)
    for name, channel in rows:
        ax.text((channel + 1) * step + P / 2, -0.15, name, ha="center", fontsize=14)
    for row in range(P):
        for col in range(P):
            cell(col, row, (patch[:, row, col] / 255).tolist())
            for _, channel in rows:
                value = patch[channel, row, col].item()
                rgb = [value / 255 if i == channel else 0 for i in range(3)]
                cell((channel + 1) * step + col, row, rgb, value)
                cell(channel * P * P + row * P + col, P + 1.2, rgb, value)
    ax.text(0, P + 0.9, "flatten:", fontsize=14)
    return figure


def plot_merging(values):
    """-> Figure: (4, 4) numbered tokens, the four maps gathered from them, the 2 x 2 map of all four."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-0.1, 16.3), ylim=(4.6, -1.2), aspect="equal")
    ax.axis("off")
    names = "1st: top-left", "2nd: bottom-left", "3rd: top-right", "4th: bottom-right"
    order = zip(names, ((0, 0), (1, 0), (0, 1), (1, 1)))

    def cell(x, y, width, height, colour, text):
        ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, alpha=0.5, edgecolor="none"))
        ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=1.5))
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=13)

    for place, (name, (dy, dx)) in enumerate(order):
        left, top = 5.4 + 3.2 * dx, -0.2 + 2.8 * dy
        ax.text(left + 1, top - 0.15, name, ha="center", fontsize=13)
        for i in range(2):
            for j in range(2):
                value = values[2 * i + dy, 2 * j + dx].item()
                cell(2 * j + dx, 2 * i + dy, 1, 1, COLOURS[place], value)
                cell(left + j, top + i, 1, 1, COLOURS[place], value)
                cell(12 + 2.1 * j + 0.5 * place, 2.1 * i, 0.5, 2, COLOURS[place], value)
    for i in range(2):
        for j in range(2):
            for corner in ((2 * j, 2 * i), (12 + 2.1 * j, 2.1 * i)):
                ax.add_patch(Rectangle(corner, 2, 2, fill=False, edgecolor="black", linewidth=2))
    for x, text in ((2, "4 × 4 tokens"), (7.95, "gathered"), (14.05, "2 × 2 tokens, 4C long")):
        ax.text(x, -0.85, text, ha="center", fontsize=14, weight="bold")
    return figure


def plot_rolled(image, labels, kinds, by, windows):
    """-> Figure: a map of 4 x 4-pixel tokens, rolled up and left by (rows, cols) pixels under its windows.

    `labels`, `kinds` as in `draw_regions`; `windows`: the bounds of those that stay, along both axes.
    """
    rows, cols = by
    figure, (ax,) = panels(1, 1, size=4.2)
    title = f"rows up by {rows / 4:g} tokens, columns left by {cols / 4:g}"
    draw_picture(ax, image.roll((-rows, -cols), dims=(1, 2)), title)
    fine = labels.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)  # of 2 x 2 pixels
    draw_regions(ax, fine.roll((-rows // 2, -cols // 2), dims=(0, 1)), kinds, unit=2)
    draw_windows(ax, windows, windows, unit=4, numbers=False)
    return figure


def plot_merging_axes(B=2, H=16, W=16, C=96):
    """-> Figure: how patch merging gathers by moving axes; orange and yellow are the places in a square."""
    colours = {"B": "#bbbbbb", "H/2": COLOURS[0], "row": COLOURS[1], "W/2": COLOURS[4], "col": COLOURS[6]}
    colours["C"] = colours["B"]
    sizes = {"B": B, "H/2": H // 2, "row": 2, "W/2": W // 2, "col": 2, "C": C}
    b, i, row, j, col, c = sizes.items()
    steps = [
        ("x", [(b,), (i, row), (j, col), (c,)]),
        ("split W and H (unflatten)", [(b,), (i,), (row,), (j,), (col,), (c,)]),
        ("move (permute)", [(b,), (i,), (j,), (col,), (row,), (c,)]),
        ("merge the last three (flatten)", [(b,), (i,), (j,), (col, row, c)]),
    ]
    return plot_axes(steps, colours)


def plot_two_blocks():
    """-> Figure: a block with W-MSA and the next with SW-MSA, as equation 3 of the Swin paper writes them.

    The thick line is the residual stream: each layer reads a normalised copy and adds its result.
    """
    figure = Figure(figsize=(12.5, 3.2), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-0.4, 13.6), ylim=(-0.85, 2.35))
    ax.axis("off")
    ax.annotate("", (13.5, 0), (0, 0), arrowprops={"arrowstyle": "-|>", "linewidth": 5, "color": "black"})
    layers = (("W-MSA", "#bfe1f6"), ("MLP", "#dddddd"), ("SW-MSA", "#f2b48c"), ("MLP", "#dddddd"))
    names = ("$z^{l-1}$", r"$\hat{z}^{l}$", "$z^{l}$", r"$\hat{z}^{l+1}$", "$z^{l+1}$")
    arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": "#444444", "shrinkA": 0, "shrinkB": 0}
    circle = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "black", "linewidth": 1.5}
    for i, (layer, colour) in enumerate(layers):
        x = 0.45 + 3.2 * i
        ax.annotate("", (x, 0.8), (x, 0), arrowprops=arrow)
        ax.annotate("", (x + 1.0, 1.2), (x + 0.4, 1.2), arrowprops=arrow)
        ax.plot([x + 2.2, x + 2.5, x + 2.5], [1.2, 1.2, 0.5], color="#444444", linewidth=2)
        ax.annotate("", (x + 2.5, 0.2), (x + 2.5, 0.6), arrowprops=arrow)
        for left, width, text, face in ((x - 0.4, 0.8, "LN", "white"), (x + 1.0, 1.2, layer, colour)):
            ax.add_patch(Rectangle((left, 0.8), width, 0.8, facecolor=face, edgecolor="black", linewidth=1.5))
            ax.text(left + width / 2, 1.2, text, fontsize=17, ha="center", va="center")
        ax.text(x + 2.5, 0, "+", fontsize=17, ha="center", va="center", bbox=circle)
    for i, name in enumerate(names):
        ax.text(0.45 - 0.4 + 3.2 * i, -0.25, name, fontsize=18, ha="center", va="top")
    for left, text in ((0, "a block"), (6.4, "the next block: its windows are shifted")):
        ax.plot([left + 0.05, left + 6.2], [1.85, 1.85], color="black", linewidth=1.5)
        ax.text(left + 3.1, 1.92, text, fontsize=18, ha="center", va="bottom")
    return figure


def plot_stages(model, image, mean, std, classes=None, logits=True):
    """-> Figure: a SwinTransformer from picture to logits, stage by stage, as it treats `image`.

    `image`: (3, h, w) uint8, normalised with `mean` and `std` for the model. Above: the picture
    cut into the tokens (thin) and windows (bold) of each stage. Below: every layer, shifted
    blocks set off to the right. The shapes are those of the maps that `stage_maps` gives.
    `classes`: names for the logits. Without `logits` (an untrained model's mean nothing) their
    bars are left out and the names stand alone.
    """
    config = model.config
    with torch.no_grad():
        maps = model.stage_maps(normalize(image[None], mean, std))
    rows = max(*config.depths, 2) + 1
    width = 2.5 * len(maps) + (6 if classes and logits else 4.8)
    figure = Figure(figsize=(width, 3.1 + 0.42 * rows), layout="constrained")
    ratios = {"height_ratios": [2.3, 0.42 * rows], "width_ratios": [1] * (len(maps) + 2)}
    top, bottom = figure.subplots(2, len(maps) + 2, gridspec_kw=ratios)
    figure.get_layout_engine().set(wspace=0.1)
    for ax in bottom:
        ax.set(xlim=(0, 1.01), ylim=(rows, 0))
        ax.axis("off")

    def box(ax, row, text, colour, left=0.0):
        ax.add_patch(Rectangle((left, row + 0.07), 0.85, 0.86, facecolor=colour, edgecolor="black"))
        ax.text(left + 0.425, row + 0.5, text, fontsize=13, ha="center", va="center")

    draw_picture(top[0], image)
    top[0].set_title("picture\n{1} × {2} × {0}".format(*image.shape), fontsize=15)
    for i, (x, ax, layers) in enumerate(zip(maps, top[1:], bottom[1:])):
        H, W, C = x.shape[1:]
        M, unit = config.window_size, image.shape[1] / H
        draw_picture(ax, image)
        draw_grid(ax, H, W, unit)
        for start in range(0, H, M):
            for left in range(0, W, M):
                corner = (left * unit - 0.5, start * unit - 0.5)
                sides = (min(M, W - left) * unit, min(M, H - start) * unit)
                for colour, width in (("white", 5), ("black", 2)):
                    line = {"edgecolor": colour, "linewidth": width, "clip_on": False, "zorder": 3}
                    ax.add_patch(Rectangle(corner, *sides, fill=False, **line))
        ax.set_title(f"stage {i + 1}\n{H} × {W} × {C}", fontsize=15)
        box(layers, 0, "patch merging" if i else "patch embed", "#dddddd")
        for j, block in enumerate(model.stages[i].blocks):
            if any(shift_per_axis(H, W, M, block.shift_size)):
                box(layers, j + 1, "SW-MSA, MLP", "#f2b48c", left=0.15)
            else:
                box(layers, j + 1, "W-MSA, MLP", "#bfe1f6")
    with torch.no_grad():
        features = model.forward_head(model.norm(maps[-1]), pre_logits=True)
        values = model.head(features)[0].tolist()
    for row, text in enumerate(("LN", "mean of tokens", "linear")):
        box(bottom[-1], row, text, "#dddddd")
    if logits:
        top[-1].barh(range(len(values)), values, color="#444444")
        top[-1].axvline(0, color="black", linewidth=1)
        top[-1].yaxis.tick_right()
    top[-1].set(xticks=[], yticks=[], ylim=(len(values) - 0.3, -0.7), box_aspect=1)
    if classes and logits:
        top[-1].set_yticks(range(len(values)), classes, fontsize=12)
        top[-1].tick_params(length=0)
    elif classes:
        for i, name in enumerate(classes):
            top[-1].text(0.5, i, name, fontsize=13, ha="center", va="center")
    top[-1].set_title(f"head\n{features.shape[1]} → {len(values)} logits", fontsize=15)
    arrow = {"arrowstyle": "-|>", "linewidth": 2.5, "color": "black"}
    for i, ax in enumerate(top[:-1]):
        ax.set_zorder(len(top) - i)  # its arrow lies above the next picture
        ends = {"xycoords": "axes fraction", "textcoords": "axes fraction", "annotation_clip": False}
        ax.annotate("", (1.11, 0.5), (1.0, 0.5), arrowprops=arrow, **ends)
    return figure


def plot_lines(x, lines, xlabel, ylabel, guides=None, ticks=None):
    """-> Figure: {label: values} over x, both axes logarithmic.

    `guides`: {label: (value at the last x, slope)}, dotted straight lines to compare with.
    `ticks`: where the x axis is labelled, instead of at powers of ten.
    """
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    ax = figure.subplots()
    for (label, values), colour, marker in zip(lines.items(), (COLOURS[5], COLOURS[0], COLOURS[2]), "so^"):
        ax.plot(x, values, marker=marker, color=colour, linewidth=2.5, markersize=8, label=label)
    for label, (value, slope) in (guides or {}).items():
        line = [value * (t / x[-1]) ** slope for t in x]
        ax.plot(x, line, color="#444444", linestyle=":", linewidth=1.5)
        nearest = min((values[-2] for values in lines.values()), key=lambda v: abs(math.log(v / line[-2])))
        beside = (12, -14) if nearest > line[-2] else (-52, 9)  # right below the guide, or left above it
        ax.annotate(label, (x[-2], line[-2]), fontsize=13, xytext=beside, textcoords="offset points")
    ax.set(xscale="log", yscale="log")
    if ticks:
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.set_xticks([], minor=True)
    ax.set_xlabel(xlabel, fontsize=13)
    ax.set_ylabel(ylabel, fontsize=13)
    ax.legend(fontsize=13)
    ax.grid(alpha=0.3)
    return figure


def plot_curves(lines, xlabel, ylabel, log=False, levels=None):
    """-> Figure: {label: (x, y)}, each with its own colour, line style and marker; y logarithmic if `log`.

    `levels`: {label: y}, dotted lines across.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.subplots()
    styles = zip((COLOURS[0], COLOURS[5], COLOURS[2], COLOURS[7]), ("-", "--", "-.", ":"), "os^D")
    for (label, (x, y)), (colour, line, marker) in zip(lines.items(), styles):
        marker = marker if len(x) <= 40 else ""
        ax.plot(x, y, color=colour, linestyle=line, marker=marker, linewidth=2.5, markersize=7, label=label)
    for label, y in (levels or {}).items():
        ax.axhline(y, color="#444444", linestyle=":", linewidth=2, label=label)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel, fontsize=13)
    ax.set_ylabel(ylabel, fontsize=13)
    ax.tick_params(labelsize=13)
    if len(lines) + len(levels or {}) > 1:
        ax.legend(fontsize=13)
    ax.grid(alpha=0.3)
    return figure


def plot_stacked(curves, xlabel, levels=None):
    """-> Figure: {ylabel: (x, y)}, one panel above the other: an axis of its own for each, x shared.

    `levels`: {ylabel: (label, y)}, a dotted line across that panel.
    """
    figure = Figure(figsize=(7.5, 2.4 * len(curves) + 0.4), layout="constrained")
    axes = figure.subplots(len(curves), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (ylabel, (x, y)), colour in zip(axes, curves.items(), (COLOURS[0], COLOURS[5], COLOURS[2])):
        ax.plot(x, y, color=colour, marker="o" if len(x) <= 40 else "", linewidth=2.5, markersize=6)
        if ylabel in (levels or {}):
            label, level = levels[ylabel]
            ax.axhline(level, color="#444444", linestyle=":", linewidth=2, label=label)
            ax.legend(fontsize=12)
        ax.set_ylabel(ylabel, fontsize=13)
        ax.tick_params(labelsize=12)
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel(xlabel, fontsize=13)
    return figure


def plot_circles(matrices, vectors):
    """-> Figure: {title: matrix (2, 2)}: where each sends the circle of radius 1, and two vectors of (2,)."""
    angles = torch.linspace(0, 2 * torch.pi, 200)
    circle = torch.stack([angles.cos(), angles.sin()])  # (2, 200)
    figure, axes = panels(1, len(matrices), size=2.8, sharex=True, sharey=True)
    for ax, (title, matrix) in zip(axes, matrices.items()):
        ax.plot(*(matrix @ circle), color=COLOURS[0], linewidth=2.5)
        for vector, colour, line in zip(vectors, (COLOURS[5], COLOURS[1]), ("-", "--")):
            x, y = (matrix @ vector).tolist()
            ax.plot([0, x], [0, y], color=colour, linestyle=line, linewidth=3, marker="o", markevery=[1])
        ax.set_title(title, fontsize=12)
        ax.set_aspect("equal")
        ax.axhline(0, color="#bbbbbb", linewidth=1, zorder=0)
        ax.axvline(0, color="#bbbbbb", linewidth=1, zorder=0)
    return figure


def plot_agreement(pairs, xlabel, ylabel):
    """-> Figure: {title: (expected, found)}, one panel each: found - expected over expected, as points."""
    figure = Figure(figsize=(4.8 * len(pairs), 3.8), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False, sharex=True, sharey=True)[0]
    for ax, (title, (expected, found)) in zip(axes, pairs.items()):
        ax.axhline(0, color="#444444", linestyle=":", linewidth=1.5)
        ax.scatter(expected.flatten().tolist(), (found - expected).flatten().tolist(), color=COLOURS[0], s=28)
        ax.set_title(title, fontsize=14)
        ax.set_xlabel(xlabel, fontsize=13)
        ax.tick_params(labelsize=12)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel, fontsize=13)
    return figure


def plot_differences(differences, xlabel):
    """-> Figure: {name: values}, a bar to each name's mean, the largest on top, and a dot for each value.

    A bar of a single value, which has no scatter, is hatched.
    """
    means = {name: sum(values) / len(values) for name, values in differences.items()}
    names = sorted(means, key=means.get)
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(names)), layout="constrained")
    ax = figure.subplots()
    for row, name in enumerate(names):
        dots = differences[name]
        hatch = "///" if len(dots) == 1 else ""
        ax.barh(name, means[name], color=COLOURS[4], edgecolor="#444444", height=0.7, hatch=hatch)
        ax.plot(dots, [row] * len(dots), "o", color="black", markeredgecolor="white", markersize=8)
    ax.axvline(0, color="black", linewidth=2)
    ax.set_xlabel(xlabel, fontsize=13)
    ax.tick_params(labelsize=13)
    ax.grid(axis="x", alpha=0.3)
    return figure


def plot_rungs(values, xlabel, apart=()):
    """-> Figure: {name: values} from top to bottom as given: a dot for each value, a line at each mean.

    Means are joined from rung to rung, but for the names in `apart`, which come last.
    """
    names = list(values)
    figure = Figure(figsize=(9, 1.1 + 0.5 * len(names)), layout="constrained")
    ax = figure.subplots()
    means = [sum(values[name]) / len(values[name]) for name in names]
    joined = len(names) - len(apart)
    ax.plot(means[:joined], range(joined), color=COLOURS[4], linewidth=2.5, zorder=1)
    for row, (name, mean) in enumerate(zip(names, means)):
        ax.plot([mean, mean], [row - 0.3, row + 0.3], color=COLOURS[0], linewidth=4)
        ax.plot(values[name], [row] * len(values[name]), "o", color="black", markeredgecolor="white", ms=8)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5))
    ax.set_xlabel(xlabel, fontsize=13)
    ax.tick_params(labelsize=13)
    ax.grid(axis="x", alpha=0.3)
    return figure


def plot_roofline(points, operations_per_second, bytes_per_second):
    """-> Figure: {name: (operations, bytes, seconds)} under the roof of a machine, both axes logarithmic.

    Across: operations per byte moved. Up: operations per second. What comes from memory cannot lie
    above the roof: to the left memory is too slow, to the right arithmetic; what a cache holds can.
    (Williams et al. 2009, "Roofline".)
    """
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    ax = figure.subplots()
    across = {name: operations / moved for name, (operations, moved, _) in points.items()}
    ridge = operations_per_second / bytes_per_second
    low, high = min(*across.values(), ridge) / 2, max(*across.values(), ridge) * 4
    roof = [low * bytes_per_second, operations_per_second, operations_per_second]
    ax.plot([low, ridge, high], roof, color="black", linewidth=3)
    ax.axvline(ridge, color="#444444", linestyle=":", linewidth=1.5)
    for i, (name, (operations, _, seconds)) in enumerate(points.items()):
        at = across[name], operations / seconds
        ax.plot(*at, "o", color=COLOURS[0], markersize=15)
        ax.annotate(str(i + 1), at, color="white", ha="center", va="center", fontsize=11, weight="bold")
        ax.plot([], [], " ", label=f"{i + 1}  {name}")
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.set_xlabel("operations per byte", fontsize=13)
    ax.set_ylabel("operations per second", fontsize=13)
    ax.tick_params(labelsize=12)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=12, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=0, frameon=False)
    return figure


def plot_class_accuracy(shares, intervals, classes):
    """-> Figure: the share right of each class (classes,), sorted, with its interval [(low, high), ...]."""
    order = shares.argsort().tolist()
    figure = Figure(figsize=(7.5, 0.36 * len(order) + 0.9), layout="constrained")
    ax = figure.subplots()
    for y, i in enumerate(order):
        low, high = intervals[i]
        ax.barh(y, 100 * shares[i].item(), color=COLOURS[4], height=0.75)
        ax.plot((100 * low, 100 * high), (y, y), color="black", linewidth=2, marker="|", markersize=9)
        ax.text(1, y, f"{100 * shares[i]:.1f}%", va="center", fontsize=12)
    ax.set_yticks(range(len(order)), [classes[i] for i in order], fontsize=12)
    ax.set(xlim=(0, 100))
    ax.tick_params(labelsize=12)
    ax.set_xlabel("right, in percent; line: 95% interval", fontsize=13)
    return figure


def plot_confusion(counts, rows, columns):
    """-> Figure: (true class, answer) counts, with the names of both; shades leave out the diagonal."""
    figure = Figure(figsize=(8.6, 7.4), layout="constrained")
    ax = figure.subplots()
    wrong = counts.float() * (1 - torch.eye(len(counts)))
    draw_heat(ax, wrong, numbers=[[str(n) for n in row] for row in counts.tolist()])
    for i in range(len(counts)):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, facecolor="white", edgecolor="black", linewidth=1.5))
        ax.text(i, i, counts[i, i].item(), ha="center", va="center", fontsize=12, weight="bold")
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=12)
    ax.set_yticks(range(len(rows)), rows, fontsize=12)
    ax.set_xlabel("the model says", fontsize=13)
    ax.set_ylabel("the picture shows", fontsize=13)
    return figure


def plot_reliability(models):
    """-> Figure: {title: [(confidence, share right, count), ...]}, one panel each, for ten bins.

    Above, the share that was right against the confidence, with the diagonal of a calibrated
    model; below, how many answers are that confident.
    """
    figure = Figure(figsize=(4.9 * len(models), 5.2), layout="constrained")
    ratios = {"height_ratios": [3, 1]}
    axes = figure.subplots(2, len(models), squeeze=False, sharex=True, sharey="row", gridspec_kw=ratios)
    for (title, bins), upper, lower in zip(models.items(), *axes):
        confidence, right, count = zip(*bins)
        upper.plot((0, 1), (0, 1), color="#444444", linestyle=":", linewidth=1.5)
        upper.plot(confidence, right, "o-", color=COLOURS[0], linewidth=2.5, markersize=7)
        middles = [(min(int(c * 10), 9) + 0.5) / 10 for c in confidence]  # of the bins: no bar covers another
        lower.bar(middles, count, width=0.09, color="#999999")
        upper.set_title(title, fontsize=14)
        upper.set(xlim=(0, 1), ylim=(0, 1))
        lower.set_xlabel("confidence", fontsize=13)
        for ax in (upper, lower):
            ax.tick_params(labelsize=12)
            ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("share right", fontsize=13)
    axes[1][0].set_ylabel("answers", fontsize=13)
    return figure


def plot_falls(comparisons):
    """-> Figure: [Comparison of course/controls.py, ...], one panel each: what greying its set costs.

    The orange line is the map. A control that it beats has its bar and its whole interval (of the
    paired difference) left of that line; one that it does not beat is hatched.
    """
    figure = Figure(figsize=(5.2 * len(comparisons), 3.4), layout="constrained")
    axes = figure.subplots(1, len(comparisons), squeeze=False, sharey=True)[0]
    for ax, found in zip(axes, comparisons):
        rows = list(found.falls)
        for y, row in enumerate(rows):
            fall = found.falls[row].mean().item()
            if row == "map":
                ax.barh(y, fall, color=COLOURS[5], height=0.7)
                ax.axvline(fall, color=COLOURS[5], linewidth=2)
                continue
            mean, half = found.difference(row)
            style = {} if mean - half > 0 else {"hatch": "///"}
            ax.barh(y, fall, color=COLOURS[4], edgecolor="#444444", height=0.7, **style)
            ax.plot((fall - half, fall + half), (y, y), "k|-", linewidth=2.5, markersize=9)
        ax.set_yticks(range(len(rows)), rows, fontsize=13)
        said = "shown" if found.shown() else "not shown"
        ax.set_title(f"{found.name}, {found.k} of {found.tokens} grey: {said}", fontsize=13)
        ax.set_xlabel("the logit falls by (hatched: not beaten)", fontsize=13)
        ax.tick_params(labelsize=12)
    axes[0].invert_yaxis()  # shared by all
    return figure


def plot_groups(groups, ylabel):
    """-> Figure: {group: {label: (value, half)}}: bars side by side in groups, a line of ± half at each."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    ax = figure.subplots()
    labels = list(next(iter(groups.values())))
    width = 0.8 / len(labels)
    styles = zip((COLOURS[5], COLOURS[4], COLOURS[0], COLOURS[1], "#dddddd"), ("", "//", "", "..", ""))
    for i, (label, (colour, hatch)) in enumerate(zip(labels, styles)):
        x = [g + (i - (len(labels) - 1) / 2) * width for g in range(len(groups))]
        values, halves = zip(*(bars[label] for bars in groups.values()))
        ax.bar(x, values, width, color=colour, edgecolor="#444444", hatch=hatch, label=label)
        ax.errorbar(x, values, halves, fmt="none", ecolor="black", elinewidth=2, capsize=4)
    ax.axhline(0, color="black", linewidth=1)
    ax.set_xticks(range(len(groups)), list(groups), fontsize=13)
    ax.set_ylabel(ylabel, fontsize=13)
    ax.tick_params(labelsize=12)
    ax.legend(fontsize=12, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.grid(axis="y", alpha=0.3)
    return figure


# --- of notebook 09: a valley, and a training that is still running -----------------------


def plot_valley_step(curvature, paths, lr, rates, losses):
    """-> Figure: a step of the walks in a narrow valley, for `show_frames`: those with the rate `lr`.

    The loss is half the sum of `curvature` (2,) times w², with its contours. `paths`: {name: (steps + 1,
    2)}, a panel each; a walk that leaves the panel goes on outside. Right the loss at the end over all
    rates, `losses`: {name: values}, with a dot for each path, the largest loss of its last ten places (at
    the upper edge where that is larger still), and a dotted line at the limit of plain descent.
    """
    colours = COLOURS[5], COLOURS[0], COLOURS[1], COLOURS[2]
    styles = dict(zip(losses, zip(colours, ("--", "-", "-.", ":"), "soD^")))
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    grid = figure.add_gridspec(len(paths), 2, width_ratios=(3, 2))
    x, y = torch.meshgrid(torch.linspace(-0.5, 1.2, 120), torch.linspace(-0.4, 0.4, 80), indexing="xy")
    heights = (curvature[0] * x**2 + curvature[1] * y**2) / 2
    for row, (name, path) in enumerate(paths.items()):
        ax = figure.add_subplot(grid[row, 0])
        ax.contour(x, y, heights, levels=[4.0**i for i in range(-6, 2)], colors="#999999", linewidths=1)
        colour, _, marker = styles[name]
        ax.plot(*path.clamp(-50, 50).T, color=colour, marker=marker, linewidth=1.5, markersize=5)
        ax.plot(0, 0, "k*", markersize=14)
        ax.set(xlim=(-0.5, 1.2), ylim=(-0.4, 0.4))
        ax.set_title(f"{name}, learning rate {lr:g}", fontsize=14)
        ax.tick_params(labelsize=12)
    ax = figure.add_subplot(grid[:, 1])
    for name, values in losses.items():
        colour, line, marker = styles[name]
        up = [min(value, 1e7) for value in values]
        ax.plot(rates, up, color=colour, linestyle=line, linewidth=2.5, label=name)
        if name in paths:
            end = (curvature * paths[name][-10:] ** 2).sum(-1).max().item() / 2
            dot = {"markeredgecolor": "black", "markersize": 12, "clip_on": False, "zorder": 3}
            ax.plot(lr, min(end, 1e5), marker, color=colour, **dot)
    ax.axvline(2 / curvature.max().item(), color="#444444", linestyle=":", linewidth=2)
    ax.set(xscale="log", yscale="log", ylim=(1e-5, 1e5))
    ax.set_xlabel("learning rate", fontsize=13)
    ax.set_title("loss at the end", fontsize=14)
    ax.tick_params(labelsize=12)
    ax.legend(fontsize=12, loc="upper left")
    ax.grid(alpha=0.3)
    return figure


def watch(folder="../checkpoints/runs", seconds=5):
    """Draw the training that was saved last in `folder`, anew whenever it is saved, until it has ended.

    Call it in another notebook than the one that trains; its stop button ends the drawing alone.
    """
    from IPython import display  # only notebooks have it

    first, drawn = True, None
    while True:
        saved = [(path.stat().st_mtime_ns, path) for path in Path(folder).glob("*.json")]
        if saved and max(saved) != drawn:
            drawn = max(saved)
            history = History.load(drawn[1])
            done, all_epochs = len(history.epochs), history.recipe.epochs
            display.clear_output(wait=True)
            print(f"{drawn[1].name}: {done} of {all_epochs} epochs")
            if done:
                show(plot_history(history), alt=f"The curves of a training as far as epoch {done}.")
            if done == all_epochs and not first:  # an older run, found at first, is not the one to wait for
                return
        first = False
        time.sleep(seconds)


# --- steps of notebooks 10 and 12 ---------------------------------------------------------


def plot_temperature_step(bins, T, temperatures, losses):
    """-> Figure: a step of the search for a temperature, for `show_frames`.

    Left the share right against confidence with this T, `bins` as `plot_reliability` takes them; right
    the loss over all temperatures, with a dot at this T.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot((0, 1), (0, 1), color="#444444", linestyle=":", linewidth=1.5)
    left.plot([c for c, *_ in bins], [share for _, share, _ in bins], "o-", color=COLOURS[0], linewidth=2.5)
    left.set(xlim=(0, 1), ylim=(0, 1))
    left.set_xlabel("confidence", fontsize=14)
    left.set_ylabel("share right", fontsize=14)
    left.set_title(f"validation, T = {T:.2f}", fontsize=15)
    right.plot(temperatures, losses, color="black", linewidth=2.5)
    at = min(range(len(temperatures)), key=lambda i: abs(temperatures[i] - T))
    right.plot(temperatures[at], losses[at], "o", color=COLOURS[5], markersize=13)
    right.set_xlabel("temperature T", fontsize=14)
    right.set_ylabel("loss", fontsize=14)
    for ax in (left, right):
        ax.tick_params(labelsize=14)
        ax.grid(alpha=0.3)
    return figure


def _token_colours(picture, row):
    """(3, 32, 32) in [0, 1] of 4 x 4 tokens -> the colours of one row's four."""
    return [tuple(picture[:, 8 * row + 4, 8 * column + 4].tolist()) for column in range(4)]


def plot_ring_step(picture, row, moved):
    """-> Figure: what a model without the mask makes of a picture of 4 x 4 tokens, for `show_frames`.

    The picture (3, 32, 32) in [0, 1] is moved to the right by `moved` tokens, what leaves comes in at
    the left. Left the windows of block 0, in the middle those of block 1, right the tokens of `row` on
    a ring, with the windows of both as arcs: inside block 0, outside block 1.
    """
    figure, (first, second, ring) = panels(1, 3, size=2.8)
    seen = picture.roll(round(8 * moved), dims=2)
    for ax, bounds, title in (
        (first, [(0, 2), (2, 4)], "block 0"),
        (second, [(-1, 1), (1, 3), (3, 5)], "block 1, no mask"),
    ):
        draw_picture(ax, seen, title)
        draw_windows(ax, bounds, bounds, unit=8, numbers=False, colour="black")
        ax.set(xlim=(-0.5, 31.5), ylim=(31.5, -0.5))

    def around(place):  # clockwise from the top; place 0 is the first token's
        angle = torch.as_tensor(place) * torch.pi / 2 + torch.pi / 4
        return torch.sin(angle), torch.cos(angle)

    for radius, starts, line in ((0.7, (0, 2), "-"), (1.3, (1, 3), "--")):
        for start in starts:
            x, y = around(torch.linspace(start - 0.3, start + 1.3, 40))
            ring.plot(radius * x, radius * y, color="black", linewidth=3, linestyle=line)
    for place, colour in enumerate(_token_colours(picture, row)):
        x, y = around(place + float(moved))
        ring.plot(x, y, "o", color=colour, markeredgecolor="black", markersize=20)
    ring.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    ring.axis("off")
    ring.set_title(f"a ring, moved by {moved:g}", fontsize=13)
    return figure


def plot_mirror_step(picture, turned):
    """-> Figure: a picture of 4 x 4 tokens on its way to its mirror image, for `show_frames`.

    `turned` from 0, the picture (3, 32, 32) in [0, 1], to 1, its mirror image. Above the windows of both
    blocks, below the tokens of each window, sorted by colour, two in a row: that is all that attention
    without a bias knows of them.
    """
    figure, axes = panels(2, 2, size=3)
    scale = float(torch.cos(torch.tensor(torch.pi * turned)))  # 1, the picture, to -1, its mirror image
    colours = [_token_colours(picture, row) for row in range(4)]
    blocks = (("block 0", [(0, 2), (2, 4)]), ("block 1", [(0, 1), (1, 3), (3, 4)]))
    for above, below, (title, bounds) in zip(axes[:2], axes[2:], blocks):
        for row, column in product(range(4), range(4)):
            left, right = sorted((scale * (column - 2), scale * (column - 1)))
            square = {"facecolor": colours[row][column], "edgecolor": "white", "linewidth": 0.7}
            above.add_patch(Rectangle((left, row), right - left, 1, **square))
        for (top, bottom), (start, end) in product(bounds, bounds):
            left, right = sorted((scale * (start - 2), scale * (end - 2)))
            outline = {"fill": False, "edgecolor": "black", "linewidth": 3}
            above.add_patch(Rectangle((left, top), right - left, bottom - top, **outline))
            bag = sorted(
                (colours[row][column] for row in range(top, bottom) for column in range(start, end)),
                key=lambda colour: max(colour) - min(colour),
                reverse=True,
            )
            x, y = scale * ((start + end) / 2 - 2), (top + bottom) / 2
            rows, columns = (len(bag) + 1) // 2, min(len(bag), 2)
            for i, colour in enumerate(bag):  # in rows of two
                corner = (x + 0.47 * (i % 2 - columns / 2), y + 0.47 * (i // 2 - rows / 2))
                below.add_patch(Rectangle(corner, 0.44, 0.44, facecolor=colour, edgecolor="black"))
        above.set_title(title, fontsize=13)
        for ax in (above, below):
            ax.set(xlim=(-2.1, 2.1), ylim=(4.1, -0.1), aspect="equal")
            ax.axis("off")
        below.set_title("what is in each window", fontsize=12)
    return figure


def plot_timeline(rows, span, marks=None):
    """-> Figure: {name: [(start, end, "product" or "other"), ...]} in seconds, a row each, from 0 to `span`.

    `marks`: {name: what to say beside the name}.
    """
    figure = Figure(figsize=(9, 0.85 * len(rows) + 1.3), layout="constrained")
    ax = figure.subplots()
    for y, bars in enumerate(rows.values()):
        ax.axhspan(y - 0.36, y + 0.36, color="#eeeeee")
        for kind, colour in (("product", COLOURS[0]), ("other", COLOURS[1])):
            seen = [(1e3 * a, 1e3 * (min(b, span) - a)) for a, b, k in bars if k == kind and a < span]
            ax.broken_barh(seen, (y - 0.36, 0.72), facecolor=colour, edgecolor=colour, linewidth=0.4)
    names = [f"{name}\n{(marks or {}).get(name, '')}".strip() for name in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=12)
    ax.set(xlim=(0, 1e3 * span), ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="x", labelsize=12)
    ax.set_xlabel("milliseconds under the profiler", fontsize=13)
    labels = (("product", COLOURS[0]), ("other operator", COLOURS[1]), ("between them", "#eeeeee"))
    handles = [Rectangle((0, 0), 1, 1, color=colour, label=label) for label, colour in labels]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=12, frameon=False)
    return figure


def plot_parts(parts, xlabel):
    """-> Figure: {name: {part: value}}, a stacked bar each, and a black line at the sum of its parts.

    A part below 0 is hatched, and drawn back from the end: the line then lies inside the bar.
    """
    figure = Figure(figsize=(9, 0.6 * len(parts) + 1.5), layout="constrained")
    ax = figure.subplots()
    kinds, colours = list(next(iter(parts.values()))), (COLOURS[5], COLOURS[0], COLOURS[1], "#bbbbbb")
    for y, values in enumerate(parts.values()):
        end = 0
        for kind, colour in zip(kinds, colours):
            back = {"facecolor": "none", "edgecolor": "black", "hatch": "///"}
            style = back if values[kind] < 0 else {"facecolor": colour}
            ax.barh(y, values[kind], left=end, height=0.7, **style)
            end += values[kind]
        ax.plot((end, end), (y - 0.42, y + 0.42), color="black", linewidth=3)
    ax.set_yticks(range(len(parts)), parts, fontsize=12)
    ax.invert_yaxis()
    ax.tick_params(axis="x", labelsize=12)
    ax.set_xlabel(xlabel, fontsize=13)
    handles = [Rectangle((0, 0), 1, 1, color=c, label=kind) for kind, c in zip(kinds, colours)]
    handles.append(Rectangle((0, 0), 1, 1, color="black", label="measured"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=12, frameon=False)
    return figure
