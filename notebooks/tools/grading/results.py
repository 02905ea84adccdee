"""What becomes of an attempt, what it is worth, and what it may use. No PyTorch."""

import difflib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from progress import NOTEBOOKS

from course.pieces import PIECES

PASSED, FAILED, NOT_ATTEMPTED, STOPPED = "passed", "failed", "not attempted", "stopped"
WEIGHTS = {"exercise": 1, "core piece": 2}  # points; a name of an exercise may stand here, too


@dataclass(frozen=True)
class Limits:
    seconds: float = 30  # for the check, and again for the hidden inputs
    megabytes: int = 2048  # beyond what Python and PyTorch need
    seed: int = 0  # of the hidden inputs


@dataclass(frozen=True)
class Result:
    outcome: str
    says: str = ""


@dataclass
class Row:
    """One exercise of one student, as it is reported."""

    notebook: str
    exercise: str
    result: Result
    points: float
    of: float
    flags: list = field(default_factory=list)


def read_weights(path):
    """A JSON file {"exercise": 1, "core piece": 2, "own_map": 5} -> WEIGHTS with these. Raises ValueError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        for value in found.values():
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise ValueError("each weight is a number, 0 or more")
        names = {path.stem[3:] for path in Path(NOTEBOOKS, "solutions").glob("*.py")}.union(WEIGHTS)
        for name in found.keys() - names:
            near = difflib.get_close_matches(name, names, 1)
            raise ValueError(f'there is no exercise "{name}".' + f" Is it `{near[0]}`?" * bool(near))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} cannot be used as weights: {error}") from None
    return WEIGHTS | found


def worth(name, weights):
    return weights.get(name, weights["core piece" if name in PIECES else "exercise"])
