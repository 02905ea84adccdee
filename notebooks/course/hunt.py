"""The hunt of notebook 14: whole small programs, each with one planted bug.

    from course import hunt

    right = hunt.right()                        # the program without a bug
    case = hunt.draw(seed=3, level=1)           # the same program with one line changed: which?
    case.symptoms(test)                         # what its user sees
    case.hint()                                 # up to three, each less general; levels: LEVELS
    case.accuse("mask")                         # a place; if it is right, its code as found is shown
    case.accuse("mask", line=8)                 # and the line
    case.repair(mask)                           # your function in its place, checked
    case.test(my_test)                          # your test on the right program and on all wrong ones

A program has a `model` (with the trained weights of nano) and the functions in `PUBLIC`. Its text stands,
right, in `course/hunted.py`. Seeds 0, 1, 2, ... give different bugs, so a class gets a different one each;
a name is a seed, too. Nothing that a program prints or shows tells its bug; this file does.
"""

import inspect
import math
import random
import textwrap
import types
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from matplotlib.ticker import MaxNLocator
from torch import nn

from course import figures
from swin_cifar import SwinTransformerBlock, create_model, load_checkpoint, window_reverse

HERE = Path(__file__).parent
PUBLIC = ("normalize", "flip", "cutmix", "learning_rate", "training_step", "evaluate")
PLACES = {  # function: what it does
    "normalize": "pictures to numbers of mean 0 and standard deviation 1",
    "flip": "mirrors half of the pictures, for training",
    "cutmix": "pastes a box of another picture and mixes the targets, for training",
    "embed": "cuts a picture into patches and embeds each (02)",
    "merge": "joins four neighbours (03)",
    "partition": "map to windows (04)",
    "reverse": "windows to map (04)",
    "offsets": "which row of the bias table serves which pair (06)",
    "read_bias": "reads the bias table (06)",
    "shifts": "by how much each axis moves (07)",
    "missing": "how many rows or columns fill the last window (07)",
    "mask": "what is added to the scores of forbidden pairs (07)",
    "to_windows": "pads, rolls, cuts (07)",
    "from_windows": "undoes that (07)",
    "attention": "scores, softmax, values, heads (05)",
    "drop_path": "leaves out branches in training (08)",
    "mlp": "two layers and a GELU (08)",
    "block": "norms, branches, sums (08)",
    "head": "mean of the tokens, logits (08)",
    "learning_rate": "the rate of each step (09)",
    "training_step": "loss, gradient, step (09)",
    "evaluate": "the logits, in evaluation (10)",
}
STAGES = (  # of a case
    "its place is not known",
    "its place is known",
    "found",
    "repaired",
    "repaired and tested",
)
LEVELS = {1: 3, 2: 1, 3: 0}  # level: how many hints there are
COMPLAINTS = {
    "logits": "All weights load, no error. But my answers are not yours.",
    "sizes": "On your pictures all is well. On pictures of other sizes I get other logits than you.",
    "twice": "I ask twice about the same picture, and get two answers.",
    "training": "With your weights all is well. But my own training does not go as yours.",
    "slow": "My answers are yours. But my program needs more time.",
}
EXPERIMENTS = {  # of the bugs: what shows it
    "pictures": "Compare what happens to the pictures step by step (`hunt.picture_steps`).",
    "steps": "Compare the model step by step on pictures of 32 x 32 (`hunt.model_steps`), each step with the "
    "right input. Then look inside a block that differs (`hunt.inside`).",
    "sizes": "Compare the model step by step on pictures of 36 x 60. Then look inside a block that differs.",
    "shapes": "Compare the shapes of the maps, for pictures of 32 x 32 and of 36 x 60.",
    "windows": "Look inside a block (`hunt.inside`): compare what each step gives, its shape first.",
    "token": "Change one token that enters the attention of a block (`window_attention`). Which outputs "
    "change, and which in the right program?",
    "twice": "Ask the same twice: the model itself, and through the evaluation, after `case.model.train()`.",
    "training": "Compare the training step by step (`hunt.training_steps`).",
}
GROUPS = {
    "It is in what happens to the pictures before the model.": ("normalize", "flip", "cutmix"),
    "It is in the training or the evaluation.": ("learning_rate", "training_step", "evaluate"),
    "It is in the model, between picture and logits.": tuple(PLACES)[3:19],
}


@dataclass(frozen=True)
class Bug:
    """One changed line of `hunted.py`."""

    place: str
    old: str
    new: str
    what: str  # in one sentence
    complaint: str
    experiment: str
    source: str = ""  # where it, or its kind, was found or discussed in public


