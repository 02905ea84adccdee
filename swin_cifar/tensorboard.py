"""A training as TensorBoard shows it, epoch by epoch: `tensorboard --logdir FOLDER`."""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from swin_cifar.data import ImageSet
from swin_cifar.history import Epoch
from swin_cifar.system import check_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

FILES = "events.out.tfevents.*"  # what TensorBoard reads
ROWS, COLUMNS = 3, 4  # of held-out pictures
NAME = 14  # letters of a class's name that have room over a picture
RIGHT, WRONG = "#0072b2", "#d55e00"


class Board:
    """The event files of one run in a folder; without a folder nothing is written.

    A run that is resumed goes on in another file there, which strikes out what was written of epochs after
    the last of `epochs`: they were not saved. Where there is no file yet, the curves of `epochs` come first.
    Raises RuntimeError without the library, OSError for a folder that cannot be written, ValueError for one
    that holds another run.
    """

    def __init__(self, folder: str | Path | None, epochs: Sequence[Epoch] = (), resume: bool = False) -> None:
        self._writer = self._open = None
        if folder is None:
            return
        writer, folder = summary_writer(), Path(folder).expanduser()
        check_folder(folder)
        found = any(folder.glob(FILES))
        if found and not resume:
            raise ValueError(f"{folder} holds the curves of an earlier run: choose another, or delete it")
        self._open = partial(
            writer, str(folder), purge_step=len(epochs) + 1
        )  # a run of no epoch leaves no file
        for epoch in () if found else epochs:
            self._curves(epoch)

    def write(
        self, epoch: Epoch, model: nn.Module, validation: ImageSet | None, logits: Tensor | None
    ) -> None:
        """An epoch has ended: its curves, the norms of the weights, some held-out pictures with answers.

        `logits`: (n, classes), what the model says of the pictures of `validation`, if there are any.
        Where the disk takes no more, that is said once, and training goes on.
        """
        if self._open is None:
            return
        try:
            self._curves(epoch)
            for kind, norm in weight_norms(model).items():
                self._writer.add_scalar(f"norm_of_weights/{kind}", norm, epoch.epoch)
            if validation:
                few = validation.subset(slice(0, ROWS * COLUMNS)).to("cpu")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of letters that no font here has
                    figure = plot_answers(few, logits[: len(few)].cpu())
                    self._writer.add_figure("held_out_pictures", figure, epoch.epoch)
            self._writer.flush()
        except OSError as error:
            print(f"TensorBoard gets no more, training goes on: {error}")
            self.close()

    def close(self) -> None:
        """Write what is not on the disk yet."""
        with suppress(OSError):
            if self._writer:
                self._writer.close()
        self._writer = self._open = None

    def _curves(self, epoch):
        self._writer = self._writer or self._open()
        curves = {
            "loss/train": epoch.train_loss,
            "loss/validation": epoch.validation_loss,
            "accuracy/train": epoch.train_accuracy,
            "accuracy/validation": epoch.validation_accuracy,
            "learning_rate": epoch.learning_rate,
            "images_per_second": epoch.images_per_second,
        }
        for name, value in curves.items():
            if value is not None:
                self._writer.add_scalar(name, value, epoch.epoch)


def summary_writer() -> "type[SummaryWriter]":
    """-> the class that writes TensorBoard's files. Raises RuntimeError where the library is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RuntimeError("to write for TensorBoard install it: python -m pip install tensorboard") from None
    return SummaryWriter


def weight_norms(model: nn.Module) -> dict[str, float]:
    """-> {kind: the length of all weights of that kind, as one vector}: matrices, bias tables, other, all."""
    squares = dict.fromkeys(("matrices", "bias_tables", "other"), 0.0)
    for name, weight in model.named_parameters():
        kind = "bias_tables" if name.endswith("_table") else "matrices" if weight.ndim > 1 else "other"
        squares[kind] += weight.detach().float().norm().item() ** 2
    squares["all"] = sum(squares.values())
    return {kind: math.sqrt(square) for kind, square in squares.items()}


def plot_answers(pictures: ImageSet, logits: Tensor) -> "Figure":
    """-> Figure: up to 12 pictures, each with the likeliest class, its probability, and the truth."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(2.3 * COLUMNS, 2.8 * ROWS), layout="constrained")
    shares, answers = logits.softmax(1).max(1)
    names = [name if len(name) <= NAME else name[: NAME - 1] + "…" for name in pictures.classes]
    rows = zip(pictures.images, pictures.labels.tolist(), answers.tolist(), shares.tolist())
    for ax, (image, label, answer, share) in zip(figure.subplots(ROWS, COLUMNS).flat, rows):
        ax.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255)
        ax.set_title(
            f"{names[answer]} {share:.0%}\ntruth: {names[label]}",
            fontsize=13,
            color=RIGHT if answer == label else WRONG,
            parse_math=False,  # a class may be called $1
        )
    for ax in figure.axes:
        ax.axis("off")
    return figure
