"""Checks of notebook 15: pictures held out by class, weights taken over, a picture as a file wants it."""

import copy
import math

import numpy as np
import torch

from course import figures
from course.check.core import Exercise, Symptom, Wrong, explain, same, sample_image

# --- hold_out ----------------------------------------------------------------------------


def _one_by_one(labels, keys, share):
    """Picture by picture: how many of its class have a smaller key?"""
    labels, keys, test = labels.tolist(), keys.tolist(), []
    for label, key in zip(labels, keys):
        others = [k for c, k in zip(labels, keys) if c == label]
        wanted = share * len(others)
        count = min(range(len(others) + 1), key=lambda n: abs(n - wanted))  # the nearest whole number
        if count == len(others):
            count -= 1
        if count < 1:
            count = 1
        test.append(sum(k < key for k in others) < count)
    return torch.tensor(test)


def _allowed(n, share):
    return max(1, min(round(share * n), n - 1))


def _held(
    order=lambda members, keys: members[keys[members].argsort()],
    count=lambda n, share, labels: _allowed(n, share),
    give=lambda test: test,
):
    """Class by class, with a mistake in one of the parts, if asked for."""

    def function(labels, keys, share):
        test = torch.zeros(len(labels), dtype=torch.bool)
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            test[order(members, keys)[: count(len(members), share, labels)]] = True
        return give(test)

    return function


def _all_together(labels, keys, share):
    return keys.argsort().argsort() < round(share * len(keys))


def _every_so_manieth(labels, keys, share):
    test, step = torch.zeros(len(labels), dtype=torch.bool), max(1, round(1 / share))
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        test[members[keys[members].argsort()][::step]] = True
    return test


def _not_put_back(labels, keys, share):
    counts = labels.unique(return_counts=True)[1].tolist()
    return torch.cat([torch.arange(n) < _allowed(n, share) for n in counts])


def _places(found, labels, keys, share):
    """Are they the numbers of the pictures that are held out, in any order?"""
    if isinstance(found, torch.Tensor) and found.dtype in (torch.int64, torch.int32):
        found = found.flatten().tolist()
    if not isinstance(found, (list, tuple)) or not all(type(i) is int for i in found):
        return False
    return sorted(found) == _one_by_one(labels, keys, share).nonzero().flatten().tolist()


def _right_in_number(found, labels, keys, share):
    if not isinstance(found, torch.Tensor) or found.dtype != torch.bool or found.shape != labels.shape:
        return False
    wanted = _one_by_one(labels, keys, share)
    return all(found[labels == c].sum() == wanted[labels == c].sum() for c in labels.unique())


def _pictures(*sizes):
    """Labels and keys of so many pictures of each class, shuffled; the classes are 0, 2, 4, ..."""
    labels = torch.tensor([2 * c for c, n in enumerate(sizes) for _ in range(n)])
    labels = labels[torch.randperm(len(labels))]
    return labels, torch.rand(len(labels), dtype=torch.float64)


def _draw_held_out(function):
    labels, keys = _pictures(23, 16, 9, 4)
    more_labels, more_keys = _pictures(4, 3, 2, 2)
    before = function(labels, keys, 0.2)
    labels, keys = torch.cat([labels, more_labels]), torch.cat([keys, more_keys])
    after, n = function(labels, keys, 0.2), len(before)
    moved = after[:n] != before
    figure, axes = figures.panels(1, 2, size=4.2)
    for ax, test, title in ((axes[0], before, f"{n} pictures"), (axes[1], after, "and 11 more")):
        x, y = keys[: len(test)], labels[: len(test)] / 2
        ax.scatter(x[~test], y[~test], s=55, facecolors="none", edgecolors=figures.COLOURS[0])
        ax.scatter(x[test], y[test], s=70, color=figures.COLOURS[5])
        ax.set(xlim=(-0.03, 1.03), ylim=(3.5, -0.5), xticks=(0, 0.5, 1), yticks=range(4))
        ax.set_title(title, fontsize=14)
        ax.set_xlabel("key; full: to test", fontsize=13)
    axes[1].scatter(keys[:n][moved], labels[:n][moved] / 2, s=220, facecolors="none", edgecolors="black")
    axes[1].set_xlabel("key; ringed: changed sides", fontsize=13)
    axes[0].set_ylabel("class", fontsize=13)
    return figure, (
        f"{n} pictures at their keys, a row for each class: the leftmost fifth of each row is held out. "
        f"With 11 more, {moved.sum()} of the {n} change sides."
    )


