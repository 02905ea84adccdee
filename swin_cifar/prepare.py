"""What a command line asks for -> a model, its recipe and its pictures."""

import argparse
import json
from contextlib import nullcontext, suppress
from dataclasses import fields, replace
from pathlib import Path

import torch

from swin_cifar import distributed
from swin_cifar.checkpoint import Checkpoint, load_checkpoint
from swin_cifar.config import MODELS, TrainConfig, preset_name, train_config
from swin_cifar.data import DATA_SETS, DataError, ImageSet, image_sets, load_data
from swin_cifar.folders import class_names, read_folder, split
from swin_cifar.model import SwinTransformer, create_model
from swin_cifar.pretrained import read_weights

RUNS = Path("checkpoints/runs")  # what `train` makes; not part of the project
VALIDATION_SIZE = 5000  # pictures held out of training at most, for every decision on the way
MIN_BATCH, STEPS_PER_EPOCH = 8, 20  # of a small data set, where no batch size is asked for
BODY_LR_SCALE = 0.3  # what pretrained weights learn at, in learning rates of the new head
RECIPE_FIELDS = [field.name for field in fields(TrainConfig)]
Start = tuple[SwinTransformer, TrainConfig, tuple[ImageSet, ImageSet | None, ImageSet], Path]


class NothingToDo(Exception):
    """What was asked for is done already; the message says so."""


