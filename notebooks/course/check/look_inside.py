"""Checks of notebook 11: a fair control, bias and content apart, attention rollout, a map of one's own."""

from functools import partial
from itertools import product

import torch

from course import content, figures
from course.check.core import Exercise, Wrong, as_tensor, sample_images
from course.check.watch import calls
from course.controls import has_top
from swin_cifar.config import SwinConfig
from swin_cifar.model import SwinTransformer

# --- fair_control ------------------------------------------------------------------------


def _fair_by_loops(marked, chance):
    drawn = torch.zeros_like(marked)
    for b in range(len(marked)):
        places = list(product(*map(range, marked.shape[1:])))
        places.sort(key=lambda place: -chance[b][place].item())
        for place in places[: int(marked[b].sum())]:
            drawn[b][place] = True
    return drawn


def _fair(marked, chance, count="own", among="all", largest=True, one_set=False):
    """With a mistake, if asked for."""
    flat, counts = chance.flatten(1), marked.flatten(1).sum(dim=1)
    if count == "first":
        counts = counts[:1].expand(len(marked))
    elif count == "mean":
        counts = counts.float().mean().round().expand(len(marked))
    if among == "unmarked":
        flat = flat.masked_fill(marked.flatten(1), -1)
    if one_set:
        flat = flat[:1].expand(len(marked), -1)
    place = flat.argsort(dim=1, descending=largest).argsort(dim=1)  # 0 for the first to be drawn
    return (place < counts[:, None]).view_as(marked)


def _from_all_pictures(marked, chance):
    drawn = torch.zeros(marked.numel(), dtype=torch.bool)
    drawn[chance.flatten().topk(int(marked.sum())).indices] = True
    return drawn.view_as(marked)


def _by_threshold(marked, chance):
    return chance > 1 - marked.float().mean(dim=(1, 2), keepdim=True)


def _marks(*counts, H=4, W=6):
    """Marked tokens of pictures, so many in each, and a chance for every token."""
    marked = _fair_by_loops(
        torch.stack([torch.arange(H * W).view(H, W) < n for n in counts]), torch.rand(len(counts), H, W)
    )
    return marked, torch.rand(len(counts), H, W)


def _draw_fair(function):
    marked = torch.zeros(2, 8, 8, dtype=torch.bool)
    marked[0, 1:5, 2:6] = marked[1, 5:7, 3:6] = True
    found = function(marked, torch.rand(2, 8, 8))
    figure, axes = figures.panels(1, 4, size=2.2)
    for i, words in enumerate(("marked", "yours")):
        for b, values in enumerate((marked, found)[i]):
            ax = axes[2 * b + i]
            figures.draw_heat(ax, values.float(), f"{words}: {int(values.sum())} tokens", limit=1)
            figures.draw_grid(ax, 8, 8)
    return figure, "Two marked sets of 16 and 6 tokens; beside each, as many tokens scattered at random."


fair_control = Exercise(
    "fair_control",
    answer=_fair_by_loops,
    cases=lambda: {
        "one picture": _marks(6),
        "three pictures, as many in each": _marks(5, 5, 5),
        "pictures with different numbers": _marks(3, 8, 1, 6),
        "a picture without any": _marks(4, 0, 7, H=5, W=5),
    },
    mistakes={
        "Every picture gets as many tokens as the first one. They may have different numbers.": (
            partial(_fair, count="first")
        ),
        "Every picture gets the mean number of tokens. Each needs its own, or the sets differ in size.": (
            partial(_fair, count="mean")
        ),
        "The marked tokens are never drawn. Then it is no random set: a map that marks unimportant tokens "
        "would be compared with the important ones.": partial(_fair, among="unmarked"),
        "All pictures get the places of the first one. That is a fixed set, another control.": (
            partial(_fair, one_set=True)
        ),
        "The tokens are drawn from all pictures together: one picture loses more of them than another.": (
            _from_all_pictures
        ),
        "The tokens with the smallest chance are drawn. Asked for are those with the largest.": (
            partial(_fair, largest=False)
        ),
        "The number is right only on average: a threshold draws now more, now fewer.": _by_threshold,
        "The marks are those of another picture: that is another control, and their number is another one.": (
            lambda marked, chance: marked.roll(1, 0)
        ),
    },
    picture=_draw_fair,
    axes="(B, H, W)",
)

