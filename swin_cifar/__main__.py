"""Train, evaluate, use and measure a Swin Transformer on CIFAR-10."""

import argparse
import json
import os
import sys
import traceback
import warnings
import webbrowser
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import torch

from swin_cifar import __version__, bench, distributed
from swin_cifar.calibration import calibration_in_words
from swin_cifar.checkpoint import load_checkpoint
from swin_cifar.config import MODELS
from swin_cifar.curves import plot_history
from swin_cifar.data import DATA_SETS, Unavailable, load_cifar10
from swin_cifar.explainer.build import drawings, explain_page
from swin_cifar.export import TARGETS, default_name, export_checkpoint
from swin_cifar.folders import walk
from swin_cifar.history import History, Metrics
from swin_cifar.pictures import PictureError, is_named_picture
from swin_cifar.predict import predict_logits, predict_many
from swin_cifar.prepare import RUNS, VALIDATION_SIZE, NothingToDo, new_run, run_to_continue, to_measure
from swin_cifar.system import (
    claim_path,
    default_device,
    device_name,
    first_line,
    present_device,
    release_path,
    write_atomically,
)
from swin_cifar.tensorboard import Board, summary_writer
from swin_cifar.training import train_and_test

SHIPPED = Path(__file__).parents[1] / "checkpoints"  # beside the package, if it was not moved away
TEST_PICTURES = 12  # of CIFAR-10, on an explainer page made where it is
PREDICT_BATCH = 64  # pictures at once


def main(argv: Sequence[str] | None = None) -> int:
    """-> exit code: 0 done, 1 it could not be done, 2 the command makes no sense."""
    args = parser().parse_args(argv)
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
            return args.run(args) or 0
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


# --- the six commands -------------------------------------------------------------------


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
            print(f"stopped; to go on from what is saved: python -m swin_cifar train --resume {path}")
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
    if args.repeats < 1 or (args.batch_size or 1) < 1:
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


# --- helpers ----------------------------------------------------------------------------


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
    """-> the newest checkpoint, finished runs before others; the one that ships where there is none."""
    found = [*RUNS.glob("*.pt"), *RUNS.parent.glob("*.pt")] or [*SHIPPED.glob("*.pt")]
    if not found:
        raise FileNotFoundError("there is no checkpoint yet: run `python -m swin_cifar train` first")
    return max(found, key=lambda path: (_finished(path), os.path.getmtime(path)))


def _finished(path):
    try:
        return History.load(path.with_suffix(".json")).results.test is not None
    except (OSError, ValueError):  # a model without its history
        return False


def _device(text):
    try:
        return present_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    device = default_device()
    names = f"cpu, cuda, cuda:1, mps, xpu (here: {device})"
    shared.add_argument("--device", type=_device, default=device, help=names)
    data = argparse.ArgumentParser(add_help=False)
    sets = f"{', '.join(DATA_SETS)}, or a folder of pictures (default: cifar10, or offline shapes10)"
    data.add_argument("--data", help=sets)
    data.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    board = {"type": Path, "metavar": "DIR", "help": "write for TensorBoard, into a folder of the run's name"}
    newest = "the model (default: the newest in checkpoints/)"

    top = argparse.ArgumentParser(prog="python -m swin_cifar", description=__doc__)
    top.add_argument("--version", action="version", version=f"swin_cifar {__version__}")
    commands = top.add_subparsers(required=True, metavar="command")

    p = commands.add_parser("train", parents=[shared, data], help="train a model (no options needed)")
    p.set_defaults(run=train)
    p.add_argument("--preset", help=f"{', '.join(MODELS)} (default: mini on a GPU, nano without one)")
    p.add_argument("--epochs", type=int, help="passes over the training pictures")
    p.add_argument("--batch-size", type=int, help="pictures in one step")
    p.add_argument("--learning-rate", type=float, help="at its highest, after the warm-up")
    p.add_argument("--set", action="append", metavar="FIELD=VALUE", help="any other field of TrainConfig")
    validation = (
        f"pictures held out of training (default: a tenth, at most {VALIDATION_SIZE:,}); 0 trains on all"
    )
    p.add_argument("--validation-size", type=int, help=validation)
    p.add_argument(
        "--size",
        type=_positive,
        help="side that pictures are scaled to (default: their own, or the model's)",
    )
    p.add_argument("--seed", type=int, help="of the weights, the order and the augmentation")
    p.add_argument("--out", type=Path, help=f"checkpoint to write (default: a new one in {RUNS})")
    p.add_argument("--from", type=Path, dest="parent", metavar="WEIGHTS",
                   help="begin with a checkpoint of ours, or torchvision's, Microsoft's, timm's or Hugging "
                   "Face's weights")  # fmt: skip
    p.add_argument(
        "--freeze", type=int, dest="frozen_stages", metavar="N", help="the first N stages learn nothing"
    )
    p.add_argument("--window-size", type=_positive, help="side of the windows, in tokens")
    p.add_argument("--patch-size", type=_positive, help="side of a patch, in pixels")
    p.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="go on with an interrupted run")

    p.add_argument("--tensorboard", **board)

    p = commands.add_parser("curves", parents=[shared], help="draw how a training went")
    p.set_defaults(run=curves)
    p.add_argument("history", type=Path, help="a history (.json) or a checkpoint (.pt)")
    p.add_argument("--tensorboard", **board)

    p = commands.add_parser("evaluate", parents=[shared, data], help="measure a model on the test set")
    p.set_defaults(run=evaluate_checkpoint)
    p.add_argument("checkpoint", nargs="?", help=newest)

    p = commands.add_parser("predict", parents=[shared], help="name what pictures show")
    p.set_defaults(run=predict_pictures)
    p.add_argument(
        "pictures", nargs="+", metavar="picture", help='a file, a folder, an http(s) address, or "-"'
    )
    p.add_argument("--top", type=_positive, default=3, metavar="K", help="name the K likeliest (default: 3)")
    p.add_argument("--json", action="store_true", help="one line of JSON for each picture")
    p.add_argument("--checkpoint", help=newest)

    p = commands.add_parser(
        "explain", parents=[shared], help="write a page that shows a model at work, step by step"
    )
    p.set_defaults(run=explain)
    p.add_argument("checkpoint", nargs="?", help=newest)
    p.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    p.add_argument("--out", type=Path, help=f"page to write (default: the checkpoint's name in {RUNS})")
    p.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the page")

    p = commands.add_parser("export", parents=[shared], help="write a model for another program, with a card")
    p.set_defaults(run=export_model)
    p.add_argument("checkpoint", nargs="?", help=newest)
    p.add_argument("--to", choices=TARGETS, required=True, help="the program or format")
    p.add_argument("--out", type=Path, help=f"file to write (default: a new one in {RUNS})")

    p = commands.add_parser("bench", parents=[shared], help="measure speed, beside torchvision's and timm's")
    p.set_defaults(run=benchmark)
    p.add_argument("--preset", default="mini", help="the model (default: mini)")
    p.add_argument("--batch-size", type=int, help="pictures in a batch (default: 512 on a GPU, else 32)")
    p.add_argument("--repeats", type=int, default=11, help="measurements of each (default: 11)")
    p.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parts = "what to measure (default: all of these but company, which takes minutes)"
    p.add_argument("--parts", nargs="+", choices=(*bench.PARTS, "company"), default=bench.PARTS, help=parts)
    p.add_argument("--out", type=Path, default=RUNS / "bench.json", help="where to write the JSON")
    return top


if __name__ == "__main__":
    sys.exit(main())