BUGS = {
    "channels swapped": Bug(
        *("normalize", "torch.tensor(mean), torch.tensor(std)"),
        "torch.tensor(mean).flip(0), torch.tensor(std).flip(0)",
        "Mean and standard deviation are those of blue, green, red: the channels of the pictures are not.",
        *("logits", "pictures"),
    ),
    "upside down": Bug(
        *("flip", "images.flip(3)", "images.flip(2)"),
        "It mirrors along the wrong axis: up and down are exchanged.",
        *("training", "pictures"),
    ),
    "all or none": Bug(
        *("flip", "torch.rand(B, generator=generator) < 0.5"),
        "(torch.rand(1, generator=generator) < 0.5).expand(B)",
        "One random draw decides for the whole batch: all pictures are mirrored, or none.",
        *("training", "pictures"),
    ),
    "labels of the next": Bug(
        *("cutmix", "share * targets.roll(1, 0)", "share * targets.roll(-1, 0)"),
        "The box comes from the picture before, the label from the one after.",
        *("training", "pictures"),
    ),
    "share of the whole box": Bug(
        *("cutmix", "(bottom - top) * (right - left) / (h * w)", "side**2"),
        "The share is that of the box before the edge of the picture cuts it off.",
        *("training", "pictures"),
    ),
    "pixels turned": Bug(
        *("embed", "permute(0, 2, 4, 1, 3, 5)", "permute(0, 2, 4, 1, 5, 3)"),
        "The pixels of a patch come column by column; the weights are ordered row by row.",
        *("logits", "steps"),
    ),
    "a patch too many": Bug(
        *("embed", "(0, -w % P, 0, -h % P)", "(0, P - w % P, 0, P - h % P)"),
        "A side that the patch divides grows by a whole patch.",
        *("logits", "shapes"),
    ),
    "neighbours row by row": Bug(
        *("merge", "(0, 0), (1, 0), (0, 1), (1, 1)", "(0, 0), (0, 1), (1, 0), (1, 1)"),
        "The four neighbours are gathered row by row; the weights expect column by column.",
        *("logits", "steps"),
    ),
    "merging without norm": Bug(
        *("merge", "x = norm(x)", "x = x"),
        "The four neighbours are not normalised.",
        *("logits", "steps"),
    ),
    "odd sides cut": Bug(
        *("merge", "F.pad(x, (0, 0, 0, W % 2, 0, H % 2))", "x[:, : H - H % 2, : W - W % 2]"),
        "The last row or column of an odd map is cut off, not padded.",
        *("sizes", "shapes"),
    ),
    "strips for windows": Bug(
        *("partition", "permute(0, 1, 3, 2, 4, 5)", "permute(0, 1, 2, 3, 4, 5)"),
        "Without the exchange of axes a window is a strip of rows.",
        *("logits", "token"),
    ),
    "windows turned": Bug(
        *("reverse", "permute(0, 1, 3, 2, 4, 5)", "permute(0, 1, 4, 2, 3, 5)"),
        "Each window is put back with rows and columns exchanged.",
        *("logits", "token"),
    ),
    "sides exchanged": Bug(
        *("reverse", "(B, H // M, W // M, M, M, C)", "(B, W // M, H // M, M, M, C)"),
        "Rows and columns of windows are exchanged: right where the map is square.",
        *("sizes", "sizes"),
    ),
    "dy and dx swapped": Bug(
        *("offsets", "dy * (2 * M - 1) + dx", "dx * (2 * M - 1) + dy"),
        "dy and dx have changed places: a neighbour above is taken for one on the left.",
        *("logits", "steps"),
    ),
    "key minus query": Bug(
        *("offsets", "dx = x[:, None] - x[None, :]", "dx = x[None, :] - x[:, None]"),
        "The offset of the columns is key minus query: left and right have changed places.",
        *("logits", "steps"),
    ),
    "one bias for all heads": Bug(
        *("read_bias", "rows.T.reshape(heads, N, N)", "rows[:, 0].reshape(1, N, N).expand(heads, N, N)"),
        "All heads read the numbers of head 0.",
        *("logits", "steps"),
        "https://github.com/berniwal/swin-transformer-pytorch/blob/4d5cb7c6e5c4c8095b2d879ce713c1a0c6916c3e/"
        "swin_transformer_pytorch/swin_transformer.py",
    ),
    "heads mixed by reshape": Bug(
        *("read_bias", "rows.T.reshape(heads, N, N)", "rows.reshape(heads, N, N)"),
        "A reshape does not move an axis: each head gets numbers of all heads.",
        *("logits", "steps"),
    ),
    "one window is shifted": Bug(
        *("shifts", "shift if H > M else 0", "shift if H >= M else 0"),
        "The rows of a map that is exactly one window high are moved, and the mask cuts the window in two.",
        *("logits", "token"),
        "https://github.com/pytorch/vision/pull/6222 https://github.com/huggingface/transformers/pull/20792",
    ),
    "no mask": Bug(
        *("mask", "torch.where(allowed, 0.0, -math.inf)", "torch.where(allowed, 0.0, 0.0)"),
        "Nothing is forbidden: tokens from opposite edges attend to each other.",
        *("logits", "token"),
    ),
    "rows alone are masked": Bug(
        *("mask", "2 * rows[:, None] + columns[None, :]", "2 * rows[:, None] + 0 * columns[None, :]"),
        "Only the rows are kept apart: tokens left and right of the seam attend to each other.",
        *("logits", "token"),
    ),
    "mask flipped": Bug(
        *("mask", "labels[:, :, None] == labels[:, None, :]", "labels[:, :, None] != labels[:, None, :]"),
        "Allowed and forbidden have changed places. Where no pair is left the softmax gives nan.",
        *("logits", "steps"),
    ),
    "mask of another shift": Bug(
        *("mask", "(position < move).long()", "(position < move // 2).long()"),
        "The mask belongs to half of the shift.",
        *("logits", "token"),
    ),
    "padding attended to": Bug(
        *("mask", "labels.append(wrapped.masked_fill(position >= size, -1))", "labels.append(wrapped)"),
        "Padding has the label of the tokens beside it: real tokens attend to it.",
        *("sizes", "sizes"),
    ),
    "a window too many": Bug(
        *("missing", "-n % M", "M - n % M"),
        "A side that is full grows by a whole window, and the last windows hold nothing but padding.",
        *("slow", "windows"),
        "https://github.com/JingyunLiang/SwinIR/pull/139 "
        "https://github.com/huggingface/transformers/issues/46697 "
        "https://github.com/cambridge-mlg/gridded-tnp/issues/3",
    ),
    "rolled along one axis": Bug(
        *("to_windows", "(-moves[0], -moves[1])", "(-moves[0], 0)"),
        "Only the rows are moved; the way back moves both.",
        *("logits", "token"),
    ),
    "rolled before it is padded": Bug(
        "to_windows",
        """x = F.pad(x, (0, 0, 0, missing(W, M), 0, missing(H, M)))  # channels, right, below
    x = x.roll((-moves[0], -moves[1]), dims=(1, 2))""",
        """x = x.roll((-moves[0], -moves[1]), dims=(1, 2))
    x = F.pad(x, (0, 0, 0, missing(W, M), 0, missing(H, M)))  # channels, right, below""",
        "The map is rolled before it is padded: the padding lies between tokens that are neighbours.",
        *("sizes", "sizes"),
    ),
    "never rolled back": Bug(
        *("from_windows", "x.roll(moves, dims=(1, 2))", "x.roll((0, 0), dims=(1, 2))"),
        "The map is not rolled back.",
        *("logits", "token"),
    ),
    "rolled on": Bug(
        *("from_windows", "x.roll(moves, dims=(1, 2))", "x.roll((-moves[0], -moves[1]), dims=(1, 2))"),
        "The map is rolled on, not back.",
        *("logits", "token"),
    ),
    "no scale": Bug(
        *("attention", "q.shape[-1] ** -0.5", "1.0"),
        "The scores are not divided by the root of d.",
        *("logits", "steps"),
    ),
    "scale by C": Bug(
        *("attention", "q.shape[-1] ** -0.5", "x.shape[-1] ** -0.5"),
        "The scores are divided by the root of C, the channels of all heads.",
        *("logits", "steps"),
    ),
    "softmax over the queries": Bug(
        *("attention", "softmax(dim=-1)", "softmax(dim=-2)"),
        "The softmax runs over the queries, not over the keys.",
        *("logits", "steps"),
    ),
    "heads not put side by side": Bug(
        *("attention", "out.transpose(2, 3).reshape(x.shape)", "out.reshape(x.shape)"),
        "The heads are not put side by side: each token gets numbers of other tokens.",
        *("logits", "token"),
    ),
    "q and k exchanged": Bug(
        *("attention", "q, k, v = qkv(x)", "k, q, v = qkv(x)"),
        "Queries and keys have changed places, and the bias has not.",
        *("logits", "steps"),
    ),
    "DropPath in evaluation": Bug(
        *("drop_path", "rate == 0 or not training", "rate == 0"),
        "`training` is never read: branches are left out in evaluation, too.",
        *("twice", "twice"),
        "https://github.com/WangFeng18/Swin-Transformer/issues/7 "
        "https://github.com/pytorch/vision/issues/7103 https://github.com/pytorch/vision/pull/7224",
    ),
    "another GELU": Bug(
        *("mlp", "F.gelu(x)", "F.gelu(x, approximate='tanh')"),
        "The GELU is the approximation by tanh: the weights were trained with the exact one.",
        *("logits", "steps"),
    ),
    "norm after the branch": Bug(
        *("block", "layer.window_attention(layer.norm1(x))", "layer.norm1(layer.window_attention(x))"),
        "The norm comes after the attention, not before it.",
        *("logits", "steps"),
    ),
    "no way around the MLP": Bug(
        *("block", "return x + layer.drop_path(branch)", "return layer.drop_path(branch)"),
        "The MLP's branch is not added to the map: it takes its place.",
        *("logits", "steps"),
    ),
    "the first norm twice": Bug(
        *("block", "layer.mlp(layer.norm2(x))", "layer.mlp(layer.norm1(x))"),
        "The MLP uses the norm of the attention.",
        *("logits", "steps"),
    ),
    "mean of the first row": Bug(
        *("head", "x.flatten(1, 2)", "x[:, 0]"),
        "The mean is taken over one axis: the first row of tokens decides alone.",
        *("logits", "steps"),
    ),
    "no way down": Bug(
        *("learning_rate", "math.cos(math.pi * progress)", "math.cos(0.0)"),
        "The rate stays at its highest value: it never goes down.",
        *("training", "training"),
    ),
    "gradients add up": Bug(
        *("training_step", "optimizer.zero_grad()", "optimizer.zero_grad"),
        "`zero_grad` is not called (no brackets): the gradients of all steps add up.",
        *("training", "training"),
    ),
    "evaluated as in training": Bug(
        *("evaluate", "model.eval()", "model.eval"),
        "`eval` is not called (no brackets): the model stays in training mode, and DropPath drops branches.",
        *("twice", "twice"),
    ),
}

