"""The student's own Swin: pieces that passed their check are kept, and a model is built from them.

    from course import my_swin

    my_swin.written()                         # names of the pieces that are yours
    my_swin.show("window_partition")          # prints what you wrote
    my_swin.piece("window_partition")         # your function; the package's where you wrote none
    my_swin.take_back("window_partition")     # deletes yours: the package's again
    model = my_swin.build("nano")             # a SwinTransformer that runs through your pieces

The pieces and their signatures: `PIECES`, in `course/pieces.py`; the package's form of each in
`course/package_pieces.py`. A check hands over what passed it (`keep`). What is kept is the source, in
`notebooks/my_pieces/NAME.py`, a folder that Git ignores (SWIN_CIFAR_PIECES names another one). So it
must mean the same without its notebook: from outside the function it may use torch, F, nn, math and the
other pieces, by name (type hints may name anything).
"""

import __future__

import contextlib
import importlib.util
import inspect
import io
import json
import linecache
import textwrap
import traceback
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import swin_cifar
from course.pieces import (
    COUNT,
    GIVEN,
    NOTEBOOKS,
    PIECES,
    VERDICTS,
    Unfit,
    check_source,
    file_of,
    folder,
    kept,
    labels,
    verdicts,
)
from swin_cifar.layers import DropPath, PatchMerging, WindowAttention
from swin_cifar.model import SwinStage, SwinTransformer, SwinTransformerBlock, create_model
from swin_cifar.system import first_line, write_atomically
from swin_cifar.windows import check_map

# --- keep --------------------------------------------------------------------------------


def keep(name, function, passes=lambda function: True):
    """Save the source of a function that passed its check -> one line that says so, or why not.

    `passes(function)` is asked again of the function that the saved source alone defines. Raises nothing.
    """
    try:
        source = _source_of(name, function)
        alone = _define(name, source, _namespace(), f"<{name}>")
        with contextlib.redirect_stdout(io.StringIO()):  # what it prints has been seen
            right = passes(alone)
        if not right:
            raise Unfit("alone, without its notebook, it is not right any more")
        write_atomically(file_of(name), source.encode())
    except Unfit as reason:
        line = f"Not kept: {reason}."
    except OSError as error:
        line = f"Not kept: {folder().name} cannot be written ({error.strerror or first_line(error)})."
    except Exception as error:  # a check must not fail because of what it keeps
        line = f"Not kept: {first_line(error)}."
    else:
        return f"Kept: your {name} is part of your Swin now."
    return line + (" The one kept before stays." if name in kept() else "")


def _source_of(name, function):
    """-> the source of a plain function of this name. Raises Unfit."""
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        raise Unfit(f"write {name} as a function, with `def`")
    if function.__name__ == "<lambda>":
        raise Unfit(f"a lambda has no name of its own. Write `def {name}(...)`")
    if "<locals>" in function.__qualname__:
        raise Unfit(f"{function.__name__} stands inside another function. Move it out to the cell's margin")
    if function.__name__ != name:
        raise Unfit(f"your function is called {function.__name__}. Call it {name}, as the skeleton does")
    file = Path(function.__code__.co_filename).resolve()
    if any(file.is_relative_to(place) for place in (Path(swin_cifar.__file__).parent, NOTEBOOKS / "course")):
        raise Unfit(f"this {name} is the package's own. Write yours")
    try:
        return textwrap.dedent(inspect.getsource(function)).rstrip() + "\n"
    except (OSError, TypeError):
        raise Unfit(
            f"the source of {name} cannot be found. Take away the `%%...` line of its cell if there is one, "
            "run the cell again, then the check"
        ) from None


def _define(name, source, namespace, file):
    """Run the source in `namespace` -> the function it defines. Raises Unfit; then nothing has changed."""
    before = dict(namespace)
    try:
        check_source(name, source)
        del namespace[name]
        hints = __future__.annotations.compiler_flag  # are not looked up
        exec(compile(source, file, "exec", hints, dont_inherit=True), namespace)
        if not callable(namespace.get(name)):
            raise Unfit(f"it does not define {name}")
        return namespace[name]
    except BaseException as error:
        namespace.clear()
        namespace.update(before)
        if isinstance(error, (Unfit, KeyboardInterrupt)):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)
        raise Unfit(f"{type(error).__name__}: {first_line(error)}", line) from None


def note_verdict(name, passed, text):
    """Write down what a check said last, for `tools/progress.py`. Fails without a word: it is only a note."""
    try:
        noted = verdicts() | {name: {"passed": passed, "says": text.split("\n")[0]}}
        write_atomically(folder() / VERDICTS, json.dumps(noted, indent=1).encode())
    except (OSError, RuntimeError):
        pass


# --- what is kept ------------------------------------------------------------------------


def piece(name):
    """-> the student's function of this name; where none is kept, the package's with the same signature."""
    file_of(name)  # is there such a piece?
    return _load()[0][name]


def written():
    """-> the names of the functions that are the student's, in the order of the notebooks."""
    return _load()[1]


def show(name):
    """Print what the student wrote."""
    file = file_of(name)
    if file.is_file():
        print(file.read_text(encoding="utf-8", errors="replace").rstrip())
    else:
        print(f"{name} is not written yet (notebook {PIECES[name][0]}): the package's is used.")


