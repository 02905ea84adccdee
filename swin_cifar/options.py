"""What the command line takes: its commands and their options."""

import argparse
from pathlib import Path

from swin_cifar import __version__, bench
from swin_cifar.config import MODELS
from swin_cifar.data import DATA_SETS
from swin_cifar.export import TARGETS
from swin_cifar.prepare import RUNS, VALIDATION_SIZE
from swin_cifar.system import default_device, present_device


def parser(description: str) -> argparse.ArgumentParser:
    """The command line: `command` becomes the name of one, the others its options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    on_device = argparse.ArgumentParser(add_help=False)
    device = default_device()
    names = f"cpu, cuda, cuda:1, mps, xpu (here: {device})"
    on_device.add_argument("--device", type=_device, default=device, help=names)
    data = argparse.ArgumentParser(add_help=False)
    sets = f"{', '.join(DATA_SETS)}, or a folder of pictures (default: cifar10, or offline shapes10)"
    data.add_argument("--data", help=sets)
    data.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    board = {
        "type": _path,
        "metavar": "DIR",
        "help": "write for TensorBoard, into a folder of the run's name",
    }
    newest = "the model (default: your newest in checkpoints/, or the best that ships)"

    top = argparse.ArgumentParser(prog="python -m swin_cifar", description=description)
    top.set_defaults(device="cpu")  # of the commands without the option
    top.add_argument("--version", action="version", version=f"swin_cifar {__version__}")
    commands = top.add_subparsers(required=True, metavar="command", dest="command")

    p = commands.add_parser(
        "train", parents=[shared, on_device, data], help="train a model (no options needed)"
    )
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
    p.add_argument("--out", type=_path, help=f"checkpoint to write (default: a new one in {RUNS})")
    p.add_argument("--from", type=_path, dest="parent", metavar="WEIGHTS",
                   help="begin with a checkpoint of ours, or torchvision's, Microsoft's, timm's or Hugging "
                   "Face's weights")  # fmt: skip
    p.add_argument(
        "--freeze", type=int, dest="frozen_stages", metavar="N", help="the first N stages learn nothing"
    )
    p.add_argument("--window-size", type=_positive, help="side of the windows, in tokens")
    p.add_argument("--patch-size", type=_positive, help="side of a patch, in pixels")
    p.add_argument("--resume", type=_path, metavar="CHECKPOINT", help="go on with an interrupted run")
    p.add_argument("--tensorboard", **board)

    p = commands.add_parser("curves", parents=[shared], help="draw how a training went")
    p.add_argument("history", type=_path, help="a history (.json) or a checkpoint (.pt)")
    p.add_argument("--tensorboard", **board)

    p = commands.add_parser(
        "evaluate", parents=[shared, on_device, data], help="measure a model on the test set"
    )
    p.add_argument("checkpoint", nargs="?", help=newest)

    p = commands.add_parser("predict", parents=[shared, on_device], help="name what pictures show")
    p.add_argument(
        "pictures", nargs="+", metavar="picture", help='a file, a folder, an http(s) address, or "-"'
    )
    p.add_argument("--top", type=_positive, default=3, metavar="K", help="name the K likeliest (default: 3)")
    p.add_argument("--json", action="store_true", help="one line of JSON for each picture")
    p.add_argument("--checkpoint", help=newest)

    p = commands.add_parser(
        "explain", parents=[shared], help="write a page that shows a model at work, step by step"
    )
    p.add_argument("checkpoint", nargs="?", help=newest)
    p.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    p.add_argument("--out", type=_path, help=f"page to write (default: the checkpoint's name in {RUNS})")
    p.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the page")

    p = commands.add_parser("export", parents=[shared], help="write a model for another program, with a card")
    p.add_argument("checkpoint", nargs="?", help=newest)
    p.add_argument("--to", choices=TARGETS, required=True, help="the program or format")
    p.add_argument("--out", type=_path, help=f"file to write (default: a new one in {RUNS})")

    p = commands.add_parser(
        "bench", parents=[shared, on_device], help="measure speed, beside torchvision's and timm's"
    )
    p.add_argument("--preset", default="mini", help="the model (default: mini)")
    p.add_argument("--batch-size", type=int, help="pictures in a batch (default: 512 on a GPU, else 32)")
    p.add_argument("--repeats", type=int, default=11, help="measurements of each (default: 11)")
    p.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parts = "what to measure (default: all of these but company, which takes minutes)"
    p.add_argument("--parts", nargs="+", choices=(*bench.PARTS, "company"), default=bench.PARTS, help=parts)
    p.add_argument("--out", type=_path, default=RUNS / "bench.json", help="where to write the JSON")
    return top


def _device(text):
    try:
        return present_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _path(text):
    """A path whose ~ is the home folder: not every shell writes it out."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    return int(text)