# Report 1 of the notebook: worked there, so never drawn. The whole function is another one.
FOUND_MASK = '''
def mask(H, W, M, shift):
    """-> (nW, N, N): what is added to the scores of each window after the roll"""
    regions = torch.zeros(1, H + missing(H, M), W + missing(W, M), 1)
    bounds = slice(0, -M), slice(-M, -shift), slice(-shift, None)
    for number, (rows, columns) in enumerate((r, c) for r in bounds for c in bounds):
        regions[:, rows, columns] = number
    windows = partition(regions, M)[0, :, :, 0]  # (nW, N)
    difference = windows[:, None, :] - windows[:, :, None]  # (nW, N, N)
    added = torch.where(difference != 0, 255.0, 0.0)
    return added if H > M and W > M else torch.zeros(1)[:, None, None]
'''
ONE = Bug(
    *("mask", "", FOUND_MASK),
    "Forbidden pairs get 255 more, not -inf: after the softmax they have all the weight.",
    *("logits", "token"),
    "https://github.com/hatimwen/Paddle_VIT_tutorial/blob/d7821c7e5fbbc0dc739fc58920330c952dc8e3e4/"
    "swin_transformer/mask_1129.py",
)

# --- programs ----------------------------------------------------------------------------


@cache
def _text():
    return (HERE / "hunted.py").read_text(encoding="utf-8")


