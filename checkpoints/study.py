"""What is each part of a recipe worth? The same model, trained again with one part changed; and compared.

    python checkpoints/study.py recipe --seeds 3

Every run leaves its history in `checkpoints/studies/<study>_<preset>/`; one that is there is not run again.
One that was interrupted goes on from where it was last saved, in `checkpoints/runs/<study>_<preset>/`.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from swin_cifar.checkpoint import config_of, load_checkpoint
from swin_cifar.config import SwinConfig, model_config, train_config
from swin_cifar.data import load_cifar10, load_folder
from swin_cifar.history import History
from swin_cifar.layers import WindowAttention
from swin_cifar.model import SwinTransformer, create_model
from swin_cifar.pretrained import read_weights
from swin_cifar.training import train_and_test
from swin_cifar.variants import ablate

REFERENCE = "as it is"  # what the other variants of a study are compared with
HELD_OUT = 5000  # training pictures of CIFAR-10 that validate
FOLDER = Path(__file__).parent / "studies"
RUNS = Path(__file__).parent / "runs"
EMOJI = Path(__file__).parents[1] / "notebooks" / "pictures" / "emoji"  # a small set of another kind


# --- models -----------------------------------------------------------------------------


class PositionEmbedding(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): adds a learned token per place, as the ViT does.

    (Dosovitskiy et al. 2021, "An image is worth 16x16 words", section 3.1.)
    """

    def __init__(self, H: int, W: int, dim: int):
        super().__init__()
        self.position_table = nn.Parameter(0.02 * torch.randn(1, H, W, dim))  # learns at the tables' rate

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position_table.to(x.dtype)


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


def with_position(preset: str) -> SwinTransformer:
    """The preset with the ViT's position embedding as well."""
    model = create_model(preset)
    H, W, C = model.patch_embed(torch.zeros(1, 3, *2 * [model.config.image_size])).shape[1:]
    model.patch_embed = nn.Sequential(model.patch_embed, PositionEmbedding(H, W, C))
    return model


def wide_tables(preset: str) -> SwinTransformer:
    """The preset whose bias tables start thirty times as wide."""
    model = create_model(preset)
    for layer in _attentions(model):
        nn.init.normal_(layer.relative_position_bias_table, std=0.6)
    return model


def small_start(preset: str) -> SwinTransformer:
    """The preset that starts as the official code does: linear weights of deviation 0.02, biases 0."""
    model = create_model(preset)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def branches_start_at_zero(preset: str) -> SwinTransformer:
    """The preset whose blocks change nothing at first."""
    model = create_model(preset)
    for stage in model.stages:
        for block in stage.blocks:
            nn.init.zeros_(block.attn.proj.weight)
            nn.init.zeros_(block.mlp.fc2.weight)
    return model


def mimetic_start(preset: str) -> SwinTransformer:
    """The preset whose attention starts like a trained one's: W_q W_kᵀ near 0.7 I, W_v W_proj near -0.4 I.

    (Trockman and Kolter 2023, "Mimetic initialization of self-attention layers", section 3.)
    """
    model = create_model(preset)
    for layer in _attentions(model):
        C, d = layer.qkv.in_features, layer.qkv.in_features // layer.num_heads
        with torch.no_grad():
            query, key, value = layer.qkv.weight.chunk(3)
            for head in torch.arange(C).split(d):
                query[head], key[head] = _factors(0.7, 0.7, C, d)
            left, right = _factors(0.4, -0.4, C, C)
            value[:], layer.proj.weight[:] = right, left.T
    return model


def _factors(noise, identity, C, rank):
    """Two matrices (rank, C), A and B, so that Aᵀ B is near noise Z + identity I for a random Z."""
    U, S, Vh = torch.linalg.svd(noise * torch.randn(C, C) / C**0.5 + identity * torch.eye(C))
    root = S[:rank].sqrt()
    return (U[:, :rank] * root).T, root[:, None] * Vh[:rank]


def with_new_head(preset: str) -> SwinTransformer:
    """The published model of a preset, with a head that has learned nothing yet."""
    return read_weights(Path(__file__).parent / f"{preset}_cifar10.pt").build(new_head=True)[0]


class ContinuousBias(nn.Module):
    """-> ((2M-1)², heads): Swin V2's bias table, made by a small network from log-spaced offsets.

    (Liu et al. 2022, "Swin Transformer V2", section 3.3; 16 sigmoid is in the official code.)
    """

    def __init__(self, window_size: int, heads: int, hidden: int = 128):
        super().__init__()
        offsets = torch.arange(1 - window_size, window_size) / (window_size - 1)
        offsets = torch.cartesian_prod(offsets, offsets) * 8
        self.register_buffer("offsets", offsets.sign() * (offsets.abs() + 1).log2() / 3)
        self.net = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, heads, bias=False))

    def forward(self) -> Tensor:
        return 16 * self.net(self.offsets).sigmoid()


