"""Layers for hidden inputs that a student's process can import: nothing here is an answer."""

import torch
import torch.nn.functional as F
from torch import nn


class Logits(nn.Module):
    """(B, 6) -> (B, 4), in another type of numbers if asked for."""

    def __init__(self, dtype):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.5 * torch.randn(4, 6)), nn.Parameter(torch.zeros(4))
        self.dtype = dtype

    def forward(self, images):
        return F.linear(images, self.weight, self.bias).to(self.dtype)


class Counting(nn.Sequential):
    """Layers that note the most pictures they were given at once."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.register_buffer("most", torch.zeros(()))

    def forward(self, images):
        self.most.clamp_(min=len(images))
        return super().forward(images)
