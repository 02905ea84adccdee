"""What the grader writes: CSV files, a page for each student, and what learning platforms take."""

import csv
import html
import json
import re
from collections import Counter
from pathlib import Path

from grading.results import BY_HAND, FAILED, NOT_ATTEMPTED, NOT_READ, PASSED, STOPPED, plain

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
KEYS = ("Identifier", "Submission ID", "ID", "Student", "Full name")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}, {title}</title>
<style>
body {{ font: 17px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .4em .8em .4em 0; border-bottom: 1px solid #aaa }}
th[scope=row], pre {{ font-family: monospace }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #f3f3f3; padding: .6em }}
@media (max-width: 45em) {{
  tr, th[scope=row], td {{ display: block; border: 0; padding: .1em 0 }}
  tr {{ border-bottom: 1px solid #aaa; padding: .6em 0 }}
  tr:first-child {{ display: none }}
}}
</style>
<h1>{name}</h1>
<p>swin_cifar, {title}</p>
<p><strong>{points}</strong></p>
{remarks}{tables}{next}</html>
"""
MEND = "Mend in your notebook what is not right, and run its check: it says when it is right.\n"
HALF = """Of what failed you can still have half of the points, within a week: tell your instructor why the
numbers come out wrong (which line, which axis), and an input of your own, none that stands here, on which it
shows.
"""
AGAIN = """A file could not be read: save the notebook, open it once more to see that it is whole, and ask
your instructor where to hand it in again.
"""
DOUBT = "A result that you do not understand, or doubt: name its exercise to your instructor.\n"


def write_rows(path, students):
    """[(Student, [Row])] -> a line for each student and exercise."""
    head = ["student", "id", "notebook", "exercise", "result", "points", "of", "says", "flags", "late"]
    lines = []
    for student, rows in students:
        who = [_text(student.name), student.id]
        for row in rows:
            says = _says(row)
            what = [row.notebook, row.exercise, row.result.outcome, _points(row), _number(row.of)]
            lines.append([*who, *what, says, "; ".join(row.flags), _late(student)])
        for result, remarks in ((NOT_READ, student.unread), ("not used", student.remarks)):
            lines += [[*who, "", "", result, "", "", _text(r), "", _late(student)] for r in remarks]
    _write(path, [head, *lines])


def write_totals(path, students):
    """A line for each student: the names that platforms know them by, the sum, and each exercise's points."""
    names = list(dict.fromkeys(row.exercise for _, rows in students for row in rows))
    head = ["Student", "ID", "Identifier", "Grade", "Maximum Grade", "Late", "Feedback comments"]
    head += ["Text cells", *names]
    lines = []
    for student, rows in students:
        identifier = f"Participant {student.id}" if student.id else ""
        points = {row.exercise: _points(row) for row in rows}
        who = [_text(student.name), student.id, identifier, grade(rows), _number(most(rows))]
        lines.append(
            [*who, _late(student), comment(student, rows), _text(_own_words(student))]
            + [points.get(name, "") for name in names]
        )
    _write(path, [head, *lines])


def write_groups(path, groups):
    """A line for each group of students who share code."""
    _write(path, [["students", "exercises", "the same"], *([_text(who), *what] for who, *what in groups)])


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
    named = next((head.index(name) for name in ("Full name", "Student") if name in head), head.index(key))
    twice = Counter(plain(line[named]) for line in lines if len(line) > named)
    twice |= Counter(plain(student.name) for student, _ in students)
    alone = named == head.index(key)  # else a name is for those without a number
    known = {
        plain(s.name): (s, rows) for s, rows in students if (alone or not s.id) and twice[plain(s.name)] < 2
    }
    known |= {plain(s.id): (s, rows) for s, rows in students if s.id}
    left = [student for student, _ in students]
    for line in lines:
        line += [""] * (len(head) - len(line))
        if line[0].strip() == "Points Possible":
            line[head.index(wanted)] = _number(max((most(rows) for _, rows in students), default=0))
        words = plain(line[head.index(key)]), plain(line[named])
        student, rows = next((known[word] for word in words if word in known), (None, []))
        if student:
            left = [other for other in left if other is not student]
            line[head.index(wanted)] = grade(rows)
            if not canvas:
                line[head.index("Feedback comments")] = comment(student, rows)
    _write(path, [head, *lines])
    return [s.name + " (the name of several)" * (twice[plain(s.name)] > 1) for s in left]


def write_gradescope(path, student, rows):
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
    found = {"score": total(rows), "output": "\n".join(student.unread + student.remarks), "tests": tests}
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def write_page(folder, student, rows, title, half=False):
    """A student's page, in the folder that Moodle takes back as a zip, if it came from there.

    `title`: of the lab; `half`: do points for an explained mistake, as PLANS.md has them, hold?
    """
    safe = re.sub(r"[^\w .'-]", "_", f"{student.name}_{student.id}".strip("_"))
    place = folder / (f"{safe}_assignsubmission_file_/feedback.html" if student.moodle else f"{safe}.html")
    place.parent.mkdir(parents=True, exist_ok=True)
    tables = ""
    for notebook in dict.fromkeys(row.notebook for row in rows):
        by_hand = any(row.given for row in rows if row.notebook == notebook)
        if notebook and notebook not in student.notebooks and not by_hand:
            how = "not found in what could be read" if student.unread else "not handed in"
            tables += f"<p>Notebook {html.escape(notebook)} was {how}.</p>\n"
            continue
        lines = "".join(_line(row) for row in rows if row.notebook == notebook)
        head = "".join(f"<th scope=col>{name}" for name in ("exercise", "result", "points", "what is said"))
        name = f"Notebook {html.escape(notebook)}" if notebook else "What you chose, and points by hand"
        tables += f"<h2>{name}</h2>\n<table>\n<tr>{head}\n{lines}</table>\n"
    remarks = "".join(f"<p>Could not be read: {html.escape(remark)}</p>\n" for remark in student.unread)
    remarks += "".join(f"<p>{html.escape(remark)}</p>\n" for remark in student.remarks)
    if own := _own_words(student):
        tables += f"<h2>Your text cells</h2>\n<pre>{html.escape(own)}</pre>\n"
    words = {"name": html.escape(student.name), "title": html.escape(title), "next": _next(rows, half)}
    points = f"{grade(rows)} of {_number(most(rows))} points." if grade(rows) else "No grade yet."
    place.write_text(PAGE.format(**words, points=points, remarks=remarks, tables=tables), encoding="utf-8")


def _line(row):
    says = "<br>".join(map(html.escape, _words(row)))
    if row.code:
        says += f"<details><summary>your code</summary><pre>{html.escape(row.code)}</pre></details>"
    points = f"{_points(row) or 'none'} of {_number(row.of)} points"
    return f"<tr><th scope=row>{html.escape(row.exercise)}<td>{row.result.outcome}<td>{points}<td>{says}\n"


def _next(rows, half):
    """What a student may do next, after these results."""
    open_ = {row.result.outcome for row in rows if row.points < row.of and not row.given}
    says = [AGAIN] * (NOT_READ in open_) + [MEND] * bool(open_ & {FAILED, STOPPED, NOT_ATTEMPTED})
    says += [HALF] * (half and FAILED in open_) + [DOUBT]
    return "<h2>What next</h2>\n<ul>\n" + "".join(f"<li>{each}" for each in says) + "</ul>\n"


def _words(row):
    """-> [what is said by hand, what the check says], those that there are."""
    check = f"The check: {row.result.says}" if row.given and row.result.says else row.result.says
    return [" ".join(words.split()) for words in (row.given, check) if words]


def _says(row):
    return " ".join(_words(row))


def _own_words(student):
    """What the student has written into text cells: why a function is wrong, with whom, a page."""
    return "\n\n".join(f"{number}: {text}" for number, texts in student.words.items() for text in texts)


def _late(student):
    return "LATE" if student.late else ""


def comment(student, rows):
    """One line for a platform's field of feedback."""
    unread = any(row.result.outcome == NOT_READ for row in rows)
    words = [f"not read: {', '.join(student.unread)}"] if unread else []
    if any(row.given or row.result.outcome not in (NOT_READ, BY_HAND) for row in rows):
        checked = [row for row in rows if row.result.outcome != BY_HAND]
        passed = sum(row.result.outcome == PASSED for row in checked)
        others = [f"{row.exercise} {row.result.outcome}" for row in checked if row.result.outcome != PASSED]
        others += [f"{row.exercise}: {row.given}" for row in rows if row.given]
        words += [f"{passed} of {len(checked)} exercises passed", ", ".join(others)]
    return "; ".join(filter(None, words))


def grade(rows):
    """The sum, as a text; nothing where something could not be read: that is no 0."""
    unread = any(row.result.outcome == NOT_READ and not row.given for row in rows)
    return "" if unread else _number(total(rows))


def _points(row):
    return "" if row.result.outcome == NOT_READ and not row.given else _number(row.points)


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