# --- content_share -----------------------------------------------------------------------


def _share_by_loops(qk, bias):
    B, heads, N, _ = qk.shape
    weights = [
        [[(qk[b, h, i] + bias[h, i]).softmax(0) for i in range(N)] for h in range(heads)] for b in range(B)
    ]
    shares = torch.zeros(heads)
    for h, i in product(range(heads), range(N)):
        average = sum(weights[b][h][i] for b in range(B)) / B
        for b in range(B):
            shares[h] += sum(abs(p - q) for p, q in zip(weights[b][h][i], average)) / 2
    return shares / (B * N)


def _share(qk, bias, scores="both", reference="average", half=True, over="queries", size="abs", dim=-1):
    """With a mistake, if asked for."""
    both = qk + bias if scores == "both" else qk
    weights = both.softmax(dim=dim)
    average = {
        "average": weights.mean(dim=0),
        "of scores": both.mean(dim=0).softmax(dim=dim),
        "bias": bias.softmax(dim=dim),
        "equal": torch.full_like(bias, 1 / bias.shape[-1]),
        "next": weights.roll(1, 0),
    }[reference]
    differences = weights - average
    differences = {"abs": differences.abs(), "square": differences**2, "plain": differences}[size]
    distance = differences.sum(dim=-1) / (2 if half else 1)  # (B, heads, N)
    return distance.mean(dim=(0, 2)) if over == "queries" else distance.mean(dim=0).sum(dim=1)


def _scores(B, heads, N):
    return 2 * torch.randn(B, heads, N, N) + torch.randn(heads, N, N), 2 * torch.randn(heads, N, N)


def _draw_share(function):
    sizes = (0, 0.5, 1, 2, 4)
    qk, bias = torch.randn(30, 1, 16, 16), torch.randn(1, 16, 16)
    shares = [function(size * qk, bias).item() for size in sizes]
    figure = figures.plot_curves({"share": (sizes, shares)}, "spread of q·k (that of the bias: 1)", "share")
    said = ", ".join(f"{share:.2f}" for share in shares)
    return figure, f"The share for q·k of spread 0, 0.5, 1, 2 and 4, beside a bias of spread 1: {said}."


content_share = Exercise(
    "content_share",
    answer=_share_by_loops,
    cases=lambda: {
        "two heads": _scores(5, 2, 4),
        "one head, two pictures": _scores(2, 1, 6),
        "three heads, windows of nine tokens": _scores(4, 3, 9),
        "no bias": (torch.randn(3, 2, 4, 4), torch.zeros(2, 4, 4)),
    },
    mistakes={
        "The bias is missing. The weights are the softmax of both parts together: a strong bias leaves less "
        "to the picture.": partial(_share, scores="qk"),
        "You average the scores, and make weights of that. The average map is the mean of the weights.": (
            partial(_share, reference="of scores")
        ),
        "You compare with the bias alone. Queries and keys, too, have a part that is the same for every "
        "picture; only the average map has all of it.": partial(_share, reference="bias"),
        "You compare with equal weights. That tells how uneven the attention is, not whether the picture "
        "makes it so.": partial(_share, reference="equal"),
        "You compare with another picture. Then both change; asked for is the distance to the average map.": (
            partial(_share, reference="next")
        ),
        "It is twice as large: what one token loses another one gains, and you count both.": (
            partial(_share, half=False)
        ),
        "You add up the queries. Asked for is their mean: a share cannot be larger than 1.": (
            partial(_share, over="sum")
        ),
        "You square the differences. Asked for is their absolute value.": partial(_share, size="square"),
        "Positive and negative differences cancel, and nothing is left: what is missing before the sum?": (
            partial(_share, size="plain")
        ),
        "The softmax goes over the queries. The weights of one query add up to 1: the last axis.": (
            partial(_share, dim=-2)
        ),
    },
    picture=_draw_share,
    axes="(heads,)",
)

# --- rollout -----------------------------------------------------------------------------