def new_run(args: argparse.Namespace) -> Start:
    """-> model, recipe, (training, validation, test) pictures, path."""
    if args.parent and args.preset:
        raise ValueError("--from takes the architecture from the file: leave out --preset")
    parent = read_weights(args.parent) if args.parent else None
    on_gpu = torch.device(args.device).type == "cuda"
    preset = preset_name(args.preset or ("mini" if on_gpu and not parent else "nano"))
    options = _recipe_options(args)
    recipe = train_config(preset, **options)  # before the pictures: what makes no sense is said at once
    size = args.size
    if size is None and args.data not in (None, "auto", *DATA_SETS):  # a folder's have none of their own
        size = (parent.config if parent else MODELS[preset]).image_size
    data = _load(args.data or "auto", args.data_root, size)
    training, validation, test = _hold_out(*data, args.validation_size)
    new_head = parent is not None and parent.classes not in (None, training.classes)
    if parent:
        usual = train_config(preset) if new_head or parent.recipe is None else parent.recipe
        recipe = replace(usual, **{"body_lr_scale": BODY_LR_SCALE, "frozen_stages": 0} | options)
    if "batch_size" not in options:  # of few pictures smaller ones, so that an epoch has some steps
        few = max(1, len(training) // STEPS_PER_EPOCH // MIN_BATCH) * MIN_BATCH
        recipe = replace(recipe, batch_size=min(recipe.batch_size, few, len(training)))
    path = args.out or RUNS / f"{args.parent.stem if args.parent else preset}_{training.name}.pt"
    if args.out and path.exists():
        raise ValueError(f"{path} exists already: choose another --out")
    torch.manual_seed(recipe.seed)
    _, channels, _, side = training.images.shape
    shape = {"num_classes": len(training.classes), "image_size": side, "in_channels": channels}
    shape |= _given(args, "window_size", "patch_size")
    if parent:
        model, taken = parent.build(new_head, **shape)
        print(f"weights of {args.parent} ({taken.layout}):\n{taken}")
    else:
        model = create_model(preset, **shape)
    return model.to(args.device), recipe, (training, validation, test), path


def run_to_continue(args: argparse.Namespace) -> Start:
    """-> the same, of the run saved at --resume."""
    saved = load_checkpoint(args.resume)
    fixed = [*RECIPE_FIELDS, "preset", "set", "validation_size", "size", "out", "parent"]
    fixed += ["window_size", "patch_size"]
    fixed += ["data"] * (saved.dataset["name"] in DATA_SETS)  # of a folder only the name is saved
    if given := _given(args, *fixed):
        names = {"parent": "from", "frozen_stages": "freeze"}
        options = ", ".join(f"--{names.get(name, name).replace('_', '-')}" for name in given)
        raise ValueError(f"--resume goes on with the saved recipe: leave out {options}")
    if saved.history is None:
        raise ValueError(f"{args.resume} holds a model without its training: there is no run to continue")
    if saved.resume_state is None and saved.history.results.test:
        result = f"test accuracy on {saved.history.results.test}"
        raise NothingToDo(f"{args.resume} has finished already, with {result}: nothing to do")
    data = data_of(saved, args.data, args.data_root, args.resume)
    pictures = _hold_out(*data, saved.history.validation_size)
    return saved.model.to(args.device), saved.history.recipe, pictures, args.resume


def _load(name, root, size=None):
    """-> training and test pictures, the same in every process."""

    def notice(why):
        print(f"!!! NOT CIFAR-10: {why}. Training on shapes10, the built-in drawn pictures.")

    with distributed.rank_zero_first():
        training, test = load_data(name, root, notice=notice, size=size)
    found = sorted(set(distributed.all_gather(training.name)))
    if len(found) > 1:
        raise RuntimeError(f"the processes found different data, {' and '.join(found)}: choose with --data")
    return training, test


def _hold_out(training, test, number=None):
    """-> training, validation and test pictures; by default a tenth, and not more than VALIDATION_SIZE."""
    number = min(VALIDATION_SIZE, len(training) // 10) if number is None else number
    own = training.name not in DATA_SETS  # a folder's classes may be small
    return (*training.split(number, by_class=own), test) if number else (training, None, test)


def data_of(checkpoint: Checkpoint, given: str | None, root: str, path: str | Path) -> list[ImageSet]:
    """-> training and test pictures as the model of a checkpoint takes them; `given`: the option --data."""
    model, dataset = checkpoint.model.config, checkpoint.dataset
    name = given or dataset["name"]
    if name not in DATA_SETS and not given:
        raise ValueError(f"{path} was trained on a folder named {name}: say where it is, with --data FOLDER")
    parts = _load(name, root, model.image_size)
    if parts[0].classes != tuple(dataset["classes"]):
        odd = sorted(set(parts[0].classes) ^ set(dataset["classes"]))
        which = f"other classes than {name}; not in both: {', '.join(odd[:5])}"
        if not odd:
            which = f"the classes of {name} in another order, {', '.join(dataset['classes'][:5])}, ..."
        raise ValueError(f"{path} knows {which}")
    return [_as_taken(part, checkpoint) for part in parts]


def to_measure(
    checkpoint: Checkpoint, given: str | None, root: str, path: str | Path
) -> tuple[ImageSet, str]:
    """-> the pictures that tell how good a checkpoint is, and in words which they are; `given`: --data.

    Those to test of its data set; of a folder without such a part all, unless the model was trained on
    it: then the fifth that was held out. It was where the folder has the name, or the pictures to train
    the mean and std, that the checkpoint says.
    """
    dataset, is_set = checkpoint.dataset, given in (None, "auto", *DATA_SETS)
    names = None if is_set or not Path(given).expanduser().is_dir() else class_names(given)
    if names is None:
        return data_of(checkpoint, given, root, path)[1], "those to test"
    if odd := sorted(set(names) - set(dataset["classes"])):
        raise ValueError(f"{path} knows other classes than {given}; not in both: {', '.join(odd[:5])}")
    pictures = read_folder(given, checkpoint.model.config.image_size, dataset["classes"])
    (whole,) = image_sets(given, [pictures])
    same_name = whole.name == dataset["name"]
    with nullcontext() if same_name else suppress(DataError):  # too few to split: nobody was trained on them
        training, test = image_sets(given, split(pictures, given, seed=0))
        if same_name or _same_statistics(training, dataset):
            seen = "this folder" if _same_statistics(training, dataset) else "a folder of this name"
            which = f"the fifth of {given} held out to test: the model was trained on {seen}"
            return _as_taken(test, checkpoint), which
    seen = "trained on these" if _same_statistics(whole, dataset) else "not trained on this folder"
    return _as_taken(whole, checkpoint), f"all of {given}: the model was {seen}"


def _same_statistics(part, dataset):
    ours, theirs = part.mean + part.std, (*dataset["mean"], *dataset["std"])
    return len(ours) == len(theirs) and all(abs(a - b) < 1e-4 for a, b in zip(ours, theirs))


def _as_taken(part, checkpoint):
    """The pictures with the channels that a model takes, to be normalised as in its training."""
    mean, std = checkpoint.dataset["mean"], checkpoint.dataset["std"]
    return replace(part.with_channels(checkpoint.model.config.in_channels), mean=mean, std=std)


def _recipe_options(args):
    """{field of TrainConfig: value} for what the command line overrides."""
    options = _given(args, *RECIPE_FIELDS)
    for setting in args.set or ():
        name, _, value = setting.partition("=")
        if not value:
            raise ValueError(f"--set takes FIELD=VALUE, got {setting}")
        options[name] = value
        with suppress(json.JSONDecodeError):  # else a word: the name of an optimizer
            options[name] = json.loads(value)
    return options


def _given(args, *names):
    """{option: value} for those of these options that were given."""
    return {name: value for name, value in vars(args).items() if name in names and value is not None}
