"""Train and evaluate: the learning-rate schedule, the optimizer, the loop."""

import copy
import json
import math
import signal
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from swin_cifar import distributed
from swin_cifar.checkpoint import (
    CheckpointError,
    History,
    check_saveable,
    check_writable,
    describe_device,
    first_line,
    load_checkpoint,
    save_checkpoint,
    versions,
)
from swin_cifar.config import TrainConfig
from swin_cifar.data import mixup_cutmix, normalize, random_crop_flip

SAVE_SECONDS = 60  # a running training is saved at the first end of an epoch after so long


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number; the message says where and what to do."""


# --- the recipe's parts -----------------------------------------------------------------


def learning_rate(step, total_steps, config):
    """The learning rate of a step in [0, total_steps): linear warm-up, then half a cosine.

    The warm-up takes at most half of the steps.
    """
    warmup = int(min(config.warmup_epochs / config.epochs, 0.5) * total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - 1 - warmup)
    low, high = config.min_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model, config):
    """AdamW that decays matrices and filters only: not norms, biases and bias tables."""
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        small = parameter.ndim < 2 or name.endswith("relative_position_bias_table")
        (no_decay if small else decay).append(parameter)
    groups = [
        {"params": decay, "weight_decay": config.weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def training_batch(data, indices, config, generator):
    """The pictures at `indices`, augmented -> images (B, 3, h, w) float, targets (B, classes)."""
    images, labels = (t.index_select(0, indices) for t in (data.images, data.labels))
    images = random_crop_flip(images, config.crop_padding, config.flip, generator)
    images = normalize(images, data.mean, data.std)
    return mixup_cutmix(images, labels, len(data.classes), config.mixup_prob, config.cutmix_prob, generator)


@torch.no_grad()
def update_ema(ema_model, model, decay, step):
    """ema_model <- decay * ema_model + (1 - decay) * model, with a smaller decay in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema_model.parameters()), list(model.parameters()), 1 - decay)


# --- evaluation -------------------------------------------------------------------------


@dataclass(frozen=True)
class Metrics:
    """What `evaluate` measured on `count` pictures of `dataset`."""

    dataset: str
    count: int
    loss: float  # mean cross-entropy, in nats
    accuracy: float  # share of pictures named correctly


