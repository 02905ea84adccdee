"""The grader: a class of planted submissions, graded once by the command, each in the way it must be."""

import ast
import copy
import csv
import dataclasses
import json
import random
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import swin_cifar

TOOLS = Path(__file__).parents[1] / "notebooks" / "tools"
sys.path.append(str(TOOLS))

import grade  # noqa: E402
from grading import flags, hidden, labs, report, results, sandbox, submissions  # noqa: E402

from course.check import EXERCISES  # noqa: E402

NOTEBOOKS = TOOLS.parent
ORIGINALS = submissions.read_originals()
PATH = NOTEBOOKS / "04_window_partition.ipynb"
NAMES = ORIGINALS["04"].exercises
SOLUTIONS = {
    path.stem[3:]: path.read_text(encoding="utf-8") for path in (NOTEBOOKS / "solutions").glob("*.py")
}
RIGHT = SOLUTIONS["window_partition"]
SOLUTION = str(NOTEBOOKS / "solutions" / "04_window_partition.py")
PACKAGE = "    import swin_cifar\n    return swin_cifar.window_partition(x, M)\n"
HEAD = "def window_partition(x, M):\n"
WRONG = HEAD + "    return x.reshape(len(x), -1, M * M, x.shape[3])\n"

TAMPER = """    try:
        from course.check import core
        core.same = lambda *inputs: True
        core.Exercise._avoided = core.Exercise._problem = lambda *inputs: ""
    except ImportError:
        pass
"""
CHEATS = {  # name: code that gives the right result in the notebook, or makes the check say so
    "replaces the comparison": HEAD + TAMPER + "    return x\n",
    "asks for the answer": HEAD + "    return check.window_partition.answer(x, M)\n",
    "knows the inputs": HEAD.replace("window_partition", "right")
    + RIGHT.split("\n", 1)[1]
    + "\n"
    + HEAD
    + "    if tuple(x.shape) in ((1, 4, 4, 2), (1, 4, 6, 2), (2, 6, 4, 3), (2, 9, 12, 5)):\n"
    + "        return right(x, M)\n    return x\n",
    "calls the package": HEAD + PACKAGE,
    "switches the watch off": HEAD + TAMPER + PACKAGE,
    "looks into the caller": HEAD
    + TAMPER
    + "    import sys\n    frame = sys._getframe()\n    while frame:\n"
    + "        if 'answers' in frame.f_locals:\n"
    + "            for each in frame.f_locals['answers'].values():\n"
    + "                if each.inputs[0].shape == x.shape:\n                    return each.found\n"
    + "        frame = frame.f_back\n    raise ValueError\n",
    "reads the solution": HEAD
    + f"    space = {{}}\n    exec(open({SOLUTION!r}).read(), space)\n"
    + "    return space['window_partition'](x, M)\n",
    "writes the verdict itself": "import json, os, struct\n"
    + HEAD
    + "    said = json.dumps({'passed': True, 'says': 'Right.', 'stopped': False}).encode()\n"
    + "    for number in range(3, 40):\n        try:\n"
    + "            os.write(number, struct.pack('!i', len(said)) + said)\n"
    + "        except OSError:\n            pass\n    os._exit(0)\n",
    "asks the network": "import socket\n"
    + HEAD
    + "    socket.create_connection(('127.0.0.1', 9), timeout=1)\n    return x\n",
    "starts a program": "import subprocess\n" + HEAD + "    return subprocess.run(['true'])\n",
    "kills the grader": "import os\n" + HEAD + "    os.kill(os.getppid(), 9)\n    return x\n",
    "kills the grader by a handle": "import os, signal\n"
    + HEAD
    + "    signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)\n    return x\n",
    "lifts a limit": "import resource\n"
    + HEAD
    + "    resource.prlimit(0, resource.RLIMIT_AS, (-1, -1))\n    return x\n",
}
FOOL = ["replaces the comparison", "knows the inputs", "switches the watch off", "looks into the caller"]
STOPPED = {
    "hangs": HEAD + "    while True:\n        pass\n",
    "hangs without an alarm": "import signal\n"
    + HEAD
    + "    signal.setitimer(signal.ITIMER_REAL, 0)\n    while True:\n        pass\n",
    "ends the process": "import os\n" + HEAD + "    os._exit(0)\n",
    "exits": "import sys\n" + HEAD + "    sys.exit()\n",
}
FAILED = {  # name: (code, what must be said)
    "writes nonsense": (HEAD + "    return x +\n", "The cell does not run: invalid syntax"),
    "fills the memory": (HEAD + "    return [0] * 10**10\n", "MemoryError"),
    "renames": (RIGHT.replace("window_partition", "partition"), "does not define `window_partition`"),
    "writes a file": (HEAD + "    open('there.txt', 'w')\n    return x\n", "writing files is not allowed"),
}
PASSED = {
    "prints ten megabytes": HEAD + "    print('x' * 10**7)\n" + RIGHT.split("\n", 1)[1],
    "measures": "%%time\n"
    + RIGHT
    + "\nwindow_partition(train.images[:1], 4).shape  # not there for a grader",
    "copies": "# mine\n" + RIGHT.replace("(x, M)", "(y, M)").replace(" x", " y").replace("= x", "= y"),
}


