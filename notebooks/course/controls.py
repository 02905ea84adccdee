"""Does a map of a picture mark what a model needs? Measured by greying tokens, beside maps that know less.

    result = compare(model, images, labels, values, k, "class map")
    print(result.report())

`values` may come from anywhere: attention, gradients, a map of a student's own. A control is a
set of tokens of the same number and the same size that was chosen without looking at the picture.
(The deletion test is that of Samek et al. 2017, "Evaluating the visualization of what a deep neural
network has learned"; the fixed sets are an addition.)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course.studies import student_t
from swin_cifar.predict import evaluating

CONTROLS = {
    "random": "as many tokens, drawn at random for each picture",
    "moved": "the marked set itself, moved by a random step: the same shape elsewhere",
    "fixed": "one set for all pictures: the top k of the average map",
    "centre": "one set for all pictures: the k tokens nearest the middle",
    "another's": "the set that the map marks in another picture",
}


@dataclass(frozen=True)
class Comparison:
    """What happened when the marked tokens became grey, and when those of the controls did.

    `k` of the `tokens` of a map were marked; `left_out` pictures had no top k.
    `falls`: {"map" or a control: (n,)}, how far the logit of the label fell in each picture.
    `right`: {the same, and "nothing": (n,) bool}, whether the label was still the answer.
    """

    name: str
    k: int
    tokens: int
    left_out: int
    falls: dict[str, Tensor]
    right: dict[str, Tensor]

    @property
    def pictures(self) -> int:
        return len(self.falls["map"])

    def difference(self, control: str, of: str = "logit") -> tuple[float, float]:
        """-> how much more the map's set costs than a control's: mean over pictures, half the 95% interval.

        `of` is "logit" (in logits) or "accuracy" (in shares of the pictures).
        """
        if of == "logit":
            more = self.falls["map"] - self.falls[control]
        else:
            more = self.right[control].double() - self.right["map"].double()
        return more.mean().item(), student_t(len(more) - 1) * more.std().item() / math.sqrt(len(more))

    def best(self, of: str = "logit") -> str:
        """-> the control that is hardest to beat: its interval of the difference begins lowest."""

        def low(control):
            mean, half = self.difference(control, of)
            return mean - half

        return min(CONTROLS, key=low)

    def shown(self, of: str = "logit") -> bool:
        """Does the map beat every control, each by more than its interval?"""
        mean, half = self.difference(self.best(of), of)
        return mean - half > 0

    def conclusion(self, of: str = "logit") -> str:
        """-> one sentence: what is shown, or what is not."""
        what = {"logit": "logit", "accuracy": "right answers"}[of]
        best = self.best(of)
        mean, half = self.difference(best, of)
        amount = (
            f"{mean:+.4f} ± {half:.4f}" if of == "logit" else f"{100 * mean:+.2f} ± {100 * half:.2f} points"
        )
        if self.shown(of):
            return f"{what}: it beats its best control ({best}) by {amount}: shown"
        wider = student_t(self.pictures - 1, 0.99) / student_t(self.pictures - 1)
        worse = mean + wider * half < 0  # 99%, for it was picked from five
        more = ", the control does more harm" if worse else ""
        return f"{what}: against its best control ({best}) {amount}: not shown{more}"

    def report(self) -> str:
        """-> a table, one row a control, with paired differences, and a conclusion for each measure."""
        out = f", {self.left_out} left out: ties at the border of their top {self.k}" if self.left_out else ""
        lines = [
            f"{self.name}: {self.k} of {self.tokens} tokens grey, {self.pictures} pictures{out}",
            f"{'':10}  logit falls by  map - control    still right",
            f"{'nothing':10}  {0:14.3f}  {'':15}  {self.right['nothing'].double().mean():11.1%}",
        ]
        for row in ("map", *CONTROLS):
            more = "{:+.3f} ± {:.3f}".format(*self.difference(row)) if row in CONTROLS else ""
            right = self.right[row].double().mean()
            lines.append(f"{row:10}  {self.falls[row].mean():14.3f}  {more:15}  {right:11.1%}")
        return "\n".join([*lines, self.conclusion("logit"), self.conclusion("accuracy")])


def compare(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    values: Tensor,
    k: int,
    name: str = "this map",
    seed: int = 0,
    batch_size: int = 500,
) -> Comparison:
    """(n, 3, h, w) normalised, (n,) classes, (n, H, W) importance -> what the k most marked tokens are worth.

    They are painted grey (a normalised 0, the mean colour), and so are the sets of CONTROLS. Any
    model that gives (n, classes) logits will do. A picture whose k-th and next value are equal
    is left out everywhere: its top k is not defined. (Zeros of Grad-CAM are such ties.) Raises
    ValueError for other shapes, for k outside 1 ... H·W - 1, for values that are not finite, and if fewer
    than two pictures are left.
    """
    n, H, W = _checked(images, labels, values, k)
    values = values.detach().to(images.device, torch.float32)
    defined = has_top(values, k)
    if defined.sum() < 2:
        raise ValueError(
            f"only {defined.sum()} of {n} maps have a top {k}: the others are tied at its border"
        )
    images, labels, values = images[defined], labels[defined], values[defined]
    sets = {"map": top(values, k)} | controls(values, k, seed)
    plain = _logits(model, images, batch_size)
    falls, right = {}, {"nothing": plain.argmax(dim=1) == labels}
    for row, marked in sets.items():
        logits = _logits(model, paint_grey(images, marked, getattr(model, "config", None)), batch_size)
        falls[row] = (plain - logits).gather(1, labels[:, None])[:, 0]
        right[row] = logits.argmax(dim=1) == labels
    return Comparison(name, k, H * W, n - len(images), falls, right)


def has_top(values: Tensor, k: int) -> Tensor:
    """(n, H, W) -> (n,) bool: is the k-th largest value larger than the next? Else no top k is defined."""
    ordered = values.flatten(1).sort(dim=1, descending=True).values
    return ordered[:, k - 1] > ordered[:, k]


def top(values: Tensor, k: int) -> Tensor:
    """(n, H, W) -> (n, H, W) bool: the k largest of each picture."""
    highest = values.flatten(1).topk(k, dim=1).indices
    return torch.zeros_like(values, dtype=torch.bool).flatten(1).scatter(1, highest, True).view_as(values)


def controls(values: Tensor, k: int, seed: int = 0) -> dict[str, Tensor]:
    """(n, H, W) -> {control: (n, H, W) bool}: sets of k tokens, chosen without the picture. See CONTROLS."""
    n, H, W = values.shape
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(values.shape, generator=generator).to(values.device)
    steps = torch.randint(1, H * W, (n,), generator=generator).tolist()  # never 0: at least one token on
    marked = top(values, k)
    moved = [m.roll(divmod(step, W), dims=(0, 1)) for m, step in zip(marked, steps)]
    rows, cols = (torch.arange(size, device=values.device) - (size - 1) / 2 for size in (H, W))
    near = -torch.maximum(rows.abs()[:, None], cols.abs()) - 1e-3 * (rows[:, None] ** 2 + cols**2)
    return {
        "random": top(chance, k),
        "moved": torch.stack(moved),
        "fixed": top(values.mean(dim=0, keepdim=True), k).expand(n, H, W),
        "centre": top(near[None], k).expand(n, H, W),
        "another's": marked.roll(1, dims=0),
    }


def paint_grey(images: Tensor, marked: Tensor, config=None) -> Tensor:
    """(n, 3, h, w) normalised, (n, H, W) bool -> (n, 3, h, w): the pixels of the marked tokens are 0, grey.

    A token has the pixels of a patch (`config.patch_size`), or of 2 x 2, 4 x 4, ... of them, whichever
    gives H x W tokens (the map may have been padded); else h / H by w / W. Raises ValueError if neither fits.
    """
    for axis in (1, 2):
        size, count = images.shape[axis + 1], marked.shape[axis]
        marked = marked.repeat_interleave(_unit(size, count, config), dim=axis).narrow(axis, 0, size)
    return images.masked_fill(marked[:, None], 0)


def _unit(size, count, config):
    """How many pixels a token has along an axis of `size` pixels and `count` tokens."""
    unit = getattr(config, "patch_size", size)
    while -(-size // unit) > count:
        unit *= 2
    if -(-size // unit) == count:  # a map of the model's own, perhaps a padded one
        return unit
    if size % count:
        raise ValueError(f"a map of {count} tokens does not fit to {size} pixels")
    return size // count


def _checked(images, labels, values, k):
    n = len(images)
    if values.ndim != 3 or len(values) != n or labels.shape != (n,):
        raise ValueError(
            f"expected values (n, H, W) and labels (n,) for n = {n} pictures, "
            f"got {tuple(values.shape)} and {tuple(labels.shape)}"
        )
    if not 1 <= k < values[0].numel():
        raise ValueError(f"k must lie between 1 and {values[0].numel() - 1}, got {k}")
    if not values.isfinite().all():
        raise ValueError("some values are not finite")
    return values.shape


@torch.no_grad()
def _logits(model, images, batch_size):
    with evaluating(model):
        return torch.cat([model(batch) for batch in images.split(batch_size)])