def predict_logits(model, data, batch_size=500, amp=False):
    """-> (n, classes) float32 logits for every picture of an `ImageSet`, in order, in eval mode."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = [
                model(normalize(images.to(device), data.mean, data.std)).float()
                for images in data.images.split(batch_size)
            ]
    finally:
        model.train(training)
    return torch.cat(logits)


def evaluate(model, data, batch_size=500, amp=False):
    """-> `Metrics` of the model on every picture of an `ImageSet`, summed before dividing."""
    logits = predict_logits(model, data, batch_size, amp).cpu()
    labels = data.labels.cpu()
    return Metrics(
        dataset=data.name,
        count=len(data),
        loss=F.cross_entropy(logits.double(), labels).item(),
        accuracy=(logits.argmax(1) == labels).sum().item() / len(data),
    )


# --- the loop ---------------------------------------------------------------------------


def fit(model, train, validation=None, config=None, checkpoint=None, resume=False, progress=True):
    """Train `model`, on the device it is on, and leave the final weights in it -> `History`.

    `train`, `validation`: `ImageSet`s; `config`: a `TrainConfig`. With `checkpoint`, a path,
    the run is saved there about once a minute, on Ctrl-C and at its end; `resume` continues
    the run saved there, on CPU to the very same weights as without the interruption. Raises
    TrainingDiverged where the loss is not finite, KeyboardInterrupt after Ctrl-C, and
    CheckpointError where a run cannot be saved or is not the one to continue.

    Under `distributed.joined` each process takes its share of every batch, and all end with
    the weights that one process would get, but for rounding and for DropPath, which draws for
    each process; process 0 alone evaluates, prints and saves.
    """
    config = config or TrainConfig()
    if resume and checkpoint is None:
        raise ValueError("resume needs `checkpoint`, the path of the run to continue")
    if len(train) < config.batch_size:
        raise ValueError(f"{len(train)} pictures do not fill one batch of {config.batch_size}")
    rank, processes = distributed.rank(), distributed.world_size()
    if config.batch_size % processes:
        raise ValueError(f"{processes} processes cannot share batches of {config.batch_size} equally")
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    # Older GPUs only emulate bf16, which is slower than float32.
    amp = config.amp and on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    train, validation = train.to(device), validation.to(device) if validation else None
    steps_per_epoch = len(train) // config.batch_size
    total_steps = config.epochs * steps_per_epoch

    optimizer = make_optimizer(model, config)
    ema_model = copy.deepcopy(model) if config.ema_decay else model
    history = History(
        model=_as_json(asdict(model.config)),
        recipe=_as_json(asdict(config)),
        dataset=train.name,
        train_size=len(train),
        validation_size=len(validation) if validation else 0,
        device=f"{processes} x {describe_device(device)}" if processes > 1 else describe_device(device),
        versions=versions(),
    )
    step, sums = 0, _EMPTY
    if resume:
        saved = load_checkpoint(checkpoint)
        _check_continues(history, saved.history, checkpoint)
        ema_model.load_state_dict(saved.model.state_dict())
        if saved.training is None:  # that run has ended
            model.load_state_dict(ema_model.state_dict())
            return saved.history
        history = _continued(saved.history, history)
        model.load_state_dict(saved.training["weights"])
        optimizer.load_state_dict(saved.training["optimizer"])
        step, sums = saved.training["step"], saved.training["sums"]

    progress = progress and rank == 0
    if rank > 0:
        checkpoint = validation = None
    if checkpoint:
        check_saveable(model)
        check_writable(checkpoint)

    def save():
        if not all(p.isfinite().all() for p in model.parameters()):
            raise TrainingDiverged(f"weights are no longer finite after step {step}; {_advice(checkpoint)}")
        training = None
        if step < total_steps:
            training = {"weights": model.state_dict(), "optimizer": optimizer.state_dict()}
            training |= {"step": step, "sums": sums}
        save_checkpoint(checkpoint, ema_model, train, history, training)

    model.train()
    forward = model
    if config.compile and on_gpu:
        forward = _compiled(model, train, config.batch_size // processes, amp)
    if processes > 1:
        forward = DistributedDataParallel(forward)  # averages the gradients of all processes
    generator = torch.Generator(device)
    read_every = 20 if on_gpu else 1  # steps: reading a result makes the GPU wait
    last_save = time.monotonic()
    bar = tqdm(
        total=total_steps, initial=step, unit=" steps", file=sys.stdout, leave=False, disable=not progress
    )
    fork_rng = torch.random.fork_rng([device] if on_gpu else [])  # the caller's stays as it was
    with bar, fork_rng, _interrupt_between_steps() as interrupted:
        for epoch in range(step // steps_per_epoch, config.epochs):
            order = epoch_order(len(train), config.seed, epoch).to(device)
            unread, clock = [], time.monotonic()
            for batch in range(step % steps_per_epoch, steps_per_epoch):
                indices = order[batch * config.batch_size : (batch + 1) * config.batch_size]
                # Each step draws from a seed of its own, so that a run can go on from any step.
                generator.manual_seed(seed_for(config.seed, "augmentation", step))
                torch.manual_seed(seed_for(config.seed, "DropPath", step * processes + rank))
                batch_of_all = training_batch(train, indices, config, generator)
                images, targets = map(distributed.share, batch_of_all)
                lr = learning_rate(step, total_steps, config)
                unread.append(training_step(forward, optimizer, images, targets, lr, config, amp))
                step += 1
                if config.ema_decay:
                    update_ema(ema_model, model, config.ema_decay, step)

                epoch_ended = batch + 1 == steps_per_epoch
                stop = bool(interrupted) and processes == 1  # else they must agree first
                if epoch_ended or stop or len(unread) == read_every:
                    stop = distributed.anybody(bool(interrupted), device)
                    losses, correct = distributed.add_up(torch.stack(unread)).T.tolist()
                    losses = [loss / processes for loss in losses]
                    _check_finite(losses, step, steps_per_epoch, lr, checkpoint)
                    now = time.monotonic()
                    added = {"loss": sum(losses), "correct": sum(correct), "seconds": now - clock}
                    sums = {name: sums[name] + value for name, value in added.items()}
                    unread, clock = [], now
                    seen = (batch + 1) * config.batch_size
                    bar.set_postfix_str(
                        f"loss {sums['loss'] / (batch + 1):.3f}, accuracy {sums['correct'] / seen:.1%}, "
                        f"{seen / sums['seconds']:,.0f} images/s, rate {lr:.1e}",
                        refresh=False,
                    )
                    bar.update(step - bar.n)
                if stop and not epoch_ended:
                    if checkpoint:
                        save()
                    raise KeyboardInterrupt

            record = {
                "epoch": epoch + 1,
                "train_loss": sums["loss"] / steps_per_epoch,
                "train_accuracy": sums["correct"] / seen,
                "learning_rate": lr,
                "seconds": sums["seconds"],
                "images_per_second": seen / sums["seconds"],
            }
            if validation:
                metrics = evaluate(ema_model, validation, amp=amp)
                record |= {"validation_loss": metrics.loss, "validation_accuracy": metrics.accuracy}
            history.epochs.append(record)
            history.results["seconds"] = sum(r["seconds"] for r in history.epochs)
            sums = _EMPTY
            if progress:
                bar.write(_describe(record, config.epochs), file=sys.stdout)
            stop = distributed.anybody(bool(interrupted), device)
            must_save = stop or step == total_steps
            if step == total_steps:
                model.load_state_dict(ema_model.state_dict())
            if checkpoint and (must_save or time.monotonic() - last_save > SAVE_SECONDS):
                try:
                    save()
                    last_save = time.monotonic()
                except CheckpointError as error:
                    if must_save:
                        raise
                    bar.write(f"not saved, training goes on: {error}", file=sys.stdout)
            if stop and step < total_steps:
                raise KeyboardInterrupt
    return history


def _compiled(model, data, batch_size, amp):
    """The compiled model, or the model itself where it cannot be compiled (no compiler, an old GPU)."""
    compiled = torch.compile(model)
    device = data.images.device
    fork_rng = torch.random.fork_rng([device] if device.type == "cuda" else [])
    try:
        with fork_rng, torch.autocast(device.type, torch.bfloat16, enabled=amp):
            compiled(normalize(data.images[:batch_size], data.mean, data.std)).float().sum().backward()
    except Exception as error:  # whatever is missing, training goes on without it
        print(f"not compiled, training goes on: {first_line(error)}", flush=True)
        compiled = model
    model.zero_grad()
    return compiled


def training_step(forward, optimizer, images, targets, lr, config, amp=False):
    """One step of the optimizer -> tensor (2,): the loss, the number of pictures named correctly."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
        logits = forward(images)  # (B, classes)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if config.max_grad_norm:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    correct = (logits.argmax(1) == targets.argmax(1)).sum()
    return torch.stack([loss.detach(), correct.to(loss.dtype)])