@cache
def _sources():
    """-> {place: the source of the right function}"""
    found = {}
    for part in _text().split("\n\n\n"):
        name = part.removeprefix("def ").split("(")[0]
        if part.startswith("def ") and name in PLACES:
            found[name] = part.split("\n\n# ---")[0].strip() + "\n"
    return found


def _found(bug):
    """-> the source of the bug's function, as found"""
    if not bug.old:
        return bug.new.strip() + "\n"
    source = _sources()[bug.place]
    if source.count(bug.old) != 1:
        raise ValueError(f"{bug.place} no longer holds exactly once: {bug.old}")
    return source.replace(bug.old, bug.new)


def _lines(bug):
    """-> the numbers of the wrong lines in the function as found, counted from 1"""
    if not bug.old:
        return [i for i, line in enumerate(_found(bug).splitlines(), 1) if "255.0" in line]
    pairs = zip(_sources()[bug.place].splitlines(), _found(bug).splitlines())
    return [i for i, (right, wrong) in enumerate(pairs, 1) if right != wrong]


@cache
def _checkpoint():
    return load_checkpoint(HERE.parents[1] / "checkpoints" / "nano_cifar10.pt")


class Program:
    """`model` (in evaluation mode, with nano's trained weights) and the functions in `PUBLIC`."""

    def __init__(self, bug=None):
        text = _text() if bug is None else _text().replace(_sources()[bug.place], _found(bug))
        names = {"__name__": "program"}
        exec(compile(text, "<a program of the hunt>", "exec"), names)  # no file: no source to print
        with torch.random.fork_rng([]):
            self.model = _nano(names)
        self.model.load_state_dict(_checkpoint().model.state_dict())
        self.model.eval().requires_grad_(False)
        for name in PUBLIC:
            setattr(self, name, names[name])
        _NAMES[self] = names

    def __repr__(self):
        return "a program: its model, and " + ", ".join(PUBLIC)


def _nano(names):
    """-> nano with new weights, computed by the functions among these names"""
    return _computed_by(names, create_model("nano", drop_path_rate=0.1))


def _computed_by(names, model):
    classes = {c.__mro__[1]: c for c in names["CLASSES"]}
    for module in model.modules():
        module.__class__ = classes.get(type(module), type(module))
    return model


_NAMES = WeakKeyDictionary()  # program: its namespace
_BUGS = WeakKeyDictionary()  # case: its bug


def right():
    """-> the program without a bug"""
    return Program()


# --- the program as lists of steps ---------------------------------------------------------


def model_steps(program):
    """-> [(name, function)]: the model; each step takes what the one before gives, the first pictures"""
    model = program.model
    steps = [("patch_embed", model.patch_embed)]
    for i, stage in enumerate(model.stages):
        if i:
            steps.append((f"stages[{i}].downsample", stage.downsample))
        steps += [(f"stages[{i}].blocks[{j}]", block) for j, block in enumerate(stage.blocks)]
    return [*steps, ("norm", model.norm), ("forward_head", model.forward_head)]


def inside(block, x):
    """-> [(name, function)]: the parts of a block that a map like `x` (B, H, W, C) enters, in their order

    Without the sums: if a block differs and none of these does, look at how `block` puts them together.
    """
    H, W = x.shape[1:3]
    added = block.to_windows(x)[1]  # the mask
    return [
        ("norm1", block.norm1),
        ("to_windows", lambda x: block.to_windows(x)[0]),
        ("attn", lambda windows: block.attn(windows, added)),
        ("from_windows", lambda windows: block.from_windows(windows, H, W)),
        ("norm2", block.norm2),
        ("mlp", block.mlp),
    ]


