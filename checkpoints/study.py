"""What is each part of a recipe worth? The same model is trained again with one part changed.

    python checkpoints/study.py recipe --seeds 3

Every run leaves its history in `checkpoints/studies/<study>_<preset>/`; one that is there is not run again.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from swin_cifar.config import train_config
from swin_cifar.data import load_cifar10
from swin_cifar.history import REFERENCE, History
from swin_cifar.model import SwinTransformer, create_model
from swin_cifar.training import train_and_test
from swin_cifar.variants import LADDER, flat_model

FOLDER = Path(__file__).parent / "studies"


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


def study_folder(study: str, preset: str = "nano", folder: Path = FOLDER) -> Path:
    """Where the histories of a study are."""
    return Path(folder, f"{study}_{preset}")


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
            path = study_folder(study, preset, folder) / f"{name.replace(' ', '-').lower()}_{seed}.json"
            config = train_config(preset, **{"seed": seed, **recipe, **variant.recipe})
            if path.exists():
                if History.load(path).recipe != config:
                    raise ValueError(f"{path} was made with another recipe: move it away, or use its recipe")
                continue
            torch.manual_seed(seed)
            model = variant.build(preset).to("cuda" if torch.cuda.is_available() else "cpu")
            history = train_and_test(model, train, validation, test, config, progress=False)
            replace(history, variant=name).save(path)
            print(f"{name}, seed {seed}: {history.accuracy('test'):.2%}", flush=True)


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
