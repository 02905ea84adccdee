"""What a model is (`SwinConfig`), how it is trained (`TrainConfig`), and presets of both by name."""

import difflib
import math
import warnings
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class SwinConfig:
    """The architecture: everything that decides the shapes of the weights.

    One entry of `depths` and `num_heads` per stage; stage i works on `embed_dim * 2**i` channels
    at `1 / 2**i` of the resolution. Raises ValueError where the numbers do not fit together.
    (Swin paper, section 3.3.)
    """

    image_size: int = 32  # side of the pictures it is trained on, in pixels; any size runs
    patch_size: int = 2
    in_channels: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12)
    window_size: int = 4
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.0  # of the last block; it grows linearly from 0 at the first
    num_classes: int = 10

    def __post_init__(self):
        # JSON and checkpoints hand back lists; a frozen config must stay hashable.
        for name in ("depths", "num_heads"):
            numbers = (int(n) if isinstance(n, Integral) else n for n in getattr(self, name))
            object.__setattr__(self, name, tuple(numbers))
        _make_plain(self)
        depths, heads = self.depths, self.num_heads
        for name in ("image_size", "patch_size", "in_channels", "embed_dim", "window_size", "num_classes"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")
        if not depths or len(depths) != len(heads):
            raise ValueError(f"depths {depths} and num_heads {heads} need one entry per stage each")
        if any(not isinstance(n, int) or n < 1 for n in depths + heads):
            raise ValueError(f"depths {depths} and num_heads {heads} must be at least 1")
        for dim, n in zip(self.dims, heads):
            if dim % n:
                raise ValueError(f"num_heads {n} does not divide the stage's {dim} channels")
        if self.mlp_ratio <= 0:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
        _check_range(self, ("drop_path_rate",), "lie in [0, 1)", lambda value: 0 <= value < 1)

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.embed_dim * 2**i for i in range(len(self.depths)))


@dataclass(frozen=True)
class TrainConfig:
    """The recipe: optimizer, linear warm-up and cosine, augmentation, averaged weights."""

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3  # at the end of the warm-up
    min_learning_rate: float = 1e-5  # at the last step
    warmup_epochs: float = 0.5
    optimizer: str = "adamw"  # or "muon": Muon for the matrices in the stages, AdamW for all else
    momentum: float = 0.95  # of Muon
    matrix_lr_scale: float = 10.0  # what Muon's matrices learn at, in learning rates
    table_lr_scale: float = 1.0  # what the bias tables learn at, likewise
    weight_decay: float = 0.05  # matrices and filters only: not norms, biases, bias tables
    label_smoothing: float = 0.1
    max_grad_norm: float = 1.0  # a longer gradient is clipped to it; 0 = no clipping
    crop_padding: int = 4  # pixels; 0 = no random crop
    flip: bool = True
    mixup_prob: float = 0.0  # share of pictures blended with another
    cutmix_prob: float = 0.0  # share of pictures with a box of another pasted in
    ema_decay: float = 0.0  # per step, of the averaged weights; 0 = off
    frozen_stages: int = 0  # the first so many stages, and the patches' embedding, learn nothing
    body_lr_scale: float = 1.0  # what all but the head learns at: less than 1 for pretrained weights
    amp: bool = True  # bf16 autocast where the device computes in bf16
    compile: bool = True  # torch.compile on CUDA
    seed: int = 0

    def __post_init__(self):
        _make_plain(self)
        not_negative = "warmup_epochs", "weight_decay", "max_grad_norm", "crop_padding", "mixup_prob"
        not_negative += "cutmix_prob", "min_learning_rate", "frozen_stages"
        _check_range(self, ("epochs", "batch_size"), "be at least 1", lambda value: value >= 1)
        _check_range(self, ("seed",), "lie in [0, 2^63)", lambda value: 0 <= value < 2**63)
        _check_range(self, not_negative, "not be negative", lambda value: value >= 0)
        scales = "matrix_lr_scale", "table_lr_scale", "body_lr_scale"
        _check_range(self, scales, "be positive", lambda value: value > 0)
        _check_range(
            self, ("label_smoothing", "ema_decay", "momentum"), "lie in [0, 1)", lambda value: 0 <= value < 1
        )
        if not self.learning_rate > self.min_learning_rate:  # nor NaN
            raise ValueError(f"learning_rate must be more than min_learning_rate, got {self.learning_rate}")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer must be 'adamw' or 'muon', got {self.optimizer!r}")
        if self.mixup_prob + self.cutmix_prob > 1:
            raise ValueError("mixup_prob and cutmix_prob must not add up to more than 1")


