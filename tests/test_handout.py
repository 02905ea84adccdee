"""The handout: it runs by itself, holds no answer, and what comes back can be graded."""

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from argparse import Namespace
from pathlib import Path, PurePosixPath

import nbformat
import pytest
from nbclient import NotebookClient
from torchvision import datasets

from course import hunt

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "notebooks" / "tools"
sys.path.append(str(TOOLS))

import colab  # noqa: E402
import for_students  # noqa: E402
import handout  # noqa: E402
import progress  # noqa: E402

ADDRESS = "https://github.com/someone/swin"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NO_LAB = {"lab": None, "due": "", "where": "", "force": False}
ANSWERS = re.compile(r"<details><summary>Answers</summary>(.*?)</details>", re.S)


def original(path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in colab.IDS]
    return notebook


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    handout.main(["--out", str(folder)])
    return folder / f"swin_cifar-{handout.version(ROOT)}-students.zip"


@pytest.fixture(scope="module")
def files(path):
    """{name below the zip's folder: its bytes}"""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def notebooks(files):
    """[(as it is in the project, as students get it)]"""
    names = [f"notebooks/{path.name}" for path in NOTEBOOKS]
    return [
        (original(ROOT / name), nbformat.reads(files[name].decode(), as_version=4), name) for name in names
    ]


# --- nothing that tells an answer ---------------------------------------------------------


def lines_of(text):
    """Lines long enough to be nobody else's, without what differs by chance."""
    lines = (" ".join(line.split("  #")[0].split()) for line in text.splitlines())
    return {line for line in lines if len(line) > 24 and "self." not in line and "import " not in line}


def test_no_line_of_an_answer_is_in_any_file(files, notebooks):
    secret, open_to_all = set(), set()
    for path in (ROOT / "notebooks" / "solutions").glob("*.py"):
        secret |= lines_of(path.read_text(encoding="utf-8"))
    secret |= lines_of((ROOT / "notebooks" / "course" / "hunted.py").read_text(encoding="utf-8"))
    for bug in (*hunt.BUGS.values(), hunt.ONE):
        secret |= lines_of(f"{bug.what}\n{bug.new}")
    for path in (ROOT / "swin_cifar").glob("*.py"):  # the notebooks show it, after the student's own
        open_to_all |= lines_of(path.read_text(encoding="utf-8"))
    for before, _, _ in notebooks:
        text = "\n".join(cell.source for cell in before.cells)
        open_to_all |= lines_of(ANSWERS.sub("", text))
        secret |= lines_of("\n".join(ANSWERS.findall(text)))
    assert len(secret - open_to_all) > 400
    for name, content in files.items():
        if name.endswith(".ipynb"):
            content = "\n".join(cell["source"] for cell in nbformat.reads(content.decode(), 4).cells).encode()
        if not name.endswith((".pt", ".jpg", ".png")):
            found = lines_of(content.decode()) & (secret - open_to_all)
            assert not found, (name, found)


def test_notebooks_hold_neither_outputs_nor_slides_nor_notes(notebooks):
    for _, after, name in notebooks:
        nbformat.validate(after)
        for cell in after.cells:
            assert cell.metadata.keys() <= {"tags", "jupyter"}, (name, cell.id)
            assert cell.metadata.get("jupyter", {}).keys() <= {"source_hidden"}
            if cell.cell_type == "code":
                assert not cell.outputs and cell.execution_count is None, (name, cell.id)
        assert after.metadata.keys() == {"kernelspec", "language_info"}


def test_what_holds_answers_is_packed_and_nothing_else(files):
    folder = "notebooks/course/"
    names = {name.removeprefix(folder) for name, text in files.items() if text.startswith(b'"""Packed by')}
    assert {"package_pieces.py", "hunt.py", "content.py", "studies.py", "machines.py"} <= names
    checks = {name for name in names if name.startswith("check/")}
    assert len(checks) == len(NOTEBOOKS) - 2  # one for each notebook with exercises
    plain = {"my_swin.py", "pieces.py", "figures.py", "check/core.py", "check/watch.py"}
    assert not plain & names and all(folder + name in files for name in plain)
    source = zlib.decompress(base64.b64decode(files[folder + "hunt.py"].split(b'"""')[3])).decode()
    assert repr((ROOT / folder / "hunted.py").read_text(encoding="utf-8")) in source