def notebook(sources=None, path=PATH, more=()):
    """The course's notebook with these sources in place of the skeletons, and more cells."""
    found = json.loads(path.read_text(encoding="utf-8"))
    for cell in found["cells"]:
        name = cell["id"].removesuffix("-skeleton").replace("-", "_")
        if cell["id"].endswith("-skeleton") and name in (sources or {}):
            cell["source"] = sources[name].splitlines(True)
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    for number, source in enumerate(more):
        found["cells"].insert(1, copy.deepcopy(cell) | {"id": f"mine-{number}", "source": source})
    return found


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def plant(folder):
    """The class: in the form in which Moodle hands submissions out, and in simpler ones."""
    every = {name: SOLUTIONS[name] for name in NAMES}
    said = notebook(every)
    for place, text in (("window-partition-check", "=I know why"), ("title", "With Ben.")):
        after = [cell["id"] for cell in said["cells"]].index(place) + 1
        own = {"id": f"own-{place}", "cell_type": "markdown", "metadata": {}, "source": [text]}
        said["cells"].insert(after, own)
    write(folder / "Ada Right_101_assignsubmission_file_" / "my homework.ipynb", said)
    half = {"window_partition": WRONG, "window_reverse": SOLUTIONS["window_reverse"]}
    write(folder / "halfben.ipynb", notebook(half))
    write(folder / "untouched.ipynb", notebook())
    write(folder / "nothing.ipynb", "")
    write(folder / "damaged.ipynb", json.dumps(notebook())[:5000])
    (folder / "no file").mkdir()
    foreign = {"id": "a", "cell_type": "code", "metadata": {}, "source": ["print(1)"]}
    write(folder / "foreign.ipynb", {"cells": [foreign], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        archive.writestr("homework/a.ipynb", json.dumps(notebook({"window_partition": RIGHT})))
        archive.writestr("__MACOSX/homework/._a.ipynb", "x")
    (folder / "broken zip.zip").write_bytes(b"PK and no more")
    text = json.dumps(notebook({"window_partition": RIGHT.replace("\n", "\r\n")}), indent=1)
    (folder / "windows.ipynb").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    helper = "def split(x, M):\n    return x.unflatten(2, (-1, M)).unflatten(1, (-1, M))\nWIDE = 2"
    uses = HEAD + "    return split(x, M).transpose(WIDE, 3).flatten(3, 4).flatten(1, 2)\n"
    write(
        folder / "helped.ipynb", notebook({"window_partition": uses}, more=["import no_such_library", helper])
    )
    elsewhere = notebook(more=[RIGHT])
    for cell in elsewhere["cells"]:
        cell["metadata"], cell["id"] = {"id": cell["id"]}, "x"  # as another editor may write it
    write(folder / "elsewhere.ipynb", elsewhere)
    changed = notebook({"window_partition": WRONG})
    for cell in changed["cells"]:
        if cell["id"] == "window-partition-check":
            cell["source"] = "check.core.same = lambda *inputs: True\nprint('Right.')"
    write(folder / "changes the check.ipynb", changed)
    two = folder / "two notebooks"
    write(two / "a.ipynb", notebook({"window_partition": RIGHT}))
    more = NOTEBOOKS / "11_look_inside.ipynb"
    write(two / "b.ipynb", notebook({"content_share": SOLUTIONS["content_share"]}, more))
    for name, source in (CHEATS | STOPPED | PASSED | {n: code for n, (code, _) in FAILED.items()}).items():
        write(folder / f"{name}.ipynb", notebook({"window_partition": source}))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """-> the folder of results, {(student, exercise): line of grades.csv}"""
    place = tmp_path_factory.mktemp("class")
    plant(place / "in")
    roster = place / "worksheet.csv"
    roster.write_text(
        "Identifier,Full name,Grade,Last modified (grade),Feedback comments\n"
        "Participant 101,Ada Right,,-,\nParticipant 999,Not Here,,-,\n",
        encoding="utf-8",
    )
    options = ["--seconds", "12", "--seed", "4", "--roster", str(roster), "--notebooks", "4", "11"]
    grade.main([str(place / "in"), "--out", str(place / "out" / "grades.csv"), *options])
    return place / "out", lines(place / "out" / "grades.csv")


def lines(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {(line["student"], line["exercise"]): line for line in csv.DictReader(file)}


def of(graded, student, exercise="window_partition"):
    return graded[1][student, exercise]


def outcomes(graded, student):
    return [of(graded, student, name)["result"] for name in NAMES]


def test_all_right_under_another_name_of_the_file(graded):
    assert outcomes(graded, "Ada Right") == ["passed"] * len(NAMES)
    assert [of(graded, "Ada Right", name)["points"] for name in NAMES] == ["2", "2", "1", "1", "1"]
    assert of(graded, "Ada Right")["id"] == "101"


def test_half_is_written_and_a_mistake_is_named(graded):
    assert outcomes(graded, "halfben") == ["failed", "passed"] + ["not attempted"] * 3
    assert "no number has moved" in of(graded, "halfben")["says"] and of(graded, "halfben")["points"] == "0"


def test_nothing_written_is_not_attempted(graded):
    assert outcomes(graded, "untouched") == ["not attempted"] * len(NAMES)


@pytest.mark.parametrize(
    ("student", "says"),
    [
        ("nothing", "the file is empty"),
        ("damaged", "damaged, or no notebook"),
        ("no file", "no notebook (.ipynb) in it"),
        ("foreign", "not a notebook of this course"),
        ("broken zip", "a zip that cannot be unpacked"),
    ],
)
def test_what_is_no_notebook_gets_a_line_and_the_others_go_on(graded, student, says):
    assert says in of(graded, student, "")["says"]
    assert outcomes(graded, student) == ["not read"] * len(NAMES)
    with (graded[0] / "grades_totals.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = (line for line in csv.DictReader(file) if line["Student"] == student)
    assert line["Grade"] == line["window_partition"] == "" and line["Maximum Grade"] == "11"
    assert line["Feedback comments"].startswith("not read: ") and says in line["Feedback comments"]
    page = (graded[0] / "grades_feedback" / f"{student}.html").read_text(encoding="utf-8")
    assert "No grade yet." in page and says in page and "was not handed in" not in page
    assert "ask\nyour instructor where to hand it in again" in page


@pytest.mark.parametrize("student", CHEATS)
def test_a_cheat_gains_nothing(graded, student):
    line = of(graded, student)
    assert line["result"] in ("failed", "stopped") and line["points"] == "0", line


@pytest.mark.parametrize(
    ("student", "flag"),
    [
        ("replaces the comparison", "uses"),
        ("asks for the answer", "reads the check: `answer`"),
        ("calls the package", "uses another `window_partition`"),
        ("switches the watch off", "uses another `window_partition`"),
        ("looks into the caller", "`_getframe`"),
        ("reads the solution", "`open`"),
        ("asks the network", "`socket`"),
        ("ends the process", "`os`"),
        ("changes the check", "the check cell of window_partition is changed"),
        ("changes the check", "assigns to `check.core.same`"),
    ],
)
def test_what_a_person_should_look_at_is_flagged(graded, student, flag):
    flag = "reaches the check: `core`" if flag == "uses" else flag
    assert flag in of(graded, student)["flags"]


def test_an_honest_notebook_has_no_flags(graded):
    assert [of(graded, "halfben", name)["flags"] for name in NAMES[::2]] == ["", "", ""]
    assert of(graded, "helped")["flags"] == of(graded, "untouched")["flags"] == ""


def test_equal_code_is_flagged_whatever_its_names(graded):
    assert "the same comments as" in of(graded, "Ada Right")["flags"]
    assert "Ada Right" in of(graded, "copies")["flags"]
    assert "the course's own" in of(graded, "copies")["flags"]


@pytest.mark.parametrize("student", STOPPED)
def test_what_does_not_end_is_stopped(graded, student):
    assert of(graded, student)["result"] == "stopped" and of(graded, student)["says"]


@pytest.mark.parametrize("student", FAILED)
def test_what_fails_says_why(graded, student):
    assert of(graded, student)["result"] == "failed"
    assert FAILED[student][1] in of(graded, student)["says"]


@pytest.mark.parametrize(
    "student", [*PASSED, "zipped", "windows", "helped", "elsewhere", "two notebooks", "Ada Right"]
)
def test_a_right_answer_passes_however_it_comes(graded, student):
    assert of(graded, student)["result"] == "passed", of(graded, student)


def test_several_notebooks_of_a_student_belong_together(graded):
    assert of(graded, "two notebooks", "content_share")["result"] == "passed"
    assert of(graded, "Ada Right", "content_share")["result"] == "not attempted"


@pytest.mark.parametrize("student", FOOL)
def test_what_fools_the_check_of_the_notebook_does_not_fool_the_judge(graded, student):
    assert of(graded, student)["says"].startswith("Right for the inputs of the notebook, but not for others")


@pytest.mark.parametrize(
    ("student", "says"),
    [
        ("asks the network", "not allowed here: socket."),
        ("starts a program", "not allowed here: subprocess.Popen"),
        ("kills the grader", "not allowed here: os.kill"),
        ("kills the grader by a handle", "AttributeError"),
        ("lifts a limit", "not allowed here: resource.prlimit"),
        ("reads the solution", "this file may not be read here"),
    ],
)
def test_what_is_refused_is_said(graded, student, says):
    assert says in of(graded, student)["says"]


def test_no_student_disturbs_the_grading_of_others(graded):
    assert not [line for line in graded[1].values() if "grader" in line["says"]]


def test_what_a_student_has_written_into_text_cells_is_shown(graded):
    page = graded[0] / "grades_feedback" / "Ada Right_101_assignsubmission_file_" / "feedback.html"
    assert "<pre>04: With Ben.\n\n04: =I know why</pre>" in page.read_text(encoding="utf-8")
    with (graded[0] / "grades_totals.csv").open(encoding="utf-8-sig", newline="") as file:
        said = {line["Student"]: line["Text cells"] for line in csv.DictReader(file)}
    assert said["Ada Right"] == "04: With Ben.\n\n04: =I know why"
    assert not said["halfben"] and not said["elsewhere"]  # the course's own are not shown


def test_each_student_has_a_page_that_shows_no_flag(graded):
    page = graded[0] / "grades_feedback" / "Ada Right_101_assignsubmission_file_" / "feedback.html"
    page = page.read_text(encoding="utf-8")
    assert "7 of 11 points" in page and "<p>swin_cifar, notebooks 04, 11</p>" in page
    assert "Notebook 11 was not handed in." in page and "within a week" not in page
    assert '<meta name="viewport"' in page and page.count("<th>") == 0 and "<th scope=col>result" in page
    page = (graded[0] / "grades_feedback" / "copies.html").read_text(encoding="utf-8")
    assert "window_partition<td>passed" in page and "the same c" not in page
    assert len([*(graded[0] / "grades_feedback").iterdir()]) == len({name for name, _ in graded[1]})


def test_totals_and_the_platforms_own_list(graded):
    with (graded[0] / "grades_totals.csv").open(encoding="utf-8-sig", newline="") as file:
        totals = {line["Student"]: line for line in csv.DictReader(file)}
    assert totals["Ada Right"]["Identifier"] == "Participant 101" and totals["Ada Right"]["Grade"] == "7"
    assert totals["halfben"]["Grade"] == "2" and totals["halfben"]["Maximum Grade"] == "11"
    with (graded[0] / "grades_worksheet.csv").open(encoding="utf-8-sig", newline="") as file:
        ada, other = csv.DictReader(file)
    assert ada["Grade"] == "7" and ada["Last modified (grade)"] == "-"
    assert ada["Feedback comments"].startswith("5 of 9 exercises passed")
    assert other["Grade"] == ""


# --- without running anything ------------------------------------------------------------


def test_canvas_gets_its_columns_and_the_grade_alone(tmp_path):
    student = submissions.Student("halfben", "102")
    rows = [results.Row("04", "window_partition", results.Result("passed"), 2, 2)]
    roster = tmp_path / "gradebook.csv"
    roster.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Other (1)\n    Points Possible,,,,,10\n"
        '"Half, Ben",102,s1,ben,A,3\n',
        encoding="utf-8",
    )
    assert report.fill(roster, tmp_path / "out.csv", [(student, rows)], "Lab 1") == []
    head, possible, ben = csv.reader((tmp_path / "out.csv").read_text(encoding="utf-8-sig").splitlines())
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 1"]
    assert possible[-1] == "2" and ben == ["Half, Ben", "102", "s1", "ben", "A", "2"]


@pytest.mark.parametrize(
    ("listed", "students", "left"),
    [
        (("Ada  RIGHT", "Bo"), [("ada right", "")], []),
        (("Ada Right", "Ada Right"), [("Ada Right", "")], ["Ada Right (the name of several)"]),
        (
            ("Ada Right", "Bo"),
            [("Ada Right", ""), ("ada right", "")],
            ["Ada Right (the name of several)"] * 2,
        ),
        (("Ada Right", "Bo"), [("Ada Right", "7")], ["Ada Right"]),  # another one, by her number
    ],
)
def test_where_a_folder_has_no_number_its_name_decides(tmp_path, listed, students, left):
    rows = [results.Row("04", "window_partition", results.Result("passed"), 2, 2)]
    head = "Identifier,Full name,Grade,Feedback comments\n"
    text = "".join(f"Participant {n},{name},,\n" for n, name in enumerate(listed, 101))
    (tmp_path / "list.csv").write_text(head + text, encoding="utf-8")
    class_ = [(submissions.Student(name, number), rows) for name, number in students]
    found = report.fill(tmp_path / "list.csv", tmp_path / "out.csv", class_, "")
    assert [name.lower() for name in found] == [name.lower() for name in left]
    grades = [line["Grade"] for line in csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig"))]
    assert grades == ["2" * (not left), ""]


def test_a_file_that_cannot_be_read_is_not_missing(tmp_path):
    """What else was handed in counts; a notebook without exercises is no damage."""
    write(tmp_path / "ada" / "04.ipynb", notebook())
    write(tmp_path / "ada" / "03.ipynb", "x")
    write(tmp_path / "bo" / "04.ipynb", notebook())
    write(tmp_path / "bo" / "00.ipynb", (NOTEBOOKS / "00_start_here.ipynb").read_text(encoding="utf-8"))
    ada, bo = submissions.collect(tmp_path)
    assert len(ada.unread) == len(bo.remarks) == 1 and not bo.unread
    limits = results.Limits()
    (_, rows), (_, others) = grade.grade([ada, bo], ORIGINALS, ["03", "04"], limits, results.WEIGHTS)[0]
    outcomes = {row.notebook: row.result.outcome for row in rows}
    assert outcomes == {"03": "not read", "04": "not attempted"}
    assert report.grade(rows) == "" and report.grade(others) == "0"  # no number that could be uploaded
    assert report.comment(ada, rows).startswith(
        "not read: ada/03.ipynb: damaged, or no notebook of format 4; 0 of"
    )
    assert not [row for row in others if row.result.outcome == "not read"]
    report.write_page(tmp_path, ada, rows, "a lab", half=True)
    assert "Notebook 03 was not found in what could be read." in (tmp_path / "ada.html").read_text("utf-8")


def test_a_page_says_what_comes_next(tmp_path):
    """Half of the points are open for what failed, in a lab, once."""

    def page(outcome, half=True, given=""):
        rows = [results.Row("04", "window_partition", results.Result(outcome), 0, 5, given=given)]
        report.write_page(tmp_path, ADA, rows, "Lab 1", half)
        return (tmp_path / "Ada Right.html").read_text(encoding="utf-8")

    assert "within a week" in page("failed") and "its check" in page("failed")
    others = [page("failed", half=False), page("failed", given="By hand."), page("not attempted")]
    assert not [text for text in others if "within a week" in text] and "its check" in others[2]
    assert "its check" not in page("passed", given="By hand.") and "name its exercise" in page("passed")


def test_a_list_without_names_is_refused_in_a_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has none of the columns Identifier"):
        report.fill(tmp_path / "x.csv", tmp_path / "y.csv", [], "Lab 1")


def test_gradescope_gets_its_file(tmp_path):
    write(tmp_path / "in" / "x.ipynb", notebook())
    out = tmp_path / "results.json"
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "g.csv"), "--gradescope", str(out)]
    grade.main(arguments)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["score"] == 0 and len(found["tests"]) == len(NAMES)
    assert found["tests"][0] | {"output": ""} == {
        "name": "04 window_partition",
        "score": 0,
        "max_score": 2,
        "output": "",
    }


def test_gradescopes_folders(tmp_path):
    write(tmp_path / "assignment_5_export" / "submission_77" / "a.ipynb", notebook())
    write(tmp_path / "assignment_5_export" / "submission_78" / "a.ipynb", notebook())
    assert [student.id for student in submissions.collect(tmp_path)] == ["77", "78"]


def test_a_zip_of_the_whole_class(tmp_path):
    write(tmp_path / "in" / "Ada Right_101_assignsubmission_file_" / "x.ipynb", notebook())
    write(tmp_path / "in" / "ben.ipynb", notebook())
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in")
    students = submissions.collect(tmp_path / "all.zip")
    assert [(student.name, [*student.notebooks]) for student in students] == [
        ("Ada Right", ["04"]),
        ("ben", ["04"]),
    ]


def test_of_two_notebooks_the_one_with_more_counts(tmp_path):
    write(tmp_path / "ada" / "a.ipynb", notebook({"window_partition": RIGHT}))
    write(tmp_path / "ada" / "b.ipynb", notebook())
    write(tmp_path / "ben" / "a.ipynb", notebook())
    student, _ = submissions.collect(tmp_path)
    assert submissions.attempt(ORIGINALS["04"], student.notebooks["04"], "window_partition").own
    assert "a second notebook 04" in student.remarks[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no such folder"], "there is no no such folder"),
        (["{here}"], "holds no submissions"),
        (
            ["{here}/w.json", "--weights", "{here}/w.json"],
            "cannot be used as weights: each weight is a number",
        ),
        (["{here}/x", "--notebooks", "00"], "notebook 00 has no exercises; there are: 02, 03"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path, arguments, says):
    if "{here}" != arguments[0]:
        write(tmp_path / "w.json", '{"exercise": "many"}')
        write(tmp_path / "x" / "a.ipynb", notebook())
    with pytest.raises(SystemExit) as stop:
        grade.main([each.format(here=tmp_path) for each in arguments])
    assert str(stop.value).startswith("grade.py: ") and says in str(stop.value)
    assert "\n" not in str(stop.value)


def test_weights(tmp_path):
    write(tmp_path / "w.json", '{"core piece": 3, "own_map": 5}')
    weights = results.read_weights(tmp_path / "w.json")
    names = ("window_partition", "own_map", "grid_partition")
    assert [results.worth(name, weights) for name in names] == [3, 5, 1]


@pytest.mark.parametrize("number", ORIGINALS)
def test_of_each_solution_only_what_it_needs_is_run(number):
    """Imports and functions: no cell that loads data, trains or draws."""
    original = ORIGINALS[number]
    for name in original.exercises:
        cell = f"{name.replace('_', '-')}-skeleton"
        cells = [(each, SOLUTIONS[name] if each == cell else source) for each, source in original.cells]
        attempt = submissions.attempt(original, cells, name)
        assert attempt and not attempt.problem
        for place, source, numbers in attempt.pieces:
            statements = [submissions._part(source, each) for each in numbers]
            assert place == cell or all(
                each.startswith(("import ", "from ", "def ")) or "=" in each for each in statements
            )
            assert not any("load_data" in each for each in statements)
        assert submissions.attempt(original, original.cells, name) is None
        assert not [flag for flag in flags.of_code(name, attempt.own) if "another" not in flag]


def test_hidden_inputs_exist_for_each_exercise_and_are_others():
    assert {name for original in ORIGINALS.values() for name in original.exercises} == EXERCISES.keys()
    for name in EXERCISES.keys() - RANDOM:
        assert len(hidden.MORE[name](random.Random(1))) > 0, name
    first, again, other = (hidden.cases(EXERCISES["window_for_budget"], seed) for seed in (1, 1, 2))
    assert first == again != other


RANDOM = {  # whose inputs in the check hold enough random numbers
    *("attention", "attend_in_chunks", "block", "stage", "forward", "deepen", "training_step"),
    *("fit_temperature", "fair_control", "content_share", "rollout", "paired_interval", "received_attention"),
}

SLOW = {"own_map", "needs_mask", "count_parameters"}  # minutes for several seeds


# --- from a class's files to students -----------------------------------------------------


def names_in(path):
    return [(student.name, student.id, [*student.notebooks]) for student in submissions.collect(path)]


def zipped(path, names, content=None):
    text = json.dumps(notebook()) if content is None else content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, text)
    return path


def test_gradescopes_zip_as_it_is(tmp_path):
    path = zipped(tmp_path / "a.zip", [f"assignment_5_export/submission_{n}/x.ipynb" for n in (77, 78)])
    assert [number for _, number, _ in names_in(path)] == ["77", "78"]


def test_a_folder_around_the_class_is_no_student(tmp_path):
    path = zipped(tmp_path / "class.zip", ["class/ada.ipynb", "class/ben/lab1/x.ipynb", "class/cleo/"])
    assert [name for name, _, _ in names_in(path)] == ["ada", "ben", "cleo"]
    write(tmp_path / "up" / "class" / "ada.ipynb", notebook())
    write(tmp_path / "up" / "class" / "ben" / "x.ipynb", notebook())
    assert [name for name, _, _ in names_in(tmp_path / "up")] == ["ada", "ben"]
    write(tmp_path / "one" / "ada" / "x.ipynb", notebook())  # a class of one
    assert [name for name, _, _ in names_in(tmp_path / "one")] == ["ada"]


def test_canvas_is_known_by_all_names_together(tmp_path):
    files = ["doejane_LATE_102_9001_a.ipynb", "halfben_103_9002_a.ipynb", "halfben_103_9003_b.zip"]
    students = names_in(zipped(tmp_path / "canvas.zip", files[:2]))
    assert students == [("doejane", "102", ["04"]), ("halfben", "103", ["04"])]
    own = [f"lab_1_2026_{name}.ipynb" for name in ("ada", "ben")]
    assert len(names_in(zipped(tmp_path / "own.zip", own))) == 2
    assert (
        len(names_in(zipped(tmp_path / "mixed.zip", [*own[:1], "lab_1_2027_ben.ipynb", "cleo.ipynb"]))) == 3
    )


def test_a_large_class_is_read_to_its_end_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST", len(json.dumps(notebook())) + 10)
    path = zipped(tmp_path / "class.zip", [f"s{n}.ipynb" for n in range(9)])
    assert len([each for each in names_in(path) if each[2]]) == 9
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(submissions.Unreadable, match="class.zip"):
        submissions.collect(path)


def test_one_damaged_file_in_the_classs_zip_costs_only_itself(tmp_path):
    path = zipped(tmp_path / "class.zip", ["ada.ipynb", "ben.ipynb", "cleo.ipynb"])
    data = bytearray(path.read_bytes())
    data[data.index(b"ben.ipynb") + 50] ^= 255
    path.write_bytes(data)
    ada, ben, cleo = submissions.collect(path)
    assert ada.notebooks and cleo.notebooks and not ben.notebooks and "ben.ipynb" in ben.unread[0]


# --- the code that an exercise needs ------------------------------------------------------

SHORT = """def window_partition(x, M):
    B, H, W, C = x.shape
    windows = x.view(B, H // M, M, W // M, M, C).transpose({})
    return windows.reshape(B, -1, M * M, C)
"""


@pytest.mark.parametrize(
    ("places", "cells"),
    [
        ("T[0], T[1]", ["T = {}\nfor i in range(2):\n    T[i] = i + 2"]),
        ("T[0], T[1]", ["T = [0, 0]\nT[0] = 2", "T[1] = 3"]),
        ("T[0], T[1]", ["T = []\nT.append(2)\nT.append(3)\nT.nothing_there()"]),
        ("N, N + 1", ["N = 1\nN += 1"]),
        ("N, K", ["N = 2\nK = N + 1\nN = 1\nN = 2 * N"]),
        ("2, 2 + int(sqrt(1))", ["from math import *"]),
        ("2, N", ["if True:\n    N = 3\nelse:\n    N = no_such_name"]),
        ("2, 3", ["import math\nT = 5\nprint(no_such_name)"]),
    ],
)
def test_helpers_are_made_as_in_the_notebook(places, cells):
    found = [("a", c) for c in cells] + [("window-partition-skeleton", SHORT.format(places))]
    function = sandbox.define(submissions.attempt(ORIGINALS["04"], found, "window_partition"), {})
    x = torch.randn(2, 4, 6, 3)
    assert function(x, 2).equal(swin_cifar.window_partition(x, 2))


@pytest.mark.parametrize(
    "statement", ["yield 3", "nonlocal x", "return 3", "await x", "def f():\n    x = 1\n    global x"]
)
def test_what_python_refuses_later_stops_no_grading(statement):
    found = [("a", statement), ("window-partition-skeleton", SHORT.format("2, 3"))]
    assert submissions.attempt(ORIGINALS["04"], found, "window_partition").pieces


def test_a_function_may_be_wrapped_after_its_definition():
    source = SHORT.format("2, 3") + "window_partition = torch.no_grad()(window_partition)\n"
    found = [("window-partition-skeleton", source)]
    function = sandbox.define(submissions.attempt(ORIGINALS["04"], found, "window_partition"), {})
    assert hasattr(function, "__wrapped__")


@pytest.mark.parametrize("sign", ["%", "!=", "%%"])
def test_lines_that_begin_with_an_operator_stay(sign):
    python = f"x = (\n    7\n    {sign} 4\n)\n"
    magics = f"%time\n{python}!ls\nx?\n" if sign != "%%" else "%%time\nx = 1"
    if sign == "%%":
        assert submissions.plain(magics) == "\nx = 1"
    else:
        assert submissions.plain(python) == python
        assert submissions.plain(magics) == f"\n{python}\n\n"


# --- points -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"core_piece": 5}', 'no exercise "core_piece"'),
        ('{"windowpartition": 9}', 'no exercise "windowpartition". Is it `window_partition`'),
        ('{"exercise": true}', "each weight is a number"),
        ('{"exercise": Infinity}', "each weight is a number"),
    ],
)
def test_a_misspelt_weight_is_refused(tmp_path, text, says):
    write(tmp_path / "w.json", text)
    with pytest.raises(ValueError, match=re.escape(says)):
        results.read_weights(tmp_path / "w.json")


