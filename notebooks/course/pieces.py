"""The core pieces of a Swin, which of them are kept, what the checks said last: plain files, no PyTorch."""

import ast
import json
import os
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1]

# name: (notebook, parameters, what it does). B, H, W, C, M, N, nW as everywhere.
PIECES = {
    "patch_embed": (
        "02",
        "images, weight, bias",
        "(B, 3, h, w), weight (C, 3, P, P), bias (C,) -> (B, H, W, C): each patch of P x P embedded linearly",
    ),
    "patch_merging": (
        "03",
        "x, norm, reduction",
        "(B, H, W, C) -> (B, H/2, W/2, 2C): 2 x 2 neighbours gathered, normalised, projected",
    ),
    "window_partition": ("04", "x, M", "(B, H, W, C) -> (B, nW, N, C): the map cut into windows of M x M"),
    "window_reverse": ("04", "windows, M, H, W", "(B, nW, N, C) -> (B, H, W, C): the windows put back"),
    "attention": (
        "05",
        "x, qkv, proj, num_heads, bias, mask=None",
        "(B, nW, N, C), layers qkv and proj, bias (heads, N, N), mask (nW, N, N) bool -> (B, nW, N, C)",
    ),
    "relative_position_index": ("06", "M", "-> (N, N) int64: which row of the bias table serves a pair"),
    "shifted_window_mask": ("07", "H, W, M, shift", "-> (nW, N, N) bool: which may attend to which"),
    "to_windows": (
        "07",
        "x, M, shift",
        "(B, H, W, C) -> windows (B, nW, N, C), mask on x's device or None: padded, shifted, cut",
    ),
    "from_windows": ("07", "windows, M, shift, H, W", "(B, nW, N, C) -> (B, H, W, C): `to_windows` undone"),
    "drop_path": (
        "08",
        "x, drop_prob, training",
        "(B, ...) -> (B, ...): whole samples zero, the others larger",
    ),
    "block": ("08", "x, layer", "(B, H, W, C) -> (B, H, W, C): attention, then the MLP, each added"),
    "stage": (
        "08",
        "x, layer",
        "(B, H, W, C) -> (B, H', W', C'): the merging, where there is one, then blocks",
    ),
    "forward": ("08", "images, model", "(B, 3, h, w) -> (B, classes): pictures in, logits out"),
    "learning_rate": ("09", "step, total_steps, recipe", "-> float: the warm-up, then half a cosine"),
    "training_step": (
        "09",
        "forward, optimizer, images, targets, lr, recipe",
        "one step of the optimizer -> tensor (2,): the loss, the number of right answers",
    ),
}
TOGETHER = {"from_windows": "to_windows"}  # two functions, one piece
COUNT = len(PIECES) - len(TOGETHER)
VERDICTS = "verdicts.json"


def folder():
    """Where pieces and verdicts are kept; tests and tools keep theirs elsewhere."""
    return Path(os.environ.get("SWIN_CIFAR_PIECES") or NOTEBOOKS / "my_pieces")


def file_of(name):
    """The file of a kept piece, whether it is there or not. Raises ValueError for a name without a piece."""
    if name not in PIECES:
        raise ValueError(f"there is no piece {name!r}; there are: {', '.join(PIECES)}")
    return folder() / f"{name}.py"


def kept():
    """-> the names of the functions that the student wrote, in the order of the notebooks."""
    return [name for name in PIECES if file_of(name).is_file()]


def is_broken(name):
    """Is the file of a kept piece no longer Python that defines this name?"""
    try:
        body = ast.parse(file_of(name).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return True
    return name not in [getattr(statement, "name", None) for statement in body]


def labels():
    """-> {piece: its functions}: fourteen, each named by its first function."""
    found = {}
    for name in PIECES:
        found.setdefault(TOGETHER.get(name, name), []).append(name)
    return found


def count_whole(names):
    """How many pieces are whole if these functions are there?"""
    names = set(names)
    return sum(names.issuperset(functions) for functions in labels().values())


def verdicts():
    """-> {exercise: {"passed": True, False or None, "says": a line}}, as far as it can be read."""
    try:
        found = json.loads((folder() / VERDICTS).read_text(encoding="utf-8"))
        return {name: verdict for name, verdict in found.items() if verdict.keys() == {"passed", "says"}}
    except (OSError, ValueError, AttributeError):
        return {}
