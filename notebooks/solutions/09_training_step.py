import torch
import torch.nn.functional as F
from torch import nn


def training_step(forward, optimizer, images, targets, lr, recipe):
    """(B, 3, h, w), (B, classes) -> tensor (2,): the loss, the number of right answers"""
    logits = forward(images)  # (B, classes)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if recipe.max_grad_norm:  # 0: no clipping
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    optimizer.step()
    correct = (logits.argmax(1) == targets.argmax(1)).sum()
    return torch.stack([loss.detach(), correct.float()])
