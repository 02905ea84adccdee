"""What happens between the steps of a training: read results, validate, save, resume, stop."""

import copy
import math
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from swin_cifar import distributed
from swin_cifar.checkpoint import (
    CheckpointError,
    check_can_save,
    check_continues,
    config_of,
    load_checkpoint,
    save_checkpoint,
)
from swin_cifar.config import TrainConfig
from swin_cifar.data import ImageSet, normalize, training_batch
from swin_cifar.history import Epoch, History, Metrics, continued
from swin_cifar.model import SwinTransformer, freeze_stages
from swin_cifar.predict import dtype_of, predict_logits
from swin_cifar.system import (
    FastestThreads,
    compile_or_not,
    computes_in_bf16,
    device_name,
    random_state_kept,
    shows_bars,
    versions,
)
from swin_cifar.tensorboard import Board

ESTIMATE = 20, 40  # a run says how long it will take, from what these steps after its start took
SAVE_SECONDS = 60  # a running training is saved after so long
READ_EVERY = {"cpu": 1}  # steps, by kind of device, else 20: reading a result makes an accelerator wait
NO_SUMS = {"loss": 0.0, "correct": 0.0, "seconds": 0.0}  # over the steps of an epoch


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number; the message says where and what to do."""


@dataclass(eq=False, repr=False)
class Run:
    """One training, as `fit` describes it: iterate over it for its steps, from where it stopped to the last.

    It then holds `history`, what has happened; `ema_model`, the averaged weights or the model
    itself; `step`, how many are done, of `total_steps`.
    """

    model: SwinTransformer
    optimizer: torch.optim.Optimizer
    train: ImageSet
    validation: ImageSet | None
    recipe: TrainConfig
    checkpoint_path: str | Path | None
    resume: bool
    progress: bool
    parent: str | None = None
    tensorboard: str | Path | None = None

    def __post_init__(self) -> None:
        self.rank, self.processes = distributed.rank(), distributed.world_size()
        self._check()
        self.checkpoint_path = self.checkpoint_path and Path(self.checkpoint_path).expanduser()
        self.device = next(self.model.parameters()).device
        slow = distributed.any_rank(not computes_in_bf16(self.device), self.device)  # all alike
        self.amp = self.recipe.amp and not slow
        self.train = self.train.to(self.device)
        self.validation = self.validation.to(self.device) if self.validation else None
        self.steps_per_epoch = len(self.train) // self.recipe.batch_size
        self.total_steps = self.recipe.epochs * self.steps_per_epoch
        self.progress = self.progress and self.rank == 0
        self.ema_model = copy.deepcopy(self.model) if self.recipe.ema_decay else self.model
        self.history = self._new_history()
        self.step, self.unread, self.sums, self.interrupted = 0, [], NO_SUMS.copy(), False
        self.generator, self.order = torch.Generator(self.device), (None, None)

    def __enter__(self) -> "Run":
        with ExitStack() as stack:  # whatever fails from here on, the model and the signals stay as they were
            self._enter(stack)
            self._stack = stack.pop_all()
        return self

    def _enter(self, stack):
        enter = stack.enter_context
        frozen = freeze_stages(self.model, self.recipe.frozen_stages)
        stack.callback(lambda: [parameter.requires_grad_(True) for parameter in frozen])
        if self.resume:
            self._resume()
        if self.step == self.total_steps:
            return  # that run has ended
        if self.rank > 0:  # process 0 alone evaluates and saves
            self.checkpoint_path = self.validation = self.tensorboard = None
        if self.checkpoint_path:
            check_can_save(self.checkpoint_path, self.model, self.train.classes)
        self.board = enter(closing(Board(self.tensorboard, self.history.epochs, self.resume)))
        self.first = self.step
        self.model.train()
        self._forward = self._prepare_forward()
        self.last_save = self.clock = self.estimate_clock = time.perf_counter()
        bar = {"total": self.total_steps, "initial": self.step, "unit": " steps", "file": sys.stdout}
        bar |= {"leave": False, "disable": not (self.progress and shows_bars())}
        self.bar = enter(tqdm(**bar))
        threads = FastestThreads(self.total_steps, on=self.device.type == "cpu" and self.processes == 1)
        self.threads = enter(closing(threads))  # then they are all again
        enter(random_state_kept(self.device))  # the caller's stays as it was
        self._listen(stack)

    def __exit__(self, error: type | None, *_: object) -> None:
        self._stack.close()
        if self.interrupted and error is None:  # too late to stop it: all is done and saved
            raise KeyboardInterrupt

    def __iter__(self) -> Iterator[int]:
        while self.step < self.total_steps:
            yield self.step

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """-> images and targets of this process, which depend on seed and step alone."""
        self.threads.start(step)
        epoch, place = divmod(step, self.steps_per_epoch)
        if self.order[0] != epoch:
            self.order = epoch, epoch_order(len(self.train), self.recipe.seed, epoch).to(self.device)
        start = place * self.recipe.batch_size
        indices = self.order[1][start : start + self.recipe.batch_size]
        # Each step draws from a seed of its own, so that a run can go on from any step.
        self.generator.manual_seed(seed_for(self.recipe.seed, "augmentation", step))
        torch.manual_seed(seed_for(self.recipe.seed, "DropPath", step * self.processes + self.rank))
        images, targets = training_batch(self.train, indices, self.recipe, self.generator)
        return distributed.shard(images).to(dtype_of(self.model)), distributed.shard(targets)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, classes): the model, in bf16 or compiled where recipe and device say so."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            return self._forward(images)

    def note(self, result: Tensor, lr: float) -> None:
        """A step is done: read results now and then, end the epoch, save or stop where that is due.

        Raises TrainingDiverged, KeyboardInterrupt, CheckpointError as `fit` says.
        """
        self.threads.stop()
        self.unread.append(result)
        self.step += 1
        epoch_ended = self.step % self.steps_per_epoch == 0
        ended = self.step == self.total_steps
        stop = self.interrupted and self.processes == 1  # several processes must agree first
        if epoch_ended or stop or len(self.unread) >= READ_EVERY.get(self.device.type, 20):
            stop = self._read(lr)
        if epoch_ended:
            self._end_epoch(lr)
        save_is_due = not self.unread and time.perf_counter() - self.last_save > SAVE_SECONDS
        if self.step - self.first in ESTIMATE:
            self._estimate()
        if self.checkpoint_path and (stop or ended or save_is_due):
            self._save(must=stop or ended)
        if epoch_ended or save_is_due:
            self.clock = time.perf_counter()  # validating and saving are not training
        if stop and not ended:
            raise KeyboardInterrupt

    def _estimate(self):
        """Say how long the training will take, if it is minutes."""
        before, self.estimate_clock = self.estimate_clock, time.perf_counter()
        seconds = (self.estimate_clock - before) / (ESTIMATE[1] - ESTIMATE[0])
        minutes = seconds * (self.total_steps - self.step) / 60
        if self.step - self.first == ESTIMATE[1] and self.progress and minutes >= 1:
            words = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
            self.bar.write(f"about {words} to go", file=sys.stdout)

    def _listen(self, stack):
        """Until the end, Ctrl-C is ours."""
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            previous = signal.signal(signal.SIGINT, self._interrupt)
            stack.callback(signal.signal, signal.SIGINT, previous)

    def _interrupt(self, *_):
        """What a first Ctrl-C does, so that no step is cut in half; a second one stops at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def _read(self, lr):
        """Add the results of the last steps to the epoch's; -> whether to stop."""
        stop = distributed.any_rank(self.interrupted, self.device)
        losses, correct = distributed.all_reduce_sum(torch.stack(self.unread)).T.tolist()
        losses = [loss / self.processes for loss in losses]
        self._check_finite(losses, lr)
        now = time.perf_counter()
        for name, value in zip(self.sums, (sum(losses), sum(correct), now - self.clock)):
            self.sums[name] += value
        self.unread, self.clock = [], now
        epoch = self._epoch(lr)
        self.bar.set_postfix_str(
            f"loss {epoch.train_loss:.3f}, accuracy {epoch.train_accuracy:.1%}, "
            f"{epoch.images_per_second:,.0f} images/s, rate {lr:.1e}",
            refresh=False,
        )
        self.bar.update(self.step - self.bar.n)
        return stop

    def _end_epoch(self, lr):
        """Validate and record; after the last epoch the model takes over the averaged weights."""
        epoch, logits = self._epoch(lr), None
        if self.validation:
            logits = predict_logits(self.ema_model, self.validation, amp=self.amp)
            metrics = Metrics.of(self.validation, logits)
            epoch.validation_loss, epoch.validation_accuracy = metrics.loss, metrics.accuracy
        self.history.epochs.append(epoch)
        self.history.results.seconds = sum(e.seconds for e in self.history.epochs)
        self.sums = NO_SUMS.copy()
        self.board.write(epoch, self.ema_model, self.validation, logits)
        if self.progress:
            self.bar.write(epoch.line(self.recipe.epochs), file=sys.stdout)
        if self.step == self.total_steps:
            self.model.load_state_dict(self.ema_model.state_dict())

    def _epoch(self, lr):
        """-> the `Epoch` that goes on, or has just ended."""
        epoch, place = divmod(self.step - 1, self.steps_per_epoch)  # of the last step, from 0
        seen = (place + 1) * self.recipe.batch_size
        return Epoch(
            epoch=epoch + 1,
            train_loss=self.sums["loss"] / (place + 1),
            train_accuracy=self.sums["correct"] / seen,
            learning_rate=lr,
            seconds=self.sums["seconds"],
            images_per_second=seen / self.sums["seconds"],
            threads=self.threads.fewer(),
        )

    def _save(self, must):
        """Save, or go on without where the disk does not take it and this one is not a `must`."""
        if not all(p.isfinite().all() for p in self.model.parameters()):
            raise TrainingDiverged(f"weights are no longer finite after step {self.step}; {self._advice()}")
        state = None
        if self.step < self.total_steps:
            state = {"weights": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            state |= {"step": self.step, "sums": self.sums}
        try:
            save_checkpoint(self.checkpoint_path, self.ema_model, self.train, self.history, state)
            self.last_save = time.perf_counter()
        except CheckpointError as error:
            if must:
                raise
            self.bar.write(f"not saved, training goes on: {error}", file=sys.stdout)

    def _resume(self):
        """Take over weights, optimizer, step and history of the run saved at `checkpoint_path`."""
        saved = load_checkpoint(self.checkpoint_path)
        check_continues(self.history, saved.history, self.checkpoint_path)
        self.ema_model.load_state_dict(saved.model.state_dict())
        state = saved.resume_state
        if state is None:  # that run has ended
            self.model.load_state_dict(saved.model.state_dict())
            self.step, self.history = self.total_steps, saved.history
            return
        self.history = continued(saved.history, self.history)
        self.model.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.sums = state["step"], state["sums"]

    def _new_history(self):
        device = device_name(self.device) + ", bf16" * self.amp
        return History(
            model=config_of(self.model),
            recipe=self.recipe,
            dataset=self.train.name,
            train_size=len(self.train),
            validation_size=len(self.validation) if self.validation else 0,
            device=f"{self.processes} x {device}" if self.processes > 1 else device,
            versions=versions(),
            parent=self.parent,
        )

    def _check(self):
        """Raise ValueError for what cannot be trained, before anything is done."""
        batch = self.recipe.batch_size
        if self.resume and self.checkpoint_path is None:
            raise ValueError("resume needs `checkpoint_path`, the run to continue")
        if len(self.train) < batch:
            raise ValueError(f"{len(self.train)} pictures do not fill one batch of {batch}")
        classes = config_of(self.model).num_classes
        if classes != len(self.train.classes):
            raise ValueError(f"a model of {classes} classes cannot learn {len(self.train.classes)}")
        if batch % self.processes:
            raise ValueError(f"{self.processes} processes cannot share batches of {batch} equally")

    def _check_finite(self, losses, lr):
        """Raise TrainingDiverged if one of the last losses is not finite."""
        for step, loss in enumerate(losses, self.step - len(losses)):  # counted from 0
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the loss became {loss} in step {step + 1} (epoch {step // self.steps_per_epoch + 1}) "
                    f"at learning rate {lr:.2e}; {self._advice()}"
                )

    def _advice(self):
        saved = self.checkpoint_path is not None and Path(self.checkpoint_path).exists()
        good = f"the last good checkpoint is {self.checkpoint_path}" if saved else "nothing was saved yet"
        return f"{good}. Try a lower learning rate or a longer warm-up"

    def _prepare_forward(self):
        forward = self.model
        if self.recipe.compile and self.device.type == "cuda":
            batch = self.train.images[: self.recipe.batch_size // self.processes]
            images = normalize(batch, self.train.mean, self.train.std).to(dtype_of(self.model))
            forward = compile_or_not(self.model, images, self.amp)
        if self.processes > 1:
            forward = DistributedDataParallel(forward)  # averages the gradients of all processes
        return forward


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """(n,) the order of the pictures in one epoch, which depends on seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def seed_for(seed: int, purpose: str, count: int) -> int:
    """A seed of its own for each use, so that no two of them draw the same numbers."""
    return zlib.crc32(f"{purpose} {seed} {count}".encode())