hold_out = Exercise(
    "hold_out",
    answer=_one_by_one,
    cases=lambda: {
        "four classes of 23, 9, 14 and 6 pictures, a fifth of each": (*_pictures(23, 9, 14, 6), 0.2),
        "a class of 3, of which 0.15 is less than half a picture": (*_pictures(12, 3, 9), 0.15),
        "a class of 2, and 0.8 to be held out": (*_pictures(11, 2), 0.8),
        "a class of one picture": (*_pictures(8, 1, 13), 0.3),
    },
    axes="(n,)",
    mistakes={
        "You return the numbers of the pictures. Asked for is True or False for each picture.": Symptom(
            _places
        ),
        "True and False are exchanged: True = to test.": _held(give=torch.logical_not),
        "The share is taken of all pictures together, so small classes may have none to test. Take it of "
        "each class.": _all_together,
        "The keys are not used: it takes the first pictures of each class. Whoever sorts the folder "
        "otherwise gets another test.": _held(order=lambda members, keys: members),
        "You compare the keys with the share. That is only about right in number, and in a small class it "
        "may be none: count.": lambda labels, keys, share: keys < share,
        "It takes the largest keys of each class. Take the smallest.": _held(
            order=lambda members, keys: members[keys[members].argsort(descending=True)]
        ),
        "`argsort` says which picture comes first, second, ...; you use it as if it said which place each "
        "picture has.": _held(order=lambda members, keys: members[keys[members].argsort().argsort()]),
        "True and False are in the order of the sorted pictures. Put them back where the pictures were.": (
            _not_put_back
        ),
        "You walk through the sorted pictures of a class and take every so-manieth. Take those with the "
        "smallest keys.": _every_so_manieth,
        "Where the share of a class rounds to none, none is held out. At least one should be.": _held(
            count=lambda n, share, labels: min(round(share * n), n - 1)
        ),
        "Where the share of a small class rounds to all of it, none is left to train on. Leave one.": _held(
            count=lambda n, share, labels: max(1, round(share * n))
        ),
        "The share is right, but both ends are missing: at least one of each class, and never all of two or "
        "more.": _held(count=lambda n, share, labels: round(share * n)),
        "Of a class with one picture none is held out. At least one should be.": _held(
            count=lambda n, share, labels: min(max(1, round(share * n)), n - 1)
        ),
        "The number is rounded down. Take the nearest one: `round`.": _held(
            count=lambda n, share, labels: max(1, min(math.floor(share * n), n - 1))
        ),
        "The number is rounded up. Take the nearest one: `round`.": _held(
            count=lambda n, share, labels: max(1, min(math.ceil(share * n), n - 1)) if n > 1 else 1
        ),
        "The same number is held out of each class. It is to be the same share: more of a large one.": _held(
            count=lambda n, share, labels: max(
                1, min(round(share * len(labels) / len(labels.unique())), n - 1)
            )
        ),
        "Of each class there is one picture too many.": _held(
            count=lambda n, share, labels: _allowed(n, share) + 1
        ),
        "Of each class there is one picture too few.": _held(
            count=lambda n, share, labels: _allowed(n, share) - 1
        ),
        "Each class has the right number, but others than those with its smallest keys. Random numbers of "
        "your own would give another test each time.": Symptom(_right_in_number),
    },
    picture=_draw_held_out,
)

# --- take_over ---------------------------------------------------------------------------


def _name_by_name(old, new):
    """For each name of new look through all of old."""
    weights, left = {}, []
    for name in new:
        fitting = [
            other
            for other in old
            if other == name
            and len(old[other].shape) == len(new[name].shape)
            and all(a == b for a, b in zip(old[other].shape, new[name].shape))
        ]
        weights[name] = old[fitting[0]] if fitting else new[name]
        if not fitting:
            left.append(name)
    return weights, left


def _same_shape(a, b):
    return a.shape == b.shape


def _taken(
    fits=_same_shape,
    left=lambda old, new, taken: [name for name in new if name not in taken],
    give=lambda old, new, weights, taken: weights,
):
    """The names one by one, with a mistake in one of the parts, if asked for."""

    def function(old, new):
        taken = [name for name in new if name in old and fits(old[name], new[name])]
        weights = {name: old[name] if name in taken else new[name] for name in new}
        return give(old, new, weights, taken), left(old, new, taken)

    return function


