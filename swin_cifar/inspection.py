"""What a model looks at: attention on the map it belongs to, class maps, features."""

from collections.abc import Iterator

import torch
from torch import Tensor

from swin_cifar.data import ImageSet
from swin_cifar.model import SwinTransformer, SwinTransformerBlock
from swin_cifar.predict import apply_in_batches, evaluating


def attention_maps(model: SwinTransformer, images: Tensor) -> list[Tensor]:
    """(B, 3, h, w) normalised -> one tensor per block, in order: (B, heads, H, W, H, W).

    Entry [b, head, y, x] is the map of what the query token at (y, x) attends to: it adds up to
    1 and is zero outside the window of that token. Shift and padding are undone, so that both
    positions are those of the token map. Memory grows with (H·W)²: meant for small pictures.
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
    x = model.patch_embed(images)
    for stage in model.stages:
        x = stage.downsample(x)
        for block in stage.blocks:
            out = block(x)
            yield block, x, out
            x = out