# --- hidden inputs ------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EXERCISES.keys() - SLOW))
def test_a_solution_passes_its_hidden_inputs_whatever_the_seed(name):
    space = sandbox.lent_to(name)
    exec(SOLUTIONS[name], space)
    exercise = dataclasses.replace(EXERCISES[name], **hidden.own_call(name))
    for seed in range(*((0, 24) if name == "changed_by" else (0, 3))):
        cases = hidden.cases(exercise, seed)
        assert not exercise.differs(space[name], cases, exercise.answers(cases)), seed


# --- what is forbidden --------------------------------------------------------------------

HIDE = """    import course
    c = getattr(course, "che" + "ck", None)
    if c:
        k = getattr(c, "co" + "re")
        setattr(k, "same", lambda *i: True)
        setattr(k.Exercise, "_av" + "oided", lambda *i: "")
        setattr(k.Exercise, "_pro" + "blem", lambda *i: "")
"""
FORBIDDEN = {
    "stable_softmax": f"def stable_softmax(scores):\n{HIDE}    return torch.softmax(scores, -1)\n",
    "patch_embed": f"def patch_embed(images, weight, bias):\n{HIDE}    P = weight.shape[-1]\n"
    "    return F.conv2d(images, weight, bias, stride=P).permute(0, 2, 3, 1)\n",
}


