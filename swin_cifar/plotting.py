"""Every figure that the project draws.

The same thing has the same colour throughout: COLOURS are the eight of Okabe and Ito, which
remain distinct for colour-blind readers; what matters differs in lightness too, for print.
"""

import io

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from swin_cifar.config import TrainConfig
from swin_cifar.training import learning_rate

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
STYLES = {  # of curves
    "train": {"color": COLOURS[0], "linestyle": "-", "marker": "o"},
    "validation": {"color": COLOURS[5], "linestyle": "--", "marker": "s"},
}


def show(figure, alt, dpi=80):
    """Display a figure in a notebook as a small PNG with `alt`, its text for those who cannot see it."""
    from IPython import display  # only notebooks have it

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    display.display(display.Image(small.getvalue(), alt=alt))


def panels(rows, columns, size=3.0, **options):
    """-> Figure and its list of axes, row by row, each about `size` inches square and without ticks."""
    figure = Figure(figsize=(columns * size, rows * size), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure, axes


def draw_picture(ax, image, title=""):
    """(3, h, w) uint8, or float in [0, 1], onto axes."""
    ax.imshow(image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=13)


def draw_windows(ax, rows, cols, unit=1, numbers=True):
    """Outline windows given by their bounds [(start, end), ...] in tokens of `unit` pixels, numbered."""
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(cols):
            colour = COLOURS[(i + 2 * j) % 4]
            corner = (left * unit - 0.5 + 0.12 * unit, top * unit - 0.5 + 0.12 * unit)
            width, height = (right - left - 0.24) * unit, (bottom - top - 0.24) * unit
            ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=5))
            ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=3))
            if numbers:
                at = ((left + right) / 2 * unit - 0.5, (top + bottom) / 2 * unit - 0.5)
                box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colour}
                ax.text(*at, i * len(cols) + j, ha="center", va="center", fontsize=12, bbox=box)


def draw_grid(ax, rows, cols, unit=1):
    """Thin lines between rows x cols tokens of `unit` pixels."""
    for i in range(1, rows):
        ax.axhline(i * unit - 0.5, color="white", linewidth=0.7)
    for j in range(1, cols):
        ax.axvline(j * unit - 0.5, color="white", linewidth=0.7)


def plot_history(history):
    """-> Figure: loss, accuracy and learning rate of a `History`. Raises ValueError without an epoch."""
    records = history.epochs
    if not records:
        raise ValueError("the history holds no epoch yet: there is nothing to draw")
    epochs = [record["epoch"] for record in records]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    for part, style in STYLES.items():
        if f"{part}_loss" not in records[0]:  # a run on all pictures holds none out
            continue
        style = {**style, "label": part, "markersize": 4, "markevery": max(1, len(epochs) // 20)}
        loss.plot(epochs, [r[f"{part}_loss"] for r in records], **style)
        accuracy.plot(epochs, [100 * r[f"{part}_accuracy"] for r in records], **style)
    if "test" in history.results:
        value = 100 * history.results["test"]["accuracy"]
        accuracy.axhline(value, color="#444444", linestyle=":", label=f"test, at the end: {value:.2f}%")
    config = TrainConfig(**history.recipe)
    points = 100 * config.epochs
    rates = [learning_rate(i, points, config) for i in range(points)]
    rate.plot([i / 100 for i in range(points)], rates, color="#444444")
    for axes, title in ((loss, "loss (nats)"), (accuracy, "accuracy (%)"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch", xlim=(0, config.epochs * 1.03))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.legend()
    accuracy.legend(loc="lower right")
    seconds = sum(r["seconds"] for r in records)
    about = f"{history.dataset}, {history.train_size:,} pictures, {history.device}"
    figure.suptitle(f"{about}: {seconds:,.0f} s of training")
    return figure


def plot_axes(steps, colours):
    """-> Figure: how the axes of a tensor are split, moved and merged, one row a step.

    `steps`: [(text, [axis, ...]), ...] from top to bottom. An axis is a tuple of parts
    (name, size); an axis of several parts was merged from them. `colours`: {name: colour}.
    """
    figure = Figure(figsize=(11, 1.05 * len(steps)), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(0, 11), ylim=(len(steps), 0))
    ax.axis("off")
    for row, (text, axes) in enumerate(steps):
        ax.text(0, row + 0.5, text, fontsize=13, va="center", family="monospace")
        x = 4.4
        for parts in axes:
            width = 1.0 if len(parts) == 1 else 0.95 * len(parts)
            for i, (name, size) in enumerate(parts):
                box = (x + i * width / len(parts), row + 0.15), width / len(parts), 0.7
                ax.add_patch(Rectangle(*box, facecolor=colours[name], alpha=0.55))
                at = (x + (i + 0.5) * width / len(parts), row + 0.5)
                ax.text(*at, f"{name}\n{size}", ha="center", va="center", fontsize=12)
            ax.add_patch(Rectangle((x, row + 0.15), width, 0.7, fill=False, linewidth=2))
            x += width + 0.15
    return figure


def plot_lines(x, lines, xlabel, ylabel, guides=None):
    """-> Figure: {label: values} over x, both axes logarithmic.

    `guides`: {label: (value at the last x, slope)}, dotted straight lines to compare with.
    """
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    ax = figure.subplots()
    for (label, values), colour, marker in zip(lines.items(), (COLOURS[5], COLOURS[0]), "so"):
        ax.plot(x, values, marker=marker, color=colour, linewidth=2.5, markersize=8, label=label)
    for label, (value, slope) in (guides or {}).items():
        line = [value * (t / x[-1]) ** slope for t in x]
        ax.plot(x, line, color="#444444", linestyle=":", linewidth=1.5)
        ax.annotate(label, (x[-2], line[-2]), fontsize=11, xytext=(6, -12), textcoords="offset points")
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel(xlabel, fontsize=13)
    ax.set_ylabel(ylabel, fontsize=13)
    ax.legend(fontsize=12)
    ax.grid(alpha=0.3)
    return figure
