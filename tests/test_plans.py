"""Plans, labs and exam: minutes and points add up, exercises exist, numbers in answers are right."""

import math
import re
import runpy
import statistics
import sys
from fractions import Fraction
from pathlib import Path

import nbformat
import pytest
import torch

from course import check, studies
from course.hunt import STAGES
from swin_cifar import create_model, relative_position_index, shifted_window_mask, train_config
from swin_cifar.layers import PatchMerging
from swin_cifar.training import learning_rate
from test_notebooks import MINUTES
from test_slides import build

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "notebooks" / "tools"))

import handout  # noqa: E402
from grading import labs, report  # noqa: E402

NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
LECTURES = (45, 60, 90)
FRAME = 3  # title, outline, summary; one more stands during the questions
CLASS = 120  # minutes of a lab in class
WORKFLOWS = ROOT / ".github" / "workflows"

INSTRUCTORS, PLANS, EXAM = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("INSTRUCTORS.md", "notebooks/PLANS.md", "notebooks/exam.md")
)
PAGES = (
    "INSTRUCTORS",
    "README",
    "notebooks/PLANS",
    "notebooks/PLATFORMS",
    "notebooks/GRADING",
    "notebooks/exam",
)


def section(text, heading):
    """-> what stands under the heading of second order that begins so, up to the next one"""
    found = re.findall(rf"^## {re.escape(heading)}.*?(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, heading
    return found[0]


def tables_of(text):
    """-> [{column: text of a cell}, ...] for each table in markdown, a row each"""
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        yield [dict(zip(head, row, strict=True)) for row in rows]


def number(text):
    """ "7½" -> 15/2, "" -> 0"""
    whole = text.removesuffix("½")
    return Fraction(whole or 0) + (Fraction(1, 2) if text != whole else 0)


def minutes(names):
    """ "02, 04", "09 to 11", "08, reading", "08, exercises" -> minutes of notebooks, in whole or in part"""
    part = next((word for word in ("reading", "exercises") if names.endswith(word)), "whole")
    total = 0
    for first, last in re.findall(r"(\d\d)(?: to (\d\d))?", names):
        for n in range(int(first), int(last or first) + 1):
            read, whole = MINUTES[f"{n:02}"]
            total += {"reading": read, "whole": whole, "exercises": whole - read}[part]
    return total


# --- lectures --------------------------------------------------------------------------


def slides_of(notebook, lecture):
    """-> the slides of the notebook that are in the lecture of so many minutes: how long each is shown"""
    about = [
        cell.metadata.get("slide", {}) for cell in nbformat.read(NOTEBOOKS[notebook], as_version=4).cells
    ]
    shown = [each for each in about if each.get("lecture", 999) <= lecture]
    return [Fraction(each.get("minutes", build.MINUTES)) for each in shown]


@pytest.mark.parametrize("lecture", LECTURES)
def test_the_minutes_of_a_lecture_are_those_of_its_slides(lecture):
    (rows,) = tables_of(section(INSTRUCTORS, "Lectures"))
    said = {row["from"]: number(row[str(lecture)]) for row in rows}
    counted = {name: sum(slides_of(name, lecture)) for name in NOTEBOOKS}
    counted |= {"title, outline": 2 * Fraction(build.MINUTES), "summary": Fraction(build.MINUTES)}
    questions = lecture - sum(counted.values())
    assert {name: m for name, m in said.items() if m} == {
        name: m for name, m in (counted | {"questions": questions}).items() if m
    }
    assert questions >= 6, f"{questions} minutes are left for questions"


@pytest.mark.parametrize("lecture", LECTURES)
def test_the_deck_of_a_lecture_holds_these_slides(lecture):
    """Those of the notebooks, the frame, and a last one."""
    slides = build.lecture(list(NOTEBOOKS.values()), lecture)
    assert len(slides) == sum(len(slides_of(name, lecture)) for name in NOTEBOOKS) + FRAME + 1
    said = [re.match(r"\*\*Minute ([\d.]+) to ([\d.]+|the end)\*\*$", slide.notes[0]) for slide in slides]
    assert said[0][1] == "0" and said[-1][2] == "the end"
    assert all(one[2] == other[1] for one, other in zip(said, said[1:]))
    assert all(Fraction(one[2]) - Fraction(one[1]) in (1, Fraction(3, 2), 2, 3) for one in said[:-1])


def test_half_a_day_has_the_minutes_of_its_title_and_of_its_notebooks():
    """A notebook's number alone means all of it; "from" means that a part is shown."""
    text = section(INSTRUCTORS, "Half a day")
    (rows,) = tables_of(text)
    assert sum(int(row["minutes"]) for row in rows) == int(re.match(r"## .*?(\d+) minutes", text)[1])
    for row in rows:
        if row["notebooks"].startswith("from"):
            assert int(row["minutes"]) <= minutes(row["notebooks"]), row
        elif row["notebooks"]:
            assert int(row["minutes"]) == minutes(row["notebooks"]), row


def test_the_page_alone_takes_as_long_as_it_says():
    text = section(INSTRUCTORS, "The page")
    (rows,) = tables_of(text)
    (said,) = re.findall(r"(\d+) minutes from the page alone", " ".join(text.split()))
    assert sum(int(row["minutes"]) for row in rows) == int(said)


# --- labs ------------------------------------------------------------------------------

LABS = {n: section(PLANS, f"Lab {n}") for n in range(1, 5)}
CHOICE = next(table for table in tables_of(LABS[4]) if "choice" in table[0])


def plan_of(lab, place):
    """-> the rows of the lab's plan for "class" or "home" """
    tables = [t for t in tables_of(LABS[lab]) if "notebook" in t[0] and "minutes" in t[0]]
    return [row for table in tables for row in table if any(place in column for column in row)]


def handed_in(lab):
    """-> the rows of the lab's table of exercises"""
    (rows,) = [table for table in tables_of(LABS[lab]) if "exercise" in table[0]]
    return rows


def exercises_of(notebook):
    cells = nbformat.read(NOTEBOOKS[notebook], as_version=4).cells
    ids = [cell.id for cell in cells if cell.id.endswith("-skeleton")]
    return [name.removesuffix("-skeleton").replace("-", "_") for name in ids]


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_in_class_fits_two_hours(lab):
    rows = plan_of(lab, "class")
    assert sum(int(row["minutes"]) for row in rows) == CLASS


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_takes_the_minutes_of_its_notebooks(lab):
    """In class and at home; nothing of a notebook is left out or counted twice."""
    rows = [row for row in plan_of(lab, "class") + plan_of(lab, "home") if re.match(r"\d", row["notebook"])]
    for row in rows:
        assert int(row["minutes"]) == minutes(row["notebook"]), row
    named = ", ".join(row["notebook"].split(",")[0] for row in rows)
    assert sum(int(row["minutes"]) for row in rows) == minutes(", ".join(sorted(set(named.split(", ")))))


def test_each_choice_of_lab_4_fits_class_and_home():
    (begun,) = [row for row in plan_of(4, "class") if row["notebook"].startswith("of ")]
    for row in CHOICE:
        name, home = row["choice"][:2], int(row["minutes"])
        read, whole = MINUTES[name]
        in_class = min(read, int(begun["minutes"]))
        assert in_class + home == whole, name
        assert read <= int(begun["minutes"]) or name == "14", name  # it has no part for reading alone


def test_all_notebooks_are_in_a_lab():
    said = " ".join(row["notebook"] for lab in LABS for p in ("class", "home") for row in plan_of(lab, p))
    numbers = [int(n) for pair in re.findall(r"(\d\d)(?: to (\d\d))?", said) for n in pair if n]
    assert set(range(10)) <= set(numbers)
    assert {int(row["choice"][:2]) for row in CHOICE} == set(range(10, 16))


@pytest.mark.parametrize("lab", LABS)
def test_what_is_handed_in_exists_and_its_points_add_up(lab):
    total = int(re.match(r"## .*\((\d+) points\)", LABS[lab])[1])
    rows = handed_in(lab)
    for row in rows:
        assert row["exercise"].strip("`") in exercises_of(row["notebook"]), row
        assert row["exercise"].strip("`") in check.EXERCISES
    points = sum(int(row["points"]) for row in rows)
    if lab == 4:
        together, page = (int(n) for n in re.findall(r"(\d+) points", " ".join(CHOICE[0])))
        points += together + page
    assert points == total


def test_the_choices_of_lab_4_name_exercises_and_pages_that_exist():
    for row in CHOICE:
        notebook = row["choice"][:2]
        (last,) = (value for column, value in row.items() if column.endswith("points for"))
        named = re.findall(r"`(\w+)`", row["exercises, 6 points together"])
        page = re.findall(r"`(\w+)`", last)
        assert sorted(named + page) == sorted(exercises_of(notebook)), notebook
        ids = [cell.id for cell in nbformat.read(NOTEBOOKS[notebook], as_version=4).cells]
        assert notebook in ("11", "14") or "open-task" in ids


def test_a_rubric_has_the_points_of_its_title():
    """Two points a row, here and in the notebooks' open tasks; a hunt's as its stages."""
    rubrics = re.findall(
        r"^### The rubric of .*?, (\d+) points\n(.*?)(?=^##)", PLANS, re.MULTILINE | re.DOTALL
    )
    assert len(rubrics) == 2
    for name in ("10", "12", "13", "15"):
        cells = nbformat.read(NOTEBOOKS[name], as_version=4).cells
        rubrics += [("14", cell.source + "\n") for cell in cells if cell.id == "open-task"]
    assert len(rubrics) == 6
    for points, text in rubrics:
        (rows,) = tables_of(text)
        assert 2 * len(rows) == int(points) and "2" in rows[0]


def test_a_hunt_has_the_stages_that_the_points_are_for():
    stages = re.findall(r"\*([a-z ]+)\* (\d+)", " ".join(LABS[4].split()))
    assert [name for name, _ in stages] == list(STAGES[1:])
    assert int(stages[-1][1]) == 14


COUNTS = {2: "two", 3: "three", 4: "four", 7: "seven"}


def test_the_instructors_page_says_the_same_of_the_labs():
    (rows,) = tables_of(section(INSTRUCTORS, "Labs"))
    assert len(rows) == len(LABS)
    for lab, row in zip(LABS, rows):
        said = [int(n) for n in re.findall(r"\d+", row["at home"])] or [0]
        homes = [sum(int(r["minutes"]) for r in plan_of(lab, "home"))]
        if lab == 4:
            homes = [f(int(r["minutes"]) for r in CHOICE) for f in (min, max)]
        assert said == homes, row
        assert int(row["in class"]) == CLASS
        assert row["handed in"].startswith(f"{COUNTS[len(handed_in(lab))]} functions"), row
        assert f"({row['points']} points)" in LABS[lab].splitlines()[0]
    assert sum(int(row["points"]) for row in rows) == 100


# --- the exam --------------------------------------------------------------------------

QUESTION = r"^### ([AB]\d+)\. .*?\((\w+), (\d+) points, notebooks? ([^)]*)\)\n(.*?)(?=^##|\Z)"
QUESTIONS = {
    name: (level, int(points), taught, body)
    for name, level, points, taught, body in re.findall(QUESTION, EXAM, re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("paper", "AB")
def test_a_paper_has_its_points(paper):
    own = [question for name, question in QUESTIONS.items() if name[0] == paper]
    assert len(own) == len(re.findall(rf"^### {paper}", EXAM, flags=re.MULTILINE)) == 14
    assert sum(points for _, points, _, _ in own) == int(re.search(r"papers of (\d+) points", EXAM)[1])
    assert {level for level, *_ in own} == {"recall", "apply", "transfer"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_an_answer_and_is_taught(name):
    _, _, taught, body = QUESTIONS[name]
    assert set(re.findall(r"\d\d", taught)) <= NOTEBOOKS.keys()
    question, answer = body.split("**Answer.**")
    assert len(question) > 40 and len(answer) > 40


def output(*scores):
    """The three values of question A12, mixed by the softmax of these scores, as two numbers in words."""
    values = torch.tensor([[8.0, 0], [0, 8], [8, 8]])
    first, second = (torch.tensor(scores).softmax(0) @ values).tolist()
    return f"({round(first, 2):g}, {round(second, 2):g})"


def interval(middle, half):
    return f"{middle - half:.2f} to {middle + half:.2f}".replace("-", "−")


def seeds(gains):
    """-> s, half the 95% interval, and its ends, in words"""
    s = statistics.stdev(gains)
    half = studies.student_t(len(gains) - 1) * s / math.sqrt(len(gains))
    return [f"{s:.3f}", f"{half:.2f}", interval(statistics.mean(gains), half)]


def paired(b, c, n=10_000):
    difference, half = 100 * (c - b) / n, 196 * math.sqrt(b + c) / n
    return [f"{difference:.2f} percentage points", f"{half:.2f}, from {interval(difference, half)}"]


def reached(blocks):
    influence = runpy.run_path(str(ROOT / "notebooks/solutions/07_influence.py"))["influence"]
    first, end = influence(16, 4, (0, 2, 0, 2)[:blocks], 5)
    return f"{first} to {end - 1}"


def answers():
    """-> {question: what its answer must say}, all computed"""
    (h, w, c), (h2, w2, c2) = (
        m.shape[1:] for m in create_model("nano").stage_maps(torch.zeros(1, 3, 48, 64))
    )
    windows = math.ceil(h2 / 4) * math.ceil(w2 / 4)
    index = relative_position_index(3)
    offsets = len(index.unique())
    allowed = shifted_window_mask(12, 8, 4, 2).sum((1, 2))
    merging = PatchMerging(48)
    before, merged = torch.zeros(1, 7, 10, 48), merging(torch.zeros(1, 7, 10, 48))
    settings = {"epochs": 10, "warmup_epochs": 1, "learning_rate": 0.01, "min_learning_rate": 0}
    rate = {step: learning_rate(step, 1000, train_config("nano", **settings)) for step in (49, 100, 549, 999)}
    half = 196 * math.sqrt(0.9 * 0.1 / 10_000)
    wrong = torch.arange(64).reshape(1, -1, 16)[0, 0]  # window 0 of B7
    return {
        "A5": [
            f"(B, {h}, {w}, {c})",
            f"{h // 4 * w // 4} windows",
            f"(B, {h2}, {w2}, {c2})",
            f"{windows} windows",
        ],
        "A6": [
            f"{32**4:,}",
            f"{32 * 32 * 8**2:,}",
            f"{32**4 // (32 * 32 * 8**2)} times",
            f"{64**4 // 32**4} times",
        ],
        "A7": [f"{offsets} offsets", f"{offsets * 6} numbers", f"= {index[2, 3]}", f"= {index[0, 5]}"],
        "A8": [*map(reached, (1, 2, 3, 4)), f"= {8 * 8}", f"= {4 * 4}"],
        "A9": [f"{math.log(10):.3f}", f"{math.log(100):.3f}", f"{math.exp(-6.9):.3f}"],
        "A10": [f"{half:.2f} points", f"{90 - half:.2f}% to {90 + half:.2f}%", f"{10 * half:.2f} points"]
        + [f"{1.96**2 * 0.09 / 0.002**2:,.0f} pictures"],
        "A11": seeds([0.2, 0.6, 0.7]) + seeds([0.2, 0.6, 0.7, 0.5]),
        "B7": [f"first {len(wrong)} tokens: rows {wrong.min() // 8} and {wrong.max() // 8}"],
        "B5": [f"= {-50 % 4} rows", f"= {-30 % 4} columns", f"{13 * 8} tokens", f"= {4 - 48 % 4}:"],
        "B6": [f"(B, {', '.join(map(str, merged.shape[1:]))})", f"{before.numel():,}", f"{merged.numel():,}"]
        + [f"{sum(p.numel() for p in merging.parameters()):,}"],
        "A12": [
            output(0, math.log(2), math.log(5)),
            output(0, math.log(2), -math.inf),
            output(math.log(2), math.log(2), math.log(5)),
        ],
        "B8": [f"= {len(allowed)} computed", "= 12", f"windows: {(allowed < 256).sum()}"]
        + [f"{pairs} " for pairs in allowed.unique().tolist()],
        "B9": [f"{rate[49]:.5f}", f"{rate[100]:.2f}", f"last: {rate[999]:.0f}", f"{rate[549]:.3f}"],
        "B10": paired(40, 80) + paired(540, 580),
        "B11": [f"= {(200 * abs(150 / 200 - 0.6) + 800 * abs(720 / 800 - 0.95)) / 1000:.2g}", f"{870 / 10}%"],
        "B12": [f"{math.exp(10) / (1 + math.exp(10)):.5f}"],
        "B13": [f"N = {2 * 4 * 4}", f"{3 * 7 * 7} offsets", f"{3 * 7 * 7 * 3} numbers", f"{(7 + 3) * 7 + 3}"]
        + [f"{2**3} true windows of {32 // 2**3} tokens", f"{2**3 * (32 // 2**3) ** 2} of {32**2:,} pairs"],
    }


ANSWERS = answers()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_numbers_of_an_answer_are_right(name):
    answer = QUESTIONS[name][3].split("**Answer.**")[1]
    said = " ".join(answer.split())
    for wanted in ANSWERS[name]:
        assert re.search(rf"(?<![\d.]){re.escape(wanted)}(?![\d]|[.,]\d)", said), f"{name}: {wanted!r}"


def test_every_question_with_numbers_is_computed():
    asked = {name for name, (level, *_) in QUESTIONS.items() if level == "apply"}
    assert asked <= ANSWERS.keys()


@pytest.mark.parametrize("paper", "AB")
def test_a_paper_is_printed_without_its_answers(paper, tmp_path, capsys):
    main = runpy.run_path(str(ROOT / "notebooks/tools/exam.py"))["main"]
    main([paper, "--out", str(tmp_path / "paper.html")])
    main([paper, "--answers", "--out", str(tmp_path / "answers.html")])
    alone, whole = ((tmp_path / f"{name}.html").read_text(encoding="utf-8") for name in ("paper", "answers"))
    assert alone.count("<section>") == whole.count("<section>") == whole.count("Answer.</strong>") == 14
    assert "Answer" not in alone and "notebook" not in re.findall("<h2.*?</h2>", alone)[0]
    assert f"paper {paper}, 60 points</title>" in alone and "60 minutes. Allowed: a calculator" in alone
    assert "(2 points)" in alone and "Name: ___" in alone and "No computer." in alone
    other = "B" if paper == "A" else "A"
    assert f">{paper}14. " in alone and f">{other}1. " not in alone
    cells = [re.findall("<td>([^<\n]*)", row) for row in re.findall("<tr>.*", alone)]
    assert [len(row) for row in cells] == [15] * 3 and cells[0][13] == f"{paper}14" and cells[1][14] == "60"
    rooms = [float(height) for height in re.findall(r"height: ([\d.]+)cm", alone)]
    assert len(rooms) == 14 and rooms[0] > 1 and "height:" not in whole


@pytest.mark.parametrize("paper", "AB")
def test_a_paper_for_some_notebooks_asks_what_they_teach(paper, tmp_path):
    """Of labs 1 to 3, with points and minutes of what is left."""
    main = runpy.run_path(str(ROOT / "notebooks/tools/exam.py"))["main"]
    labs = [f"{number:02}" for number in range(2, 9)]
    main([paper, "--notebooks", *labs, "--course", "Vision 2", "--out", str(tmp_path / "a.html")])
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    own = {name for name in QUESTIONS if name[0] == paper}
    left = {name for name in own if set(re.findall(r"\d\d", QUESTIONS[name][2])) <= set(labs)}
    points = sum(QUESTIONS[name][1] for name in left)
    assert 30 <= points < 60 and f"<h1>Vision 2: paper {paper}, {points} points</h1>" in text
    assert f"{points} minutes." in text and set(re.findall(r"<h2 [^>]*>([AB]\d+)\.", text)) == left
    for numbers, says in (
        (["77"], "there is no notebook 77"),
        (["00"], f"paper {paper} has no question on 00"),
    ):
        with pytest.raises(SystemExit, match=f"exam.py: {says}"):
            main([paper, "--notebooks", *numbers, "--out", str(tmp_path / "b.html")])
    assert not (tmp_path / "b.html").exists()


def test_half_of_the_points_are_for_more_than_a_page_prints():
    """The rule in its three places: for instructors, on a lab's sheet, on the page of feedback."""
    text = " ".join((PLANS + handout.sheet(labs.read_lab(1), "")).split())
    places = [text.split("## Lab 1")[0], text.split("## Hand in")[1], report.HALF]
    for said in map(str.lower, places):
        assert "half of the points" in said and "which line, which axis" in " ".join(said.split())
        assert "your own" in said or "their own" in said


@pytest.mark.parametrize("lab", LABS)
def test_a_sheet_says_what_where_and_until_when(lab):
    found = labs.read_lab(lab)
    said = handout.sheet(found, "")
    assert (
        "**Where**: where your instructor says." in said and "**Until**: when your instructor says." in said
    )
    assert (
        "names the other in a new text cell at its top" in " ".join(said.split())
        and "hands in their own notebook" in said
    )
    assert ("14 of the points: one page, a PDF" in " ".join(said.split())) == (lab == 4)
    said = handout.sheet(found, "12 May", "Moodle, Lab 1")
    assert "**Where**: Moodle, Lab 1." in said and "**Until**: 12 May." in said


# --- the pages -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_exists(name):
    page = ROOT / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    scripts = re.findall(r"python3? ([\w/]+\.py)", text)
    missing += [script for script in scripts if not (ROOT / script).exists()]
    assert not missing, f"{name} names {missing}"


@pytest.mark.skipif(not WORKFLOWS.exists(), reason="a handout comes without GitHub's workflows")
def test_the_workflow_of_a_release_calls_what_exists():
    text, ci = ((WORKFLOWS / name).read_text(encoding="utf-8") for name in ("release.yml", "ci.yml"))
    for script in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / script).exists(), script
    assert "--instructor" not in text  # the exam and all solutions stay out of a public release
    for action in re.findall(r"uses: (\S+)", text):
        assert re.search(rf"uses: {action}\s", ci), f"{action}: CI uses another version"