def continuous_bias(preset: str) -> SwinTransformer:
    """The preset with Swin V2's bias in place of free tables."""
    model = create_model(preset)
    model.bias_tables = nn.ModuleList()
    for layer in _attentions(model):
        table = ContinuousBias(layer.window_size, layer.num_heads)
        model.bias_tables.append(table)
        del layer.relative_position_bias_table
        layer.register_forward_pre_hook(partial(_set_table, table))
    return model


def _set_table(table, layer, _):
    layer.relative_position_bias_table = table()


def _attentions(model):
    return (layer for layer in model.modules() if isinstance(layer, WindowAttention))


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
    """What is changed: fields of the preset's TrainConfig, or the model."""

    recipe: dict = field(default_factory=dict)
    build: Callable[[str], SwinTransformer] = create_model  # name of a preset -> model


PLAIN = {"crop_padding": 0, "flip": False, "mixup_prob": 0.0, "cutmix_prob": 0.0}  # no augmentation
RUNGS = {idea: Variant(PLAIN, build) for idea, build in LADDER.items()} | {
    "augmentation": Variant(),
    "no position encoding": Variant(PLAIN, partial(flat_model, bias=False)),  # to compare the bias with
}
# What the study "rates" tries on each rung before the rungs are compared: no idea may lose because these two
# rates were made for another. In learning rates; "as it is": matrices 5, tables 30. A table holds a bias or
# an embedding.
RATES: dict[str, dict[str, float]] = {
    REFERENCE: {},
    "matrices 2.5": {"matrix_lr_scale": 2.5},
    "matrices 10": {"matrix_lr_scale": 10.0},
    "matrices 20": {"matrix_lr_scale": 20.0},
    "tables 1": {"table_lr_scale": 1.0},
    "tables 10": {"table_lr_scale": 10.0},
    "tables 100": {"table_lr_scale": 100.0},
    "matrices 10, tables 10": {"matrix_lr_scale": 10.0, "table_lr_scale": 10.0},
    "matrices 10, tables 100": {"matrix_lr_scale": 10.0, "table_lr_scale": 100.0},
}
CHOSEN = {  # the best by validation
    "global attention": "matrices 10, tables 10",
    "windows": "matrices 10, tables 10",
    "shift": "matrices 10, tables 10",
    "relative position bias": "matrices 10, tables 100",
    "hierarchy": "matrices 10",
    "augmentation": "matrices 10",
    "no position encoding": "matrices 10",
}
SHORT = {
    "epochs": 6,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "min_learning_rate": 1e-5,
    "warmup_epochs": 0.5,
}
SHORT |= {"optimizer": "muon", "momentum": 0.95, "matrix_lr_scale": 10.0, "table_lr_scale": 30.0}
SHORT |= {
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "crop_padding": 4,
    "flip": True,
    "cutmix_prob": 0.0,
    "ema_decay": 0.0,
}
ONE_RATE = SHORT | {"optimizer": "adamw", "table_lr_scale": 1.0}
LONG = {"epochs": 160, "warmup_epochs": 3, "crop_padding": 4, "cutmix_prob": 0.75}
HALF_HOUR = {"epochs": 80, "warmup_epochs": 2, "crop_padding": 4, "cutmix_prob": 0.5}
FINE = HALF_HOUR | {"epochs": 100, "learning_rate": 2e-3}
# `nano` behind a stage of one block on patches of 2 pixels, on half of its channels; fewer channels
# in the MLPs make up for the parameters.
FINE_SHAPE = {
    "patch_size": 2,
    "embed_dim": 24,
    "depths": (1, 2, 2),
    "num_heads": (1, 3, 6),
    "mlp_ratio": 3.84,
}
FEW = {"epochs": 30, "batch_size": 16}  # for 160 pictures

