"""Weights from torchvision's and Microsoft's state dicts into this model, and back; and for timm."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from swin_cifar.config import SwinConfig

# What each published layout calls our parameters: (pattern of our name, their name).
_TORCHVISION = [
    (r"^patch_embed\.proj\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"^stages\.(\d+)\.downsample\.", lambda m: f"features.{2 * int(m[1])}."),
    (r"^stages\.(\d+)\.blocks\.", lambda m: f"features.{2 * int(m[1]) + 1}."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
]
_OFFICIAL = [
    # Microsoft counts a merging to the stage before it, the paper's figure 3 to the stage after.
    (r"^stages\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) - 1}.downsample."),
    (r"^stages\.(\d+)\.blocks\.", lambda m: f"layers.{m[1]}.blocks."),
]
_TIMM = [
    (r"^stages\.(\d+)\.", lambda m: f"layers.{m[1]}."),
    (r"^head\.", "head.fc."),
]
_HUGGING_FACE = [
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    # Here, too, a merging belongs to the stage before it.
    (r"^stages\.(\d+)\.downsample\.", lambda m: f"encoder.layers.{int(m[1]) - 1}.downsample."),
    (r"^stages\.(\d+)\.blocks\.", lambda m: f"encoder.layers.{m[1]}.blocks."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
    (r"^head\.", "classifier."),
]
LAYOUTS = {  # who publishes weights: the names there
    **{"swin_cifar": [], "torchvision": _TORCHVISION, "Microsoft": _OFFICIAL},
    **{"timm": _TIMM, "Hugging Face": _HUGGING_FACE},
}
_DERIVED = ("attn_mask", "relative_position_index")  # buffers that follow from the geometry


def load_torchvision_weights(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Copy a state dict of torchvision's swin_t, swin_s, swin_b (or any other size of it) into `model`.

    Raises ValueError, and leaves `model` as it was, where names or shapes do not fit; the
    message lists them; for a model on the device meta. Raises TypeError for what is no state
    dict. Weights under `model`, `state_dict` or `model_ema`, and names after `module.` or
    `_orig_mod.`, are found, and a line says so.
    """
    _load(model, state_dict, _TORCHVISION)


def load_official_weights(model: nn.Module, state_dict: dict) -> None:
    """Copy Microsoft's published weights, the content of a .pth with its `model` key or without.

    The buffers `attn_mask` and `relative_position_index` are ignored. Raises ValueError as
    `load_torchvision_weights` does.
    """
    _load(model, state_dict, _OFFICIAL)


def torchvision_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """-> a state dict that torchvision's SwinTransformer of the same sizes loads strictly."""
    theirs = _rename(model.state_dict(), _TORCHVISION)
    # torchvision keeps the index in its state dict, flattened.
    for name, module in model.named_modules():
        if hasattr(module, "relative_position_index"):
            key = torchvision_name(f"{name}.relative_position_index")
            theirs[key] = module.relative_position_index.flatten().clone()
    return theirs


def official_state_dict(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """-> {"model": state dict} in Microsoft's layout, without the derived buffers."""
    return {"model": _rename(model.state_dict(), _OFFICIAL)}


def timm_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """-> a state dict that the SwinTransformer of timm 0.9 or newer of the same sizes loads strictly."""
    return _rename(model.state_dict(), _TIMM)


def torchvision_arguments(config: SwinConfig) -> dict[str, Any]:
    """-> what torchvision's SwinTransformer is called with for these sizes; its pictures have 3 channels."""
    return {
        "patch_size": [config.patch_size] * 2,
        "embed_dim": config.embed_dim,
        "depths": list(config.depths),
        "num_heads": list(config.num_heads),
        "window_size": [config.window_size] * 2,
        "mlp_ratio": config.mlp_ratio,
        "stochastic_depth_prob": config.drop_path_rate,
        "num_classes": config.num_classes,
    }


def timm_arguments(config: SwinConfig) -> dict[str, Any]:
    """-> the same of timm's SwinTransformer, which has our names for all but two."""
    names = {"image_size": "img_size", "in_channels": "in_chans"}
    return {names.get(name, name): value for name, value in asdict(config).items()}


def what_is_padded(config: SwinConfig) -> str | None:
    """What is padded of pictures of the model's own size, in words; None where nothing is.

    There torchvision's and timm's models, which attend to padding, answer otherwise than ours.
    """
    side = config.image_size
    if side % config.patch_size:
        return f"patches of {config.patch_size} pixels pad pictures of {side} x {side}"
    side //= config.patch_size
    for stage in range(1, len(config.depths) + 1):
        if side % config.window_size:
            return f"windows of {config.window_size} tokens pad stage {stage}'s map of {side} x {side}"
        side = -(-side // 2)
    return None


def torchvision_model(config: SwinConfig) -> nn.Module:
    """-> torchvision's SwinTransformer of the same sizes, to compare with."""
    from torchvision.models.swin_transformer import SwinTransformer  # slow to import

    return SwinTransformer(**torchvision_arguments(config))


def torchvision_name(name: str) -> str:
    """-> what torchvision calls the parameter that is `name` here."""
    return their_name(name, _TORCHVISION)


def their_name(name: str, rules: list) -> str:
    """-> what a layout of LAYOUTS calls the parameter that is `name` here."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _rename(state_dict, rules):
    return {their_name(name, rules): tensor.clone() for name, tensor in state_dict.items()}


def plain_weights(state_dict: Mapping) -> Mapping[str, Tensor]:
    """The weights alone: without what a training script or a wrapper puts around them, which is said."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"expected a state dict, got {type(state_dict).__name__}: read the file with torch.load first"
        )
    for key in ("model_ema", "model", "state_dict"):
        if isinstance(state_dict.get(key), Mapping):
            print(f"taking the weights under {key!r}")
            return plain_weights(state_dict[key])
    for prefix in ("module.", "_orig_mod."):
        if state_dict and all(str(name).startswith(prefix) for name in state_dict):
            print(f"taking {prefix!r} off the names")
            return plain_weights({name.removeprefix(prefix): t for name, t in state_dict.items()})
    return state_dict


def _load(model, theirs, rules):
    theirs, ours = plain_weights(theirs), model.state_dict()
    if any(t.is_meta for t in ours.values()):
        raise ValueError("the model is on the device meta, without memory: call model.to_empty first")
    theirs = {name: t for name, t in theirs.items() if not name.endswith(_DERIVED)}
    names = {their_name(name, rules): name for name in ours}
    problems = [f"missing: {name}" for name in names.keys() - theirs.keys()]
    problems += [f"not expected: {name}" for name in theirs.keys() - names.keys()]
    problems += [
        f"shape of {name}: {tuple(theirs[name].shape)}, the model has {tuple(ours[names[name]].shape)}"
        for name in names.keys() & theirs.keys()
        if theirs[name].shape != ours[names[name]].shape
    ]
    if problems:
        raise ValueError("these weights do not fit the model:\n  " + "\n  ".join(sorted(problems)))
    model.load_state_dict({names[name]: tensor for name, tensor in theirs.items()})