def test_the_answer_to_a_predict_is_folded_and_no_question_is(notebooks):
    start = for_students.FOLD.partition("{}")[0]
    folds = 0
    for before, after, name in notebooks:
        number, answers = Path(name).name[:2], set()
        for cell, follower in zip(before.cells, before.cells[1:]):
            if cell.metadata.get("jupyter", {}).get("outputs_hidden") or cell.id in answers:
                answers.add(follower.id if cell.cell_type == "code" else "")
        exempt = set(for_students.NO_ANSWER.get(number, "").split())
        assert exempt <= answers, "a text that follows no Predict any more"
        for cell, was in zip(after.cells, before.cells):
            if cell.cell_type == "code":
                continue
            folded = cell.source.startswith(start)
            headed = was.source.startswith("#") or (cell.id.endswith("-task") and "\n#" not in was.source)
            assert folded == (cell.id in answers - exempt and not headed), (name, cell.id)
            folds += folded
            outside = re.sub(re.escape(start) + ".*?</details>", "", cell.source, flags=re.S)
            assert outside.count("**Predict") == was.source.count("**Predict"), (name, cell.id)
        told = False  # by a folded text
        for cell, was in zip(after.cells, before.cells):
            if cell.cell_type != "code":
                told = cell.source.startswith(start)
            hides = (was.metadata.get("jupyter", {}).get("outputs_hidden") or told) and "alt" in was.source
            assert bool(cell.metadata.get("jupyter")) == bool(hides), (name, cell.id)
    assert folds > 60


@pytest.mark.parametrize(
    ("text", "task", "folded"),
    [
        ("Twice.\n\nMore.", False, "<Twice.>\n\nMore."),
        ("Twice. **Predict** the next.", False, "<Twice.>\n\n**Predict** the next."),
        ("**Predict** the next.", False, "**Predict** the next."),
        ("# A heading\n\nMore.", False, "# A heading\n\nMore."),
        ("Write it.\n\nMore.", True, "Write it.\n\nMore."),
        ("Twice.\n\n### Your piece\n\nMore.", True, "<Twice.>\n\n### Your piece\n\nMore."),
    ],
)
def test_only_what_answers_is_folded(text, task, folded):
    start, end = for_students.FOLD.split("{}")
    assert for_students.fold_answer(text, task).replace(start, "<").replace(end, ">") == folded


def one_cell(source, name="a-skeleton"):
    cell = nbformat.v4.new_code_cell(source, id=name)
    return nbformat.v4.new_notebook(cells=[cell])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def a():\n    return 1", "a-skeleton"),  # solved in front of the class
        ("def a(x):\n    return x + 1\n    # raise NotImplementedError", "a-skeleton"),
        ("def a(x):\n    return x + 1\n    raise NotImplementedError", "a-skeleton"),
        ("# %load solutions/02_patch_embed.py\ndef patch_embed(): ...", "1234"),
        ("# Stuck? Look into `solutions/02_patch_embed.py`.", "text"),
    ],
)
def test_a_notebook_in_which_an_answer_was_left_is_refused(source, name):
    with pytest.raises(for_students.Refused, match=f"02_x.ipynb, cell {name}"):
        for_students.notebook_for_students(one_cell(source, name), "02_x.ipynb")


def test_a_solution_beside_its_skeleton_is_refused():
    book = one_cell('def a(x):\n    """Adds."""\n    raise NotImplementedError')
    for_students.notebook_for_students(book, "02_x.ipynb")
    for source in ("import torch\n\n\ndef a(x):\n    return x", "%%time\ndef a(x):\n    return x"):
        cell = nbformat.v4.new_code_cell(source, id="mine")
        both = nbformat.v4.new_notebook(cells=[*book.cells, cell])
        with pytest.raises(for_students.Refused, match="02_x.ipynb, cell mine"):
            for_students.notebook_for_students(both, "02_x.ipynb")


