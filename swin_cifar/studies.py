"""What is each part of a recipe worth? The same model is trained again with one part changed.

    python -m swin_cifar.studies recipe --seeds 3

Every run leaves its history in `checkpoints/studies/<study>_<preset>/`; one that is there is not run again.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch

from swin_cifar.bench import count_flops
from swin_cifar.checkpoint import History
from swin_cifar.config import train_config
from swin_cifar.data import load_cifar10
from swin_cifar.ladder import flat_model
from swin_cifar.model import create_model
from swin_cifar.training import evaluate, fit

FOLDER = Path("checkpoints/studies")
REFERENCE = "as it is"


@dataclass(frozen=True)
class Variant:
    """One thing changed: fields of the preset's TrainConfig, or the model."""

    recipe: dict = field(default_factory=dict)
    build: Callable = create_model  # name of a preset -> model


PLAIN = {"crop_padding": 0, "flip": False, "mixup_prob": 0.0, "cutmix_prob": 0.0}  # no augmentation
STUDIES = {  # study: {variant: what is changed}
    "preset": {REFERENCE: Variant()},
    "recipe": {
        REFERENCE: Variant(),
        "no random crop": Variant(recipe={"crop_padding": 0}),
        "no mirroring": Variant(recipe={"flip": False}),
        "no label smoothing": Variant(recipe={"label_smoothing": 0.0}),
        "no weight decay": Variant(recipe={"weight_decay": 0.0}),
        "no warm-up": Variant(recipe={"warmup_epochs": 0.0}),
        "constant learning rate": Variant(recipe={"min_learning_rate": 1.999e-3}),
        "half the learning rate": Variant(recipe={"learning_rate": 1e-3}),
        "twice the learning rate": Variant(recipe={"learning_rate": 4e-3}),
        "no gradient clipping": Variant(recipe={"max_grad_norm": 0.0}),
        "with mixup": Variant(recipe={"mixup_prob": 0.3}),
        "with CutMix": Variant(recipe={"cutmix_prob": 0.5}),
        "with averaged weights": Variant(recipe={"ema_decay": 0.999}),
    },
    # Each adds one idea to the one before; all have as many parameters as the preset.
    "ladder": {
        "global attention": Variant(PLAIN, partial(flat_model, windows=False, bias=False, position=True)),
        "windows": Variant(PLAIN, partial(flat_model, shift=False, bias=False, position=True)),
        "shift": Variant(PLAIN, partial(flat_model, bias=False, position=True)),
        "relative position bias": Variant(PLAIN, flat_model),  # in place of the position embedding
        "hierarchy": Variant(PLAIN),
        "augmentation": Variant(),
        "no position encoding": Variant(PLAIN, partial(flat_model, bias=False)),  # to compare the bias with
    },
}


def run_study(study, preset="nano", seeds=(0,), data_root="data", folder=FOLDER, **recipe):
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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for seed in seeds:
        for name, variant in STUDIES[study].items():
            path = _path(folder, study, preset, name, seed)
            config = train_config(preset, **{"seed": seed, **recipe, **variant.recipe})
            if path.exists():
                if History.load(path).recipe != asdict(config):
                    raise ValueError(f"{path} was made with another recipe: move it away, or use its recipe")
                continue
            torch.manual_seed(seed)
            model = variant.build(preset).to(device)
            history = fit(model, train, validation, config, progress=False)
            history.results["test"] = asdict(evaluate(model, test))
            history.results["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
            history.results["flops_per_image"] = count_flops(
                partial(model, test.images[:1].float().to(device))
            )
            history.save(path)
            print(f"{name}, seed {seed}: {history.results['test']['accuracy']:.2%}", flush=True)


def load_study(study, preset="nano", folder=FOLDER):
    """-> {variant: its histories, one per seed}, for the variants that have been run."""
    runs = {}
    for variant in STUDIES[study]:
        pattern = _path(folder, study, preset, variant, "*")
        paths = sorted(pattern.parent.glob(pattern.name))
        if paths:
            runs[variant] = [History.load(path) for path in paths]
    return runs


def differences(runs, part="validation"):
    """{variant: [gain over the reference in percentage points, seed by seed]}, equal seeds compared.

    `part`: "validation", which may guide decisions, or "test".
    """
    reference = {h.recipe["seed"]: _accuracy(h, part) for h in runs[REFERENCE]}
    return {
        variant: [
            100 * (_accuracy(h, part) - reference[h.recipe["seed"]])
            for h in histories
            if h.recipe["seed"] in reference
        ]
        for variant, histories in runs.items()
        if variant != REFERENCE
    }


def mean_and_deviation(values):
    """-> mean, and the standard deviation of a sample, which is None for a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _accuracy(history, part):
    if part == "test":
        return history.results["test"]["accuracy"]
    return history.epochs[-1][f"{part}_accuracy"]


def _path(folder, study, preset, variant, seed):
    return Path(folder, f"{study}_{preset}", f"{variant.replace(' ', '-').lower()}_{seed}.json")


def main():
    p = argparse.ArgumentParser(prog="python -m swin_cifar.studies", description=__doc__.splitlines()[0])
    p.add_argument("study", choices=STUDIES)
    p.add_argument("--preset", default="nano", help="the model (default: nano)")
    p.add_argument("--seeds", type=int, default=1, help="runs of each variant (default: 1)")
    p.add_argument("--epochs", type=int, help="passes over the training pictures (default: the preset's)")
    p.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    args = p.parse_args()
    recipe = {} if args.epochs is None else {"epochs": args.epochs}
    run_study(args.study, args.preset, range(args.seeds), args.data_root, **recipe)


if __name__ == "__main__":
    main()