def _with_another(choose):
    """Each name of new gets the tensor of the name in old that `choose(place, name, old, new)` gives."""

    def function(old, new):
        chosen = {name: choose(i, name, old, new) for i, name in enumerate(new)}
        weights = {name: new[name] if other is None else old[other] for name, other in chosen.items()}
        return weights, [name for name, other in chosen.items() if other is None]

    return function


def _by_place(place, name, old, new):
    other = list(old)[place] if place < len(old) else None
    return other if other and _same_shape(old[other], new[name]) else None


def _by_shape(place, name, old, new):
    if name in old and _same_shape(old[name], new[name]):
        return name
    return next((other for other in old if _same_shape(old[other], new[name])), None)


def _all_or_nothing(old, new):
    if all(name in old and _same_shape(old[name], new[name]) for name in new):
        return {name: old[name] for name in new}, []
    return dict(new), list(new)


def _until_one_does_not_fit(old, new):
    names, taken = list(new), []
    while len(taken) < len(names):
        name = names[len(taken)]
        if name not in old or not _same_shape(old[name], new[name]):
            break
        taken.append(name)
    return {name: old[name] if name in taken else new[name] for name in names}, names[len(taken) :]


def _broadcast(old, new):
    """`copy_` repeats numbers where it can."""
    weights, left = {name: tensor.clone() for name, tensor in new.items()}, []
    for name in new:
        try:
            weights[name].copy_(old[name])
        except (RuntimeError, KeyError):
            left.append(name)
    return weights, left


def _head_stays_new(old, new):
    weights, left = _taken()({name: old[name] for name in old if not name.startswith("head.")}, new)
    return weights, left


def _call_take_over(function, old, new):
    """-> {"names", "weights", "left"}. Raises Wrong where old or new is changed, and for other things."""
    before = copy.deepcopy((old, new))
    found = function(old, new)
    for word, now, then in zip(("old", "new"), (old, new), before):
        if list(now) != list(then) or not same(now, then, 0):
            raise Wrong(
                f"`{word}` is changed. Fill a dictionary of your own, and leave the tensors as they are"
            )
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        raise Wrong(explain(found, ({}, [])))
    weights, left = found
    if not isinstance(weights, dict):
        raise Wrong(f"in place 0 {explain(weights, {})}: first the weights, then the names")
    return {"names": list(weights), "weights": dict(weights), "left": left}


def _state(**shapes):
    """{name: (sizes)} -> a state dict of random numbers; "__" in a name is a point."""
    return {name.replace("__", "."): torch.randn(shape) for name, shape in shapes.items()}


def _states():
    usual = {"patch__weight": (6, 3, 2, 2), "norm1__weight": (6,), "norm2__weight": (6,)}
    head = {"head__weight": (10, 6), "head__bias": (10,)}
    return {
        "another number of classes": (
            _state(**usual, **head),
            _state(**usual, head__weight=(4, 6), head__bias=(4,)),
        ),
        "names that only one of them has": (
            _state(norm1__weight=(6,), norm3__weight=(6,), mask=(4, 4), norm2__weight=(6,)),
            _state(norm0__weight=(6,), **usual, scale=(1,)),
        ),
        "as many numbers, in another shape": (
            _state(qkv__weight=(4, 6), proj__weight=(24,), table=(9, 2), fc__weight=(5, 3), fc__bias=(5,)),
            _state(qkv__weight=(6, 4), proj__weight=(3, 8), table=(9, 2), fc__weight=(5, 4), fc__bias=(5,)),
        ),
        "everything fits, in another order": (
            _state(**usual, **head),
            _state(**head, norm2__weight=(6,), norm1__weight=(6,), patch__weight=(6, 3, 2, 2)),
        ),
        "numbers that could be repeated": (
            _state(bias=(1, 5), norm1__weight=(6,), scale=()),
            _state(bias=(3, 5), norm1__weight=(6,), scale=(4,)),
        ),
        "nothing fits": (_state(fc1__weight=(2, 3)), _state(fc1__weight=(3, 3), fc2__weight=(2, 3))),
    }