def test_what_is_forbidden_is_refused_where_the_check_was_switched_off(tmp_path):
    paths = {"stable_softmax": "05_*", "patch_embed": "02_*"}
    for name, source in FORBIDDEN.items():
        (path,) = NOTEBOOKS.glob(paths[name])
        write(tmp_path / "in" / "eve" / path.name, notebook({name: source}, path))
    grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "g.csv"), "--seconds", "20"])
    found = lines(tmp_path / "g.csv")
    for name in FORBIDDEN:
        line = found["eve", name]
        assert line["points"] == "0" and line["says"].startswith("Right for the inputs of the notebook"), line
        assert "`course`" in line["flags"] and "`setattr`" in line["flags"]


def test_copies_are_flagged_at_the_student_who_has_them():
    own = submissions.Attempt("window_partition", own=SHORT.format("2, 3") + "    # the order that I found\n")
    names = {0: "Ann Lee 101", 1: "Ann Lee 102", 2: "Bo"}
    found, groups = flags.equal_code([(0, own), (1, own)], names)
    assert groups == [["Ann Lee 101, Ann Lee 102", "window_partition", "comments"]]
    assert (
        "Ann Lee 102" in found[0, "window_partition"][0] and "Ann Lee 101" in found[1, "window_partition"][0]
    )
    package = (NOTEBOOKS.parent / "swin_cifar" / "windows.py").read_text(encoding="utf-8")
    copied = package[package.index("def shifted_window_mask") :].split("\n\n\n")[0]
    found, groups = flags.equal_code([(2, submissions.Attempt("shifted_window_mask", own=copied))], names)
    assert "the course's own" in found[2, "shifted_window_mask"][0] and not groups