STUDIES = {  # study: {variant: what is changed}
    "preset": {REFERENCE: Variant()},
    "half-hour": {REFERENCE: Variant(HALF_HOUR)},  # on two cores; 44 minutes on one thread with bf16
    "long": {  # an hour and a half on one thread with AVX512_BF16
        REFERENCE: Variant(LONG),
        "no augmentation": Variant(LONG | PLAIN),
    },
    "fine": {REFERENCE: Variant(FINE, partial(create_model, **FINE_SHAPE))},
    # What each part of `nano`'s recipe is worth, in short runs. The reference stays what it is when
    # the preset changes: most of these runs are what it was chosen by.
    "recipe": {
        REFERENCE: Variant(SHORT),
        "AdamW for all": Variant(SHORT | {"optimizer": "adamw"}),
        "tables learn no faster": Variant(SHORT | {"table_lr_scale": 1.0}),
        "AdamW, tables learn no faster": Variant(SHORT | {"optimizer": "adamw", "table_lr_scale": 1.0}),
        "tables learn 10 times as fast": Variant(SHORT | {"table_lr_scale": 10.0}),
        "tables learn 100 times as fast": Variant(SHORT | {"table_lr_scale": 100.0}),
        "tables start wide": Variant(SHORT, wide_tables),
        "continuous bias": Variant(SHORT | {"table_lr_scale": 1.0}, continuous_bias),
        "position embedding as well": Variant(SHORT, with_position),
        "matrices at half the rate": Variant(SHORT | {"matrix_lr_scale": 5.0}),
        "matrices at twice the rate": Variant(SHORT | {"matrix_lr_scale": 20.0}),
        "all rates halved": Variant(SHORT | {"learning_rate": 1e-3}),
        "all rates doubled": Variant(SHORT | {"learning_rate": 4e-3}),
        "momentum 0.9": Variant(SHORT | {"momentum": 0.9}),
        "momentum 0.8": Variant(SHORT | {"momentum": 0.8}),
        "no gradient clipping": Variant(SHORT | {"max_grad_norm": 0.0}),
        "weight decay 0.02": Variant(SHORT | {"weight_decay": 0.02}),
        "weight decay 0.1": Variant(SHORT | {"weight_decay": 0.1}),
        "batches of 64": Variant(SHORT | {"batch_size": 64}),
        "batches of 256": Variant(SHORT | {"batch_size": 256}),
        "no warm-up": Variant(SHORT | {"warmup_epochs": 0.0}),
        "last rate 0": Variant(SHORT | {"min_learning_rate": 0.0}),
        "averaged weights": Variant(SHORT | {"ema_decay": 0.99}),
        "no label smoothing": Variant(SHORT | {"label_smoothing": 0.0}),
        "no random crop": Variant(SHORT | {"crop_padding": 0}),
        "crop by up to 2 pixels": Variant(SHORT | {"crop_padding": 2}),
        "no mirroring": Variant(SHORT | {"flip": False}),
        "with CutMix": Variant(SHORT | {"cutmix_prob": 0.25}),
        "official start": Variant(SHORT, small_start),
        "branches start at zero": Variant(SHORT, branches_start_at_zero),
        "mimetic start": Variant(SHORT, mimetic_start),
    },
    # Few pictures of one's own (notebook 15): with and without what was learned from CIFAR-10.
    "transfer": {
        REFERENCE: Variant(FEW),
        "from trained weights": Variant(FEW | {"body_lr_scale": 0.3}, with_new_head),
        "trained weights, same rate": Variant(FEW, with_new_head),
        "only the head learns": Variant(FEW | {"frozen_stages": 2}, with_new_head),
    },
    # Shapes of at most 0.31 million parameters, each for as long as 24 passes of `nano` take.
    "shape": {
        REFERENCE: Variant(SHORT | {"epochs": 24}),
        "deeper": Variant(SHORT | {"epochs": 24}, partial(create_model, embed_dim=36, depths=(2, 4))),
        "wider": Variant(
            SHORT | {"epochs": 26}, partial(create_model, embed_dim=64, depths=(1, 1), num_heads=(4, 8))
        ),
        "small patches": Variant(SHORT | {"epochs": 6}, partial(create_model, patch_size=2)),
        "small patches, deeper": Variant(
            SHORT | {"epochs": 7},
            partial(create_model, patch_size=2, embed_dim=40, depths=(2, 3), num_heads=(2, 4)),
        ),
    },
    # Each rung adds one idea to the one before; all have as many parameters as the preset.
    "rates": {
        f"{idea}, {change}": replace(rung, recipe={"epochs": 4} | rung.recipe | rates)
        for idea, rung in RUNGS.items()
        for change, rates in RATES.items()
        if not (idea == "no position encoding" and "table_lr_scale" in rates)
    },
    "ladder": {
        idea: replace(rung, recipe={"epochs": 12} | rung.recipe | RATES[CHOSEN[idea]])
        for idea, rung in RUNGS.items()
    },
    # AdamW and one learning rate for all; and two of its rungs again, whose tables learn at it or faster.
    "ladder-one-rate": {idea: replace(rung, recipe=ONE_RATE | rung.recipe) for idea, rung in RUNGS.items()},
    "embedding-or-bias": {
        f"{name}, tables {rate}": replace(
            RUNGS[rung], recipe=ONE_RATE | PLAIN | {"table_lr_scale": float(rate)}
        )
        for name, rung in (("embedding", "shift"), ("bias", "relative position bias"))
        for rate in (1, 30)
    },
}
OF_NANO = "recipe", "rates", "ladder", "ladder-one-rate", "embedding-or-bias"  # changes of nano's own recipe