def _rollout_by_loops(maps):
    """Token by token: what a token holds of the first map is a weighted mean of what others hold."""
    B, _, H0, W0 = maps[0].shape[:4]
    holds = {}
    for b, y, x in product(range(B), range(H0), range(W0)):
        holds[b, y, x] = torch.zeros(H0, W0)
        holds[b, y, x][y, x] = 1
    before = H0, W0
    for attention in maps:
        H, W = attention.shape[2:4]
        tokens = list(product(range(B), range(H), range(W)))
        if (H, W) != before:
            holds = {
                (b, y, x): sum(holds[b, 2 * y + i, 2 * x + j] for i, j in product((0, 1), (0, 1))) / 4
                for b, y, x in tokens
            }
        new = {}
        for b, y, x in tokens:
            looks = torch.zeros(H0, W0)
            for u, v in product(range(H), range(W)):
                looks += attention[b, :, y, x, u, v].mean() * holds[b, u, v]
            new[b, y, x] = (holds[b, y, x] + looks) / 2
        holds, before = new, (H, W)
    return torch.stack(list(holds.values())).view(B, *before, H0, W0)


def _rollout(maps, stays=0.5, looks=0.5, heads="mean", merge="mean", order="right", turned=False):
    """With a mistake, if asked for."""
    reached, before = None, maps[0].shape[2:4]
    for attention in maps:
        B, _, H, W = attention.shape[:4]
        attention = {"mean": attention.mean(1), "max": attention.amax(1), "first": attention[:, 0]}[heads]
        step = attention.reshape(B, H * W, H * W)
        step = looks * (step.mT if turned else step) + stays * torch.eye(H * W)
        if reached is None:
            reached = torch.eye(H * W).expand(B, -1, -1)
        if (H, W) != tuple(before):
            four = reached.view(B, H, 2, W, 2, -1)
            reached = {
                "mean": four.mean(dim=(2, 4)),
                "sum": four.sum(dim=(2, 4)),
                "first": four[:, :, 0, :, 0],
                "row": reached.view(B, H, W, 4, -1).mean(dim=3),
            }[merge].reshape(B, H * W, -1)
        right_order = order == "right" or reached.shape[1] != reached.shape[2]
        reached = step @ reached if right_order else reached @ step
        before = H, W
    return reached.view(B, *before, *maps[0].shape[2:4])


def _attentions(B, heads, *sizes):
    """Uneven attention for blocks with maps of these sizes; only some tokens are seen, as in windows."""
    maps = []
    for H, W in sizes:
        scores = 2 * torch.randn(B, heads, H * W, H * W)
        unseen = torch.rand(H * W, H * W) < 0.4
        scores = scores.masked_fill(unseen & ~torch.eye(H * W, dtype=torch.bool), -torch.inf)
        maps.append(scores.softmax(dim=-1).view(B, heads, H, W, H, W))
    return maps


def _draw_rollout(function):
    maps = []
    for side, shift in ((8, 0), (8, 2), (4, 0)):  # equal weights in regular, shifted and one single window
        window = (torch.arange(side) - shift).div(4, rounding_mode="floor")
        same = (window[:, None] == window).float()
        shared = torch.einsum("yu,xv->yxuv", same, same)
        maps.append((shared / shared.sum(dim=(2, 3), keepdim=True))[None, None])
    figure, axes = figures.panels(1, 3, size=2.4)
    for n, ax in enumerate(axes, start=1):
        found = function(maps[:n])
        place = 2 if found.shape[1] == 8 else 1
        figures.draw_heat(ax, found[0, place, place], f"after block {n - 1}")
    return (
        figure,
        "Equal attention, rolled out for one token: its window; further windows, paler; the whole map.",
    )