def _draw_taken(function):
    block = "stages.0.blocks.0"
    shapes = {
        "patch_embed.proj.weight": ((16, 3, 4, 4), (16, 3, 4, 4)),
        f"{block}.attn.qkv.weight": ((48, 16), (48, 16)),
        f"{block}.attn.relative_position_bias_table": ((49, 2), (225, 2)),
        f"{block}.mlp.fc1.weight": ((64, 16), (64, 16)),
        "norm.weight": ((16,), (16,)),
        "head.weight": ((10, 16), (3, 16)),
        "head.bias": ((10,), (3,)),
    }
    old, new = ({name: torch.randn(pair[i]) for name, pair in shapes.items()} for i in (0, 1))
    weights, left = function(old, new)
    figure, (ax,) = figures.panels(1, 1, size=4)
    figure.set_size_inches(9, 3.6)
    for row, (name, pair) in enumerate(shapes.items()):
        taken = torch.equal(weights[name], old[name])
        colour, word = (figures.COLOURS[4], "old's") if taken else (figures.COLOURS[1], "new's own")
        ax.barh(row, 1, left=0.79, height=0.8, color=colour)
        for x, text in ((0.0, name), (0.48, pair[0]), (0.645, pair[1]), (0.81, word)):
            ax.text(x, row, str(text), va="center", fontsize=12)
    for x, text in ((0.0, "name"), (0.48, "in old"), (0.645, "in new"), (0.81, "taken")):
        ax.text(x, -1, text, va="center", fontsize=13, weight="bold")
    ax.set(xlim=(0, 1), ylim=(len(shapes) - 0.5, -1.6))
    ax.axis("off")
    kept = ", ".join(name.removeprefix(f"{block}.") for name in left)
    return figure, f"A table of {len(shapes)} names with their shapes in old and new. New's own stay: {kept}."


take_over = Exercise(
    "take_over",
    answer=_name_by_name,
    cases=_states,
    call=_call_take_over,
    mistakes={
        "The shape is not looked at: a tensor of another shape is taken over, and the model cannot load "
        "it.": _taken(fits=lambda a, b: True),
        "It is `{**new, **old}`: tensors of another shape are taken over, and names that new lacks slip "
        "in.": lambda old, new: ({**new, **old}, [name for name in new if name not in old]),
        "Names that only old has slip in. The new model has no place for them.": _taken(
            give=lambda old, new, weights, taken: (
                weights | {name: old[name] for name in old if name not in new}
            )
        ),
        "You compare how many numbers there are. As many can have another shape: 4 × 6 and 6 × 4.": _taken(
            fits=lambda a, b: a.numel() == b.numel()
        ),
        "You compare how many axes there are. Their sizes must agree, too.": _taken(
            fits=lambda a, b: a.ndim == b.ndim
        ),
        "You compare the first size alone. All must agree.": _taken(
            fits=lambda a, b: a.shape[:1] == b.shape[:1]
        ),
        "You compare all sizes but the first. That one must agree, too.": _taken(
            fits=lambda a, b: a.ndim == b.ndim and a.shape[1:] == b.shape[1:]
        ),
        "Smaller tensors are repeated until they fill the larger ones (`copy_` and `expand` do). Take only "
        "what has the same shape.": _broadcast,
        "The tensors are matched by their order. Match them by name.": _with_another(_by_place),
        "Where a name does not fit, another one of the same shape is taken. Match by name: another layer's "
        "weights mean something else.": _with_another(_by_shape),
        "One that does not fit, and everything stays new. Decide for each name.": _all_or_nothing,
        "It stops at the first name that does not fit. Later ones may fit: go on.": _until_one_does_not_fit,
        "The head stays new even where it fits. Look at name and shape, at nothing else.": _head_stays_new,
        "The weights are in old's order. They are to be in new's.": _taken(
            give=lambda old, new, weights, taken: (
                {name: weights[name] for name in sorted(new, key=[*old, *new].index)}
            )
        ),
        "The weights are sorted by name. They are to be in new's order.": _taken(
            give=lambda old, new, weights, taken: {name: weights[name] for name in sorted(new)}
        ),
        "The weights lack the names that are left. Those keep new's own tensors.": _taken(
            give=lambda old, new, weights, taken: {name: old[name] for name in taken}
        ),
        "Old and new are exchanged: the weights have old's names and tensors where only new's fit the "
        "model.": lambda old, new: _taken()(new, old),
        "The weights are right. `left` has the names that were taken over; asked for are the others.": _taken(
            left=lambda old, new, taken: taken
        ),
        "The weights are right. `left` has the names of old that found no place; asked for are those of new "
        "that keep their own tensors.": _taken(
            left=lambda old, new, taken: [name for name in old if name not in taken]
        ),
        "The weights are right. `left` has names that only old has, too.": _taken(
            left=lambda old, new, taken: [name for name in {**new, **old} if name not in taken]
        ),
        "The weights are right. `left` lacks those that old has in another shape.": _taken(
            left=lambda old, new, taken: [name for name in new if name not in old]
        ),
        "The weights are right. `left` lacks those that old does not have at all.": _taken(
            left=lambda old, new, taken: [name for name in new if name in old and name not in taken]
        ),
        "The weights are right. `left` is a number; asked for are the names.": _taken(
            left=lambda old, new, taken: len(new) - len(taken)
        ),
    },
    picture=_draw_taken,
)