# --- what is there, and reads right -------------------------------------------------------


def test_nothing_of_the_teachers_and_no_picture_of_cifar10(files):
    for name in files:
        parts = PurePosixPath(name).parts
        banned = {
            "solutions",
            "tests",
            "slides",
            "my_pieces",
            "__pycache__",
            "runs",
            "grading",
            "INSTRUCTORS.md",
        }
        assert not banned & set(parts) and not any(part.startswith(".") for part in parts), name
    assert {name for name in files if name.startswith("notebooks/tools/")} == {"notebooks/tools/progress.py"}
    assert not [name for name in files if "exam" in name or name.startswith("data/cifar")]
    pictures = [name for name in files if name.endswith((".png", ".jpg"))]
    drawn = [name for name in pictures if name.startswith("swin_cifar/explainer/pictures/")]
    drawn += [name for name in pictures if name.startswith("notebooks/pictures/emoji/")]
    assert set(pictures) - set(drawn) == {"notebooks/pictures/cat.jpg"}


def test_whose_the_pictures_are_is_said_for_each_folder(files):
    folders = {str(PurePosixPath(name).parent) for name in files if name.endswith((".png", ".jpg"))}
    folders = {re.sub(r"(/emoji)/.*", r"\1", folder) for folder in folders}
    said = " ".join(files["README.md"].decode().split("## Whose work this is")[1].split())
    assert len(folders) == 3 and {folder for folder in folders if f"`{folder}`" in said} == folders
    for words in ("Chelsea, by Stéfan van der Walt (CC0)", "Noto Color Emoji", "SIL Open Font License 1.1"):
        assert words in said


def test_cells_come_back_under_their_ids_and_with_their_code(notebooks):
    for before, after, _ in notebooks:
        assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
        for cell, was in zip(after.cells, before.cells):
            lines, left = was.source.split("\n"), cell.source.split("\n")
            if cell.cell_type == "code" and not was.metadata.get("jupyter", {}).get("outputs_hidden"):
                assert lines == left, cell.id
            elif cell.cell_type == "code" and not cell.metadata.get(
                "jupyter"
            ):  # without what says what comes out
                assert "assert" in was.source or lines == left, cell.id
                assert not [line for line in left if line.startswith("assert") and len(left) > 1], cell.id
                assert [line for line in lines if line in left] == [line for line in left if line in lines]


def test_the_grader_finds_every_exercise(notebooks, tmp_path):
    found = []
    for _, after, name in notebooks:
        nbformat.write(after, tmp_path / Path(name).name)
        found += progress.exercises(tmp_path / Path(name).name)
    solved = [path.stem[3:] for path in (ROOT / "notebooks" / "solutions").glob("*.py")]
    assert sorted(found) == sorted(solved)


def test_every_file_that_a_text_or_cell_names_is_there(files, notebooks):
    tops = "notebooks|course|checkpoints|tests|slides|swin_cifar|tools|solutions|pictures|explainer|lab"
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    made_later = {"checkpoints/runs", "notebooks/my_pieces", "data", "data/cifar-10-batches-py"}
    there = {*files, *folders, *made_later}
    texts = [(name, text.decode()) for name, text in files.items() if name.endswith(".md")]
    for _, after, name in notebooks:
        texts += [(f"{name} {cell.id}", cell.source) for cell in after.cells if cell.cell_type != "code"]
        code = "\n".join(cell.source for cell in after.cells if cell.cell_type == "code")
        for used in re.findall(r'"\.\./([\w./-]+)"', code):
            assert used.startswith(tuple(made_later)) or used in there, (name, used)
        for used in re.findall(r'"((?:pictures|explainer)/[\w./-]+)"', code):
            assert f"notebooks/{used}" in there, (name, used)
    for place, text in texts:
        assert "hidden answers" not in " ".join(text.split()) and "%load" not in text, place
        named = re.findall(rf"`(?:python )?((?:{tops})/[\w./-]*)[^`]*`(?! \(not in this handout\))", text)
        for used in (used.rstrip("/.") for used in named):
            assert used in there or f"notebooks/{used}" in there, (place, used)
        for link in re.findall(r"\]\(([^)]+)\)", text):
            assert "://" in link or os.path.normpath(Path(place).parent / link) in there, (place, link)
    assert "`tests/` (not in this handout)" in "\n".join(text for _, text in texts)