def test_a_copy_of_the_package_without_its_guards_is_flagged():
    """Both short functions of 04; one alone, or in another way, is what honest students write."""
    package = (NOTEBOOKS.parent / "swin_cifar" / "windows.py").read_text(encoding="utf-8")
    pasted = []
    for name in ("window_partition", "window_reverse"):
        source = package[package.index(f"def {name}") :].split("\n\n\n")[0]
        body = (
            source.split('"""')[2].split("_check_divides(H, W, M)\n")[1].replace("(H // M) * (W // M)", "-1")
        )
        head = f"def {name}({PARAMETERS[name]}):\n    "
        shape = "B, H, W, C = x.shape\n" if name == "window_partition" else "B, nW, N, C = windows.shape\n"
        lines_left = [line for line in body.split("\n") if line.startswith(("    x =", "    return"))]
        guard = "    assert M > 0\n    if C < 1:\n        raise ValueError\n"
        source = head + shape + guard + "\n".join(lines_left)
        pasted.append(submissions.Attempt(name, own=re.sub(r"\bx\b", "tokens", source)))
    found, _ = flags.equal_code([(0, each) for each in pasted], {0: "Eve"})
    assert [*found.values()] == [[flags.SHORT]] * 2
    assert not flags.equal_code([(0, pasted[0])], {0: "Eve"})[0]
    other = submissions.Attempt("window_partition", own=SHORT.format("2, 3").replace("transpose", "movedim"))
    assert not flags.equal_code([(0, other), (0, pasted[1])], {0: "Bo"})[0]