# --- to_input ----------------------------------------------------------------------------


def _pixel_by_pixel(picture, mean, std):
    h, w, _ = picture.shape
    x = np.zeros((1, 3, h, w), dtype=np.float32)
    for row in range(h):
        for column in range(w):
            for colour in range(3):
                value = int(picture[row, column, colour]) / 255
                x[0, colour, row, column] = (value - mean[colour]) / std[colour]
    return x


def _scaled(picture):
    return picture.astype(np.float64) / 255


def _made(
    scale=_scaled,
    norm=lambda x, mean, std: (x - mean) / std,
    axes=lambda x: x.transpose(2, 0, 1)[None],
    kind=np.float32,
):
    """(h, w, 3) -> scaled, normalised, its axes put in order; with a mistake in one of them, if asked for."""

    def function(picture, mean, std):
        return axes(norm(scale(picture), np.array(mean), np.array(std))).astype(kind)

    return function


def _along(axis):
    """The three means and stds along this axis of (h, w, 3); an error where it has not three places."""
    shape = [-1 if i == axis else 1 for i in range(3)]
    return _made(norm=lambda x, mean, std: (x - mean.reshape(shape)) / std.reshape(shape))


def _of_the_picture(x, mean, std):
    return (x - x.mean((0, 1))) / np.maximum(x.std((0, 1)), 1e-8)


def _call_to_input(function, picture, mean, std):
    """-> {"shape", "type", "numbers"}. Raises Wrong for other things, and where the picture is changed."""
    before = picture.copy()
    found = function(picture, mean, std)
    if not np.array_equal(before, picture):
        raise Wrong("the picture is changed. Make a new array")
    if isinstance(found, torch.Tensor):
        raise Wrong(
            "you return a PyTorch tensor, expected a NumPy array. Where the file runs there is no PyTorch"
        )
    if not isinstance(found, np.ndarray):
        raise Wrong(explain(found, before))
    if found.dtype.name not in TYPES:
        raise Wrong(f"the numbers are of type {found.dtype.name}, expected float32")
    return described(torch.from_numpy(found.copy()))


TYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


def described(numbers):
    """A tensor -> what is compared: its shape and type, as NumPy says it, and the numbers."""
    kind = str(numbers.dtype).removeprefix("torch.")
    return {"shape": str(tuple(numbers.shape)), "type": kind, "numbers": numbers}


def _wraps(found, picture, mean, std):
    """Is what is darker than the mean too large by 256, and the rest right?"""
    wanted = torch.from_numpy(_pixel_by_pixel(picture, mean, std))
    if found["shape"] != str(tuple(wanted.shape)):
        return False
    grey = 255 * torch.tensor(std).view(3, 1, 1)
    above = grey * (found["numbers"].float() - wanted)  # in steps of the picture's numbers
    value = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))[None]
    middle = 255 * torch.tensor(mean).view(3, 1, 1)
    dark, bright = value < middle - 2, value > middle + 2
    return bool(((above - 256).abs()[dark] < 2).all() and (above.abs()[bright] < 2).all())


def _numbers():
    """mean and std: three different numbers each."""
    return tuple((0.3 + 0.4 * torch.rand(3)).tolist()), tuple((0.15 + 0.2 * torch.rand(3)).tolist())


def _picture(h, w):
    return torch.randint(256, (h, w, 3), dtype=torch.uint8).numpy(), *_numbers()


def _extremes():
    picture, mean, std = _picture(4, 6)
    return np.where(picture > 127, 255, 0).astype(np.uint8), mean, std


def _draw_input(function):
    image = (255 * sample_image()[:, 2:26]).byte()
    mean, std = (tuple(f(image[i].float() / 255).item() for i in range(3)) for f in (torch.mean, torch.std))
    x = torch.from_numpy(np.array(function(image.permute(1, 2, 0).numpy().copy(), mean, std)))
    figure, axes = figures.panels(1, 4, size=2.6)
    figures.draw_picture(axes[0], image, "24 × 32 × 3, uint8")
    for ax, values, name in zip(axes[1:], x[0], ("red", "green", "blue")):
        ax.set_xlabel(f"mean {round(values.mean().item(), 2) + 0.0:.2f}, std {values.std():.2f}", fontsize=12)
        figures.draw_heat(ax, values, name, signed=True, limit=2.5)
    low, high = x.min().item(), x.max().item()
    return figure, (
        "A picture of 24 by 32 pixels, and what you made of it: a map for red, for green and for blue, "
        f"each with mean 0 and standard deviation 1, from {low:.1f} to {high:.1f}."
    )