def test_only_what_is_absent_is_called_so():
    text = "See `tests/`, `python tests/a.py --all`, `lab/a.py`, `lab/` and `data/b`."
    said = for_students.say_what_is_absent(text, {"tests/", "tests/a.py", "lab/a.py", "tests/oracles.py"})
    no = "(not in this handout)"
    assert said == f"See `tests/` {no}, `python tests/a.py --all` {no}, `lab/a.py` {no}, `lab/` and `data/b`."
    absent = handout._with_folders({"a/b/c", "a/b/d", "a/e/f"}) - handout._with_folders({"a/b/c"})
    assert absent == {"a/b/d", "a/e/f", "a/e/"}


def test_what_it_needs_to_be_installed_is_there(files):
    assert files["requirements.txt"] == b"-e .[notebooks]\n"
    commands = re.search(r"```bash\n(.*?)```", files["README.md"].decode(), re.S)[1].split("\n")
    assert commands[:2] == ["python -m pip install -r requirements.txt", "jupyter lab notebooks"]
    for name in ("pyproject.toml", "LICENSE", "CITATION.cff", "swin_cifar/explainer/style.css"):
        assert files[name], name
    for path in (*ROOT.glob("checkpoints/studies/*/*.json"), ROOT / "notebooks" / "explainer" / "nano.html"):
        assert files[path.relative_to(ROOT).as_posix()] == path.read_bytes()
    assert b"<" not in files["README.md"].replace(b"<!--", b""), "a word that was not filled in"


def test_no_text_refers_to_an_answer_that_was_taken_out(notebooks):
    texts = [cell.source for _, after, _ in notebooks for cell in after.cells if cell.cell_type != "code"]
    assert not [text for text in texts if "has said that" in text and "Question" in text]
    assert [text for text in texts if "can the picture be computed back from the tokens" in text]


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("a = 1\nassert a == 1", "a = 1"),
        ("a = 1\nassert (\n    a\n    == 1\n)\nprint(a)", "a = 1\nprint(a)"),
        ("assert a", "assert a"),
        ("def f():\n    assert a\n    return a", "def f():\n    assert a\n    return a"),
        ("%time a\nassert a", "%time a\nassert a"),
    ],
)
def test_asserts_go_and_the_code_stays(source, left):
    assert for_students.without_asserts(source) == left


def lab(number, folder):
    told = ["--due", "12 May, 18:00", "--where", "Moodle, Lab 1"]
    handout.main(["--lab", str(number), *told, "--out", str(folder)])
    (path,) = folder.iterdir()
    assert path.name == f"swin_cifar-{handout.version(ROOT)}-students-lab-{number}.zip"
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_a_labs_zip_holds_what_it_needs_and_says_what_counts(tmp_path):
    files = lab(1, tmp_path)
    assert [name[10:12] for name in files if name.endswith(".ipynb")] == ["00", "01", "02", "03", "04"]
    assert not [
        name for name in files if name.startswith(("checkpoints/studies", "notebooks/pictures/emoji"))
    ]
    assert len(files) < 150
    said = files["LAB.md"].decode()
    assert said.startswith("# Lab 1: from pixels to windows (20 points)")
    assert "**Until**: 12 May, 18:00." in said and "**Where**: Moodle, Lab 1." in said
    assert "saved notebooks 02, 03, 04," in said
    assert "| `window_reverse` | 04 | 5 |" in said and "write `window_partition` and its inverse" in said
    assert b"[LAB.md](LAB.md)" in files["README.md"]
    graded = {"02": ["patch_embed"], "03": ["patch_merging"], "04": ["window_partition", "window_reverse"]}
    for name, text in files.items():
        if name.endswith(".ipynb"):
            cells = {cell.id: cell.source for cell in nbformat.reads(text.decode(), 4).cells}
            counts = [
                each[:-5].replace("-", "_")
                for each, text in cells.items()
                if "**It counts: 5 points.**" in text
            ]
            assert counts == graded.get(name[10:12], [])
            for each in (cells[f"{exercise.replace('_', '-')}-task"] for exercise in counts):
                assert "skip" not in each, each
            shown = [source for source in cells.values() if re.search(r"^print\(inspect", source, re.M)]
            assert not shown or name[10:12] == "01", shown
            assert "The last two lines do the work" not in "".join(cells.values())


