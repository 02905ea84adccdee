"""What becomes of an attempt, what it is worth, by the check and by hand, and what it may use. No PyTorch."""

import csv
import difflib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from progress import NOTEBOOKS

from course.pieces import PIECES

PASSED, FAILED, NOT_ATTEMPTED, STOPPED = "passed", "failed", "not attempted", "stopped"
NOT_READ = "not read"  # its notebook was not found, and a file could not be read
BY_HAND = "by hand"  # what no check decides: a page, a talk
WEIGHTS = {"exercise": 1, "core piece": 2}  # points; a name of an exercise may stand here, too
COLUMNS = ("student", "exercise", "points", "comment")  # of a file of points given by hand


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
    code: str = ""  # the student's own
    given: str = ""  # by hand: the words for it


def read_weights(path):
    """A JSON file {"exercise": 1, "core piece": 2, "own_map": 5} -> WEIGHTS with these. Raises ValueError.

    It may also hold {"choose": ["10", "11"]}, notebooks of which the student's best one counts, and
    {"by hand": {"page": 14}}, what is graded by hand and its most points.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        by_hand, choose = found.get(BY_HAND, {}), found.get("choose", [])
        for value in (*by_hand.values(), *(found[name] for name in found.keys() - {"choose", BY_HAND})):
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise ValueError("each weight is a number, 0 or more")
        if not (isinstance(choose, list) and all(isinstance(number, str) for number in choose)):
            raise ValueError('"choose" is a list of notebooks, such as ["10", "11"]')
        names = {path.stem[3:] for path in Path(NOTEBOOKS, "solutions").glob("*.py")}.union(WEIGHTS)
        for name in found.keys() - names - {"choose", BY_HAND}:
            raise ValueError(f'there is no exercise "{name}".{_near(name, names)}')
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} cannot be used as weights: {error}") from None
    return WEIGHTS | found


def worth(name, weights):
    return weights.get(name, weights["core piece" if name in PIECES else "exercise"])


def _near(name, names):
    near = difflib.get_close_matches(name, names, 1)
    return f" Is it `{near[0]}`?" if near else ""


# --- by hand -----------------------------------------------------------------------------


def read_points(path, students, most):
    """A CSV file with COLUMNS -> {(place in `students`, exercise): (points, comment)}. Raises ValueError.

    A student is known by name or number, as in the tables that the grader writes. `most`: {exercise: points}.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as CSV UTF-8") from None
    mark = ";" if ";" in text.split("\n")[0] else ","  # Excel's, where 3,5 is a number
    lines = csv.DictReader(text.splitlines(), delimiter=mark)
    if missing := [name for name in COLUMNS[:3] if name not in (lines.fieldnames or ())]:
        raise ValueError(f"{path} has no column {missing[0]}; it needs {', '.join(COLUMNS)}")
    found = {}
    for line in lines:
        who, name, points, comment = ((line.get(column) or "").strip() for column in COLUMNS)
        if not (who or name or points):
            continue
        place = f"{path}, line {lines.line_num}"
        meant = [i for i, each in enumerate(students) if plain(who) in {plain(each.id), plain(each.name)}]
        if len(meant) != 1 or not who:
            names = [each.name for each in students]
            why = (
                "is the name of several: give the number"
                if meant
                else f"handed in nothing.{_near(who, names)}"
            )
            raise ValueError(f'{place}: "{who}" {why}')
        if name not in most:
            more = (
                _near(name, most)
                or f' Points for a page need --weights with {{"by hand": {{"{name}": 10}}}}.'
            )
            raise ValueError(f'{place}: there is no exercise "{name}" here.{more}')
        try:
            value = float(points.replace(",", "."))
        except ValueError:
            value = math.nan
        if not 0 <= value <= most[name]:
            raise ValueError(
                f'{place}: points for {name} are a number from 0 to {most[name]:g}, not "{points}"'
            )
        if (meant[0], name) in found:
            raise ValueError(f"{place}: {who} has points for {name} already")
        found[meant[0], name] = value, comment
    return found


def plain(text):
    """A student's name or number, as one list or the other writes it."""
    return " ".join(text.lower().split()).removeprefix("'").removeprefix("participant ").strip()


def settled(rows, weights, given):
    """-> a student's rows, with points by hand, and of the notebooks to choose from the best alone.

    `given`: {exercise: (points, comment)}.
    """
    rows = rows + [
        Row("", name, Result(BY_HAND, "" if name in given else "No points yet."), 0, of)
        for name, of in weights.get(BY_HAND, {}).items()
    ]
    for row in rows:
        if row.exercise in given:
            row.points, comment = given[row.exercise]
            row.given = f"By hand: {row.points:g} points. {comment}".strip()
            row.given += "" if row.given.endswith((".", "!", "?")) else "."
    choose = [number for number in weights.get("choose", ()) if any(r.notebook == number for r in rows)]
    if not choose:
        return rows
    groups = {number: [row for row in rows if row.notebook == number] for number in choose}
    nothing = (NOT_ATTEMPTED, NOT_READ)
    done = {
        n: [r for r in group if r.given or r.result.outcome not in nothing] for n, group in groups.items()
    }
    best = max(choose, key=lambda n: (sum(row.points for row in groups[n]), len(done[n])))
    rest = [row for row in rows if row.notebook not in choose]
    place = next(i for i, row in enumerate(rows) if row.notebook in choose)
    chosen = groups[best]
    if not done[best]:  # one line in place of many
        most = max(sum(row.of for row in group) for group in groups.values())
        chosen = [Row("", f"one of {', '.join(choose)}", chosen[0].result, 0, most)]
    return rest[:place] + chosen + rest[place:]
