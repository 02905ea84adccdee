"""Check of notebook 14, exercise 7: a test that the student writes meets a right mask and wrong ones."""

import math

import torch
import torch.nn.functional as F

from swin_cifar import plotting
from swin_cifar.checks.bugs import _added, _differences, _only
from swin_cifar.checks.core import Exercise, Sign
from swin_cifar.windows import shifted_window_mask


def _other_mask(allowed):
    """allowed(differences, H, W, M, shift) -> who hears whom in it; as a mask."""
    return lambda *sizes: torch.where(allowed(_differences(*sizes), *sizes), 0.0, -math.inf)


def _sides_exchanged(H, W, M, shift):
    return _added(-math.inf)(W, H, M, shift)


def _column_by_column(H, W, M, shift):
    """Each window is right, and stands at the place of another."""
    mask = _added(-math.inf)(H, W, M, shift)
    return mask.unflatten(0, (H // M, W // M)).transpose(0, 1).flatten(0, 1)


def _corner_only(H, W, M, shift):
    mask = torch.zeros(H * W // M**2, M * M, M * M)
    mask[-1] = _added(-math.inf)(H, W, M, shift)[-1]
    return mask


MASKS = {  # name: (mask, what is said of a test that lets it through)
    "right": (
        _added(-math.inf),
        "It rejects the right mask. Try it on the one of your `additive_mask`, or of its solution.",
    ),
    "as found": (
        _added(255.0),
        "It lets the mask as found through, with +255. What are the weights after the softmax?",
    ),
    "no mask": (_added(0.0), "It lets a mask through that forbids nothing. Which pairs must be forbidden?"),
    "flipped": (
        _other_mask(lambda different, *_: different != 0),
        "It lets a mask through in which allowed and forbidden have changed places.",
    ),
    "only itself": (
        _other_mask(
            lambda different, *_: torch.eye(different.shape[-1], dtype=torch.bool).expand_as(different)
        ),
        "It lets a mask through that is too strict: each token hears itself alone. Who must be heard?",
    ),
    "rows only": (
        _only("rows"),
        "It lets a mask through that forgets the columns: strangers left and right of the seam hear each "
        "other.",
    ),
    "columns only": (
        _only("columns"),
        "It lets a mask through that forgets the rows: strangers above and below the seam hear each other.",
    ),
    "one direction": (
        _other_mask(lambda different, *_: different <= 0),
        "It lets a mask through that forbids one direction of each pair only.",
    ),
    "corner only": (
        _corner_only,
        "It lets a mask through that is right in the last window and forbids nothing in the others.",
    ),
    "soft": (
        _added(-20.0),
        "It lets a soft mask through, of -20. Which weight does it leave to a forbidden key, and which "
        "is asked for?",
    ),
    "always shift 1": (
        lambda H, W, M, shift: _added(-math.inf)(H, W, M, 1),
        "It lets a mask through that is right for shift 1 only. Ask for other shifts, too.",
    ),
    "always shift 2": (
        lambda H, W, M, shift: _added(-math.inf)(H, W, M, 2),
        "It lets a mask through that is right for shift 2 only. Ask for other shifts, too.",
    ),
    "sides exchanged": (
        _sides_exchanged,
        "It lets a mask through that takes H for W and W for H. On a square map that is no mistake.",
    ),
    "column by column": (
        _column_by_column,
        "It lets a mask through whose windows come column by column. Each is right, at the place of another.",
    ),
}


def _assert_mask(mask):
    for H, W, M, shift in ((8, 12, 4, 2), (9, 6, 3, 1)):
        allowed = shifted_window_mask(H, W, M, shift)
        assert torch.equal(mask(H, W, M, shift), torch.where(allowed, 0.0, -math.inf))


def _rejected(function, masks):
    """{name of a mask: does the test reject it?}"""

    def rejects(mask):
        try:
            function(mask)
        except AssertionError:
            return True
        return False

    return {name: rejects(mask) for name, mask in masks.items()}


def _lets_through(name):
    """A test that is right but for one mask, as a mistake."""
    return Sign(lambda found, masks: found[name] == (name == "right"))


def _draw_masks(function):
    figure, axes = plotting.panels(7, 2, size=2)
    figure.set_size_inches(9, 7)
    masks = {name: mask for name, (mask, _) in MASKS.items()}
    for ax, (name, rejected) in zip(axes, _rejected(function, masks).items()):
        windows = (masks[name](8, 12, 4, 1).softmax(dim=-1) > 0).float()  # (6, N, N)
        strip = F.pad(windows, (0, 1), value=0.5).transpose(0, 1).flatten(1)
        plotting.draw_mask(ax, strip, step=16, title=f"{name}: {'rejected' if rejected else 'accepted'}")
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return (
        figure,
        "The right mask is accepted, thirteen wrong ones are rejected; each with six windows in a row.",
    )


assert_mask = Exercise(
    "assert_mask",
    answer=_assert_mask,
    cases=lambda: {
        "the right mask and thirteen wrong ones": ({name: mask for name, (mask, _) in MASKS.items()},)
    },
    mistakes={
        "It lets every mask through. A test must raise an AssertionError (`assert`), to return False does "
        "not count.": Sign(lambda found, masks: not any(found.values())),
        **{words: _lets_through(name) for name, (_, words) in MASKS.items()},
    },
    picture=_draw_masks,
    call=_rejected,
)