def test_the_zip_of_lab_4_holds_what_its_notebooks_read(tmp_path):
    files = lab(4, tmp_path)
    for folder in handout.READ:
        wanted = {name for name in handout.project_files(ROOT) if name.startswith(folder)}
        assert wanted and wanted <= set(files)
    assert "notebook 09, and the one that you choose" in files["LAB.md"].decode()
    assert "The rubric of `own_map`" in files["LAB.md"].decode()


def test_what_the_grader_reads_of_a_labs_notebook_is_nothing_of_the_students(tmp_path, monkeypatch):
    """Lines that the handout takes out of cells do not look like the student's work."""
    from grading import flags, submissions

    files, originals = lab(3, tmp_path), submissions.read_originals()
    for name in ("07", "08"):
        (text,) = (text for file, text in files.items() if file.startswith(f"notebooks/{name}"))
        cells, original = submissions.read_notebook(text), originals[name]
        assert cells != original.cells and not flags.of_notebook(original, cells)
        assert not [each for each in original.exercises if submissions.attempt(original, cells, each)]


def test_a_part_of_the_notebooks(tmp_path, capsys):
    handout.main(["--notebooks", "04", "2", "04", "--colab", ADDRESS, "--out", str(tmp_path)])
    (path,) = tmp_path.iterdir()
    assert path.name == f"swin_cifar-{handout.version(ROOT)}-students-02-04.zip"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".ipynb")]
        assert [Path(name).name[:2] for name in names] == ["02", "04"]
        assert b"Begin with `02_patch_embed.ipynb`" in archive.read(f"{path.stem}/README.md")
        assert b"/swin/blob/handout/notebooks/02_patch_embed.ipynb" in archive.read(names[0])
    said = capsys.readouterr().out
    assert "notebooks 02 04" in said and f"{path.stat().st_size / 1e6:.1f} MB" in said


# --- it runs ------------------------------------------------------------------------------

SURE = """
from course import check, hunt, my_swin
from swin_cifar import window_partition

def reverse_rectangles(windows, height, width, H, W):
    raise NotImplementedError

verdicts = [check.EXERCISES["window_partition"].verdict(f) for f in (
    lambda x, M: window_partition(x, M),
    lambda x, M: x.reshape(len(x), -1, M * M, x.shape[3]),
)]
print(*(verdict.text for verdict in verdicts))
case = hunt.draw(seed=3)
case.hint()
case.accuse(PLACE)
!{sys.executable} tools/progress.py
places = [str(getattr(module, "__file__", "")) for module in list(sys.modules.values())]
print("FROM", [place for place in places if place.startswith(REPOSITORY)])
"""