def run_study(
    study: str,
    preset: str = "nano",
    seeds: Sequence[int] = (0,),
    data_root: str | Path = "data",
    folder: Path = FOLDER,
    runs: Path = RUNS,
    **recipe,
) -> None:
    """Train every variant of a study with every seed; a run whose history is in `folder` is left out.

    In `runs` each is saved about once a minute, to go on from there after an interruption; all but models
    that no checkpoint can hold, such as those with a position embedding: they begin again.
    `recipe`: changes for all of its runs, fewer epochs for example. Raises ValueError for a
    study that does not exist, for one of nano's recipe with another preset, and where a history
    that is there was made with another recipe, and what `load_cifar10` and `fit` raise.
    """
    if study not in STUDIES:
        raise ValueError(f"unknown study {study!r}; there are: {', '.join(STUDIES)}")
    if study in OF_NANO and preset != "nano":
        raise ValueError(f"the study {study!r} changes nano's recipe: leave out --preset")
    for seed in seeds:
        train, validation, test = _pictures(study, seed, data_root)
        for name, variant in STUDIES[study].items():
            path = _path(folder, study, preset, name, seed)
            config = train_config(preset, **{"seed": seed, **variant.recipe, **recipe})
            if path.exists():
                if History.load(path).recipe != config:
                    raise ValueError(f"{path} was made with another recipe: move it away, or use its recipe")
                print(f"{name}, seed {seed}: not run again, {path} is there", flush=True)
                continue
            torch.manual_seed(seed)
            model = variant.build(preset)
            saved = _path(runs, study, preset, name, seed).with_suffix(".pt") if _is_plain(model) else None
            resume = saved is not None and _is_unfinished(saved)
            if resume:
                print(f"{name}, seed {seed}: goes on from {saved}", flush=True)
            model.to("cuda" if torch.cuda.is_available() else "cpu")
            history = train_and_test(model, train, validation, test, config, saved, resume, progress=False)
            history.save(path)
            print(f"{name}, seed {seed}: {history.accuracy('test'):.2%}", flush=True)


def _pictures(study, seed, data_root):
    """-> those to train, to validate, to test: of the study "transfer" another split for each seed."""
    if study == "transfer":
        train, test = load_folder(EMOJI, seed=seed)
        return train, None, test
    train, test = load_cifar10(data_root)
    return *train.split(HELD_OUT), test


def _is_plain(model):
    """Whether a checkpoint, which has its config and its weights and no more, would load as this model."""
    plain = SwinTransformer(config_of(model))
    try:
        plain.load_state_dict(model.state_dict())
    except RuntimeError:
        return False
    images = torch.randn(2, model.config.in_channels, *2 * [model.config.image_size])
    with torch.no_grad():
        return torch.equal(plain.eval()(images), model.eval()(images))


def _is_unfinished(path):
    """Whether a run is saved there that was never tested: one that was is made anew, without its history."""
    return path.exists() and load_checkpoint(path).history.results.test is None


def _path(folder, study, preset, variant, seed):
    name = variant.lower().replace(",", "").replace(" ", "-")
    return Path(folder, f"{study}_{preset}", f"{name}_{seed}.json")


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
    p.add_argument("--epochs", type=int, help="passes over the training pictures (default: the study's)")
    p.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    args = p.parse_args(argv)
    recipe = {} if args.epochs is None else {"epochs": args.epochs}
    if args.seeds < 1:
        p.error(f"--seeds must be at least 1, got {args.seeds}")
    try:
        run_study(args.study, args.preset, range(args.seeds), args.data_root, **recipe)
    except (OSError, RuntimeError, ValueError) as error:
        p.exit(1, f"{p.prog}: error: {error}\n")
    except KeyboardInterrupt:
        p.exit(1, f"{p.prog}: interrupted: the same command goes on from what is saved\n")


if __name__ == "__main__":
    main()