_EMPTY = {"loss": 0.0, "correct": 0.0, "seconds": 0.0}  # sums over the steps of an epoch


def epoch_order(n, seed, epoch):
    """(n,) the order of the pictures in one epoch, which depends on seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def seed_for(seed, purpose, count):
    """A seed of its own for each use, so that no two of them draw the same numbers."""
    return zlib.crc32(f"{purpose} {seed} {count}".encode())


def _describe(record, epochs):
    text = f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['train_loss']:.3f}"
    text += f"  train {record['train_accuracy']:.1%}"
    if "validation_accuracy" in record:
        text += f"  validation {record['validation_accuracy']:.1%}"
    text += f"  rate {record['learning_rate']:.1e}  {record['images_per_second']:,.0f} images/s"
    return text + f"  {record['seconds']:.1f} s"


def _check_finite(losses, step, steps_per_epoch, lr, checkpoint):
    """Raise TrainingDiverged if one of the losses that end with `step`'s is not finite."""
    for i, loss in enumerate(losses):
        if not math.isfinite(loss):
            bad = step - len(losses) + i  # counted from 0
            raise TrainingDiverged(
                f"the loss became {loss} in step {bad + 1} (epoch {bad // steps_per_epoch + 1}) at learning "
                f"rate {lr:.2e}; {_advice(checkpoint)}"
            )


def _advice(checkpoint):
    saved = checkpoint is not None and Path(checkpoint).exists()
    good = f"the last good checkpoint is {checkpoint}" if saved else "nothing was saved yet"
    return f"{good}. Try a lower learning rate or a longer warm-up"


def _check_continues(new, saved, path):
    """Raise CheckpointError unless the saved run is of the same model, recipe and data."""
    if saved is None:
        raise CheckpointError(f"{path} holds a model without its training: there is no run to continue")
    for name in ("model", "recipe", "dataset", "train_size", "validation_size"):
        ours, theirs = (_as_json(getattr(h, name)) for h in (new, saved))
        if ours != theirs:
            if isinstance(ours, dict):
                keys = [k for k in ours if ours[k] != theirs.get(k)]
                ours, theirs = ({k: d.get(k) for k in keys} for d in (ours, theirs))
            raise CheckpointError(f"{path} is of another run: {name} there {theirs}, here {ours}")


def _continued(saved, new):
    """The history of a saved run that goes on, perhaps on another device or with another torch."""

    def then(before, now):
        return before if before == now or before.endswith(f", then {now}") else f"{before}, then {now}"

    found = {name: then(saved.versions.get(name, now), now) for name, now in new.versions.items()}
    return replace(saved, device=then(saved.device, new.device), versions=found)


def _as_json(value):
    return json.loads(json.dumps(value))  # tuples become lists, as they come back from a file


@contextmanager
def _interrupt_between_steps():
    """Yields a list that a first Ctrl-C makes non-empty, so that no step is cut in half."""
    presses = []

    def press(signal_number, frame):
        if presses:
            raise KeyboardInterrupt
        presses.append(signal_number)

    if threading.current_thread() is not threading.main_thread():
        yield presses  # only the main thread may handle signals
        return
    previous = signal.signal(signal.SIGINT, press)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, previous)