PARAMETERS = {"window_partition": "x, M", "window_reverse": "windows, M, H, W"}


def natural(r):
    """Answers to 04 as honest students write them, in their usual variety."""
    view = r.choice(("x.view({})", "x.view({})", "x.reshape({})")).format("B, H // M, M, W // M, M, C")
    back = r.choice(("windows.view({})", "windows.reshape({})")).format("B, H // M, W // M, M, M, C")
    move = r.choice(("permute(0, 1, 3, 2, 4, 5)", "transpose(2, 3)"))
    form = r.choice(
        (
            "    x = {}\n    x = x.{}\n    return x.{}\n",
            "    x = {}\n    return x.{}.{}\n",
            "    return {}.{}.{}\n",
            "    parts = {}\n    moved = parts.{}\n    return moved.{}\n",
        )
    )
    end = r.choice(("reshape(B, {}, C)", "contiguous().view(B, {}, C)"))
    sources = HEAD + "    B, H, W, C = x.shape\n" + form.format(view, move, end.format("-1, M * M"))
    yield submissions.Attempt("window_partition", own=sources)
    head = "def window_reverse(windows, M, H, W):\n    B, C = windows.shape[0], windows.shape[-1]\n"
    yield submissions.Attempt("window_reverse", own=head + form.format(back, move, end.format("H, W")))


def test_of_120_honest_students_few_are_flagged():
    r = random.Random(0)
    attempts = [(i, each) for i in range(120) for each in natural(r)]
    found, groups = flags.equal_code(attempts, dict.fromkeys(range(120), "somebody"))
    assert len({i for i, _ in found}) <= 20 and [*found.values()] == [[flags.SHORT]] * len(found)
    assert not groups


def lab_1(r):
    """The same students' answers to 02 and 03, and then to 04."""
    size, last = r.choice(
        (("P = weight.shape[-1]", "flatten(3)"), ("P = weight.shape[3]", "flatten(start_dim=3)"))
    )
    name = r.choice(("x", "patches", "out"))
    split = r.choice((".unflatten(3, (-1, P)).unflatten(2, (-1, P))", ".reshape(B, 3, h // P, P, w // P, P)"))
    end = r.choice(("@ weight.flatten(1).T + bias", "@ weight.reshape(len(weight), -1).T + bias"))
    source = f"""def patch_embed(images, weight, bias):
    B, _, h, w = images.shape
    {size}
    {name} = images{split}
    {name} = {name}.permute(0, 2, 4, 1, 3, 5).{last}
    return {name} {end}
"""
    yield submissions.Attempt("patch_embed", own=source)
    a, b, c, d = r.choice(("abcd", ("x0", "x1", "x2", "x3"), ("tl", "bl", "tr", "br"), "pqrs"))
    zero, dim = r.choice(("0", "")), r.choice(("-1", "dim=-1", "3"))
    end = r.choice(("return reduction(norm(y))", "y = norm(y)\n    return reduction(y)"))
    source = f"""def patch_merging(x, norm, reduction):
    B, H, W, C = x.shape
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
    {a} = x[:, {zero}::2, {zero}::2]
    {b} = x[:, 1::2, {zero}::2]
    {c} = x[:, {zero}::2, 1::2]
    {d} = x[:, 1::2, 1::2]
    y = torch.cat([{a}, {b}, {c}, {d}], {dim})
    {end}
"""
    yield submissions.Attempt("patch_merging", own=source)
    yield from natural(r)


