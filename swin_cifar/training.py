"""Train and evaluate: the learning-rate schedule, the optimizer, the step, the loop."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_cifar import distributed
from swin_cifar.calibration import fit_temperature
from swin_cifar.checkpoint import save_checkpoint
from swin_cifar.config import TrainConfig, train_config
from swin_cifar.data import ImageSet
from swin_cifar.history import History, Metrics
from swin_cifar.model import SwinTransformer
from swin_cifar.predict import dtype_of, evaluating, predict_logits
from swin_cifar.run import Run
from swin_cifar.system import count_flops


def learning_rate(step: int, total_steps: int, recipe: TrainConfig) -> float:
    """The learning rate of a step in [0, total_steps): linear warm-up, then half a cosine.

    The warm-up takes at most half of the steps.
    """
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - 1 - warmup)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: nn.Module, recipe: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's optimizer, its parameters in groups that learn alike."""
    groups = {}
    for name, parameter in model.named_parameters():
        decay, scale, momentum = recipe.weight_decay, 1.0, None
        if name.endswith("_table"):
            decay, scale = 0.0, recipe.table_lr_scale
        elif parameter.ndim < 2:  # of norms, and biases
            decay = 0.0
        elif recipe.optimizer == "muon" and parameter.ndim == 2 and name.startswith("stages."):
            scale, momentum = recipe.matrix_lr_scale, recipe.momentum
        if not name.startswith("head."):
            scale *= recipe.body_lr_scale
        groups.setdefault((decay, scale, momentum), []).append(parameter)
    settings = ({"weight_decay": d, "lr_scale": scale, "momentum": m} for d, scale, m in groups)
    groups = [{"params": params, **setting} for params, setting in zip(groups.values(), settings)]
    return Muon(groups, lr=recipe.learning_rate, fused=True)


class Muon(torch.optim.AdamW):
    """AdamW; but the matrices of groups with a `momentum` take Muon's steps.

    A gradient's average is a matrix U S Vᵀ. Muon steps along U Vᵀ: every direction counts alike,
    where plain descent follows the few with large singular values. (Jordan et al. 2024, "Muon: an
    optimizer for hidden layers in neural networks"; as `torch.optim.Muon`, in float32.)
    """

    @torch.no_grad()
    def step(self) -> None:
        """Take one step."""
        for group in self.param_groups:
            momentum = group.get("momentum")
            weights = [p for p in group["params"] if p.grad is not None]  # not those that are frozen
            for weight in weights if momentum is not None else ():
                state = self.state[weight]
                if not state:  # AdamW cannot load a state without "step"
                    state |= {"step": torch.tensor(0.0), "average": torch.zeros_like(weight)}
                state["average"].lerp_(weight.grad, 1 - momentum)
                update = orthogonalize(weight.grad.lerp(state["average"], momentum))  # Nesterov's momentum
                rows, columns = weight.shape
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(update, alpha=group["lr"] * max(1, rows / columns) ** 0.5)
                weight.grad = None  # so that AdamW leaves this one out
        super().step()


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """(rows, columns) -> same: about U Vᵀ of a matrix U S Vᵀ, without finding U, S and V.

    Newton-Schulz iterations: X <- a X + b XXᵀX + c (XXᵀ)²X turns a singular value s into
    a s + b s³ + c s⁵ and leaves U and V. With these a, b, c five of them bring nearly all values
    to between 0.68 and 1.2, which serves as well as 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)  # now no singular value is above 1
    for _ in range(iterations):
        square = x @ x.T
        polynomial = torch.addmm(square, square, square, beta=b, alpha=c)  # b square + c square @ square
        x = torch.addmm(x, polynomial, x, beta=a)  # a x + polynomial @ x
    return x.T if tall else x


def training_step(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    lr: float,
    recipe: TrainConfig,
) -> Tensor:
    """One step of the optimizer -> tensor (2,): the loss, the number of pictures classified correctly."""
    logits = forward(images)  # (B, classes)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if recipe.max_grad_norm:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    optimizer.step()
    correct = (logits.argmax(1) == targets.argmax(1)).sum()
    return torch.stack([loss.detach(), correct.to(loss.dtype)])


@torch.no_grad()
def update_ema(ema_model: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """ema_model <- decay * ema_model + (1 - decay) * model, with a smaller decay in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema_model.parameters()), list(model.parameters()), 1 - decay)


def fit(
    model: SwinTransformer,
    train: ImageSet,
    validation: ImageSet | None = None,
    recipe: TrainConfig | None = None,
    checkpoint_path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    parent: str | None = None,
    tensorboard: str | Path | None = None,
) -> History:
    """Train `model`, on the device it is on, and leave the final weights in it; by default as `nano` is.

    With `checkpoint_path` the run is saved there about once a minute, on Ctrl-C and at its end;
    `resume` continues the run saved there, on CPU with a fixed number of threads to the very same
    weights as without the interruption. `parent` names, for the history, the file whose weights the
    model began with; into the folder `tensorboard` each epoch is written for TensorBoard. Raises
    TrainingDiverged where the loss is not finite, KeyboardInterrupt after Ctrl-C, CheckpointError or
    FileNotFoundError where a run cannot be saved or is not the one to continue, ValueError for fewer pictures
    than a batch, numbers of classes or processes that do not fit, another run's `tensorboard`. Under
    `distributed.process_group` each process takes its share of every batch, and all end with the weights
    that one process would get, but for rounding and for DropPath, which draws for each; process 0 alone
    evaluates, prints and saves.
    """
    recipe = recipe or train_config("nano")
    optimizer = make_optimizer(model, recipe)
    saving = checkpoint_path, resume, progress, parent, tensorboard
    with Run(model, optimizer, train, validation, recipe, *saving) as run:
        for step in run:  # from where it stopped to the last
            images, targets = run.batch(step)  # depends on seed and step alone
            lr = learning_rate(step, run.total_steps, recipe)
            result = training_step(run.forward, optimizer, images, targets, lr, recipe)
            if recipe.ema_decay:
                update_ema(run.ema_model, model, recipe.ema_decay, step + 1)
            run.note(result, lr)  # read now and then; validate, save or stop where due
    return run.history


def evaluate(model: nn.Module, data: ImageSet, batch_size: int = 500, amp: bool = False) -> Metrics:
    """-> loss and accuracy of the model on every picture of an `ImageSet`, in eval mode."""
    return Metrics.of(data, predict_logits(model, data, batch_size, amp))


def train_and_test(
    model: SwinTransformer,
    train: ImageSet,
    validation: ImageSet | None,
    test: ImageSet,
    recipe: TrainConfig | None = None,
    checkpoint_path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    parent: str | None = None,
    tensorboard: str | Path | None = None,
) -> History:
    """`fit`, then measure the final model on the test pictures, once, and save that, too.

    The pictures held out to validate also fix its temperature, which makes its confidence honest.
    """
    saving = checkpoint_path, resume, progress, parent, tensorboard
    history = fit(model, train, validation, recipe, *saving)
    if distributed.rank() > 0:
        return history
    if validation:
        logits = predict_logits(model, validation)
        history.results.temperature = fit_temperature(logits, validation.labels)
    history.results.test = evaluate(model, test)
    history.results.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    one_picture = test.images[:1].to(next(model.parameters()).device, dtype_of(model))
    with evaluating(model), torch.no_grad():
        history.results.flops_per_image = count_flops(partial(model, one_picture))
    if checkpoint_path:
        save_checkpoint(checkpoint_path, model, train, history)
    return history