def _make_plain(config):
    """NumPy's and torch's numbers become Python's, as files hold them. Raises ValueError for others."""
    kinds = {int: (Integral, "a whole number"), float: (Real, "a finite number")}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is bool:
            if type(value).__name__ not in ("bool", "bool_"):  # NumPy's, too
                raise ValueError(f"{field.name} must be true or false, got {value!r}")
            object.__setattr__(config, field.name, bool(value))
        elif field.type in kinds:
            kind, words = kinds[field.type]
            is_bool = type(value).__name__ in ("bool", "bool_")
            if is_bool or not isinstance(value, kind) or not math.isfinite(value):
                raise ValueError(f"{field.name} must be {words}, got {value!r}")
            plain = value if type(value) in (int, float) else field.type(value)
            object.__setattr__(config, field.name, plain)


def _check_range(config, names, what, holds):
    for name in names:
        if not holds(getattr(config, name)):
            raise ValueError(f"{name} must {what}, got {getattr(config, name)}")


def _paper(embed_dim, depths, num_heads, drop_path_rate):
    return SwinConfig(224, 4, 3, embed_dim, depths, num_heads, 7, 4.0, drop_path_rate, num_classes=1000)


MODELS = {
    # Patches of 4 pixels and two stages: trains on a laptop's CPU in minutes.
    "nano": SwinConfig(patch_size=4, embed_dim=48, depths=(2, 2), num_heads=(3, 6)),
    # The teaching model's depth on half of its channels: some hours on a CPU.
    "micro": SwinConfig(embed_dim=48, drop_path_rate=0.05),
    # The teaching model: 16 x 16 tokens of 2 x 2 pixels, then 8 x 8, then 4 x 4.
    "mini": SwinConfig(drop_path_rate=0.1),
    # Swin paper, section 3.3; drop_path_rate from appendix A2, swin_l's from the official settings.
    "swin_t": _paper(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "swin_s": _paper(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
    "swin_b": _paper(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    "swin_l": _paper(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2),
}

RECIPES = {
    "nano": TrainConfig(
        learning_rate=3e-3, optimizer="muon", momentum=0.8, matrix_lr_scale=5.0, table_lr_scale=30.0,
        crop_padding=2,
    ),
    "micro": TrainConfig(
        epochs=90, warmup_epochs=3, optimizer="muon", momentum=0.8, matrix_lr_scale=7.5, table_lr_scale=30.0,
        cutmix_prob=0.5,
    ),
    "mini": TrainConfig(
        epochs=300, batch_size=512, learning_rate=1.5e-3, warmup_epochs=10,
        mixup_prob=0.3, cutmix_prob=0.5, ema_decay=0.999,
    ),
}  # fmt: skip

OLD_NAMES = {"base": "mini"}  # "base" is the paper's name for a model thirteen times as large


def model_config(name: str, **overrides: Any) -> SwinConfig:
    """The `SwinConfig` of a preset, with any field overridden.

    Raises ValueError for a name or field that does not exist, suggesting the nearest.
    """
    return _override(MODELS[preset_name(name)], overrides)


def train_config(name: str, **overrides: Any) -> TrainConfig:
    """The `TrainConfig` that goes with a preset; those of the paper's sizes train as `mini` does.

    Raises ValueError as `model_config` does.
    """
    return _override(RECIPES.get(preset_name(name), RECIPES["mini"]), overrides)


def preset_name(name: str) -> str:
    """The name of a preset, the present one for an old one (with a FutureWarning).

    Raises ValueError for a name that does not exist, suggesting the nearest.
    """
    if now := OLD_NAMES.get(name):
        warnings.warn(f"the preset {name!r} is called {now!r} now", FutureWarning, stacklevel=3)
        return now
    if name not in MODELS:
        raise ValueError(f"unknown preset {name!r}{_nearest(name, MODELS)}; there are: {', '.join(MODELS)}")
    return name


def _override(config, overrides):
    known = [field.name for field in fields(config)]
    for key in overrides:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}{_nearest(key, known)}; there are: {', '.join(known)}")
    return replace(config, **overrides)


def _nearest(name, known):
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