rollout = Exercise(
    "rollout",
    answer=_rollout_by_loops,
    cases=lambda: {
        "one block": (_attentions(1, 2, (3, 4)),),
        "three blocks, two pictures": (_attentions(2, 3, (2, 4), (2, 4), (2, 4)),),
        "a merging": (_attentions(1, 2, (4, 6), (2, 3)),),
        "two blocks, a merging, two blocks": (_attentions(2, 2, (4, 4), (4, 4), (2, 2), (2, 2)),),
    },
    mistakes={
        "Nothing of a token itself stays. The residual connection keeps it: half of each step is the token "
        "itself.": partial(_rollout, stays=0, looks=1),
        "The token itself is added, but the rows do not add up to 1 any more: halve both parts.": (
            partial(_rollout, stays=1, looks=1)
        ),
        "The blocks are multiplied in the wrong order. The last block's matrix stands on the left: it looks "
        "at what the blocks before have made.": partial(_rollout, order="wrong"),
        "At a merging the four tokens are added up. A merged token is their mean: its row must still add up "
        "to 1.": partial(_rollout, merge="sum"),
        "At a merging you keep one token of the four. All four become one.": partial(_rollout, merge="first"),
        "At a merging you take four tokens that follow each other in a row. Merged are 2 x 2 neighbours.": (
            partial(_rollout, merge="row")
        ),
        "You take the largest of the heads. Then the rows do not add up to 1; asked for is the mean.": (
            partial(_rollout, heads="max")
        ),
        "You take one head alone. Asked for is the mean of all.": partial(_rollout, heads="first"),
        "Queries and keys have changed places: a row of the matrix belongs to the token that looks.": (
            partial(_rollout, turned=True)
        ),
    },
    forbidden={"It is made by `content.rollout`: write it yourself.": calls(content.rollout)},
    picture=_draw_rollout,
    axes="(B, H, W, H0, W0)",
)

# --- own_map -----------------------------------------------------------------------------


def _small_model():
    torch.manual_seed(0)
    return SwinTransformer(SwinConfig(patch_size=4, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4))


def _pictures(*numbers):
    images = sample_images()[list(numbers)] * 4 - 2
    return _small_model(), images, torch.arange(len(images))  # in training: nothing is drawn, and it shows


def _form_of(function, model, images, labels):
    """Is it a map at all? What it is good for only the comparison tells."""
    with torch.no_grad():
        found = function(model, images, labels)
        alone, again = (function(model, images[:1], labels[:1]) for _ in range(2))
    if not isinstance(found, torch.Tensor) or found.ndim != 3 or len(found) != len(images):
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else "no tensor"
        raise Wrong(f"expected one map for each picture, (B, H, W) with B = {len(images)}, got {shape}.")
    found = as_tensor(found, found.shape, "(B, H, W)")
    if not found.isfinite().all():
        raise Wrong("some values are nan or infinite. They cannot be put in an order.")
    if not torch.equal(alone, again):
        raise Wrong("called twice, it gives two different maps. A map by chance is a control, not a map.")
    if not torch.allclose(found[:1], alone, atol=1e-4, rtol=1e-3):
        raise Wrong("a picture alone gets another map than the same picture among others.")
    if torch.allclose(found, found[:1].expand_as(found)):
        raise Wrong("all pictures get the same map. That is the control `fixed`.")
    if found[0].numel() < 4:
        raise Wrong("a map of fewer than four tokens has no top quarter.")
    if not has_top(found, found[0].numel() // 4).all():
        raise Wrong("values are equal where the top quarter ends, so that nobody can say what it marks.")
    return {"a map for each picture": True}


def _occlusion(model, images, labels):
    """How far the logit falls when one token becomes grey, token by token."""
    values = torch.zeros(len(images), 4, 4)
    before = model(images)
    for y, x in product(range(4), range(4)):
        grey = images.clone()
        grey[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = 0
        values[:, y, x] = (before - model(grey)).gather(1, labels[:, None])[:, 0]
    return values


def _draw_own(function):
    model, images, labels = _pictures(0, 1, 2, 3)
    with torch.no_grad():
        found = function(model, images, labels)
    figure, axes = figures.panels(2, 4, size=1.9)
    for i, values in enumerate(found):
        figures.draw_picture(axes[i], (images[i] + 2) / 4)
        figures.draw_heat(axes[4 + i], values - values.min())
    return (
        figure,
        "Four drawn shapes, and below each the map of an untrained model, bright where it is large.",
    )


own_map = Exercise(
    "own_map",
    answer=_occlusion,
    cases=lambda: {"three pictures": _pictures(0, 5, 6)},
    mistakes={},
    picture=_draw_own,
    call=_form_of,
)