@pytest.mark.slow
def test_a_student_unpacks_it_anywhere_and_runs_00_and_04(path, tmp_path, monkeypatch):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    top = tmp_path / path.stem
    data = ROOT / handout.CIFAR10[0]
    if data.exists():  # else drawn pictures: nothing is fetched here
        (top / "data" / data.parent.name).symlink_to(data.parent, target_is_directory=True)
    for protocol in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(protocol, "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(top))  # what the installation does
    monkeypatch.setenv("SWIN_CIFAR_PIECES", str(top / "notebooks" / "my_pieces"))
    place = hunt._BUGS[hunt.draw(seed=3)].place
    for name in ("00_start_here.ipynb", "04_window_partition.ipynb"):
        notebook = nbformat.read(top / "notebooks" / name, as_version=4)
        if name.startswith("04"):
            repository = tuple(str(ROOT / folder) for folder in handout.FOLDERS)
            given = f"import sys\nREPOSITORY, PLACE = {repository}, {place!r}\n"
            notebook.cells.append(nbformat.v4.new_code_cell(given + SURE))
        there = {"metadata": {"path": str(top / "notebooks")}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=there).execute()
    said = " ".join("".join(output.get("text", "") for output in notebook.cells[-1].outputs).split())
    assert "the package's `window_partition`: write it yourself" in said
    assert "no number has moved" in said
    assert "Hint 1 of 3: " in said and f"Yes, it is in `{place}`. The code as found" in said
    assert "0 of 14 pieces are yours" in said and "04_window_partition" in said
    assert "FROM []" in said, "modules of the repository were used"


def test_a_packed_module_does_the_same(tmp_path):
    source = '"""Words."""\nfrom pathlib import Path\nHERE = Path(__file__).name\ndef f(): return HERE, "é"\n'
    (tmp_path / "mine.py").write_bytes(for_students.packed(source))
    code = "import mine, json; print(json.dumps([mine.f(), mine.__doc__, mine.f.__code__.co_filename]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *said, file = json.loads(done.stdout)
    assert said == [["mine.py", "é"], "Words."] and Path(file) == tmp_path / "mine.py"
    assert "HERE" not in (tmp_path / "mine.py").read_text()


# --- the file -----------------------------------------------------------------------------


def test_the_names_fit_every_system(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names) and len({name.lower() for name in names}) == len(names)
    for entry in entries:
        assert entry.filename.startswith(f"{path.stem}/") and len(entry.filename) < 120
        assert not re.search(r'[\\<>:"|?*\x00-\x1f]|[. ](/|$)|//|\.\.', entry.filename), entry.filename
        assert entry.date_time == handout.DATE and entry.external_attr == 0o644 << 16


def test_the_same_bytes_every_time(tmp_path):
    for folder in ("a", "b"):
        handout.main(["--notebooks", "02", "--out", str(tmp_path / folder / "lab.zip")])
        os.utime(TOOLS / "handout_README.md")  # a date does not matter
    a, b = ((tmp_path / folder / "lab.zip").read_bytes() for folder in ("a", "b"))
    assert a == b


def test_somebody_elses_file_is_not_replaced_but_an_older_handout_is(tmp_path):
    path = tmp_path / "lab.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thesis.txt", "all of it")
    before = path.read_bytes()
    command = ["--notebooks", "02", "--out", str(path)]
    with pytest.raises(SystemExit, match="lab.zip is there, and was not made by this program"):
        handout.main(command)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    handout.main([*command, "--force"])
    made = path.read_bytes()
    handout.main(command)
    assert path.read_bytes() == made and list(tmp_path.iterdir()) == [path]


def test_a_zip_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "lab.zip"
    handout.write_zip(path, {"a": b"1"})
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError):
        handout.write_zip(path, {"a": b"2", "b": tmp_path / "deleted meanwhile"})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--notebooks", "02", "77"], "there is no notebook 77; there are: 00, 01"),
        (["--instructor", "--notebooks", "02"], "leave out --instructor"),
        (["--instructor", "--lab", "1"], "leave out --instructor"),
        (["--lab", "1", "--notebooks", "02"], "leave out --notebooks or --lab"),
        (["--lab", "7"], "PLANS.md has no lab 7; there are: Lab 1"),
        (["--due", "May"], "--due and --where stand on the sheet of a lab; add --lab"),
        (["--where", "Moodle"], "--due and --where stand on the sheet of a lab; add --lab"),
        (["--with-data"], "data_batch_9 is missing; `python -m swin_cifar train` fetches CIFAR-10"),
        (["--colab", "swin"], "an address looks like https://github.com/OWNER/NAME, not 'swin'"),
        (["--out", str(TOOLS / "colab.py")], "colab.py"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, says, tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "CIFAR10", ("data/data_batch_9",))
    with pytest.raises(SystemExit) as stop:
        handout.main(["--out", str(tmp_path / "new"), *arguments])
    message = str(stop.value)
    assert message.startswith("Nothing was written: ") and says in message and "\n" not in message
    assert not list(tmp_path.iterdir())