to_input = Exercise(
    "to_input",
    answer=_pixel_by_pixel,
    cases=lambda: {
        "5 by 7 pixels": _picture(5, 7),
        "3 columns": _picture(4, 3),
        "3 rows": _picture(3, 6),
        "the darkest and the brightest alone": _extremes(),
        "one pixel": _picture(1, 1),
    },
    call=_call_to_input,
    mistakes={
        "The numbers are not divided by 255: mean and std are those of pixels between 0 and 1.": _made(
            scale=lambda picture: picture.astype(float)
        ),
        "The numbers are divided by 256. The brightest is 255, and is to be 1.": _made(
            scale=lambda picture: picture / 256
        ),
        "`//` divides whole numbers: only 0 and 1 are left of the picture.": _made(
            scale=lambda picture: picture // 255
        ),
        "`mean` and `std` are not used.": _made(norm=lambda x, mean, std: x),
        "`std` is not used.": _made(norm=lambda x, mean, std: x - mean),
        "`mean` is not used.": _made(norm=lambda x, mean, std: x / std),
        "`mean` and `std` are exchanged: subtract the mean, divide by the standard deviation.": _made(
            norm=lambda x, mean, std: (x - std) / mean
        ),
        "The mean is subtracted last. Subtract it first, then divide by std.": _made(
            norm=lambda x, mean, std: x / std - mean
        ),
        "The mean is subtracted before the numbers are divided by 255. Scale first.": _made(
            scale=lambda picture: picture.astype(float), norm=lambda x, mean, std: (x - mean) / 255 / std
        ),
        "It multiplies by std. Divide.": _made(norm=lambda x, mean, std: (x - mean) * std),
        "The colours share one mean and one std. Each has its own.": _made(
            norm=lambda x, mean, std: (x - mean.mean()) / std.mean()
        ),
        "All colours get the first mean and std. Each has its own.": _made(
            norm=lambda x, mean, std: (x - mean[0]) / std[0]
        ),
        "Each column has a mean and std of its own, where there happen to be three. Each colour should.": (
            _along(1)
        ),
        "Each row has a mean and std of its own, where there happen to be three. Each colour should.": _along(
            0
        ),
        "The picture's own mean and std are used. Take those that the model was trained with.": _made(
            norm=_of_the_picture
        ),
        "The numbers go from -1 to 1, whatever `mean` and `std` say.": _made(
            norm=lambda x, mean, std: (x - 0.5) / 0.5
        ),
        "The numbers are float64. The file wants float32 and refuses others.": _made(kind=np.float64),
        "The numbers are float16. The file wants float32 and refuses others.": _made(kind=np.float16),
        "The axis of the pictures is missing: one picture is (1, 3, h, w).": _made(
            axes=lambda x: x.transpose(2, 0, 1)
        ),
        "The colours are still the last axis. They come before rows and columns.": _made(
            axes=lambda x: x[None]
        ),
        "Rows and columns are exchanged: `.T` turns all axes around.": _made(axes=lambda x: x.T[None]),
        "`reshape` only counts the numbers off anew: the colours get mixed. The axes must be exchanged.": (
            lambda picture, mean, std: _made(axes=lambda x: x.transpose(2, 0, 1)[None])(
                picture.reshape(3, *picture.shape[:2]).transpose(1, 2, 0), mean, std
            )
        ),
        "Blue comes first, as in OpenCV. The picture has red, green, blue, and so has the model.": (
            _made(scale=lambda picture: _scaled(picture)[..., ::-1])
        ),
        "Each colour has its own mean and std, but then blue comes first. The model has red, green, blue.": (
            _made(axes=lambda x: x.transpose(2, 0, 1)[None, ::-1])
        ),
        "What is darker than the mean comes out bright: uint8 has no negative numbers, and wraps around. "
        "Make float32 of it first.": Symptom(_wraps),
    },
    forbidden={
        "PyTorch does a part of it. Where the file runs there is none: use NumPy alone.": (
            lambda watch, *inputs: bool(watch.operators)
        )
    },
    picture=_draw_input,
)