def take_back(name):
    """Delete what the student wrote: the package's form is used again."""
    try:
        file_of(name).unlink()
        print(f"Your {name} is deleted; the package's is used.")
    except FileNotFoundError:
        print(f"There is no {name} of yours; the package's is used.")
    except OSError as error:
        print(f"Your {name} cannot be deleted ({error.strerror}).")


def _namespace():
    """-> a fresh namespace with the package's form of each piece, in which they look up one another."""
    spec = importlib.util.find_spec("course.package_pieces")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def names_for(name, known):
    """-> {name: object} of what this piece may use from outside itself and `known` lacks."""
    lacking = {*GIVEN, *PIECES} - {name, *known}
    namespace = _load()[0] if lacking else {}
    return {other: namespace[other] for other in lacking}


_told = {}  # file: its source and what was said of it


def _load():
    """-> a namespace in which the pieces find one another by name, and the names of the student's.

    Of a file that cannot be used it prints why, once for each state of the file.
    """
    namespace, own = _namespace(), []
    for name in kept():
        file = file_of(name)
        try:
            linecache.checkcache(str(file))
            _define(name, file.read_text(encoding="utf-8"), namespace, str(file))
            own.append(name)
            _told.pop(file, None)
        except (Unfit, OSError, ValueError) as error:
            why = error.with_line() if isinstance(error, Unfit) else first_line(error)
            state = why, file.read_bytes() if file.is_file() else b""
            if _told.get(file) != state:
                print(f"{file.name} cannot be used ({why}): the package's {name} takes its place.")
            _told[file] = state
    return namespace, own


# --- a model of these pieces -------------------------------------------------------------


class _Pieces:
    """The pieces a model runs through, as they were when it was built; shared with its copies."""

    def __init__(self):
        namespace, self.own = _load()
        for name in ("shifted_window_mask", "relative_position_index"):
            namespace[name] = _once(namespace[name])
        self.__dict__.update((name, namespace[name]) for name in PIECES)

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):  # a pickled model comes back with the pieces that are kept then
        return _Pieces, ()


def _once(function):
    """A function of sizes alone, computed once for each: every block asks again in every step."""
    cached = lru_cache(maxsize=256)(function)

    def ask(*sizes, **named):
        if torch.compiler.is_compiling():
            return function(*sizes, **named)
        with torch.inference_mode(False):  # made while evaluating, it must serve in training too
            return cached(*sizes, **named).clone()  # whoever changes it in place changes a copy

    return ask


class _MyPatches(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        return self.pieces.patch_embed(images, self.weight, self.bias).permute(0, 3, 1, 2)


class _MyPatchMerging(PatchMerging):
    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.reduction.in_features // 4)
        return self.pieces.patch_merging(x, self.norm, self.reduction)


class _MyAttention(WindowAttention):
    def relative_position_bias(self) -> Tensor:
        table = self.relative_position_bias_table
        index = self.pieces.relative_position_index(self.window_size).to(table.device)
        return F.embedding(index, table).permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        bias = self.relative_position_bias()
        return self.pieces.attention(x, self.qkv, self.proj, self.num_heads, bias, mask)


class _MyDropPath(DropPath):
    def forward(self, x: Tensor) -> Tensor:
        return self.pieces.drop_path(x, self.drop_prob, self.training)


class _MyBlock(SwinTransformerBlock):
    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.attn.qkv.in_features)
        return self.pieces.block(x, self)

    def to_windows(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.pieces.to_windows(x, self.window_size, self.shift_size)

    def from_windows(self, windows: Tensor, H: int, W: int) -> Tensor:
        return self.pieces.from_windows(windows, self.window_size, self.shift_size, H, W)


class _MyStage(SwinStage):
    def forward(self, x: Tensor) -> Tensor:
        return self.pieces.stage(x, self)


class MySwin(SwinTransformer):
    """A SwinTransformer, weights and all, that computes with the pieces it was built from."""

    def forward(self, images: Tensor) -> Tensor:
        return self.pieces.forward(images, self)


_MINE = {
    nn.Conv2d: _MyPatches,
    PatchMerging: _MyPatchMerging,
    WindowAttention: _MyAttention,
    DropPath: _MyDropPath,
    SwinTransformerBlock: _MyBlock,
    SwinStage: _MyStage,
    SwinTransformer: MySwin,
}


def build(preset, **overrides):
    """`create_model`, but computing with the student's pieces, and the package's where none is written."""
    model = create_model(preset, **overrides)
    pieces = _Pieces()
    for module in model.modules():
        if type(module) in _MINE:
            module.__class__ = _MINE[type(module)]
            module.pieces = pieces
    print(textwrap.fill(_whose(pieces.own), 105, break_long_words=False, break_on_hyphens=False))
    return model


def _whose(own):
    """-> in words, which functions are the student's, and which the package's."""
    pieces = [(names, [name for name in names if name in own]) for names in labels().values()]
    whole = ["/".join(names) for names, mine in pieces if mine == names]
    half = [name for names, mine in pieces if mine != names for name in mine]
    others = ["/".join(name for name in names if name not in own) for names, mine in pieces if mine != names]
    text = f"{len(whole)} of {COUNT} pieces {'is' if len(whole) == 1 else 'are'} yours"
    text += f": {', '.join(whole)}" if whole else ""
    text += f" (and {', '.join(half)}, half of a piece)" if half else ""
    return text + (f"; from the package: {', '.join(others)}." if others else ".")
