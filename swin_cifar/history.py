"""What a training run was and how it went, as JSON."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from swin_cifar.config import SwinConfig, TrainConfig
from swin_cifar.data import ImageSet
from swin_cifar.system import write_atomically


@dataclass(frozen=True)
class Metrics:
    """What was measured on `count` pictures of `dataset`."""

    dataset: str
    count: int
    loss: float  # mean cross-entropy, in nats
    accuracy: float  # share of pictures classified correctly

    def __str__(self) -> str:
        return f"{self.dataset}: {self.accuracy:.2%} of {self.count:,} pictures, loss {self.loss:.4f}"

    @classmethod
    def of(cls, data: ImageSet, logits: torch.Tensor) -> "Metrics":
        """From the (n, classes) logits of all pictures, summed before dividing. Raises ValueError if none."""
        if not len(data):
            raise ValueError(f"there are no pictures of {data.name} to measure with")
        logits, labels = logits.cpu(), data.labels.cpu()
        return cls(
            dataset=data.name,
            count=len(data),
            loss=F.cross_entropy(logits.double(), labels).item(),
            accuracy=(logits.argmax(1) == labels).sum().item() / len(data),
        )


@dataclass
class Epoch:
    """One pass over the training pictures. Accuracies are shares, losses are in nats."""

    epoch: int  # counted from 1
    train_loss: float  # of augmented pictures, while the weights change
    train_accuracy: float
    learning_rate: float  # in the last step
    seconds: float  # of training alone
    images_per_second: float
    validation_loss: float | None = None  # None where no pictures are held out
    validation_accuracy: float | None = None
    threads: int | None = None  # at its end, where fewer than all were faster

    def line(self, epochs: int) -> str:
        """This epoch of so many, in words."""
        text = f"epoch {self.epoch:>{len(str(epochs))}}/{epochs}  loss {self.train_loss:.3f}"
        text += f"  train {self.train_accuracy:.1%}"
        if self.validation_accuracy is not None:
            text += f"  validation {self.validation_accuracy:.1%}"
        text += f"  rate {self.learning_rate:.1e}  {self.images_per_second:,.0f} images/s"
        if self.threads:
            text += f" on {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{text}  {self.seconds:.1f} s"


@dataclass
class Results:
    """What is measured once, after the last epoch."""

    seconds: float = 0.0  # of training, all epochs
    test: Metrics | None = None
    parameters: int | None = None  # all, those of frozen stages too
    flops_per_image: int | None = None  # of one forward pass
    temperature: float | None = None  # that calibrates the logits; None where too few pictures are held out

    def __post_init__(self):
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"a temperature must be positive and finite, got {self.temperature}")


@dataclass
class History:
    """What a training run was and how it went; `save` writes it as JSON."""

    model: SwinConfig
    recipe: TrainConfig
    dataset: str
    train_size: int
    validation_size: int
    device: str
    versions: dict[str, str]
    epochs: list[Epoch] = field(default_factory=list)
    results: Results = field(default_factory=Results)
    parent: str | None = None  # the file whose weights the run began with

    def accuracy(self, part: str) -> float:
        """The share classified correctly: "train" and "validation" in the last epoch, "test" at the end.

        Raises ValueError where it was not measured.
        """
        if part == "test":
            found = self.results.test and self.results.test.accuracy
        elif part in ("train", "validation"):
            found = getattr(self.epochs[-1], f"{part}_accuracy") if self.epochs else None
        else:
            raise ValueError(f"a history knows train, validation and test accuracy, not {part!r}")
        if found is None:
            raise ValueError(f"this run has no {part} accuracy: it was not measured")
        return found

    def to_dict(self) -> dict:
        """-> plain values alone, as JSON takes them; what was not measured is left out."""
        content = asdict(self, dict_factory=_measured)
        return json.loads(json.dumps(content))  # tuples become lists, as they come back from a file

    @classmethod
    def from_dict(cls, content: dict) -> "History":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for what is no history."""
        content = dict(content)
        results = dict(content.pop("results", {}))
        if test := results.pop("test", None):
            results["test"] = Metrics(**test)
        return cls(
            model=SwinConfig(**content.pop("model")),
            recipe=TrainConfig(**content.pop("recipe")),
            epochs=[Epoch(**epoch) for epoch in content.pop("epochs", [])],
            results=Results(**results),
            **content,
        )

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all. Raises OSError."""
        write_atomically(path, json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote. Raises ValueError, naming the file, for anything else."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no history of a training run: {error!r}") from error


def continued(saved: History, new: History) -> History:
    """The history of a saved run that goes on, perhaps on another device or with another torch."""

    def then(before, now):
        return before if before == now or before.endswith(f", then {now}") else f"{before}, then {now}"

    found = {name: then(saved.versions.get(name, now), now) for name, now in new.versions.items()}
    return replace(saved, device=then(saved.device, new.device), versions=found)


def _measured(items):
    return {name: value for name, value in items if value is not None}