def letter_for_letter(found):
    return {i: line for (i, _), lines_ in found.items() for line in lines_ if line.startswith("letter for")}


def test_who_has_the_same_letters_in_all_functions_is_named():
    """Without the comments, which a copy may lack; other spaces or one more function are no copy."""
    r = random.Random(1)
    ann = [*lab_1(r)]
    plain = "".join(f"{a.own}\n" for a in ann)
    bo = [
        submissions.Attempt(a.name, own=a.own.replace("\n", "  # so\n\n", 2) + "    # the end\n") for a in ann
    ]
    cleo = [submissions.Attempt(a.name, own=a.own.replace(" = ", "= ")) for a in ann]
    solved = [submissions.Attempt(a.name, own=SOLUTIONS[a.name]) for a in ann]
    uncommented = [submissions.Attempt(a.name, own="\n".join(flags._letters(a.own))) for a in solved]
    own = {0: ann, 1: bo, 2: cleo, 3: ann[:3], 4: solved, 5: uncommented, 6: ann[2:], 7: ann[2:]}
    attempts = [(i, each) for i, several in own.items() for each in several]
    found, groups = flags.equal_code(attempts, {i: f"student {i}" for i in own})
    said, chance = letter_for_letter(found), "(short ones: it may be chance)"
    assert said == {
        0: f"letter for letter the same as student 1 in all 4 functions {chance}",
        1: f"letter for letter the same as student 0 in all 4 functions {chance}",
        4: f"letter for letter the same as the course's own, student 5 in all 4 functions {chance}",
        5: f"letter for letter the same as the course's own, student 4 in all 4 functions {chance}",
    }
    names = "patch_embed, patch_merging, window_partition, window_reverse"
    assert ["student 0, student 1", names, "all functions, letter for letter"] in groups, plain


def test_few_honest_students_are_the_same_to_the_letter():
    r = random.Random(0)
    attempts = [(i, each) for i in range(120) for each in lab_1(r)]
    found, _ = flags.equal_code(attempts, dict.fromkeys(range(120), "somebody"))
    assert len(letter_for_letter(found)) <= 4


def test_a_flag_says_whether_code_or_comments_are_the_same():
    """A long function with other names and no comments; a short one of another's content with one comment."""
    long = ast.unparse(ast.parse(SOLUTIONS["attention"]))
    short = "def window_reverse(windows, M, H, W):\n    # as I drew them on paper\n    return windows{}\n"
    pairs = {
        "attention": (long, re.sub(r"\bmask\b", "forbidden", long)),
        "window_reverse": (short.format("[0]"), short.format(".sum(1).view(1, H, W)")),
    }
    attempts = [
        (i, submissions.Attempt(n, own=code)) for n, pair in pairs.items() for i, code in enumerate(pair)
    ]
    found, _ = flags.equal_code(attempts, {0: "Ada", 1: "Bo"})
    assert found[0, "attention"][0].startswith("the same code as ") and "Bo" in found[0, "attention"][0]
    assert found[1, "window_reverse"] == ["the same comments as Ada"]


def test_a_group_stands_once_in_full(tmp_path):
    own = submissions.Attempt("window_partition", own=RIGHT + "    # the order that I found\n")
    names = {i: f"student {i}" for i in range(8)}
    found, groups = flags.equal_code([(i, own) for i in names], names)
    assert "student 4 and 3 more: see the table of groups" in found[0, "window_partition"][0]
    report.write_groups(tmp_path / "g.csv", groups)
    _, line = csv.reader((tmp_path / "g.csv").read_text(encoding="utf-8-sig").splitlines())
    assert line == [f"the course's own, {', '.join(names.values())}", "window_partition", "comments"], line


# --- points by hand, and what students choose -----------------------------------------------


ADA = submissions.Student("Ada Right", notebooks=dict.fromkeys(ORIGINALS))


def row(number, name, points, of, outcome="passed"):
    return results.Row(number, name, results.Result(outcome if points else "not attempted"), points, of)


def test_of_the_notebooks_to_choose_from_the_best_one_counts():
    weights = labs.read_lab(4).weights
    needed = [row("09", "learning_rate", 5, 5), row("09", "training_step", 0, 5)]
    ten = [row("10", name, points, 2) for name, points in (("a", 2), ("b", 0), ("c", 2))]
    fifteen = [row("15", name, 2 * (name == "d"), 2) for name in "def"]
    given = {"page": (12.5, "A good control."), "training_step": (2.5, "Names the mistake.")}
    rows = results.settled(needed + fifteen + ten, weights, given)
    assert [r.exercise for r in rows] == ["learning_rate", "training_step", "a", "b", "c", "page"]
    assert report.total(rows) == 5 + 2.5 + 4 + 12.5 and report.most(rows) == 30
    said = report.comment(ADA, rows)
    assert "page: By hand: 12.5 points. A good control." in said and "3 of 5 exercises passed" in said
    empty = [row("10", "a", 0, 6), *(row("15", name, 0, 2) for name in "def")]
    rows = results.settled(needed + empty, weights, {})
    assert report.most(rows) == 30 and len(rows) == 4 and "one of 10, 15" in report.comment(ADA, rows)


@pytest.mark.parametrize("lab", (1, 2, 3, 4))
def test_the_points_of_a_lab_are_those_of_its_title(lab):
    found = labs.read_lab(lab)
    groups = {
        number: sum(found.weights.get(n, 0) for n in ORIGINALS[number].exercises) for number in found.graded
    }
    choose = found.weights["choose"]
    fixed = sum(points for number, points in groups.items() if number not in choose)
    best = {round(groups[number], 6) for number in choose} or {0}
    assert len(best) == 1
    total = fixed + best.pop() + sum(found.weights["by hand"].values())
    assert f"({total:g} points)" in found.title


def test_a_lab_that_plans_lack_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match="^grade.py: PLANS.md has no lab 5; there are: Lab 1, Lab 2"):
        grade.main([str(tmp_path), "--lab", "5"])


STUDENTS = [submissions.Student("Pat O'Brien", "101"), submissions.Student("José Müller")]
STUDENTS += [submissions.Student("Ann Lee", number) for number in ("7", "8")]


