"""Checks of notebook 08: the rates of DropPath, names of weights, a branch for kept pictures only."""

import re
from functools import cache, partial

import torch

from course import figures
from course.check.core import Exercise, Symptom, numbered, sample_images
from course.check.watch import calls
from swin_cifar.model import create_model
from swin_cifar.weights import torchvision_model, torchvision_name

# --- drop_rates --------------------------------------------------------------------------


def _drop_rates(rate, depths):
    rates = torch.linspace(0, rate, sum(depths), dtype=torch.float64).tolist()
    return [[rates.pop(0) for _ in range(depth)] for depth in depths]


def _by_number(rule):
    """rule(number of the block, number of blocks) -> share of the rate; cut into stages."""

    def function(rate, depths):
        shares = [rate * rule(i, sum(depths)) for i in range(sum(depths))]
        return [[shares.pop(0) for _ in range(depth)] for depth in depths]

    return function


def _draw_rates(function):
    rates = [r for stage in function(0.2, (2, 2, 6, 2)) for r in stage]
    line = {"rate": (list(range(1, 13)), rates)}
    figure = figures.plot_curves(line, "block of swin_t", "drop rate")
    return figure, "A straight line: the drop rate of each of the twelve blocks, from 0 to 0.2."


drop_rates = Exercise(
    "drop_rates",
    answer=_drop_rates,
    cases=lambda: {
        "depths (2, 6, 2)": (0.1, (2, 6, 2)),
        "one stage": (0.3, (4,)),
        "depths (1, 2), rate 0.5": (0.5, (1, 2)),
        "rate 0": (0.0, (2, 2)),
        "a single block": (0.2, (1,)),
    },
    mistakes={
        "The last block does not reach the full rate. How many steps lie between the "
        "first of n blocks and the last?": _by_number(lambda i, n: i / n),
        "The first block has a rate above 0 already.": _by_number(lambda i, n: (i + 1) / n),
        "Every stage begins at 0 again. The blocks are counted through the whole model.": (
            lambda rate, depths: [_drop_rates(rate, (depth,))[0] for depth in depths]
        ),
        "All blocks of a stage have the same rate. It grows from block to block.": (
            lambda rate, depths: [
                [r] * depth for r, depth in zip(_drop_rates(rate, (len(depths),))[0], depths)
            ]
        ),
        "The list is flat. Asked for is one list for each stage.": (
            lambda rate, depths: sum(_drop_rates(rate, depths), [])
        ),
        "The rates fall. The last block is dropped most often.": (
            _by_number(lambda i, n: (n - 1 - i) / (n - 1) if n > 1 else 0)
        ),
        "All blocks have the same rate.": _by_number(lambda i, n: 1),
    },
    picture=_draw_rates,
    tolerance=1e-6,
)

# --- our_name ----------------------------------------------------------------------------


@cache
def _names():
    """{torchvision's name: ours} for every weight of swin_s."""
    with torch.device("meta"):
        ours = create_model("swin_s").state_dict()
    return {torchvision_name(name): name for name in ours}