def tables(block, x):
    """-> [(name, function)]: what a block adds to the scores of a map like `x`; its input does not matter"""
    return [
        ("relative_position_bias", lambda _: block.attn.relative_position_bias()),
        ("mask", lambda _: block.to_windows(x)[1]),
    ]


def picture_steps(program, data):
    """-> [(name, function)]: from pictures (B, 3, h, w) uint8 of `data` to pictures and targets for training

    The random numbers are the same in every call. "targets" are those of `cutmix`.
    """

    def labels(x):
        return torch.arange(len(x)) % len(data.classes)

    def mixed(x):
        return program.cutmix(x, labels(x), len(data.classes), torch.Generator().manual_seed(0))

    return [
        ("normalize", lambda x: program.normalize(x, data.mean, data.std)),
        ("flip", lambda x: program.flip(x, torch.Generator().manual_seed(0))),
        ("cutmix", lambda x: mixed(x)[0]),
        ("targets", lambda x: mixed(x)[1]),
    ]


def training_steps(program):
    """-> [(name, function)]: the rates of 40 steps, weights and losses of four, the logits in evaluation

    Each with a small model of its own, with dropout; what is handed in does not matter.
    """

    def small():
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Dropout(0.5)), torch.randn(8, 3, 2, 2)

    def four_steps(_):
        model, images = small()
        model.eval()  # as after an evaluation
        optimizer, labels = torch.optim.SGD(model.parameters(), lr=1.0), torch.arange(8) % 5
        with torch.random.fork_rng([]), torch.enable_grad():
            torch.manual_seed(0)
            rates = 0.1, 0.2, 0.1, 0.05
            losses = [program.training_step(model, optimizer, images, labels, lr) for lr in rates]
        losses = torch.tensor([math.nan if loss is None else loss for loss in losses])
        return torch.cat([model[1].weight.detach().flatten(), losses])

    def logits(_):
        model, images = small()
        return program.evaluate(model.train(), images)

    return [
        ("learning_rate", lambda _: torch.tensor([program.learning_rate(s, 40, 5, 0.1) for s in range(40)])),
        ("training_step", four_steps),
        ("evaluate", logits),
    ]


# --- the tools, as a student writes them -----------------------------------------------------


def shapes_of(model, images):
    """(B, 3, h, w) -> the shapes after the patch embedding, after each merging and after each block"""
    x = model.patch_embed(images)
    shapes = [tuple(x.shape)]
    for i, stage in enumerate(model.stages):
        if i > 0:
            x = stage.downsample(x)
            shapes.append(tuple(x.shape))
        for block in stage.blocks:
            x = block(x)
            shapes.append(tuple(x.shape))
    return shapes


def differing(steps, right_steps, x):
    """-> the names of the steps that differ or stop with an error, each given the right input"""
    names = []
    for (name, step), (_, right_step) in zip(steps, right_steps):
        wanted = right_step(x)
        try:
            found = step(x)
            same = found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-4)
        except Exception:  # what comes before was changed, so it does not fit
            same = False
        if not same:
            names.append(name)
        x = wanted
    return names


def changed_by(function, x, token):
    """(1, H, W, C) -> (H, W) bool: the outputs that change when this token of x becomes another one"""
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return ((function(other) - function(x)).abs() > 1e-5).any(dim=-1)[0]


def tools(*functions):
    """The student's `shapes_of`, `differing`, `changed_by` -> these; the course's where a check fails."""
    from course import check  # it imports this file

    chosen, whose = {}, []
    for name, function in zip(("shapes_of", "differing", "changed_by"), functions, strict=True):
        passed = check.EXERCISES[name].verdict(function).passed
        chosen[name] = function if passed else globals()[name]
        whose.append(f"{name}: " + ("yours" if passed else "the course's"))
    print("; ".join(whose))
    return types.SimpleNamespace(**chosen)


# --- cases -------------------------------------------------------------------------------


