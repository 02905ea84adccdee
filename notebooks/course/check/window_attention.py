"""Checks of notebook 05: one head of a layer, all heads, a softmax for large scores, chunk by chunk."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from course import figures, package_pieces
from course.check.core import Exercise, Symptom, same, sample_image
from course.check.watch import calls, loops, uses
from swin_cifar import WindowAttention, window_partition, window_reverse

# --- stable_softmax ----------------------------------------------------------------------


def _softmax_row_by_row(scores):
    rows = []
    for row in scores.double().flatten(0, -2):
        rows.append(torch.stack([1 / (row - score).exp().sum() for score in row]))  # never 0 / 0
    return torch.stack(rows).view(scores.shape).float()


def _share(positive, dim=-1):
    return positive / positive.sum(dim=dim, keepdim=True)


def _columns(scores):
    return scores.softmax(dim=-2)


def _looks_clamped(found, scores):
    """Right for small scores; where scores are large, some that differ have equal weights above 0."""
    if not isinstance(found, torch.Tensor) or found.shape != scores.shape or not found.isfinite().all():
        return False
    if scores.abs().max() < 20:
        return torch.allclose(found, scores.softmax(dim=-1), atol=1e-4)
    top = scores.topk(2, dim=-1).values
    pairs = found.topk(2, dim=-1).values
    return ((pairs[..., 0] - pairs[..., 1] < 1e-6) & (top[..., 0] - top[..., 1] > 1e-3)).any()


def _hides_nan(found, scores):
    """What `softmax_by_hand` gives, with one number wherever that is nan."""
    by_hand = _share(scores.exp())
    if not isinstance(found, torch.Tensor) or found.shape != scores.shape or found.isnan().any():
        return False
    hidden = found[by_hand.isnan()]
    return torch.allclose(found[~by_hand.isnan()], by_hand[~by_hand.isnan()]) and bool(
        (hidden == hidden[:1]).all()
    )


def _draw_softmax(function):
    figure, axes = figures.panels(1, 3, size=2.2)
    for ax, start in zip(axes, (0, 100, 1000)):
        scores = start + torch.tensor([[0.0, 1.0, 2.0, 1.5]])
        figures.draw_bars(ax, function(scores)[0], f"scores from {start} on")
    return figure, "Three equal bar charts: weights of scores near 0, near 100 and near 1000."


stable_softmax = Exercise(
    "stable_softmax",
    answer=_softmax_row_by_row,
    cases=lambda: {
        "small scores": (torch.randn(3, 5),),
        "a single row": (torch.randn(1, 4),),
        "scores up to 1000": (1000 * torch.rand(4, 6),),
        "one row near 1000, one near -1000": (torch.tensor([[1000.0, 1001.0], [-1000.0, -1002.0]]),),
        "two heads": (300 * torch.randn(2, 3, 4),),
    },
    mistakes={
        "Large scores give nan: float32 cannot hold exp(100). You may add the same "
        "number to all scores of a row without changing its weights. Which number keeps "
        "exp small?": lambda scores: _share(scores.exp()),
        "You subtract one number from all rows. A row far below it becomes 0 / 0: each row needs its own.": (
            lambda scores: _share((scores - scores.max()).exp())
        ),
        "You subtract the mean of each row; a score far above the mean is still too large for exp.": (
            lambda scores: _share((scores - scores.mean(dim=-1, keepdim=True)).exp())
        ),
        "You divide the scores. That makes them smaller, but changes the weights: only "
        "differences may stay.": (
            lambda scores: (scores / scores.abs().amax(dim=-1, keepdim=True)).softmax(dim=-1)
        ),
        "Where float32 cannot hold exp, the nan is hidden behind another number, which is no weight either. "
        "What keeps exp small, so that there is no nan?": Symptom(_hides_nan),
        "You cut large scores off, so that different scores get the same weight.": Symptom(_looks_clamped),
        "The columns add up to 1, not the rows. The last axis belongs to one query.": _columns,
        "The weights of a row do not add up to 1: the division is missing.": (
            lambda scores: (scores - scores.amax(dim=-1, keepdim=True)).exp()
        ),
    },
    forbidden={
        "PyTorch's `softmax` makes the weights. Asked for is its work: exp, sum and a division.": uses(
            "_softmax", "_log_softmax", "_safe_softmax", "_scaled_dot_product_flash_attention_for_cpu"
        )
    },
    picture=_draw_softmax,
    axes="(..., N)",
)

# --- one_head ----------------------------------------------------------------------------


def _one_head_by_loops(x, weight, bias, heads, head):
    B, nW, N, C = x.shape
    d = C // heads
    attn = x.new_zeros(B, nW, N, N)
    for b in range(B):
        for w in range(nW):
            q, k = (
                [_slice(x[b, w, i], weight, bias, part * C + head * d, d) for i in range(N)]
                for part in (0, 1)
            )
            for i in range(N):
                attn[b, w, i] = torch.stack([q[i] @ k[j] / math.sqrt(d) for j in range(N)]).softmax(0)
    return attn


def _slice(token, weight, bias, start, d):
    return weight[start : start + d] @ token + bias[start : start + d]


def _one_head(x, weight, bias, heads, head, order="q k v, heads", scale="d", dim=-1, use_bias=True):
    """With a mistake, if asked for."""
    qkv = F.linear(x, weight, bias if use_bias else None)
    if order == "heads, q k v":
        q, k, _ = qkv.unflatten(-1, (heads, 3, -1))[..., head, :, :].unbind(-2)
    elif order == "heads last":
        q, k, _ = qkv.unflatten(-1, (3, -1, heads))[..., head].unbind(-2)
    else:
        q, k, v = qkv.unflatten(-1, (3, heads, -1))[..., head, :].unbind(-2)
        q, k = {"k q v, heads": (k, q), "q v k, heads": (q, v)}.get(order, (q, k))
    size = {"d": q.shape[-1], "C": x.shape[-1], "none": 1, "N": x.shape[2], "d squared": q.shape[-1] ** 2}[
        scale
    ]
    return (q @ k.transpose(-2, -1) / math.sqrt(size)).softmax(dim=dim)


def _one_head_cases():
    def inputs(B, nW, N, C, heads, head):
        return torch.randn(B, nW, N, C), torch.randn(3 * C, C), torch.randn(3 * C), heads, head

    return {
        "one head": inputs(1, 2, 4, 4, 1, 0),
        "the first of 3 heads": inputs(1, 2, 4, 12, 3, 0),
        "the last of 2 heads, two pictures": inputs(2, 3, 4, 8, 2, 1),
        "the middle of 3 heads": inputs(1, 1, 9, 12, 3, 1),
        "the third of 4 heads": inputs(1, 2, 4, 8, 4, 2),
    }


def _computes_other_heads(watch, x, weight, bias, heads, head):
    """More products than q, k and v of one head and its scores need?"""
    B, nW, N, C = x.shape
    return sum(watch.results("mm", "addmm", "bmm")) > B * nW * N * (3 * C // heads + N)


def _draw_one_head(function):
    image = sample_image()[:, 8:24, 12:28]
    tokens = image.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).reshape(16, 48)
    tokens = (tokens - tokens.mean(0))[None, None]  # (1, 1, 16, 48)
    weight = torch.eye(48).repeat(3, 1) * 2  # queries and keys are the pixels themselves, one colour per head
    maps = [function(tokens, weight, torch.zeros(144), 3, head)[0, 0, 5].view(4, 4) for head in range(3)]
    figure, axes = figures.panels(1, 4, size=2.3)
    figures.draw_picture(axes[0], image, "a window of 16 tokens")
    figures.draw_mark(axes[0], 1, 1, unit=4)
    for head, (ax, values) in enumerate(zip(axes[1:], maps)):
        figures.draw_heat(ax, values, f"your head {head}: {('red', 'green', 'blue')[head]}", limit=0.5)
        figures.draw_mark(ax, 1, 1)
    return figure, "A window with one token framed, and its attention in three heads, one for each colour."


one_head = Exercise(
    "one_head",
    answer=_one_head_by_loops,
    cases=_one_head_cases,
    mistakes={
        "The rows of the weight are in the order q, k, v, and inside each of them head "
        "after head. You take q, k and v of one head from neighbouring rows.": partial(
            _one_head, order="heads, q k v"
        ),
        "A head's d numbers are neighbours; you take every heads-th number.": partial(
            _one_head, order="heads last"
        ),
        "The scores are not divided by sqrt(d).": partial(_one_head, scale="none"),
        "You divide by sqrt(C). How many numbers have the query and the key of one head?": partial(
            _one_head, scale="C"
        ),
        "You divide by sqrt(N). The length of query and key counts, not the number of tokens.": partial(
            _one_head, scale="N"
        ),
        "You divide by d, not by its root.": partial(_one_head, scale="d squared"),
        "The columns add up to 1, not the rows: softmax runs over the queries instead of the keys.": partial(
            _one_head, dim=-2
        ),
        "The bias of the linear map is forgotten.": partial(_one_head, use_bias=False),
        "Query and key have changed places: row i must belong to query i.": partial(
            _one_head, order="k q v, heads"
        ),
        "You take the values for the keys. The order of the parts is q, k, v.": partial(
            _one_head, order="q v k, heads"
        ),
        "Heads count from 0: you return the head before the one that is asked for.": (
            lambda x, weight, bias, heads, head: _one_head(x, weight, bias, heads, head - 1)
        ),
        "You always return head 0.": lambda x, weight, bias, heads, head: _one_head(
            x, weight, bias, heads, 0
        ),
    },
    forbidden={
        "You compute all heads and keep one. Asked for is less: take only the rows that this head needs.": (
            _computes_other_heads
        )
    },
    picture=_draw_one_head,
    axes="(B, nW, N, N)",
)

# --- attention ---------------------------------------------------------------------------


def _attention_by_loops(x, qkv, proj, num_heads, bias, mask=None):
    B, nW, N, C = x.shape
    d = C // num_heads
    q, k, v = qkv(x).split(C, dim=-1)
    out = x.new_zeros(B, nW, N, C)
    for b in range(B):
        for w in range(nW):
            for head in range(num_heads):
                own = slice(head * d, (head + 1) * d)
                for i in range(N):
                    scores = k[b, w, :, own] @ q[b, w, i, own] / math.sqrt(d) + bias[head, i]
                    if mask is not None:
                        scores = torch.where(mask[w, i], scores, -math.inf)
                    out[b, w, i, own] = scores.softmax(0) @ v[b, w, :, own]
    return proj(out)


def _attention(
    x,
    qkv,
    proj,
    num_heads,
    bias,
    mask=None,
    order="q k v, heads",
    scale="d",
    use_bias="before softmax",
    use_mask="-inf",
    dim=-1,
    merge="heads, d",
    projected=True,
):
    """With a mistake, if asked for."""
    parts = F.linear(x, qkv.weight) if order == "without constants" else qkv(x)
    if order == "heads, q k v":
        q, k, v = parts.unflatten(-1, (num_heads, 3, -1)).permute(4, 0, 1, 3, 2, 5)
    elif order == "heads last":
        q, k, v = parts.unflatten(-1, (3, -1, num_heads)).permute(3, 0, 1, 5, 2, 4)
    elif order == "view":
        q, k, v = (t.reshape(*t.shape[:2], num_heads, t.shape[2], -1) for t in parts.chunk(3, dim=-1))
    else:
        q, k, v = parts.unflatten(-1, (3, num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = {"k q v": (k, q, v), "q v k": (q, v, k), "v k q": (v, k, q)}.get(order, (q, k, v))
    size = {"none": 1, "C": x.shape[-1], "N": x.shape[2], "d squared": q.shape[-1] ** 2}
    size["multiplied"] = 1 / q.shape[-1]
    scores = q @ k.transpose(-2, -1)
    bias = bias.transpose(1, 2) if use_bias == "transposed" else bias
    scores = scores + bias if use_bias == "before the division" else scores
    scores = scores / math.sqrt(size.get(scale, q.shape[-1]))
    if use_bias in ("before softmax", "transposed"):
        scores = scores + bias
    if mask is not None:
        scores = _masked(scores, mask[:, None], use_mask)
    weights = scores.softmax(dim=dim)
    weights = weights + bias if use_bias == "after softmax" else weights
    if mask is not None and use_mask == "after softmax":
        weights = weights * mask[:, None]
    out = weights @ v
    out = out.flatten(2).view(x.shape) if merge == "view" else out.transpose(2, 3).flatten(3)
    if merge == "d, heads":
        out = out.unflatten(-1, (num_heads, -1)).transpose(-2, -1).flatten(-2)
    if projected == "without constants":
        return F.linear(out, proj.weight)
    return proj(out) if projected else out


def _masked(scores, mask, how):
    if isinstance(how, tuple):
        step, number = how
        return scores.masked_fill(~mask, number) if step == "filled" else scores + number * ~mask
    if how == "first window":
        mask = mask[:1]
    if how == "transposed":
        mask = mask.transpose(-2, -1)
    if how == "inverted":
        return scores.masked_fill(mask, -math.inf)
    if how in ("-inf", "first window", "transposed"):
        return scores.masked_fill(~mask, -math.inf)
    return {"score 0": scores.masked_fill(~mask, 0), "added": scores + mask, "times": scores * mask}.get(
        how, scores
    )


NUMBERS = [-n for n in (*range(1, 31), 35, 40, 50, 60, 70, 80, 90, 100, 150, 200)]


def _finite_mask(found, x, qkv, proj, num_heads, bias, mask):
    """What a finite number gives in place of minus infinity, or added to the scores?"""
    inputs = x, qkv, proj, num_heads, bias, mask
    steps = [(step, number) for step in ("filled", "added") for number in NUMBERS]
    given = (_attention(*inputs, use_mask=how) for how in (steps if mask is not None else steps[:1]))
    return any(same(found, each, 1e-5) for each in given)


def _overflows(found, *inputs):
    """Right but for nan where scores are too large for exp?"""
    answer = _attention(*inputs)
    if inputs[4].abs().max() > 100 and isinstance(found, torch.Tensor) and found.shape == answer.shape:
        return found.isnan().any().item()
    return same(found, answer, 1e-5)


def _attention_cases():
    def inputs(B, nW, N, C, heads, masked=False):
        qkv, proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        for layer in (qkv, proj):
            nn.init.normal_(layer.weight, std=1.5 / math.sqrt(C))
            nn.init.normal_(layer.bias)
            layer.requires_grad_(False)
        mask = (torch.rand(nW, N, N) > 0.4) | torch.eye(N, dtype=torch.bool)  # each attends to itself
        return torch.randn(B, nW, N, C), qkv, proj, heads, torch.randn(heads, N, N), mask if masked else None

    def far_apart():
        """A forbidden key of query 0 has a bias of 300; query 1 may attend to itself alone, bias -300."""
        *layers, bias, mask = inputs(1, 2, 4, 8, 2, masked=True)
        mask[:, 0, 2], mask[:, 1] = False, torch.arange(4) == 1
        bias[:, 0, 2], bias[:, 1, 1] = 300, -300
        return *layers, bias, mask

    return {
        "one head": inputs(1, 2, 4, 8, 1),
        "three heads, two pictures": inputs(2, 4, 9, 12, 3),
        "a mask": inputs(1, 6, 4, 8, 2, masked=True),
        "a mask, two pictures, 12 heads": inputs(2, 3, 4, 48, 12, masked=True),
        "a mask, biases of 300 and -300": far_apart(),
    }


def _draw_attention(function):
    picture = sample_image().permute(1, 2, 0)[None]  # (1, 32, 32, 3): each pixel is a token
    x = window_partition(picture, 8)
    qkv, proj = nn.Linear(3, 9, bias=False), nn.Linear(3, 3, bias=False)
    proj.weight.data = torch.eye(3)
    columns = torch.arange(64) % 8 // 4
    halves = (columns[:, None] == columns).expand(16, -1, -1)  # left and right of each window are kept apart

    def mixed(strength, mask=None):
        eye = torch.eye(3)
        qkv.weight.data = torch.cat([strength * eye, strength * eye, eye])
        with torch.no_grad():
            out = function(x - 0.5, qkv, proj, 1, torch.zeros(1, 64, 64), mask) + 0.5
        return window_reverse(out, 8, 32, 32)[0].permute(2, 0, 1).clamp(0, 1)

    figure, axes = figures.panels(1, 4, size=2.6)
    figures.draw_picture(axes[0], picture[0].permute(2, 0, 1), "16 windows of pixels")
    figures.draw_picture(axes[1], mixed(0), "all scores equal")
    figures.draw_picture(axes[2], mixed(0, halves), "the same, a mask")
    figures.draw_picture(axes[3], mixed(12), "q = k = the colour")
    return (
        figure,
        "A picture, its pixels the tokens of 16 windows. With equal scores each window becomes one colour, "
        "its average. With a mask between left and right, two colours. Where queries and keys are the "
        "colours, only similar pixels are mixed, so the shape stays.",
    )


attention = Exercise(
    "attention",
    answer=_attention_by_loops,
    cases=_attention_cases,
    mistakes={
        "The scores are not divided by sqrt(d).": partial(_attention, scale="none"),
        "You divide by sqrt(C). How many numbers have the query and the key of one head?": partial(
            _attention, scale="C"
        ),
        "You divide by sqrt(N). The length of query and key counts, not the number of tokens.": partial(
            _attention, scale="N"
        ),
        "You divide by d, not by its root.": partial(_attention, scale="d squared"),
        "You multiply by sqrt(d) where the loops divide by it.": partial(_attention, scale="multiplied"),
        "The bias is divided by sqrt(d), too. Only q kᵀ is: the bias comes after the division.": partial(
            _attention, use_bias="before the division"
        ),
        "The bias is not used. Where do the loops add it?": partial(_attention, use_bias="no"),
        "The bias is added to the weights, after softmax. It belongs to the scores.": partial(
            _attention, use_bias="after softmax"
        ),
        "Query and key of the bias have changed places: bias[head, i, j] is for query i and key j.": partial(
            _attention, use_bias="transposed"
        ),
        "The columns add up to 1, not the rows: softmax runs over the queries instead of the keys.": partial(
            _attention, dim=-2
        ),
        "Softmax runs over the heads instead of the keys.": partial(_attention, dim=-3),
        "The mask is not used.": partial(_attention, use_mask="no"),
        "The mask is the wrong way round: True means that the query may attend to the key.": partial(
            _attention, use_mask="inverted"
        ),
        "The forbidden weights are set to 0 after softmax. Then a row adds up to less than 1: forbid before "
        "softmax.": partial(_attention, use_mask="after softmax"),
        "A forbidden key gets the score 0. That does not forbid it: exp(0) is 1. Which score has the weight "
        "0?": partial(_attention, use_mask="score 0"),
        "The mask is added to the scores as 0 and 1. Which score has the weight 0?": partial(
            _attention, use_mask="added"
        ),
        "Large scores give nan: float32 cannot hold exp(300). Either use PyTorch's `softmax`, or keep exp "
        "small, as it does.": Symptom(_overflows),
        "A forbidden key gets a finite number. A finite number only lowers the score: with a large bias, or "
        "where all other scores are low, the key still has weight. Which score has the weight 0?": (
            Symptom(_finite_mask)
        ),
        "Query and key of the mask have changed places: mask[w, i, j] is for query i and key j.": partial(
            _attention, use_mask="transposed"
        ),
        "All windows get the mask of the first. It is (nW, N, N): each window has its own, all heads "
        "share it.": partial(_attention, use_mask="first window"),
        "The outputs of qkv are in the order q, k, v, and inside each of them head after head. You split "
        "them head by head first.": partial(_attention, order="heads, q k v"),
        "A head's d numbers are neighbours; you give a head every heads-th number.": partial(
            _attention, order="heads last"
        ),
        "The axes are read in another shape, (heads, N, d), but no number has moved: a head holds whole "
        "tokens instead of a part of every token.": partial(_attention, order="view"),
        "Query and key have changed places: row i of the scores belongs to query i.": partial(
            _attention, order="k q v"
        ),
        "Key and value have changed places. The order of the parts is q, k, v.": partial(
            _attention, order="q v k"
        ),
        "Query and value have changed places. The order of the parts is q, k, v.": partial(
            _attention, order="v k q"
        ),
        "The constants of `qkv` are missing. A layer is more than its weight: call it.": partial(
            _attention, order="without constants"
        ),
        "The constants of `proj` are missing. A layer is more than its weight: call it.": partial(
            _attention, projected="without constants"
        ),
        "Up to the last step it is right. But the heads come back in the wrong order: which two axes must "
        "change places before heads and d become one?": partial(_attention, merge="view"),
        "The heads are merged the wrong way round, d before heads: the first d channels are head 0's.": (
            partial(_attention, merge="d, heads")
        ),
        "The output projection is missing: `proj` mixes what the heads have found.": partial(
            _attention, projected=False
        ),
    },
    forbidden={
        "It is made by the package's attention: write it yourself.": calls(
            WindowAttention.explicit_attention,
            WindowAttention.fused_attention,
            WindowAttention.forward,
            package_pieces.attention,
        ),
        "It is made by PyTorch's `scaled_dot_product_attention`. Asked for are its steps: a product, a "
        "softmax, a product.": uses(
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_attention_math",
            "_scaled_dot_product_fused_attention_overrideable",
            "_safe_softmax",
        ),
        "You visit windows, heads or tokens in a loop. `@` computes them all at once: all axes but the last "
        "two are a batch.": loops,
    },
    picture=_draw_attention,
    axes="(B, nW, N, C)",
    piece=True,
)

# --- attend_in_chunks --------------------------------------------------------------------


def _attend_at_once(q, chunks):
    k, v = (torch.cat(parts) for parts in zip(*chunks))
    scores = q.double() @ k.double().T / math.sqrt(q.shape[1])
    return (scores.softmax(dim=-1) @ v.double()).float()


def _running(q, chunks, maximum="rescaled", scale=True, rescale=("sum", "out"), start=-math.inf):
    """Chunk by chunk, with a mistake if asked for."""
    out, total, largest = 0, 0, torch.full((len(q), 1), start if maximum != "none" else 0.0)
    for k, v in chunks:
        scores = q @ k.T / (math.sqrt(q.shape[1]) if scale else 1)
        new = largest if maximum == "none" else torch.maximum(largest, scores.amax(dim=1, keepdim=True))
        if maximum == "of the chunk":
            new = scores.amax(dim=1, keepdim=True)
        weights, factor = (scores - new).exp(), (largest - new).exp() if maximum == "rescaled" else 1
        total = total * (factor if "sum" in rescale else 1) + weights.sum(dim=1, keepdim=True)
        out = out * (factor if "out" in rescale else 1) + weights @ v
        largest = new
    return out / total


def _chunk(q, k, v):
    return (q @ k.T / math.sqrt(q.shape[1])).softmax(dim=-1) @ v


def _mean_of_chunks(q, chunks):
    return torch.stack([_chunk(q, k, v) for k, v in chunks]).mean(dim=0)


def _mean_by_length(q, chunks):
    return sum(len(k) * _chunk(q, k, v) for k, v in chunks) / sum(len(k) for k, _ in chunks)


def _sum_of_chunks(q, chunks):
    return sum(_chunk(q, k, v) for k, v in chunks)


def _chunks(sizes, d=8, growth=1.0):
    """q (5, d), and one (keys, values) per size; keys `growth` times as large from chunk to chunk."""
    pairs = [(growth**i * torch.randn(n, d), torch.randn(n, d)) for i, n in enumerate(sizes)]
    return 2 * torch.randn(5, d), pairs


def _far_below():
    """q (5, 8), and two chunks: all scores are near -283."""
    return 10 + torch.randn(5, 8), [(-10 + torch.randn(n, 8), torch.randn(n, 8)) for n in (4, 3)]


def _holds_all_keys(watch, q, chunks):
    """A matrix with the scores of all keys, or all keys themselves, though they come in chunks?"""
    keys, d = sum(len(k) for k, _ in chunks), q.shape[1]
    if len(chunks) == 1 or keys <= d + 1:  # too few to tell a row of scores from a row of values
        return False
    return max(watch.results("mm", "addmm", "bmm", "cat", "stack"), default=0) >= len(q) * keys


def _draw_chunks(function):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(64, 16, generator=generator) for _ in range(3))
    chunks = list(zip(k.split(4), v.split(4)))
    final = _attend_at_once(q, chunks)
    away = [(function(q, chunks[:n]) - final).abs().mean().item() for n in range(1, 17)]
    line = {"yours": (list(range(1, 17)), away)}
    figure = figures.plot_curves(line, "chunks of 4 keys seen", "distance from the final output")
    return figure, "A falling line: the output comes nearer to the final one with each chunk and ends at 0."


attend_in_chunks = Exercise(
    "attend_in_chunks",
    answer=_attend_at_once,
    cases=lambda: {
        "one chunk": _chunks([6]),
        "three equal chunks": _chunks([4, 4, 4]),
        "a shorter last chunk": _chunks([5, 5, 2]),
        "scores that grow from chunk to chunk": _chunks([4, 4, 4], growth=3.0),
        "scores that shrink from chunk to chunk": _chunks([4, 4, 4], growth=1 / 3),
        "scores in the hundreds": _chunks([3, 3, 3], growth=20.0),
        "scores near -283": _far_below(),
    },
    mistakes={
        "You take the mean of the chunks' outputs. A chunk with larger scores must "
        "count more: add up what stands above and below the fraction line of softmax, "
        "and divide once, at the end.": _mean_of_chunks,
        "You weigh the chunks by their number of keys. What counts is the sum of their "
        "exp(score).": _mean_by_length,
        "You add the outputs of the chunks, each with weights that add up to 1 already. "
        "Divide once, at the end.": (_sum_of_chunks),
        "Scores in the hundreds give nan or 0: subtract the largest score that each query has seen so far.": (
            partial(_running, maximum="none")
        ),
        "Scores in the hundreds give nan, and it is hidden behind 0: subtract the largest score that each "
        "query has seen so far.": lambda q, chunks: _running(q, chunks, maximum="none").nan_to_num(),
        "The maximum begins at 0. Scores far below 0 never reach it: every exp is 0, and 0 / 0 is nan. "
        "No score may be below its beginning.": partial(_running, start=0.0),
        "The maximum begins at 0. Scores far below 0 never reach it, and the nan of 0 / 0 is hidden. "
        "No score may be below its beginning.": (
            lambda q, chunks: _running(q, chunks, start=0.0).nan_to_num()
        ),
        "Each chunk subtracts its own largest score, and the sums of different chunks "
        "are added as if they had subtracted the same.": partial(_running, maximum="of the chunk"),
        "When a larger score arrives, the sums so far belong to the old maximum. Both "
        "have to be brought to the new one.": partial(_running, rescale=()),
        "When a larger score arrives, you bring only the sum of weights to the new "
        "maximum. The sum of values needs the same factor.": partial(_running, rescale=("sum",)),
        "When a larger score arrives, you bring only the sum of values to the new "
        "maximum. The sum of weights needs the same factor.": partial(_running, rescale=("out",)),
        "The scores are not divided by sqrt(d).": partial(_running, scale=False),
        "Only the last chunk counts: what the others have found is overwritten.": (
            lambda q, chunks: _chunk(q, *chunks[-1])
        ),
        "Only the first chunk counts. Does `return` stand inside the loop?": lambda q, chunks: _chunk(
            q, *chunks[0]
        ),
    },
    forbidden={
        "You put the chunks together again. Asked for is a way that uses each chunk once and forgets it.": (
            _holds_all_keys
        )
    },
    picture=_draw_chunks,
    axes="(N, d)",
    tolerance=1e-4,
)
