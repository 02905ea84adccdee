"""The curves of a training run, drawn. (All other figures belong to the notebooks.)"""

from typing import TYPE_CHECKING

from swin_cifar.history import History
from swin_cifar.training import learning_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN = {"color": "#0072b2", "linestyle": "-", "marker": "o"}
VALIDATION = {"color": "#d55e00", "linestyle": "--", "marker": "s"}


def plot_history(history: History) -> "Figure":
    """-> Figure: loss, accuracy, learning rate, speed of a `History`. Raises ValueError without an epoch."""
    from matplotlib.figure import Figure  # slow to import
    from matplotlib.ticker import MaxNLocator

    if not history.epochs:
        raise ValueError("the history holds no epoch yet: there is nothing to draw")
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 2).flatten()
    _draw(axes, history)
    titles = "loss (nats)", "accuracy (%)", "learning rate", "training pictures per second"
    for ax, title in zip(axes, titles):
        ax.set(xlim=(0, history.recipe.epochs * 1.03))
        ax.set_title(title, fontsize=14)
        ax.set_xlabel("epoch", fontsize=13)
        ax.tick_params(labelsize=12)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=12)
    axes[1].legend(loc="lower right", fontsize=12)
    about = f"{history.dataset}, {history.train_size:,} pictures, {history.device}"
    seconds = sum(epoch.seconds for epoch in history.epochs)
    figure.suptitle(f"{about}: {seconds:,.0f} s of training", fontsize=14)
    return figure


def _draw(axes, history):
    loss, accuracy, rate, speed = axes
    epochs = history.epochs
    x = [e.epoch for e in epochs]
    marks = {"markersize": 4, "markevery": max(1, len(epochs) // 20)}
    loss.plot(x, [e.train_loss for e in epochs], **TRAIN, **marks, label="train")
    accuracy.plot(x, [100 * e.train_accuracy for e in epochs], **TRAIN, **marks, label="train")
    if history.validation_size:
        style = {**VALIDATION, **marks, "label": "validation"}
        loss.plot(x, [e.validation_loss for e in epochs], **style)
        accuracy.plot(x, [100 * e.validation_accuracy for e in epochs], **style)
    if history.results.test:
        value = 100 * history.results.test.accuracy
        accuracy.axhline(value, color="#444444", linestyle=":", label=f"test, at the end: {value:.2f}%")
    points = 100 * history.recipe.epochs
    rates = [learning_rate(i, points, history.recipe) for i in range(points)]
    rate.plot([i / 100 for i in range(points)], rates, color="#444444")
    speeds = [e.images_per_second for e in epochs]
    speed.plot(x, speeds, **TRAIN, **marks)
    speed.set_ylim(0, 1.15 * max(speeds))