class Case(Program):
    """A program with one bug, and the way to it. Its notes are printed, its bug is not."""

    def __init__(self, bug, label, hints):
        super().__init__(bug)
        _BUGS[self] = bug
        self.label, self.hints = label, hints
        self.asked = self.wrong = 0
        self.stage, self.tested = STAGES[0], False

    def __repr__(self):
        return f"{self.label}: {self.stage}"

    def _reach(self, stage):
        """Note a stage, if the case has not been farther already."""
        self.stage = max(self.stage, stage, key=STAGES.index)

    def symptoms(self, data):
        """Print what the user writes and two accuracies; show pictures for training and a training curve."""
        print(f"{self.label}. The user writes: {COMPLAINTS[_BUGS[self].complaint]}")
        few = data.subset(slice(0, 500))
        programs = {"this program": self, "the right one": Program()}
        for size in ((32, 32), (36, 60)):
            shares = {name: _right(p, few, size).float().mean() for name, p in programs.items()}
            words = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            print(f"{len(few)} pictures of {size[0]} x {size[1]} pixels, right: {words}")
        figures.show(
            _draw_symptoms(self, programs["the right one"], data),
            alt="Eight pictures for training, the losses of 30 steps and the learning rates, each beside "
            "those of the right program.",
        )

    def hint(self):
        """Print the next hint."""
        bug = _BUGS[self]
        if self.asked >= self.hints:
            print("This level has no more hints." if self.hints else "This level has no hints.")
            return
        group, places = next(each for each in GROUPS.items() if bug.place in each[1])
        other = random.Random(bug.what).choice([place for place in places if place != bug.place])
        pair = sorted((bug.place, other), key=places.index)
        hints = (group, EXPERIMENTS[bug.experiment], f"Look at `{pair[0]}` and `{pair[1]}`.")
        print(f"Hint {self.asked + 1} of {self.hints}: {hints[self.asked]}")
        self.asked += 1

    def accuse(self, place, line=None):
        """Name the place; once it is right, a line of its code. Prints whether it is."""
        bug = _BUGS[self]
        if place not in PLACES:
            print(f"There is no place {place!r}. There are: {', '.join(PLACES)}.")
        elif place != bug.place:
            self.wrong += 1
            print(f"No: `{place}` does what it should. Wrong accusations so far: {self.wrong}.")
        elif line is None:
            self._reach("its place is known")
            print(f"Yes, it is in `{place}`. The code as found; which line is wrong?\n")
            for number, text in enumerate(_found(bug).splitlines(), 1):
                print(f"{number:2} {text}")
        elif line in _lines(bug):
            self._reach("found")
            print(f"Yes. {bug.what}")
            if bug.source:
                print("Found or discussed in public code: " + "\n".join(bug.source.split()))
        elif line not in range(1, 1 + len(_found(bug).splitlines())):
            print(f"`{place}` has the lines 1 to {len(_found(bug).splitlines())}.")
        else:
            self.wrong += 1
            self._reach("its place is known")
            print(f"No, line {line} is right. Wrong accusations so far: {self.wrong}.")

    def repair(self, function):
        """Check the student's function in the place of the wrong one, and put it into this program."""
        bug = _BUGS[self]
        if self.stage == STAGES[0]:
            print("First say where it is: case.accuse(...)")
            return
        function = _among_the_right(function)
        verdict = repairs(bug).verdict(function)
        print(verdict.text)
        if verdict.passed:
            _NAMES[self][bug.place] = function
            for name in PUBLIC:
                setattr(self, name, _NAMES[self][name])
            self._reach("repaired and tested" if self.tested else "repaired")
            self.model.eval()  # it may have been left in training
            images = torch.randn(2, 3, 36, 60, generator=torch.Generator().manual_seed(0))
            far = (self.model(images) - Program().model(images)).abs().max()
            print(f"In the program: its logits and the right ones differ by at most {far:.0e}.")

    def test(self, function):
        """Run a student's test(program) on the right program, on this case's, and on those of all bugs."""
        bug, result = _BUGS[self], _notices(function, None)
        if result is NotImplementedError:
            print(f"{function.__name__} is not written yet. Run this cell again when it is.")
        elif result:
            print(f"Not right yet. It fails on the right program: {result}")
        elif not _notices(function, bug):
            print("Not right yet. It passes on the right program, and on this case's as well.")
        else:
            others = [other for other in BUGS.values() if other != bug]
            noticed = sum(bool(_notices(function, other)) for other in others)
            self.tested = True
            if self.stage == "repaired":
                self._reach("repaired and tested")
            print("Right. It passes on the right program and fails on this case's.", end=" ")
            print(f"Of the {len(others)} other bugs it notices {noticed}.")

    def score(self):
        """Print how the case stands, in one line for whoever grades it."""
        hints, wrong = f"{self.asked} hints", f"{self.wrong} wrong accusations"
        print(f"{self.label}: {self.stage}; {hints}, {wrong}")


def draw(seed, level=1):
    """-> a Case: the bug depends on seed (a number or a name) and level alone

    Level 1 has three hints, 2 one, 3 none. Numbers below `len(BUGS)` give different bugs at each level.
    """
    if level not in LEVELS:
        raise ValueError(f"there are the levels {', '.join(map(str, LEVELS))}, not {level!r}")
    number = zlib.crc32(seed.encode()) if isinstance(seed, str) else int(seed)
    order = sorted(BUGS)
    random.Random(16 * level).shuffle(order)
    return Case(BUGS[order[number % len(order)]], f"Case {seed}, level {level}", LEVELS[level])


def report_one():
    """-> the Case of report 1, which the notebook works through"""
    return Case(ONE, "Report 1", 3)


def found_received(block, x):
    """Report 2. (B, H, W, C) -> (B, H, W): how much attention each token receives, the mean of the heads"""
    return _received_as_found(block, x)


