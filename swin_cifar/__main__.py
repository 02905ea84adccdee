"""Train, evaluate, use and measure a Swin Transformer on CIFAR-10."""

import argparse
import json
import os
import shlex
import sys
import traceback
import warnings
import webbrowser
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import torch

from swin_cifar import bench, distributed
from swin_cifar.calibration import calibration_in_words
from swin_cifar.checkpoint import SUMS, load_checkpoint, read_sums
from swin_cifar.curves import plot_history
from swin_cifar.data import DATA_SETS, Unavailable, load_cifar10
from swin_cifar.explainer.build import drawings, explain_page
from swin_cifar.export import default_name, export_checkpoint
from swin_cifar.folders import walk
from swin_cifar.history import History, Metrics
from swin_cifar.options import parser
from swin_cifar.pictures import PictureError, is_named_picture
from swin_cifar.predict import predict_logits, predict_many
from swin_cifar.prepare import RUNS, NothingToDo, new_run, run_to_continue, to_measure
from swin_cifar.system import claim_path, default_device, device_name, release_path, write_atomically
from swin_cifar.tensorboard import Board, summary_writer
from swin_cifar.training import train_and_test

SHIPPED = Path(__file__).parents[1] / "checkpoints"  # beside the package, if it was not moved away
TEST_PICTURES = 12  # of CIFAR-10, on an explainer page made where it is
PREDICT_BATCH = 64  # pictures at once


def main(argv: Sequence[str] | None = None) -> int:
    """-> exit code: 0 done, 1 it could not be done, 2 the command makes no sense."""
    args = parser(__doc__).parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name in any script is printed, escaped where it must be
            # And each line at once, in a file, too: who follows a log sees every epoch.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        # A print to None prints nothing: of several processes, number 0 alone speaks.
        with (
            warnings.catch_warnings(),
            distributed.process_group(args.device) as args.device,
            redirect_stdout(None if distributed.rank() else sys.stdout),
        ):
            warnings.showwarning = lambda message, *_: print(f"swin_cifar: {message}", file=sys.stderr)
            return COMMANDS[args.command](args) or 0
    except NothingToDo as reason:
        print(reason)
        return 0
    except KeyboardInterrupt:
        return fail("interrupted")
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        if args.debug:
            traceback.print_exc()
        # Throughout the package a ValueError says that what was asked for makes no sense.
        return fail(str(error).strip() or type(error).__name__, 2 if isinstance(error, ValueError) else 1)


def fail(message: str, code: int = 1) -> int:
    """Print the one line of an error -> the exit code."""
    print(f"swin_cifar: error: {message}", file=sys.stderr)
    return code


# --- the seven commands -----------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Load the data, fit the model, evaluate it once on the test set, save and plot."""
    if args.tensorboard:
        summary_writer()  # that it is missing is said before anything is fetched
    for name in (args.out, args.resume):
        if name and name.suffix != ".pt":
            raise ValueError(f"the name of a checkpoint ends in .pt, got {name}")
    prepare = run_to_continue if args.resume else new_run
    model, recipe, (training, validation, test), path = prepare(args)
    claims = not args.out and not args.resume and distributed.rank() == 0
    if claims:
        path = claim_path(path)
    held_out = len(validation) if validation else 0
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {recipe.epochs} epochs of "
        f"{len(training):,} {training.name} pictures, {held_out:,} held out to validate, "
        f"on {device_name(torch.device(args.device))}, into {path}",
        flush=True,
    )
    try:
        history = train_and_test(
            model,
            training,
            validation,
            test,
            recipe,
            path,
            bool(args.resume),
            parent=args.parent and args.parent.name,
            tensorboard=args.tensorboard and args.tensorboard / path.stem,
        )
    except KeyboardInterrupt:
        if path.exists():
            print(f"stopped; to go on from what is saved: {_resume_command(args, path)}")
        raise
    finally:
        if claims:
            release_path(path)
    if distributed.rank() > 0:
        return
    print(f"{history.results.seconds:,.0f} s of training; curves in {_draw(history, path)}")
    print(f"test accuracy on {history.results.test}")


def curves(args: argparse.Namespace) -> None:
    """Draw the curves of a saved history, or write them for TensorBoard."""
    path = args.history
    history = load_checkpoint(path).history if path.suffix == ".pt" else History.load(path)
    if history is None or not history.epochs:
        raise ValueError(f"{path} holds no epoch of a training: there are no curves")
    if not args.tensorboard:
        print(f"curves in {_draw(history, path)}")
        return
    Board(args.tensorboard / path.stem, history.epochs).close()
    print(f"{len(history.epochs)} epochs; to see them: tensorboard --logdir {args.tensorboard}")


def evaluate_checkpoint(args: argparse.Namespace) -> None:
    """Measure a checkpoint on the test pictures of the data it was trained on, or on a folder."""
    path = args.checkpoint or _newest()
    checkpoint = load_checkpoint(path, args.device, dataset=args.data if args.data in DATA_SETS else None)
    print(f"{path}, trained on {checkpoint.dataset['name']}")
    test, which = to_measure(checkpoint, args.data, args.data_root, path)
    print(f"measured on {len(test):,} pictures, {which}")
    logits = predict_logits(checkpoint.model, test)
    print(f"test accuracy on {Metrics.of(test, logits)}")
    print(calibration_in_words(logits, test.labels, checkpoint.temperature))