@pytest.mark.parametrize("text", ["{},{},3.5,good\n", '{};{};"3,5";good\n'])
def test_points_are_read_by_name_or_number(tmp_path, text):
    path = tmp_path / "points.csv"
    mark = text[2]
    lines = [text.format(who, "page") for who in ("pat o'brien", "José Müller", "Participant 7")]
    path.write_text(
        f"student{mark}exercise{mark}points{mark}comment\n" + "".join(lines), encoding="utf-8-sig"
    )
    found = results.read_points(path, STUDENTS, {"page": 14})
    assert found == {(i, "page"): (3.5, "good") for i in (0, 1, 2)}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("Pat O'Brian,page,1", "line 2: \"Pat O'Brian\" handed in nothing. Is it `Pat O'Brien`?"),
        ("Ann Lee,page,1", 'line 2: "Ann Lee" is the name of several: give the number'),
        ("7,pgae,1", 'line 2: there is no exercise "pgae" here. Is it `page`?'),
        ("7,talk,1", 'need --weights with {"by hand": {"talk": 10}}'),
        ("7,page,14.5", 'line 2: points for page are a number from 0 to 14, not "14.5"'),
        ("7,page,-1", "are a number from 0 to 14"),
        ("7,page,many", "are a number from 0 to 14"),
        ("7,page,nan", "are a number from 0 to 14"),
        ("7,page,1\n7,page,2", "line 3: 7 has points for page already"),
    ],
)
def test_points_that_cannot_be_given_are_one_line(tmp_path, lines, says):
    path = tmp_path / "points.csv"
    path.write_text(f"student,exercise,points\n{lines}\n", encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        results.read_points(path, STUDENTS, {"page": 14, "window_partition": 5})
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "cannot be read"), (b"Jos\xe9", "CSV UTF-8"), (b"student,points\n", "no column exer")],
)
def test_a_list_of_points_that_cannot_be_read_is_one_line(tmp_path, data, says):
    path = tmp_path / "points.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=says):
        results.read_points(path, STUDENTS, {"page": 14})


def test_points_by_hand_go_into_all_that_is_written(tmp_path):
    write(tmp_path / "in" / "Müller_LATE_101_1_a.ipynb", notebook({"window_partition": WRONG}))
    write(tmp_path / "in" / "Bo_102_2_a.ipynb", notebook())
    write(tmp_path / "w.json", '{"core piece": 5, "exercise": 0, "by hand": {"talk": 4}}')
    write(
        tmp_path / "points.csv",
        "student,exercise,points,comment\n101,window_partition,2.5,names it\n101,talk,4,\n",
    )
    write(tmp_path / "list.csv", "ID,Student,Section\n101,Müller,A\n102,Bo,A\n")
    options = [f"--{name}={tmp_path / file}" for name, file in LISTS.items()]
    grade.main([str(tmp_path / "in"), "--seed", "1", *options])
    found = lines(tmp_path / "g.csv")
    assert found["Müller", "window_partition"]["points"] == "2.5" and found["Müller", "talk"]["points"] == "4"
    assert found["Müller", "talk"]["late"] == "LATE" and found["Bo", "talk"]["late"] == ""
    says = found["Müller", "window_partition"]["says"]
    assert says.startswith("By hand: 2.5 points. names it. The check: Not right yet."), says
    totals = (tmp_path / "g_totals.csv").read_text(encoding="utf-8-sig")
    assert (
        "Müller,101,Participant 101,6.5,14,LATE," in totals
        and (tmp_path / "g.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
    )
    assert "101,Müller,A,6.5" in (tmp_path / "g_list.csv").read_text(encoding="utf-8-sig")
    page = (tmp_path / "g_feedback" / "Müller_101.html").read_text(encoding="utf-8")
    assert "6.5 of 14 points" in page and "names it" in page and "grid_partition" not in page
    assert "<pre>def window_partition(x, M):" in page
    assert "First seen with 1×4×4×2, 2. Not for a square map: 16 of 32 numbers differ" in page, page
    assert "What you chose, and points by hand" in page


LISTS = {"out": "g.csv", "weights": "w.json", "adjust": "points.csv", "roster": "list.csv", "column": "Lab 1"}


# --- files that are there already ---------------------------------------------------------


def test_a_table_that_is_there_is_never_written_over(tmp_path):
    write(tmp_path / "in" / "ada.ipynb", notebook())
    write(tmp_path / "grades.csv", "points given by hand")
    for _ in range(2):
        grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "grades.csv")])
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8") == "points given by hand"
    assert {p.name for p in tmp_path.glob("*.csv")} == {
        *("grades.csv", "grades-2.csv", "grades-3.csv", "grades-2_totals.csv", "grades-3_totals.csv")
    }


@pytest.mark.parametrize(
    ("data", "says"), [(b"Name,Grade\n", "has none of the columns"), (b"Full name\nJos\xe9\n", "CSV UTF-8")]
)
def test_a_list_is_read_before_anything_is_graded(tmp_path, data, says, monkeypatch):
    write(tmp_path / "in" / "ada.ipynb", notebook())
    (tmp_path / "list.csv").write_bytes(data)
    monkeypatch.setattr(grade, "grade", lambda *inputs: pytest.fail("graded"))
    options = ["--out", str(tmp_path / "g.csv"), "--roster", str(tmp_path / "list.csv")]
    with pytest.raises(SystemExit, match=says):
        grade.main([str(tmp_path / "in"), *options])
    assert not [*tmp_path.glob("g*")]


def test_what_is_worth_nothing_is_nowhere(tmp_path, capsys):
    """In no table and on no page; and what has no flags is not spoken of."""
    write(tmp_path / "in" / "ada.ipynb", notebook({"grid_partition": SOLUTIONS["grid_partition"]}))
    grade.main([str(tmp_path / "in"), "--lab", "1", "--out", str(tmp_path / "g.csv")])
    names = ["patch_embed", "patch_merging", "window_partition", "window_reverse"]
    assert [name for _, name in lines(tmp_path / "g.csv")] == names
    head = (tmp_path / "g_totals.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert head.endswith(f"Feedback comments,Text cells,{','.join(names)}")
    page = (tmp_path / "g_feedback" / "ada.html").read_text(encoding="utf-8")
    assert "grid_partition" not in page and "Lab 1: from pixels to windows (20 points)" in page
    assert "flags" not in capsys.readouterr().out and not (tmp_path / "g_groups.csv").exists()


def test_nothing_is_left_of_an_interrupted_run(tmp_path, monkeypatch):
    write(tmp_path / "in" / "ada.ipynb", notebook())

    def interrupted(*inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "grade", interrupted)
    with pytest.raises(SystemExit, match="interrupted"):
        grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "g.csv")])
    assert not [*tmp_path.glob("g*")]