def _renamed(name, stage=lambda n: n // 2, merging=lambda n: n // 2, mlp=True, embed=True):
    """With a mistake, if asked for."""
    if embed:
        name = name.replace("features.0.0.", "patch_embed.proj.").replace(
            "features.0.2.", "patch_embed.norm."
        )
    name = re.sub(r"^features\.([1357])\.", lambda m: f"stages.{stage(int(m[1]))}.blocks.", name)
    name = re.sub(r"^features\.([246])\.", lambda m: f"stages.{merging(int(m[1]))}.downsample.", name)
    for number, layer in ((0, "fc1"), (3, "fc2")) if mlp is True else mlp or ():
        name = name.replace(f".mlp.{number}.", f".mlp.{layer}.")
    return name


def _renamed_odd_even(name):
    name = name.replace("features.0.0.", "patch_embed.proj.").replace("features.0.2.", "patch_embed.norm.")
    name = re.sub(r"^features\.([1357])\.", lambda m: f"stages.{int(m[1]) // 2}.downsample.", name)
    name = re.sub(r"^features\.([246])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks.", name)
    return name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")


def _call_with_names(function, names):
    return {name: function(name) for name in names}


def _name_cases():
    names = list(_names())
    merging, block = re.compile(r"features\.[246]"), re.compile(r"features\.[1357]\.(\d+)\.")
    cases = {
        "patch embedding, last norm and head": [
            n for n in names if n.startswith("features.0.") or not n.startswith("features")
        ],
        "mergings": [n for n in names if merging.match(n)],
        "blocks, without their MLP": [n for n in names if block.match(n) and ".mlp." not in n],
        "the MLPs of blocks": [n for n in names if block.match(n) and ".mlp." in n],
    }
    late = [n for n in names if block.match(n) and int(block.match(n)[1]) > 9]
    cases = {label: ([n for n in chosen if n not in late],) for label, chosen in cases.items()}
    return cases | {"blocks with a number of two digits": (late,)}


def _one_digit_only(found, names):
    """Right, or (where a block's number has two digits) wrong."""
    expected = _names()
    return all((found[n] == expected[n]) != bool(re.match(r"features\.\d\.\d\d", n)) for n in names)


def _draw_names(function):
    torch.manual_seed(0)
    ours = create_model("nano").eval()
    theirs = torchvision_model(ours.config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape) / max(parameter.shape) ** 0.5)
        weights = {n: t for n, t in theirs.state_dict().items() if not n.endswith("relative_position_index")}
        ours.load_state_dict({function(name): tensor for name, tensor in weights.items()})
        images = (sample_images() - 0.5) / 0.3
        pairs = {"loaded with your names": (theirs(images), ours(images))}
    figure = figures.plot_agreement(pairs, "torchvision's logit", "ours minus torchvision's")
    for ax in figure.axes:
        ax.set_ylim(-0.1, 0.1)
    return figure, "Logits of two models, torchvision's and ours with its weights: all differences are 0."