def predict_pictures(args: argparse.Namespace) -> int:
    """Name what each picture shows; a picture that cannot be read does not stop the others."""
    path = args.checkpoint or _newest()
    checkpoint = load_checkpoint(path, args.device)
    if not args.json:
        print(f"{path}, trained on {checkpoint.dataset['name']}")
    sources, failed = [], 0
    for given in args.pictures:
        found = _pictures_at(given)
        if not found:
            failed = fail(f"there are no pictures in {given}")
        sources += found
    for start in range(0, len(sources), PREDICT_BATCH):
        batch = sources[start : start + PREDICT_BATCH]
        answers = predict_many(checkpoint, [sys.stdin.buffer.read() if s == "-" else s for s in batch])
        for source, answer in zip(batch, answers):
            if isinstance(answer, PictureError):
                failed = fail(str(answer))
                continue
            best = answer[: args.top]
            if args.json:
                found = {"picture": str(source), "classes": best, "temperature": checkpoint.temperature}
                print(json.dumps(found))
            else:
                print(f"{source}: {', '.join(f'{name} {probability:.1%}' for name, probability in best)}")
    return failed


def benchmark(args: argparse.Namespace) -> None:
    """Measure speed; print a table and write JSON."""
    if args.repeats < 1 or (args.batch_size is not None and args.batch_size < 1):
        raise ValueError("--repeats and --batch-size must be at least 1")
    result = bench.run(args.preset, args.device, args.batch_size, args.repeats, args.compile, args.parts)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"\nwritten to {args.out}")


def explain(args: argparse.Namespace) -> None:
    """Write the interactive page of a model, and open it."""
    path = Path(args.checkpoint or _newest())
    checkpoint = load_checkpoint(path)
    pictures = drawings(checkpoint)
    if checkpoint.dataset["name"] == "cifar10":
        with suppress(Unavailable):  # else the drawings alone
            _, test = load_cifar10(args.data_root, download=False)
            few = range(TEST_PICTURES)
            pictures |= {f"test {i}: {test.classes[test.labels[i]]}": test.images[i] for i in few}
    out = args.out or RUNS / f"{path.stem}.html"
    content = explain_page(checkpoint, pictures).encode()
    write_atomically(out, content)
    print(f"{path} explained in {out}, {len(content) / 1e6:.1f} MB")
    if args.browser:
        webbrowser.open(out.resolve().as_uri())


def export_model(args: argparse.Namespace) -> None:
    """Write a model for another program, with its card."""
    path = Path(args.checkpoint or _newest())
    out = args.out or claim_path(RUNS / default_name(path, args.to))
    try:
        done = export_checkpoint(path, args.to, out)
    finally:
        if not args.out:
            release_path(out)
    print(
        f"{path} for {args.to} in {done.path}, {done.path.stat().st_size / 1e6:.1f} MB; its card: {done.card}"
    )
    print(f"on random pictures its logits, up to {done.largest:.3g}, differ by {done.difference:.1e} at most")
    print(f"it is {done.note}")


COMMANDS = {
    "train": train,
    "curves": curves,
    "evaluate": evaluate_checkpoint,
    "predict": predict_pictures,
    "explain": explain,
    "export": export_model,
    "bench": benchmark,
}


# --- helpers ----------------------------------------------------------------------------


def _resume_command(args, path):
    """The command line that goes on with a stopped run, as a shell takes it."""
    given = {"--resume": path, "--data": args.data, "--data-root": args.data_root}
    given |= {"--device": args.device, "--tensorboard": args.tensorboard}
    usual = {"--data": None, "--data-root": "data", "--device": default_device(), "--tensorboard": None}
    words = [str(w) for option, value in given.items() if value != usual.get(option) for w in (option, value)]
    return f"python -m swin_cifar train {shlex.join(words)}"


def _draw(history, path):
    """-> the picture of the curves, beside the checkpoint or history at `path`."""
    figure = path.with_suffix(".png")
    plot_history(history).savefig(figure, dpi=120)
    return figure


def _pictures_at(source):
    """A file, an address or "-" is one picture; a folder, all files in it and below."""
    if "://" in source or not os.path.isdir(source):
        return [source]
    return [str(path) for path in walk(source) if is_named_picture(path)]


def _newest():
    """-> the newest checkpoint, finished runs before others; where there is none, the best that ships."""
    ships = read_sums(RUNS.parent / SUMS)
    own = [*RUNS.glob("*.pt"), *(path for path in RUNS.parent.glob("*.pt") if path.name not in ships)]
    if own:
        return max(own, key=lambda path: (_accuracy(path) > 0, os.path.getmtime(path)))
    if shipped := [*SHIPPED.glob("*.pt")]:
        return max(shipped, key=_accuracy)
    raise FileNotFoundError("there is no checkpoint yet: run `python -m swin_cifar train` first")


def _accuracy(path):
    """-> the test accuracy in the history beside a checkpoint; 0 where none was measured."""
    try:
        return History.load(path.with_suffix(".json")).accuracy("test")
    except (OSError, ValueError):  # a model without its history, or an unfinished run
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
