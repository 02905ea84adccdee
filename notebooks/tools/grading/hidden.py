"""Other inputs than those that a check shows, for each exercise.

`cases` gives two kinds: those of the check, with other numbers where these are random, and those of MORE,
with other sizes. Every run of the grader may draw others, by its seed.
"""

import math
import random

import torch
from torch import nn

from course.check.bug_hunt import MASKS
from course.check.core import as_tensor, sample_images
from course.check.your_pictures import described
from grading.layers import Counting, Logits
from grading.sandbox import in_words
from swin_cifar.config import SwinConfig, TrainConfig
from swin_cifar.model import SwinTransformer
from swin_cifar.windows import shifted_window_mask


def cases(exercise, seed):
    """-> {label: inputs}. The labels say what is special about the inputs, in the student's words."""
    found = {}
    with torch.random.fork_rng([]):
        if exercise.name not in OWN_ALONE:
            torch.manual_seed(seed)
            found = exercise.cases()
        torch.manual_seed(seed + 1)
        for inputs in MORE.get(exercise.name, lambda r: [])(random.Random(seed)):
            found[f"other inputs, {len(found) + 1}: {in_words(inputs)}"] = inputs
    return found


def own_call(name):
    """-> {"call": ...} in place of the exercise's, where its own looks into the student's process."""
    return {"call": OWN_CALL[name]} if name in OWN_CALL else {}


# --- inputs ------------------------------------------------------------------------------


def different(*shape):
    """A tensor whose numbers are all different, in no order, and not 0."""
    return 1 + torch.randperm(math.prod(shape)).float().view(shape)


def _map(r, M):
    """B, H, W, C of a map of windows; H and W are different."""
    rows, columns = r.sample(range(1, 5), 2)
    return r.choice((1, 2)), rows * M, columns * M, r.choice((3, 4))


