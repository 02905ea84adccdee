"""Drawn pictures of ten shapes, for machines without CIFAR-10."""

import math

import torch
import torch.nn.functional as F


def _bar(x, y, half_length=0.85, half_width=0.25):
    return torch.maximum(x.abs() - half_length, y.abs() - half_width)


def _disc(x, y, radius=0.75):
    return torch.hypot(x, y) - radius


def _square(x, y):
    return _bar(x, y, 0.65, 0.65)


# Each function is negative inside the shape, in coordinates where the shape's radius is about 1.
SHAPES = {
    "disc": _disc,
    "ring": lambda x, y: _disc(x, y, 0.6).abs() - 0.17,
    "square": _square,
    "frame": lambda x, y: _square(x, y).abs() - 0.15,
    "triangle": lambda x, y: torch.maximum(-y - 0.45, 0.866 * x.abs() + 0.5 * y - 0.45),
    "star": lambda x, y: torch.hypot(x, y) - 0.55 - 0.27 * torch.cos(5 * torch.atan2(y, x)),
    "cross": lambda x, y: torch.minimum(_bar(x, y), _bar(y, x)),
    "bar": _bar,
    "crescent": lambda x, y: torch.maximum(_disc(x, y), -_disc(x - 0.4, y, 0.6)),
    "dumbbell": lambda x, y: torch.minimum(_disc(x - 0.5, y, 0.38), _disc(x + 0.5, y, 0.38)),
}


def draw_shapes(n: int, seed: int, side: int = 32, chunk: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """-> (n, 3, side, side) uint8 pictures and their (n,) labels, the classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.arange(side) + 0.5
    images = torch.empty(n, 3, side, side, dtype=torch.uint8)
    labels = torch.arange(n) % len(SHAPES)

    # A whole chunk is drawn even for its first pictures alone, so that sizes are prefixes.
    def uniform(low, high, *shape):
        return torch.rand(chunk, *shape, generator=generator) * (high - low) + low

    for start in range(0, n, chunk):
        radius, angle = uniform(6, 13, 1, 1), uniform(0, 2 * math.pi, 1, 1)
        dx, dy = grid - uniform(11, 21, 1, 1), grid[:, None] - uniform(11, 21, 1, 1)
        x = (dx * angle.cos() + dy * angle.sin()) / radius  # (chunk, side, side)
        y = (dy * angle.cos() - dx * angle.sin()) / radius
        background = uniform(0, 1, 3, 1, 1)
        colour = (background + uniform(0.3, 0.7, 3, 1, 1)) % 1  # differs by 0.3 or more
        waves = F.interpolate(uniform(-0.3, 0.3, 6, 4, 4), side, mode="bicubic")
        noise = torch.randn(chunk, 3, side, side, generator=generator) * 0.08
        for i, shape in enumerate(SHAPES.values()):
            of_class = slice(i, None, len(SHAPES))
            distance = shape(x[of_class], y[of_class]) * radius[of_class]
            inside = (0.5 - distance).clamp(0, 1)[:, None]  # soft edge, one pixel wide
            near = colour[of_class] + waves[of_class, :3]
            far = background[of_class] + waves[of_class, 3:]
            picture = inside * near + (1 - inside) * far + noise[of_class]
            target = images[start : start + chunk][of_class]
            target.copy_((picture.clamp(0, 1) * 255).round()[: len(target)])
    return images, labels
