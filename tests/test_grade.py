"""The grader: a class of planted submissions, graded once by the command, each in the way it must be."""

import copy
import csv
import json
import random
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "notebooks" / "tools"
sys.path.append(str(TOOLS))

import grade  # noqa: E402
from grading import flags, hidden, report, results, submissions  # noqa: E402

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
    """The class: in the forms in which Moodle and Canvas hand submissions out, and in simpler ones."""
    every = {name: SOLUTIONS[name] for name in NAMES}
    write(folder / "Ada Right_101_assignsubmission_file_" / "my homework.ipynb", notebook(every))
    half = {"window_partition": WRONG, "window_reverse": SOLUTIONS["window_reverse"]}
    write(folder / "halfben_LATE_102_9001_04_window_partition.ipynb", notebook(half))
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
    with path.open(encoding="utf-8", newline="") as file:
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
    assert outcomes(graded, student) == ["not attempted"] * len(NAMES)


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
    assert "the same code as" in of(graded, "Ada Right")["flags"]
    assert "Ada Right" in of(graded, "copies")["flags"]
    assert "the solution of the course" in of(graded, "copies")["flags"]


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
        ("reads the solution", "this file may not be read here"),
    ],
)
def test_what_is_refused_is_said(graded, student, says):
    assert says in of(graded, student)["says"]


def test_no_student_disturbs_the_grading_of_others(graded):
    assert not [line for line in graded[1].values() if "grader" in line["says"]]


def test_each_student_has_a_page_that_shows_no_flag(graded):
    page = graded[0] / "grades_feedback" / "Ada Right_101_assignsubmission_file_" / "feedback.html"
    assert "7 of 11 points" in page.read_text(encoding="utf-8")
    page = (graded[0] / "grades_feedback" / "copies.html").read_text(encoding="utf-8")
    assert "window_partition<td>passed" in page and "same code" not in page
    assert len([*(graded[0] / "grades_feedback").iterdir()]) == len({name for name, _ in graded[1]})


def test_totals_and_the_platforms_own_list(graded):
    with (graded[0] / "grades_totals.csv").open(encoding="utf-8", newline="") as file:
        totals = {line["Student"]: line for line in csv.DictReader(file)}
    assert totals["Ada Right"]["Identifier"] == "Participant 101" and totals["Ada Right"]["Grade"] == "7"
    assert totals["halfben"]["Grade"] == "2" and totals["halfben"]["Maximum Grade"] == "11"
    with (graded[0] / "grades_worksheet.csv").open(encoding="utf-8", newline="") as file:
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
    head, possible, ben = csv.reader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 1"]
    assert possible[-1] == "2" and ben == ["Half, Ben", "102", "s1", "ben", "A", "2"]


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
    (student,) = submissions.collect(tmp_path)
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
