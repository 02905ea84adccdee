"""What the grader writes: CSV files, a page for each student, and what learning platforms take."""

import csv
import html
import json
import re
from pathlib import Path

from grading.results import BY_HAND, PASSED, plain

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
KEYS = ("Identifier", "Submission ID", "ID", "Student", "Full name")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>
body {{ font: 17px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .4em .8em .4em 0; border-bottom: 1px solid #aaa }}
td:first-child, pre {{ font-family: monospace }}
pre {{ white-space: pre-wrap; background: #f3f3f3; padding: .6em }}
</style>
<h1>{name}</h1>
<p><strong>{points} of {of} points.</strong></p>
{remarks}{tables}
</html>
"""


def write_rows(path, students):
    """[(Student, [Row])] -> a line for each student and exercise."""
    head = ["student", "id", "notebook", "exercise", "result", "points", "of", "says", "flags", "late"]
    lines = []
    for student, rows in students:
        who = [_text(student.name), student.id]
        for row in rows:
            says = _says(row)
            what = [row.notebook, row.exercise, row.result.outcome, _number(row.points), _number(row.of)]
            lines.append([*who, *what, says, "; ".join(row.flags), _late(student)])
        lines += [
            [*who, *["", "", "not read", "", ""], _text(r), "", _late(student)] for r in student.remarks
        ]
    _write(path, [head, *lines])


def write_totals(path, students):
    """A line for each student: the names that platforms know them by, the sum, and each exercise's points."""
    names = list(dict.fromkeys(row.exercise for _, rows in students for row in rows))
    head = ["Student", "ID", "Identifier", "Grade", "Maximum Grade", "Late", "Feedback comments", *names]
    lines = []
    for student, rows in students:
        identifier = f"Participant {student.id}" if student.id else ""
        points = {row.exercise: _number(row.points) for row in rows}
        who = [_text(student.name), student.id, identifier, _number(total(rows)), _number(most(rows))]
        lines.append([*who, _late(student), comment(rows)] + [points.get(name, "") for name in names])
    _write(path, [head, *lines])


def read_roster(path):
    """-> the column that names the students, all columns, the lines. Raises ValueError, also for no CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, *lines = [*csv.reader(file)] or [[]]
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read ({error}): save it as CSV UTF-8") from None
    key = next((name for name in KEYS if name in head), None)
    if key is None:
        raise ValueError(f"{path} has none of the columns {', '.join(KEYS)}")
    return key, head, lines


def fill(roster, path, students, column):
    """Write a platform's own list again, with the grades in it -> names of students who are not in it.

    Moodle's grading worksheet, where students are known by `Identifier`, Canvas's exported gradebook (`ID`),
    or another list with one of the KEYS. Raises ValueError where it has none.
    """
    key, head, lines = read_roster(roster)
    canvas = "Student" in head and "Section" in head
    if canvas:  # it takes a list with these columns and ours alone
        kept = [i for i, name in enumerate(head) if name in CANVAS]
        head, *lines = ([line[i] if i < len(line) else "" for i in kept] for line in (head, *lines))
    wanted = column if canvas or "Grade" not in head else "Grade"
    for name in [wanted] + ["Feedback comments"] * (not canvas):
        if name not in head:
            head.append(name)
    known = {}  # two students of one name are known by their numbers alone
    for student, rows in students:
        for word in {plain(student.id), plain(student.name)} - {""}:
            known[word] = (None, []) if word in known else (student, rows)
    left = [student for student, _ in students]
    for line in lines:
        line += [""] * (len(head) - len(line))
        if line[0].strip() == "Points Possible":
            line[head.index(wanted)] = _number(max((most(rows) for _, rows in students), default=0))
        student, rows = known.get(plain(line[head.index(key)]), (None, []))
        if student:
            left = [other for other in left if other is not student]
            line[head.index(wanted)] = _number(total(rows))
            if not canvas:
                line[head.index("Feedback comments")] = comment(rows)
    _write(path, [head, *lines])
    return [student.name for student in left]


def write_gradescope(path, rows, remarks):
    """`results.json`, which Gradescope reads when its autograder has run this for one student."""
    tests = [
        {
            "name": f"{row.notebook} {row.exercise}",
            "score": row.points,
            "max_score": row.of,
            "output": f"{row.result.outcome}. {_says(row)}".strip(),
        }
        for row in rows
    ]
    found = {"score": total(rows), "output": "\n".join(remarks), "tests": tests}
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def write_page(folder, student, rows):
    """A student's page, in the folder that Moodle takes back as a zip, if it came from there."""
    safe = re.sub(r"[^\w .'-]", "_", f"{student.name}_{student.id}".strip("_"))
    place = folder / (f"{safe}_assignsubmission_file_/feedback.html" if student.moodle else f"{safe}.html")
    place.parent.mkdir(parents=True, exist_ok=True)
    tables = ""
    rows = [row for row in rows if row.of or row.points]  # not what is voluntary
    for notebook in dict.fromkeys(row.notebook for row in rows):
        by_hand = any(row.given for row in rows if row.notebook == notebook)
        if notebook and notebook not in student.notebooks and not by_hand:
            tables += f"<p>Notebook {html.escape(notebook)} was not handed in.</p>\n"
            continue
        lines = "".join(_line(row) for row in rows if row.notebook == notebook)
        head = "<tr><th>exercise<th>result<th>points<th>what the check says"
        title = f"Notebook {html.escape(notebook)}" if notebook else "What you chose, and points by hand"
        tables += f"<h2>{title}</h2>\n<table>\n{head}\n{lines}</table>\n"
    remarks = "".join(f"<p>Not graded: {html.escape(remark)}</p>\n" for remark in student.remarks)
    sums = {"points": _number(total(rows)), "of": _number(most(rows))}
    page = PAGE.format(name=html.escape(student.name), remarks=remarks, tables=tables, **sums)
    place.write_text(page, encoding="utf-8")


def _line(row):
    says = html.escape(_says(row))
    if row.code:
        says += f"<details><summary>your code</summary><pre>{html.escape(row.code)}</pre></details>"
    points = f"{_number(row.points)} of {_number(row.of)}"
    return f"<tr><td>{html.escape(row.exercise)}<td>{row.result.outcome}<td>{points}<td>{says}\n"


def _says(row):
    return " ".join(f"{row.given} {row.result.says}".split())


def _late(student):
    return "LATE" if student.late else ""


def comment(rows):
    """One line for a platform's field of feedback."""
    rows = [row for row in rows if row.of]  # not what is voluntary
    checked = [row for row in rows if row.result.outcome != BY_HAND]
    passed = sum(row.result.outcome == PASSED for row in checked)
    others = [f"{row.exercise} {row.result.outcome}" for row in checked if row.result.outcome != PASSED]
    others += [f"{row.exercise}: {row.given}" for row in rows if row.given]
    return f"{passed} of {len(checked)} exercises passed" + (f"; {', '.join(others)}" if others else "")


def total(rows):
    return sum(row.points for row in rows)


def most(rows):
    return sum(row.of for row in rows)


def _number(value):
    return f"{round(value, 4):g}"


def _write(path, lines):
    """With a mark at its beginning, so that Excel reads "Müller"; platforms read it, too."""
    with Path(path).open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(lines)


def _text(words):
    """For spreadsheets: what a student named like a formula stays a text."""
    return f"'{words}" if words.startswith(("=", "+", "-", "@")) else words