def test_a_broken_notebook_is_named(tmp_path):
    for name in ("notebooks", "checkpoints", "swin_cifar", "notebooks/course"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoints" / "SHA256SUMS").touch()
    (tmp_path / "notebooks" / "course" / "hunted.py").touch()
    (tmp_path / handout.PAGE).touch()
    (tmp_path / "notebooks" / "02_x.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(for_students.Refused, match="02_x.ipynb cannot be read"):
        handout.student_files(tmp_path)


# --- data, Colab, instructors ---------------------------------------------------------------


def test_the_data_lie_where_load_cifar10_looks_for_them(tmp_path, monkeypatch):
    kind = datasets.CIFAR10
    lists = (*kind.train_list, *kind.test_list, (kind.meta["filename"], ""))
    assert set(handout.CIFAR10) == {f"data/{kind.base_folder}/{name}" for name, _ in lists}
    for name in (*handout.CIFAR10, "swin_cifar/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('__version__ = "2"\n')
    monkeypatch.setattr(
        handout, "student_files", lambda root, numbers, data, *_: {"README.md": data.encode()}
    )
    options = Namespace(instructor=False, notebooks=None, with_data=True, colab=None, **NO_LAB, out=tmp_path)
    assert "with the data of CIFAR-10" in handout.make(options, tmp_path)
    with zipfile.ZipFile(tmp_path / "swin_cifar-2-students-with-data.zip") as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        assert names == {"README.md", *handout.CIFAR10}
        assert archive.read("swin_cifar-2-students-with-data/README.md") == b"CIFAR-10 is in `data`."


def test_colab_opens_the_branch_of_the_handout_or_nothing():
    name = "notebooks/02_patch_embed.ipynb"
    published = original(ROOT / name)
    colab.publish(published, "02_patch_embed.ipynb", ADDRESS)  # the teacher's own lines, to the solutions
    given = for_students.notebook_for_students(copy.deepcopy(published), "02_patch_embed.ipynb")
    assert not [cell for cell in given.cells if cell.id in colab.IDS]
    to = (ADDRESS, "handout")
    given = for_students.notebook_for_students(copy.deepcopy(published), "02_patch_embed.ipynb", colab=to)
    text, code = given.cells[1:3]
    assert "github/someone/swin/blob/handout/notebooks/02_patch_embed.ipynb" in text.source
    assert "--branch handout https://github.com/someone/swin.git" in code.source
    assert code.execution_count is None


def test_the_instructors_zip_holds_the_whole_project():
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {
        name for name in tracked.stdout.split("\0") if name and name[0] != "." and (ROOT / name).exists()
    }
    assert tracked <= set(handout.project_files(ROOT))


def test_the_instructors_zip_takes_what_is_new_and_not_what_running_leaves(tmp_path, capsys):
    new = {"notebooks/exam.md", "slides/decks/lecture.html", "notebooks/tools/grade.py", "EXTRA.md"}
    left = {"notebooks/my_pieces/a.py", "notebooks/.ipynb_checkpoints/a.ipynb", "tests/__pycache__/a.pyc"}
    left |= {"checkpoints/runs/a.pt", "slides/node_modules/a.js", "grades.csv", "old.zip", "data/a", ".git/a"}
    for name in new | left | {"swin_cifar/__init__.py", "data/README.md"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('__version__ = "2"\n')
    out = tmp_path / "out"
    options = Namespace(instructor=True, notebooks=None, with_data=False, colab=None, **NO_LAB, out=out)
    assert "not for students" in handout.make(options, tmp_path)
    with zipfile.ZipFile(out / "swin_cifar-2-instructor.zip") as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    assert names == new | {"swin_cifar/__init__.py", "data/README.md"}
