"""The core pieces of a Swin, which of them are kept, what the checks said last: plain files, no PyTorch."""

import ast
import builtins
import importlib.util
import json
import os
import symtable
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
GIVEN = ("torch", "F", "nn", "math")  # what a piece may use from outside itself, beside the other pieces
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


class Unfit(Exception):
    """In words, why a function cannot be kept or a kept file not be used; `line` of its source, or None."""

    def __init__(self, words, line=None):
        super().__init__(words)
        self.line = line

    def with_line(self):
        return f"line {self.line}: {self}" if self.line else str(self)


def check_source(name, source):
    """Raises Unfit where a source cannot be this piece, as far as that shows without running it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        message = getattr(error, "msg", None) or error
        raise Unfit(f"{type(error).__name__}: {message}", getattr(error, "lineno", None)) from None
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)) and not getattr(statement, "level", 0):
            for module in [getattr(statement, "module", None) or each.name for each in statement.names]:
                if importlib.util.find_spec(module.split(".")[0]) is None:
                    raise Unfit(f"ModuleNotFoundError: No module named {module!r}", statement.lineno)
    missing, defined = _names(_NoHints().visit(tree))
    if missing:
        lines = [node.lineno for node in ast.walk(tree) if getattr(node, "id", None) == missing]
        raise Unfit(
            f"{name} uses `{missing}`, which only its notebook knows. Put it inside the function, or use "
            "torch, F, nn, math and the other pieces",
            min(lines, default=None),
        )
    if name not in defined:
        raise Unfit(f"it does not define {name}")


class _NoHints(ast.NodeTransformer):
    """Type hints are not looked up where pieces are kept, so their names need not be known."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node):
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _names(tree):
    """-> the first name that a source uses, does not define, and would not find, or None; what it defines."""
    module = symtable.symtable(ast.unparse(tree), "a piece", "exec")
    symbols = module.get_symbols()
    defined = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    known = defined | {*GIVEN, *PIECES, *vars(builtins), "__name__"} - {"display", "get_ipython"}
    tables = [module]
    for table in tables:  # grows: a function's own functions, comprehensions, ...
        tables += table.get_children()
        for symbol in table.get_symbols():
            outside = symbol.is_global() or (table is module and symbol.is_referenced())
            if outside and symbol.get_name() not in known:
                return symbol.get_name(), defined
    return None, defined


def broken(name):
    """-> in words, why the file of a kept piece cannot be used, or "", as far as `check_source` sees."""
    try:
        check_source(name, file_of(name).read_text(encoding="utf-8"))
    except Unfit as reason:
        return reason.with_line()
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


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