our_name = Exercise(
    "our_name",
    answer=lambda name: _names()[name],
    cases=_name_cases,
    call=_call_with_names,
    mistakes={
        "You use torchvision's number as the number of the stage. It counts blocks "
        "and mergings in turn, so features.3 is our second stage.": partial(
            _renamed, stage=lambda n: n, merging=lambda n: n
        ),
        "Your stages begin at 1. Ours begin at 0.": (
            partial(_renamed, stage=lambda n: n // 2 + 1, merging=lambda n: n // 2 + 1)
        ),
        "You give a merging to the stage before it. In our model it is the beginning of the next stage.": (
            partial(_renamed, merging=lambda n: n // 2 - 1)
        ),
        "The layers of the MLP keep their numbers. Ours are called fc1 and fc2.": partial(
            _renamed, mlp=False
        ),
        "mlp.0 and mlp.3 are the two linear layers (1 is GELU, 2 and 4 are Dropout), in this order.": (
            partial(_renamed, mlp=((0, "fc2"), (3, "fc1")))
        ),
        "features.0 is the patch embedding: 0 is its convolution, 2 its LayerNorm.": partial(
            _renamed, embed=False
        ),
        "The number of a block can have two digits, as in features.5.10.": Symptom(_one_digit_only),
        "Blocks and mergings have changed places: features.1 holds the first stage's "
        "blocks, features.2 the first merging.": _renamed_odd_even,
    },
    forbidden={
        "The package's own function finds the names. Asked for is the rule, written by you.": (
            calls(torchvision_name)
        )
    },
    picture=_draw_names,
)

# --- add_branch --------------------------------------------------------------------------


class _Branch:
    """A layer that works on each picture by itself, and remembers how many it was given."""

    def __init__(self):
        self.pictures = 0

    def __call__(self, x):
        self.pictures += len(x)
        return 2 * x.flip(-1) + 1


def _call_with_branch(function, x, kept, p):
    branch = _Branch()
    out = function(x, branch, kept, p)
    return None if out is None else {"the result": out, "pictures that the branch worked on": branch.pictures}


def _add_branch_by_loop(x, branch, kept, p):
    return torch.cat(
        [x[i : i + 1] + (branch(x[i : i + 1]) / (1 - p) if kept[i] else 0) for i in range(len(x))]
    )


def _add_branch(x, branch, kept, p, factor=None, stays=True, of=lambda kept: kept, all_of_it=False):
    """With a mistake, if asked for."""
    kept = of(kept)
    out = x.clone() if stays else torch.zeros_like(x)
    results = branch(x)[kept] if all_of_it else branch(x[kept])
    out[kept] = x[kept] + results * (1 / (1 - p) if factor is None else factor(p))
    return out


def _all_scaled(x, branch, kept, p):
    out = x.clone()
    out[kept] = (x[kept] + branch(x[kept])) / (1 - p)
    return out


def _sorted(x, branch, kept, p):
    return torch.cat([x[kept] + branch(x[kept]) / (1 - p), x[~kept]])


def _only_kept(x, branch, kept, p):
    return x[kept] + branch(x[kept]) / (1 - p)


def _branch_alone(x, branch, kept, p, scale=True):
    out = x.clone()
    out[kept] = branch(x[kept]) / (1 - p if scale else 1)
    return out


def _draw_branch(function):
    pictures = sample_images()[:6] / 2
    kept = torch.tensor([True, False, True, True, False, True])
    out = function(pictures, lambda x: 0.3 * torch.ones_like(x), kept, 0.25)
    figure, axes = figures.panels(2, 6, size=1.4)
    for ax, image in zip(axes, [*pictures, *out]):
        figures.draw_picture(ax, image.clamp(0, 1))
    axes[0].set_ylabel("x", fontsize=12)
    axes[6].set_ylabel("yours", fontsize=12)
    return (
        figure,
        "Six pictures, and below them the results: brighter where the branch, a constant, was added.",
    )


def _bools(*values):
    return torch.tensor(values, dtype=torch.bool)


add_branch = Exercise(
    "add_branch",
    answer=_add_branch_by_loop,
    cases=lambda: {
        "maps of 4 pictures, 2 kept": (1 + numbered(4, 2, 3, 4), _bools(1, 0, 0, 1), 0.25),
        "vectors of 5 pictures, 4 kept": (torch.randn(5, 6), _bools(0, 1, 1, 1, 1), 0.2),
        "all kept": (torch.randn(3, 2, 2, 4), _bools(1, 1, 1), 0.4),
        "none kept": (torch.randn(3, 2, 2, 4), _bools(0, 0, 0), 0.4),
    },
    call=_call_with_branch,
    mistakes={
        "The numbers are right, but the branch has worked on all pictures. Give it only "
        "those that are kept: then stochastic depth also saves time.": partial(_add_branch, all_of_it=True),
        "The branch is not divided by 1 - p.": partial(_add_branch, factor=lambda p: 1),
        "The branch is multiplied by 1 - p instead of divided.": partial(_add_branch, factor=lambda p: 1 - p),
        "The branch is divided by p, the probability to be dropped.": partial(
            _add_branch, factor=lambda p: 1 / p
        ),
        "A picture whose branch is dropped has become 0. Only the branch is dropped: x itself stays.": (
            partial(_add_branch, stays=False)
        ),
        "x itself is divided by 1 - p as well. Only the branch is.": _all_scaled,
        "A kept picture becomes its branch alone. The branch is added to x.": _branch_alone,
        "A kept picture becomes its branch alone. The branch is divided by 1 - p, and added to x.": partial(
            _branch_alone, scale=False
        ),
        "The wrong pictures get the branch: True in `kept` means keep.": partial(
            _add_branch, of=lambda kept: ~kept
        ),
        "The pictures have changed their order: the kept ones come first.": _sorted,
        "Only the kept pictures are returned. The others stay unchanged.": _only_kept,
        "All pictures get the branch, also those where `kept` is False.": partial(
            _add_branch, of=torch.ones_like
        ),
    },
    picture=_draw_branch,
    axes="(B, ...)",
)