def _received_as_found(block, x):  # apart, so that `hunt.found_received??` does not show what is to be found
    windows, added = block.to_windows(block.norm1(x))
    weights = block.attn.explicit_attention(windows, added)[1]  # (B, nW, heads, N, N)
    received = weights.mean(dim=2).sum(dim=2)  # (B, nW, N)
    return window_reverse(received[..., None], block.window_size, *x.shape[1:3])[..., 0]


def right_answers(data):
    """-> (1 + bugs, n) bool: which pictures the right program and those of all bugs get right, unnamed

    The first row is the right program's; the others are sorted by how many they get right.
    """
    rows = [_right(Program(bug), data) for bug in BUGS.values()]
    return torch.stack([_right(Program(), data), *sorted(rows, key=lambda row: row.sum().item())])


def _right(program, data, size=(32, 32)):
    """-> (n,) bool, with the program's own `normalize` and `evaluate`, its model as after training"""
    images = program.normalize(data.images, data.mean, data.std)
    if size != (32, 32):
        images = F.interpolate(images, size=size, mode="bilinear")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        logits = [program.evaluate(program.model.train(), part) for part in images.split(500)]
    program.model.eval()
    return torch.cat(logits).argmax(dim=1) == data.labels


def _curve(program, data, steps=30):
    """-> the losses of a short training from new weights, and its learning rates"""
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(0)
        model = _nano(_NAMES[program])
        optimizer, losses = torch.optim.AdamW(model.parameters()), []
        generator = torch.Generator().manual_seed(0)
        rates = [program.learning_rate(step, steps, 3, 2e-3) for step in range(steps)]
        for step, lr in enumerate(rates):
            start = 32 * step % max(1, len(data) - 31)
            part = data.subset(slice(start, start + 32))
            images = program.flip(program.normalize(part.images, data.mean, data.std), generator)
            images, targets = program.cutmix(images, part.labels, len(data.classes), generator)
            losses.append(program.training_step(model, optimizer, images, targets, lr))
    return losses, rates


def _draw_symptoms(case, unchanged, data):
    figure, axes = figures.panels(2, 2, size=4)
    figure.set_size_inches(9, 5.4)
    for ax, program, name in zip(axes[:2], (case, unchanged), ("this program", "the right one")):
        figures.draw_picture(ax, _for_training(program, data.subset(slice(0, 8))), f"for training: {name}")
    curves = _curve(case, data), _curve(unchanged, data)
    for ax, i, title in ((axes[2], 0, "loss"), (axes[3], 1, "learning rate")):
        ax.plot(curves[0][i], color=figures.COLOURS[5], linewidth=2.5, label="this program")
        ax.plot(curves[1][i], color="black", linestyle="--", label="the right one")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))  # at round numbers
        ax.set_title(title, fontsize=13)
        ax.set_xlabel("step", fontsize=12)
    axes[3].legend(fontsize=11)
    return figure


def _for_training(program, few):
    """Eight pictures -> two rows of four, (3, 2 h, 4 w), as the program mirrors and mixes them"""
    images = program.flip(few.images / 255, torch.Generator().manual_seed(0))
    images = program.cutmix(images, few.labels, len(few.classes), torch.Generator().manual_seed(0))[0]
    return torch.cat([torch.cat(list(row), dim=2) for row in images.split(4)], dim=1)


# --- repairs and tests ---------------------------------------------------------------------


@cache
def _right_names():
    """-> the namespace of the right program"""
    return _NAMES[Program()]


def _among_the_right(function):
    """The student's function, but it finds the other functions of the right program by name."""
    function = inspect.unwrap(function) if callable(function) else function
    if not inspect.isfunction(function):
        return function
    names = {**function.__globals__, **{k: v for k, v in _right_names().items() if k[0] != "_"}}
    code, defaults, closure = function.__code__, function.__defaults__, function.__closure__
    again = types.FunctionType(code, names, function.__name__, defaults, closure)
    again.__kwdefaults__, again.__doc__ = function.__kwdefaults__, function.__doc__
    return again


def _notices(function, bug):
    """-> why the test fails on a program with this bug, in a few words, NotImplementedError, or ''"""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        try:
            function(Program(bug))
        except NotImplementedError:
            return NotImplementedError
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what `pytest.fail` raises is no Exception
            first = (str(error).strip().splitlines() or [""])[0]
            return textwrap.shorten(f"{type(error).__name__}: {first}".rstrip(": "), 90, placeholder=" ...")
    return ""


def repairs(bug):
    """-> the Exercise that checks a repair of this bug's function, wherever its arguments take it"""
    from course.check.core import Exercise  # it imports this file

    place = bug.place
    wrong = dict(_right_names())
    exec(compile(_found(bug), "<a program of the hunt>", "exec"), wrong)
    return Exercise(
        place,
        answer=_right_names()[place],
        cases=lambda: _cases(place),
        mistakes={"It does what the code as found does.": wrong[place]},
        picture=lambda function: None,
        call=_CALLS.get(place, lambda function, *inputs: function(*inputs)),
    )


def _layer(cls, *sizes):
    """Weights so large that mistakes show."""
    layer = cls(*sizes).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    return layer


def _block(shift):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        block = _computed_by(_right_names(), SwinTransformerBlock(8, 2, 4, shift))
        for parameter in block.requires_grad_(False).eval().parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return block


