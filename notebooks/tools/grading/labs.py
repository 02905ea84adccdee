"""The labs of PLANS.md, as the grader and the handout need them: that page alone says what counts."""

import re
from dataclasses import dataclass

from progress import NOTEBOOKS

PLANS = NOTEBOOKS / "PLANS.md"


@dataclass(frozen=True)
class Lab:
    title: str  # "Lab 1: from pixels to windows (20 points)"
    text: str  # what PLANS.md says of it, below its title
    notebooks: list  # numbers of all that it reads, such as ["00", "01"]
    graded: list  # of those with exercises that have points
    weights: dict  # as from a file of `grade.py --weights`


def read_lab(number):
    """-> Lab. Raises ValueError where PLANS.md has none of this number."""
    parts = re.split(r"^## ", PLANS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    labs = {part.split(":")[0]: part for part in parts if part.startswith("Lab ")}
    if f"Lab {number}" not in labs:
        raise ValueError(f"PLANS.md has no lab {number}; there are: {', '.join(labs)}")
    title, text = labs[f"Lab {number}"].split("\n", 1)
    points, graded, choose, by_hand, read = {}, [], [], {}, []
    for row in _rows(text):
        if "exercise" in row:
            points[row["exercise"].strip("`")] = float(row["points"])
            graded += [row["notebook"]]
        elif "choice" in row:
            (named,) = (name for name in row if name.startswith("exercises"))
            (page,) = (name for name in row if name.endswith("points for"))
            exercises = re.findall(r"`(\w+)`", row[named])
            points |= dict.fromkeys(exercises, int(re.search(r"\d+", named)[0]) / len(exercises))
            choose.append(row["choice"][:2])
            by_hand["page"] = int(re.search(r"\d+", page)[0])
        else:
            for first, last in re.findall(r"\b(\d\d)\b(?: to (\d\d))?", row.get("notebook", "")):
                read += [f"{n:02}" for n in range(int(first), int(last or first) + 1)]
    weights = {"core piece": 0, "exercise": 0, **points, "choose": choose, "by hand": by_hand}
    read, graded = (sorted({*numbers, *choose}) for numbers in (read, graded))
    return Lab(title, text.strip(), read, graded, weights)


def _rows(text):
    """-> {column: cell} for each row of the tables in markdown."""
    for table in re.findall(r"(?:^\|.*\n)+", text + "\n", flags=re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        yield from (dict(zip(head, row)) for row in rows)