def _windows(r, M):
    B, H, W, C = _map(r, M)
    return different(B, H * W // M**2, M * M, C), M, H, W


def _rectangles(r):
    height, width, rows, columns = *r.sample(range(2, 6), 2), *r.sample(range(1, 5), 2)
    windows = different(2, rows * columns, height * width, 3)
    return windows, height, width, rows * height, columns * width


def _budget(r):
    H, W = r.choice(((18, 30), (20, 20), (30, 12), (16, 40)))
    M = r.choice([M for M in range(1, H + 1) if H % M == W % M == 0])
    return H, W, H * W * M**2 + r.choice((0, -1, 7))


def _shifted(r):
    """H, W, M, shift: with padding, and sometimes with one window along a side."""
    M = r.choice((3, 5, 6))
    return r.choice((M, 2 * M, 3 * M - 1)), r.choice((2 * M - 2, 2 * M + 1, 3 * M)), M, r.randrange(M)


def _whole(r):
    """The same for a map that needs no padding and has several windows along each side."""
    M = r.choice((3, 5, 6))
    rows, columns = r.sample((2, 3, 4), 2)
    return rows * M, columns * M, M, r.randrange(1, M)


def _shifted_map(r):
    H, W, M, shift = _shifted(r)
    return different(r.choice((1, 2)), H, W, 3), M, shift


def _shifted_windows(r):
    H, W, M, shift = _shifted(r)
    return different(2, math.ceil(H / M) * math.ceil(W / M), M * M, 3), M, shift, H, W


def _influence(r):
    M, count = r.choice((3, 4, 5, 6)), r.randrange(3, 7)
    return M * count, M, tuple(r.randrange(M) for _ in range(r.randrange(1, 5))), r.randrange(M * count)


def _merging(*shape):
    norm, reduction = nn.LayerNorm(4 * shape[-1]), nn.Linear(4 * shape[-1], 2 * shape[-1], bias=False)
    for weight in (norm.weight, norm.bias, reduction.weight):
        weight.data.normal_()
    return torch.randn(shape), norm.requires_grad_(False), reduction.requires_grad_(False)


def _heads(heads, head, d):
    C = heads * d
    return torch.randn(2, 2, 6, C), torch.randn(3 * C, C), torch.randn(3 * C), heads, head


def _turns(r):
    names = r.sample(("slow", "fast", "eager", "compiled", "fused"), r.choice((2, 3)))
    start = r.uniform(3, 9)
    return {name: r.uniform(0.5, 2) for name in names}, (start, start + r.uniform(3, 9)), r.choice((3, 5, 8))


def _batches(r):
    sizes = sorted(r.sample((1, 2, 4, 8, 16, 32, 64), 5))
    speeds = r.sample(range(20, 120), 5)
    memory = {B: 3 * B + 2 for B in sizes}
    seconds = {B: B / speed for B, speed in zip(sizes, speeds)}
    return seconds, memory, memory[sizes[3]], r.choice((0.1, 0.3))


def _split(r):
    small, large = r.sample((1, 2, 4, 8, 16, 32, 64), 2)
    fixed, each = r.uniform(0.002, 0.02), r.uniform(0.001, 0.006)
    return ({small: fixed + small * each, large: fixed + large * each}, r.choice((0.1, 0.2, 0.6)))


def _roof(r):
    speeds = r.choice(((3e11, 5e10), (2e10, 9e11), (7e10, 2e10)))
    n, N, C = r.choice((512, 2304)), r.choice((9, 25, 64)), r.choice((48, 120))
    return n, N, C, 4, *speeds, r.choice((True, False))


def _model(*depths, patch=3):
    heads = tuple(2 for _ in depths)
    return SwinTransformer(SwinConfig(16, patch, 3, 4, depths, heads, 2)).requires_grad_(False)


def _steps(r):
    """Steps of a program, some of them wrong, and the right ones."""
    right = [lambda x: x - 3, lambda x: x.flip(1), lambda x: 3 * x, lambda x: x.roll(1, 0), lambda x: x.abs()]
    wrong = [lambda x: x - 3.01, lambda x: x.flip(0), lambda x: 3 * x + x.sign(), _stops, lambda x: x / 0 * 0]
    names = ("start", "turn", "scale", "move", "size")
    chosen = set(r.sample(range(5), r.choice((1, 2, 3))))
    steps = [(name, wrong[i] if i in chosen else right[i]) for i, name in enumerate(names)]
    return steps, list(zip(names, right)), torch.randn(3, 4)


def _stops(x):
    raise RuntimeError("the sizes of x and y must match")


def _reached(r):
    """A function of two tokens each, and a token to change."""
    down, right = r.choice(((1, 0), (0, 1), (2, 1), (1, 3)))
    function = lambda x: x + x.roll((down, right), (1, 2)) ** 3  # noqa: E731
    return function, torch.randn(1, 5, 7, 4), (r.randrange(5), r.randrange(7))


def _masked_scores(r):
    H, W, M, shift = _whole(r)
    usual, other = torch.randn(2, H * W // M**2, M * M, M * M)
    worst = torch.where(shifted_window_mask(H, W, M, shift), -3e38, 3e38)
    return H, W, M, shift, torch.stack([usual, 200 * other, worst])


def _masks(r):
    """In another order than in the check, and the right one more than once."""
    names = [*MASKS, "right again", "and again"]
    r.shuffle(names)
    return ({name: MASKS.get(name, MASKS["right"])[0] for name in names},)


def _own_map():
    model = SwinTransformer(
        SwinConfig(patch_size=4, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4)
    )
    numbers = torch.randperm(len(sample_images()))[:4]
    return model, sample_images()[numbers] * 4 - 2, torch.randint(len(model.head.bias), (4,))


def _folder(r):
    """Labels, keys and share; no share of a class ends in a half, which might round either way."""
    sizes = r.sample(range(1, 30), r.choice((2, 3, 5)))
    labels = torch.tensor([7 * c for c, n in enumerate(sizes) for _ in range(n)])
    labels = labels[torch.randperm(len(labels))]
    return labels, torch.rand(len(labels), dtype=torch.float64), r.choice((0.07, 0.17, 0.31, 0.61, 0.93))


def _two_states(r):
    """Two state dicts: names that both have, in both shapes or one, and names of their own, in two orders."""
    shapes = [(3, 5), (5, 3), (15,), (1, 5), (3, 1), (2, 2, 2), ()]
    names = [f"{'abcdefgh'[i]}.weight" for i in range(8)]
    states = []
    for _ in range(2):
        r.shuffle(names)
        states.append({name: torch.randn(shapes[ord(name[0]) % 7]) for name in names[:6]})
    for name in r.sample(names, 3):
        states[1][name] = torch.randn(r.choice(shapes))
    return tuple(states)


def _pixels(r):
    h, w = r.choice(((6, 4), (3, 8), (9, 3), (3, 3), (2, 11)))
    numbers = [tuple(round(r.uniform(*ends), 2) for _ in range(3)) for ends in ((0.2, 0.8), (0.1, 0.4))]
    return torch.randint(256, (h, w, 3), dtype=torch.uint8).numpy(), *numbers


def _sure(n):
    sure = 0.2 + 0.8 * torch.rand(n, dtype=torch.float64)
    return sure, torch.rand(n, dtype=torch.float64) < sure


def _times(n, make):
    return lambda r: [make(r) for _ in range(n)]


# Here the check's own inputs would be the same again and take long. In `changed_by`, with other random
# numbers, some changes would be as small as its tolerance.
OWN_ALONE = ("needs_mask", "own_map", "changed_by")
MORE = {  # name: function of a random.Random -> [inputs]
    "patch_embed": lambda r: [(torch.randn(2, 3, 15, 10), torch.randn(6, 3, 5, 5), torch.randn(6))],
    "pad_centred": lambda r: [
        (different(2, 3, r.randrange(3, 14), r.randrange(3, 14)), P) for P in r.sample(range(2, 8), 4)
    ],
    "patches_back": lambda r: [(different(2, *r.sample(range(1, 6), 2), 3, P, P),) for P in (2, 5)],
    "absorb_normalization": lambda r: [
        (torch.randn(4, 48), torch.randn(4), torch.rand(3), 0.2 + torch.rand(3)),
    ],
    "patch_merging": lambda r: [_merging(2, 10, 6, 4), _merging(1, 7, 9, 3)],
    "ungather": lambda r: [(different(2, *r.sample(range(1, 6), 2), 4 * C),) for C in (1, 5)],
    "mean_merge": lambda r: [(different(2, r.randrange(2, 9), r.randrange(2, 9), 3) - 1,) for _ in range(4)],
    "window_partition": lambda r: [(different(*_map(r, M)), M) for M in (2, 3, 5)],
    "window_reverse": lambda r: [_windows(r, M) for M in (2, 3, 5)],
    "grid_partition": lambda r: [(different(*_map(r, M)), M) for M in (2, 3, 5)],
    "window_for_budget": _times(8, _budget),
    "reverse_rectangles": _times(3, _rectangles),
    "one_head": lambda r: [_heads(5, r.randrange(5), 3)],
    "stable_softmax": lambda r: [(700 * torch.randn(5, 7),), (torch.full((2, 3), -900.0),)],
    "relative_position_index": lambda r: [(M,) for M in (5, 6, 8)],
    "index_of_rectangle": lambda r: [tuple(r.sample(range(1, 8), 2)) for _ in range(3)],
    "favourite_offset": lambda r: [(torch.randn((2 * M - 1) ** 2),) for M in (2, 3, 5, 6)],
    "resize_table": lambda r: [(torch.randn(49, 2), 4, 6), (torch.randn(81, 3), 5, 3)],
    "shifted_window_mask": _times(5, _shifted),
    "to_windows": _times(5, _shifted_map),
    "from_windows": _times(5, _shifted_windows),
    "cyclic_shift": lambda r: [(different(2, 7, 9, 3), r.randrange(1, 7)), (different(1, 5, 3, 2), 2)],
    "mask_by_distance": _times(3, _whole),
    "influence": _times(6, _influence),
    "drop_path": lambda r: [
        *((1 + torch.rand(400, *more), r.choice((0.3, 0.65, 0.8)), True) for more in ((3,), (2, 3, 2))),
        (torch.randn(3, 2, 2, 2), 0.3, False),
    ],
    "count_parameters": lambda r: [
        (30, (2, r.randrange(1, 5), 1), (3, 5, 6), 4, r.choice((5, 6)), 9),
        (16, (r.randrange(1, 5), 3), (2, 4), 2, 3, r.choice((11, 12))),
    ],
    "add_branch": lambda r: [(torch.randn(9, 3), torch.rand(9) < 0.6, 0.35)],
    "learning_rate": lambda r: [
        (r.randrange(20, 50), TrainConfig(epochs=5, warmup_epochs=r.uniform(0.3, 3.0), learning_rate=0.02)),
        (12, TrainConfig(epochs=3, warmup_epochs=0.0, min_learning_rate=2e-4)),
    ],
    "trapezoid": lambda r: [(30, r.randrange(2, 9), r.randrange(2, 9), 0.02), (15, 0, 6, 0.3)],
    "clip_by_hand": lambda r: [([torch.randn(7), 9 * torch.randn(2, 3)], r.uniform(0.5, 2))],
    "accumulate": lambda r: [(torch.randn(13, 6), torch.randint(4, (13,)), 5)],
    "wilson_interval": lambda r: [(r.randrange(n + 1), n) for n in (4, 60, 700)] + [(5, 9, 2.2)],
    "reliability_table": lambda r: [(*_sure(150), 7)],
    "own_map": lambda r: [_own_map()],
    "needs_mask": lambda r: [(r.randrange(2000, 2100),)],
    "seeds_needed": lambda r: [
        r.choice(((0.6, 0.4), (0.7, 0.4), (1.5, 0.5))),
        r.choice(((0.9, 0.5, 0.7), (0.45, 0.3, 0.6), (1.0, 0.9, 0.5))),
    ],
    "median_of_turns": _times(4, _turns),
    "split_step": _times(4, _split),
    "choose_batch": _times(8, _batches),
    "least_seconds": _times(6, _roof),
    "shapes_of": lambda r: [(_model(1, r.randrange(1, 4), patch=2), torch.randn(2, 3, 14, 22))],
    "differing": _times(6, _steps),
    "changed_by": _times(3, _reached),
    "additive_mask": _times(2, _masked_scores),
    "assert_mask": lambda r: [_masks(r)],
    "hold_out": _times(6, _folder),
    "take_over": _times(6, _two_states),
    "to_input": _times(6, _pixels),
}


# --- calls -------------------------------------------------------------------------------


def _directly(function, *inputs):
    return function(*inputs)


def _take_steps(function, batches, lr, recipe, dtype):
    """-> what each step of the optimizer returned, and the weights after them."""
    torch.manual_seed(0)
    forward, found = Logits(dtype), {}
    groups = [{"params": [p], "lr_scale": s} for p, s in zip(forward.parameters(), (1.0, 3.0))]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    with torch.enable_grad():
        forward(torch.ones(2, 6)).float().sum().backward()  # a gradient that is there already
        for step, (images, targets) in enumerate(batches, 1):
            result = function(forward, optimizer, images, targets, lr / step, recipe)
            found[f"step {step}, loss and right answers"] = as_tensor(result, (2,), "").detach()
    return found | {name: p.detach().clone() for name, p in forward.named_parameters()}


def _add_up(function, images, targets, parts):
    """-> the most pictures that the model saw at once (those of a part at least), and the gradients."""
    torch.manual_seed(0)
    model = Counting(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    with torch.enable_grad():
        model(torch.ones(2, 6)).sum().backward()  # a gradient that is there already
        model.most.zero_()
        function(model, images, targets, parts)
    most = max(int(model.most), math.ceil(len(images) / parts))
    return {"most pictures at once": most} | {name: p.grad for name, p in model.named_parameters()}


def _as_numbers(function, *inputs):
    """An array comes from the student's process as a tensor."""
    return described(torch.as_tensor(function(*inputs)))


OWN_CALL = dict.fromkeys(("patch_merging", "stage", "forward"), _directly)
OWN_CALL |= {"training_step": _take_steps, "accumulate": _add_up, "to_input": _as_numbers}