def _cases(place):
    """-> {what is special about it: inputs}: maps that are not square, several pictures, odd sides"""
    x, wide, odd = torch.randn(2, 8, 8, 8), torch.randn(1, 8, 12, 8), torch.randn(2, 5, 7, 8)
    low = torch.randn(1, 4, 8, 8)
    maps = {"a square map": x, "a wide map": wide, "odd sides": odd, "a map one window high": low}
    sizes = {"8 x 8": (8, 8), "8 x 12": (8, 12), "5 x 7": (5, 7), "4 x 4": (4, 4), "4 x 8": (4, 8)}
    sizes |= {"3 x 8": (3, 8), "8 x 3": (8, 3)}
    images = torch.randint(0, 256, (4, 3, 8, 12), dtype=torch.uint8)
    windows = torch.randn(2, 6, 16, 8)
    linear, proj, norm = _layer(nn.Linear, 8, 8), _layer(nn.Conv2d, 3, 6, 4, 4), _layer(nn.LayerNorm, 6)
    return {
        "normalize": {"four pictures": (images, (0.1, 0.5, 0.3), (0.2, 0.3, 0.4))},
        "flip": {f"seed {s}": (images.float(), s) for s in (0, 1, 2)},
        "cutmix": {f"seed {s}": (images.float(), torch.arange(4), 5, s) for s in (0, 1, 2, 3)},
        "embed": {
            "sides that fit": (torch.randn(2, 3, 12, 8), proj, norm),
            "odd sides": (torch.randn(1, 3, 9, 13), proj, norm),
        },
        "merge": {name: (y, _layer(nn.LayerNorm, 32), _layer(nn.Linear, 32, 16)) for name, y in maps.items()},
        "partition": {"a square map": (x, 4), "a wide map": (wide, 4), "windows of 2": (low, 2)},
        "reverse": {
            "a square map": (torch.randn(2, 4, 16, 3), 4, 8, 8),
            "a wide map": (torch.randn(1, 6, 16, 3), 4, 8, 12),
            "a high map": (torch.randn(1, 6, 16, 3), 4, 12, 8),
        },
        "offsets": {f"M = {M}": (M,) for M in (2, 3, 4)},
        "read_bias": {
            f"M = {M}": (torch.randn((2 * M - 1) ** 2, heads), _right_names()["offsets"](M))
            for M, heads in ((2, 3), (4, 2))
        },
        "shifts": {name: (*size, 4, 2) for name, size in sizes.items()},
        "missing": {f"{n} tokens, M = {M}": (n, M) for n, M in ((8, 4), (9, 4), (15, 4), (3, 7), (14, 7))},
        "mask": {
            f"{name}, shift {shift}": (*size, 4, shift) for name, size in sizes.items() for shift in (1, 2)
        },
        "to_windows": {name: (y, 4, 2) for name, y in maps.items()},
        "from_windows": {
            name: (_right_names()["to_windows"](y, 4, 2)[0], 4, 2, *y.shape[1:3]) for name, y in maps.items()
        },
        "attention": {
            "no mask": (windows, _layer(nn.Linear, 8, 24), linear, 2, torch.randn(2, 16, 16), None),
            "a mask": (
                *(windows, _layer(nn.Linear, 8, 24), linear, 2, torch.randn(2, 16, 16)),
                _right_names()["mask"](8, 12, 4, 2),
            ),
        },
        "drop_path": {
            "evaluation": (torch.rand(1000, 2, 2, 3) + 1, 0.2, False),
            "training": (torch.rand(1000, 2, 2, 3) + 1, 0.2, True),
            "rate 0": (torch.rand(1000, 2, 2, 3) + 1, 0.0, True),
        },
        "mlp": {"a map": (x, _layer(nn.Linear, 8, 16), _layer(nn.Linear, 16, 8))},
        "block": {"shift 0": (x, _block(0)), "shift 2": (wide, _block(2)), "odd sides": (odd, _block(2))},
        "head": {"a map": (x, linear), "a wide map": (wide, linear)},
        "learning_rate": {
            "40 steps": (40, 5, 0.1),
            "10 steps, no warm-up": (10, 0, 1.0),
            "6 steps, 5 of them warm-up": (6, 5, 0.1),
        },
        "training_step": {"four steps": ()},
        "evaluate": {"a model with dropout": ()},
    }[place]


def _with_generator(function, *inputs):
    return function(*inputs[:-1], torch.Generator().manual_seed(inputs[-1]))


def _step_of(place):
    """-> what `training_steps` gives with a function in this place"""
    return lambda function: dict(training_steps(types.SimpleNamespace(**{place: function})))[place](None)


def _call_drop_path(function, *inputs):
    from course.check.swin_transformer import call_drop_path  # it imports this file

    return call_drop_path(function, *inputs)


_CALLS = {
    "flip": _with_generator,
    "cutmix": _with_generator,
    "drop_path": _call_drop_path,
    "learning_rate": lambda function, steps, *rest: [function(step, steps, *rest) for step in range(steps)],
    "training_step": _step_of("training_step"),
    "evaluate": _step_of("evaluate"),
}
