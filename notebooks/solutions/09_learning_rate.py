import math


def learning_rate(step, total_steps, recipe):
    """step in [0, total_steps) -> float: a linear warm-up, then half a cosine"""
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)  # steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, total_steps - 1 - warmup)  # from 0 to 1; a run may have one step only
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * way)) / 2
