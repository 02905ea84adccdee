"""The studies of `checkpoints/`, to read: what each part of a recipe is worth."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "checkpoints"))  # they stand beside their histories

from study import LADDER, REFERENCE, differences, load_study, mean_and_deviation  # noqa: E402

__all__ = ["LADDER", "REFERENCE", "differences", "load_study", "mean_and_deviation"]
