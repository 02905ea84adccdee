"""What is each part of a recipe worth? The same model, trained again with one part changed; and compared.

    python checkpoints/study.py recipe --seeds 3

Every run leaves its history in `checkpoints/studies/<study>_<preset>/`; one that is there is not run again.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from swin_cifar.config import SwinConfig, model_config, train_config
from swin_cifar.data import load_cifar10
from swin_cifar.history import History
from swin_cifar.model import SwinTransformer, create_model
from swin_cifar.training import train_and_test
from swin_cifar.variants import ablate

REFERENCE = "as it is"  # what the other variants of a study are compared with
FOLDER = Path(__file__).parent / "studies"


# --- models -----------------------------------------------------------------------------


class PositionEmbedding(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): adds a learned token per place, as the ViT does.

    (Dosovitskiy et al. 2021, "An image is worth 16x16 words", section 3.1.)
    """

    def __init__(self, H: int, W: int, dim: int):
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(1, H, W, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tokens.to(x.dtype)


def flat_model(
    preset: str, windows: bool = True, shift: bool = True, bias: bool = True, position: bool = False
) -> SwinTransformer:
    """The preset's blocks all on one scale, on as many channels as give it as many parameters.

    Without `windows` every token attends to every other; `bias` is the relative position bias,
    `position` the ViT's embedding. Takes pictures of the preset's size only.
    """
    config = model_config(preset)
    side = -(-config.image_size // config.patch_size)
    heads, depth = config.num_heads[-1], sum(config.depths)
    shape = {"depths": (depth,), "num_heads": (heads,)}
    if not windows:
        shape["window_size"] = side  # a window that covers the map
    wanted = _size(config)
    dims = range(heads, 64 * heads, heads)
    dim = min(dims, key=lambda dim: abs(_size(model_config(preset, embed_dim=dim, **shape)) - wanted))
    model = SwinTransformer(model_config(preset, embed_dim=dim, **shape))
    ablate(model, *(idea for idea, kept in (("shift", shift), ("bias", bias)) if not kept))
    if position:
        model.patch_embed = nn.Sequential(model.patch_embed, PositionEmbedding(side, side, dim))
    return model


@cache  # models of the same sizes are asked for again and again
def _size(config: SwinConfig) -> int:
    """Parameters of a model, without making it."""
    with torch.device("meta"):
        return sum(p.numel() for p in SwinTransformer(config).parameters())


# From a plain Transformer to Swin, each with one idea more: {idea: preset -> model}.
LADDER: dict[str, Callable[[str], SwinTransformer]] = {
    "global attention": partial(flat_model, windows=False, bias=False, position=True),
    "windows": partial(flat_model, shift=False, bias=False, position=True),
    "shift": partial(flat_model, bias=False, position=True),
    "relative position bias": flat_model,  # in place of the position embedding
    "hierarchy": create_model,
}


# --- studies ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One thing changed: fields of the preset's TrainConfig, or the model."""

    recipe: dict = field(default_factory=dict)
    build: Callable[[str], SwinTransformer] = create_model  # name of a preset -> model


PLAIN = {"crop_padding": 0, "flip": False, "mixup_prob": 0.0, "cutmix_prob": 0.0}  # no augmentation
STUDIES = {  # study: {variant: what is changed}
    "preset": {REFERENCE: Variant()},
    "recipe": {
        REFERENCE: Variant(),
        "no random crop": Variant({"crop_padding": 0}),
        "no mirroring": Variant({"flip": False}),
        "no label smoothing": Variant({"label_smoothing": 0.0}),
        "no weight decay": Variant({"weight_decay": 0.0}),
        "no warm-up": Variant({"warmup_epochs": 0.0}),
        "constant learning rate": Variant({"min_learning_rate": 1.999e-3}),
        "half the learning rate": Variant({"learning_rate": 1e-3}),
        "twice the learning rate": Variant({"learning_rate": 4e-3}),
        "no gradient clipping": Variant({"max_grad_norm": 0.0}),
        "with mixup": Variant({"mixup_prob": 0.3}),
        "with CutMix": Variant({"cutmix_prob": 0.5}),
        "with averaged weights": Variant({"ema_decay": 0.999}),
    },
    # Each adds one idea to the one before; all have as many parameters as the preset.
    "ladder": {
        **{idea: Variant(PLAIN, build) for idea, build in LADDER.items()},
        "augmentation": Variant(),
        "no position encoding": Variant(PLAIN, partial(flat_model, bias=False)),  # to compare the bias with
    },
}


def run_study(
    study: str, preset: str = "nano", seeds=(0,), data_root="data", folder: Path = FOLDER, **recipe
) -> None:
    """Train every variant of a study with every seed; a run whose history is there is left out.

    `recipe`: changes for all of its runs, fewer epochs for example. Raises ValueError for a
    study that does not exist, for "recipe" with another preset than nano, and where a history
    that is there was made with another recipe, and what `load_cifar10` and `fit` raise.
    """
    if study not in STUDIES:
        raise ValueError(f"unknown study {study!r}; there are: {', '.join(STUDIES)}")
    if study == "recipe" and preset != "nano":
        raise ValueError("the changes of the study 'recipe' are changes of nano's recipe: leave out --preset")
    train, test = load_cifar10(data_root)
    train, validation = train.split(5000)
    for seed in seeds:
        for name, variant in STUDIES[study].items():
            path = _path(folder, study, preset, name, seed)
            config = train_config(preset, **{"seed": seed, **recipe, **variant.recipe})
            if path.exists():
                if History.load(path).recipe != config:
                    raise ValueError(f"{path} was made with another recipe: move it away, or use its recipe")
                continue
            torch.manual_seed(seed)
            model = variant.build(preset).to("cuda" if torch.cuda.is_available() else "cpu")
            history = train_and_test(model, train, validation, test, config, progress=False)
            history.save(path)
            print(f"{name}, seed {seed}: {history.accuracy('test'):.2%}", flush=True)


def _path(folder, study, preset, variant, seed):
    return Path(folder, f"{study}_{preset}", f"{variant.replace(' ', '-').lower()}_{seed}.json")


# --- what they say ----------------------------------------------------------------------


def load_study(study: str, preset: str = "nano", folder: Path = FOLDER) -> dict[str, list[History]]:
    """-> {variant: its histories, one per seed}, for the variants that have been run."""
    runs = {}
    for variant in STUDIES[study]:
        pattern = _path(folder, study, preset, variant, "*")
        paths = sorted(pattern.parent.glob(pattern.name))
        if paths:
            runs[variant] = [History.load(path) for path in paths]
    return runs


def differences(runs: dict[str, list[History]], part: str = "validation") -> dict[str, list[float]]:
    """{variant: gains in accuracy over the reference, in percentage points}, equal seeds compared.

    `part`: "validation", which may guide decisions, or "test".
    """
    reference = {h.recipe.seed: h.accuracy(part) for h in runs[REFERENCE]}
    return {
        variant: [
            100 * (h.accuracy(part) - reference[h.recipe.seed])
            for h in histories
            if h.recipe.seed in reference
        ]
        for variant, histories in runs.items()
        if variant != REFERENCE
    }


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """-> mean, and the standard deviation of a sample, which is None for a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def main(argv=None) -> None:
    """The command line."""
    p = argparse.ArgumentParser(prog="python checkpoints/study.py", description=__doc__.splitlines()[0])
    p.add_argument("study", choices=STUDIES)
    p.add_argument("--preset", default="nano", help="the model (default: nano)")
    p.add_argument("--seeds", type=int, default=1, help="runs of each variant (default: 1)")
    p.add_argument("--epochs", type=int, help="passes over the training pictures (default: the preset's)")
    p.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    args = p.parse_args(argv)
    recipe = {} if args.epochs is None else {"epochs": args.epochs}
    run_study(args.study, args.preset, range(args.seeds), args.data_root, **recipe)


if __name__ == "__main__":
    main()
