"""What a model looks at: attention where it belongs, followed through all blocks; influence; class maps."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from swin_cifar.data import ImageSet
from swin_cifar.model import SwinTransformer, SwinTransformerBlock
from swin_cifar.predict import apply_in_batches, evaluating
from swin_cifar.system import unwrapped


def attention_maps(model: SwinTransformer, images: Tensor) -> list[Tensor]:
    """(B, 3, h, w) normalised -> one tensor per block, in order: (B, heads, H, W, H, W).

    Entry [b, head, y, x] is the map of what the query token at (y, x) attends to: it adds up to
    1 and is zero outside the window of that token. Shift and padding are undone, so that both
    positions are those of the token map. Memory grows with (H·W)²: a picture of 224 x 224 in `swin_t`
    takes 280 MB. `rollout` needs no such matrices.
    """
    with evaluating(model), torch.no_grad():
        return [block_attention(block, x) for block, x, _ in walk(model, images)]


def block_attention(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """(B, H, W, C), the map that enters a block -> (B, heads, H, W, H, W), as in `attention_maps`."""
    B, H, W, _ = x.shape
    windows, mask = block.to_windows(block.norm1(x))
    attn = block.attn.explicit_attention(windows, mask)[1]  # (B, nW, heads, N, N)
    # Number the tokens and let the numbers take the tokens' way; 0 is padding.
    numbers = torch.arange(1, H * W + 1, device=x.device).view(1, H, W, 1)
    numbers = block.to_windows(numbers)[0][0, :, :, 0]  # (nW, N)
    full = attn.new_zeros(B, attn.shape[2], H * W + 1, H * W + 1)
    full[:, :, numbers[:, :, None], numbers[:, None, :]] = attn.transpose(1, 2)
    return full[:, :, 1:, 1:].unflatten(3, (H, W)).unflatten(2, (H, W))


def rollout(model: SwinTransformer, images: Tensor) -> Tensor:
    """(B, 3, h, w) normalised -> (B, H, W, H0, W0): what each token of the last map holds of the first map's.

    Entry [b, y, x] is a map that adds up to 1; their mean over y and x is what the head reads. In each block
    heads are averaged and half of a token stays, for the residual connection: (A + I) / 2; the blocks'
    matrices are multiplied. (Abnar & Zuidema 2020, "Quantifying attention flow in transformers", section 3,
    for ViT-like models.) Shift and padding are undone, and what the mask forbids is 0. An assumption of
    ours: a merged token holds equal parts of the 2 x 2 (at an odd border fewer) that it is made of. Values,
    MLPs and learned merging weights are not looked at: `influence` asks the whole model.

    Attention stays in its windows, and the product is taken from the last block back, so that no block
    needs a matrix of all its tokens: at 224 x 224 in `swin_t` the memory in use rises by 22 MB at its peak,
    on a CPU, as in a forward pass.
    """
    steps = []
    with evaluating(model), torch.no_grad():
        for block, x, _ in walk(model, images):
            attn = block.attn.explicit_attention(*block.to_windows(block.norm1(x)))[1]
            attn = attn.mean(dim=2, dtype=_precise(attn.dtype))  # (B, nW, N, N)
            steps.append((*x.shape[1:3], partial(_looked_at, block, attn)))
        return roll_back(steps, attn)


def _looked_at(block, attn, held):
    """(B, H, W, Q) of queries -> of the keys that they attend to."""
    windows = block.to_windows(held)[0]  # (B, nW, N, Q): padding holds nothing
    return block.from_windows(attn.transpose(2, 3) @ windows, *held.shape[1:3])


def roll_back(steps: Sequence[tuple[int, int, Callable[[Tensor], Tensor]]], like: Tensor) -> Tensor:
    """[(H, W, looks), ...], block after block -> (B, H, W, H0, W0) as `rollout`, of the kind of `like`.

    `looks` multiplies by a block's attention: (B, H, W, Q), what Q tokens of the last map hold of each
    query -> (B, H, W, Q), what they thereby hold of each key.
    """
    last_H, last_W, _ = steps[-1]
    held = torch.eye(last_H * last_W).to(like).unflatten(0, (1, last_H, last_W))  # (1, H, W, Q)
    for H, W, looks in reversed(steps):
        held = _unmerged(_unmerged(held, 1, H), 2, W)
        held = (held + looks(held)) / 2
    return held.permute(0, 3, 1, 2).unflatten(1, (last_H, last_W))


def _unmerged(held, axis, size):
    """Along an axis of the map: of merged tokens -> of the pairs that were merged, in equal parts."""
    if held.shape[axis] == size:
        return held
    parts = held.repeat_interleave(2, axis).narrow(axis, 0, size) / 2
    if size % 2:
        parts.select(axis, -1).mul_(2)  # alone
    return parts


def influence(
    model: SwinTransformer,
    images: Tensor,
    labels: Tensor | None = None,
    token: tuple[int, int] | None = None,
    probes: int | None = None,
) -> Tensor:
    """(B, 3, h, w) normalised -> (B, h, w): how much each pixel moves an output.

    The output y is the logit of a class, `labels` (B,), or the K = C channels of a token of the last,
    normalised map, `token` = (row, column). With the Jacobian J = ∂y / ∂(pixel), K x 3, the influence is its
    Frobenius norm: 0 where no change of the pixel reaches y, and a small change δ moves y by at most that
    many times |δ|. (Simonyan et al. 2013, "Deep inside convolutional networks", section 3; for a token Luo
    et al. 2016, "Understanding the effective receptive field".) The influence of a patch is the root of the
    sum of its pixels' squares.

    A logit takes one backward pass, a token C of them; with `probes` that many: random mixes of its
    channels, seeded, for which the square is right on average, off by about √(2 / probes) of itself. At
    224 x 224 in `swin_t` the memory in use rises by 150 MB.
    Raises ValueError unless one of `labels` and `token` is given, and for a token that is not there.
    """
    if (labels is None) == (token is None):
        raise ValueError("give either the classes, labels (B,), or a token of the last map, (row, column)")
    images = images.detach().requires_grad_()
    with evaluating(model), torch.enable_grad():
        x = unwrapped(model).forward_features(images)
        if labels is not None:
            y = unwrapped(model).forward_head(x).gather(1, labels[:, None])
        else:
            y = _token(x, *token)
        mixes = torch.eye(y.shape[1], device=y.device)
        if token is not None and probes is not None:
            generator = torch.Generator().manual_seed(0)
            mixes = torch.randn(probes, y.shape[1], generator=generator).to(y.device) / probes**0.5
        squares = torch.zeros_like(images[:, 0], dtype=_precise(images.dtype))
        for mix in mixes.to(y.dtype):
            (gradient,) = torch.autograd.grad((y @ mix).sum(), images, retain_graph=True)
            squares += gradient.to(squares.dtype).square().sum(dim=1)
    return squares.sqrt()


def _precise(dtype):
    """What is added up in half precision is kept in float32."""
    return torch.promote_types(dtype, torch.float32)


def _token(x, row, col):
    H, W = x.shape[1:3]
    if not (0 <= row < H and 0 <= col < W):
        raise ValueError(f"there is no token ({row}, {col}) in the last map of {H} x {W} tokens")
    return x[:, row, col]


def class_map(model: SwinTransformer, images: Tensor, labels: Tensor) -> Tensor:
    """(B, 3, h, w) normalised, (B,) -> (B, H, W): what each token of the last map says for a class.

    The mean over the map plus the head's bias *is* the logit, since the head is linear:
    a class activation map. (Zhou et al. 2016, "Learning deep features for discriminative
    localization".)
    """
    with evaluating(model), torch.no_grad():
        x = model.forward_features(images)
        return torch.einsum("bhwc,bc->bhw", x, model.head.weight[labels])


def grad_cam(model: SwinTransformer, images: Tensor, labels: Tensor, stage: int) -> Tensor:
    """(B, 3, h, w) normalised, (B,) -> (B, H, W): Grad-CAM on the map after a stage, counted from 0.

    Channels weighted by the mean gradient of the class's logit, negative sums cut to 0.
    (Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.)
    """
    if not 0 <= stage < len(model.stages):
        raise ValueError(f"there is no stage {stage}: the model has {len(model.stages)}, counted from 0")
    with evaluating(model), torch.enable_grad():
        x = model.patch_embed(images)
        for i, layer in enumerate(model.stages):
            x = layer(x)
            if i == stage:
                x = chosen = x.detach().requires_grad_()
        logits = model.forward_head(model.norm(x))
        (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), chosen)
    weights = gradient.mean(dim=(1, 2), keepdim=True)
    return (weights * chosen.detach()).sum(3).clamp(min=0)


def features(model: SwinTransformer, data: ImageSet, batch_size: int = 500) -> Tensor:
    """-> (n, C): the mean token of the last, normalised map, for every picture of an `ImageSet`."""

    def mean_token(images):
        return model.forward_head(model.forward_features(images), pre_logits=True)

    return apply_in_batches(mean_token, model, data.images, data.mean, data.std, batch_size)


def walk(model: SwinTransformer, images: Tensor) -> Iterator[tuple[SwinTransformerBlock, Tensor, Tensor]]:
    """Each block with the map that enters it and the map that leaves it."""
    model = unwrapped(model)
    x = model.patch_embed(images)
    for stage in model.stages:
        x = stage.downsample(x)
        for block in stage.blocks:
            out = block(x)
            yield block, x, out
            x = out
