"""The notebook files themselves, and that comparing their outputs (nbval) can fail."""

import ast
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from swin_cifar.checkpoint import load_checkpoint
from swin_cifar.explainer.build import explain_page

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_is_valid_and_ran_from_top_to_bottom(notebook):
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_cell_ids_are_words(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", cell_id) for cell_id in ids)
    assert not any(re.fullmatch(r"[0-9a-f]{8}", cell_id) for cell_id in ids)


def test_nothing_went_wrong_when_it_was_saved(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", (cell.id, output.text)
            assert "Warning" not in output.get("text", ""), (cell.id, output.text)


def test_no_trace_of_a_machine(notebook):
    text = nbformat.writes(notebook)
    assert not re.search(r"/home/|/root/|/Users/|/tmp/|C:\\\\", text)
    assert not re.search(r"0x[0-9a-f]{6,}", re.sub(r'"image/png": ".*"', "", text))
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_what_is_not_compared_says_why(notebook):
    for cell in code_cells(notebook):
        if cell.metadata.get("tags"):
            assert cell.metadata.tags == ["nbval-ignore-output"], cell.id
            assert cell.metadata.get("reason"), cell.id


def test_every_picture_has_words_for_those_who_cannot_see_it(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 20, cell.id


def test_cells_are_short_and_no_line_ends_in_a_semicolon(notebook):
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code_cells(notebook)}
    lengths.pop("colab", None)  # notebooks/tools/colab.py
    assert statistics.median(lengths.values()) <= 6
    assert lengths.pop("setup") <= 32  # the imports, one a line
    assert max(lengths.values()) <= 25
    assert not any(cell.source.rstrip().endswith(";") for cell in code_cells(notebook))


def test_is_small(notebook):
    assert len(nbformat.writes(notebook)) < 1_000_000


def test_the_answer_to_predict_is_hidden_until_its_cell_runs(notebook):
    cells = notebook.cells
    for i, cell in enumerate(cells):
        asks = "**Predict**" in cell.source and "**Predict** means" not in cell.source
        if cell.cell_type == "markdown" and asks:
            answer = next((after for after in cells[i + 1 :] if after.cell_type == "code"), None)
            assert answer is not None, f"{cell.id}: nothing answers it"
            hidden = answer.metadata.get("jupyter", {}).get("outputs_hidden")
            assert hidden is True, f"{answer.id}, which answers {cell.id}: everybody reads the answer first"
            assert answer.outputs, f"{answer.id} answers {cell.id} with nothing"


def test_is_read_in_one_sitting(notebook):
    cells = [cell for cell in notebook.cells if cell.id != "colab"]
    cells = [cell for cell in cells if not cell.id.startswith("explainer")]  # a page to try, not to read
    further = [i for i, cell in enumerate(cells) if re.match("#+ Further", cell.source)]
    assert min(further, default=len(cells)) <= 80


def test_imports_are_few(notebook):
    for cell in code_cells(notebook):
        source = re.sub(r"^\s*[%!].*", "", cell.source, flags=re.MULTILINE)
        imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        if imports:
            assert imports[-1].end_lineno - imports[0].lineno < 12, cell.id


def test_no_words_to_a_linter(notebook):
    for cell in code_cells(notebook):
        found = re.search(r"# *(noqa|ruff:|fmt:|isort:|type:|pylint|pragma)", cell.source)
        assert not found, (cell.id, found)


# --- how long a notebook takes: said in three places --------------------------------------


def minutes_of(notebook):
    """-> minutes to read it, and with its exercises, where these are said to need more"""
    takes = re.search(r"\*\*Takes\*\* (\d+) minutes([^·]*)", notebook.cells[0].source)
    more = re.search(r"\b(\d+) more\b", takes[2])
    return int(takes[1]), int(takes[1]) + (int(more[1]) if more else 0)


MINUTES = {path.stem[:2]: minutes_of(nbformat.read(path, as_version=4)) for path in PATHS}


def test_the_presenter_is_told_the_same_minutes(notebook):
    (said, *_) = re.findall(r"(\d+) minutes", " ".join(notebook.cells[0].metadata.slide.notes))
    assert int(said) == minutes_of(notebook)[0]


def test_the_readme_says_from_how_many_minutes_to_how_many():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"Each takes (\d+) to (\d+) minutes, with all its exercises at most (\d+)", text)
    reading, all_of_it = zip(*MINUTES.values())
    assert [int(n) for n in said.groups()] == [min(reading), max(reading), max(all_of_it)]


# --- the set-up check of notebook 00 ------------------------------------------------------


@pytest.fixture
def set_up_check(monkeypatch, capsys):
    """-> function that runs the cell and returns what it printed"""
    monkeypatch.chdir(ROOT / "notebooks")
    notebook = nbformat.read(PATHS[0], as_version=4)
    (source,) = (cell.source for cell in notebook.cells if cell.id == "here")

    def run():
        exec(source, {})
        return capsys.readouterr().out

    return run


def test_set_up_check_finds_everything(set_up_check):
    assert set_up_check() == "everything is here\n"


def test_set_up_check_says_what_is_missing_and_for_which_python(set_up_check, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "swin_cifar" else find_spec(name)
    )
    said = set_up_check()
    assert f"missing for {sys.executable}: swin_cifar." in said
    assert "%cd -q ..\n    %pip install -r requirements.txt" in said


def test_set_up_check_knows_an_old_python_and_a_wrong_folder(set_up_check, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "belongs in the project's folder `notebooks`" in set_up_check()
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert "Python 3.10 or newer is needed" in set_up_check()


# --- exported as HTML -------------------------------------------------------------------

TEMPLATES = [ROOT / "lab", ROOT / "notebooks" / "lab"]  # nbconvert looks for them where it is started
PIXEL = (  # a PNG of one
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def test_templates_are_the_same_file_twice():
    assert len({(folder / "index.html.j2").read_text(encoding="utf-8") for folder in TEMPLATES}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["here", "notebooks"])
def test_alternative_texts_survive_the_export(tmp_path, folder):
    alts = ["3 of 4 are < 1, it \"says\" & 'shows'", None]
    outputs = [
        nbformat.v4.new_output(
            "display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": alt}} if alt else {}
        )
        for alt in alts
    ]
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs, execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "book.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(tmp_path / "book.ipynb")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    page = BeautifulSoup((tmp_path / "book.html").read_text(encoding="utf-8"), "html.parser")
    said = [image.get("alt") for image in page.find_all("img")]
    assert len(said) == 2
    assert [alt for alt in said if alt in alts] == alts[:1]  # for the other nbconvert has its own words


# --- the gate itself --------------------------------------------------------------------


def run_nbval(path, *options, **environment):
    """-> exit code of strict nbval on one notebook, and what it printed."""
    shutil.copy(ROOT / "conftest.py", path.parent)
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", *options, path.name]
    run = subprocess.run(
        command, cwd=path.parent, env=os.environ | environment, capture_output=True, text=True
    )
    return run.returncode, run.stdout


def save_notebook(path, source, printed):
    output = nbformat.v4.new_output("stream", name="stdout", text=printed)
    save_cells(path, [nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)])


def save_cells(path, cells):
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "printed", "code"),
    [("print(1 + 1)", "2\n", 0), ("print(1 + 1)", "3\n", 1), ("print(2)\nraise ValueError", "2\n", 1)],
    ids=["right", "wrong saved output", "raising cell"],
)
def test_nbval_notices(tmp_path, source, printed, code):
    save_notebook(tmp_path / "book.ipynb", source, printed)
    assert run_nbval(tmp_path / "book.ipynb")[0] == code


@pytest.mark.slow
def test_nbval_notices_a_changed_layer(tmp_path):
    shutil.copy(ROOT / "notebooks" / "04_window_partition.ipynb", tmp_path)
    shutil.copytree(ROOT / "swin_cifar", tmp_path / "swin_cifar")
    shutil.copytree(ROOT / "notebooks" / "course", tmp_path / "course")
    windows = tmp_path / "swin_cifar" / "windows.py"
    source = windows.read_text(encoding="utf-8")
    windows.write_text(
        source.replace("return x.transpose(2, 3).reshape(", "return x.reshape("), encoding="utf-8"
    )
    assert windows.read_text(encoding="utf-8") != source
    code, printed = run_nbval(tmp_path / "04_window_partition.ipynb", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "package-equal" in printed or "AssertionError" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("q", 1), ("other", 0)])
def test_again_notices_a_name_with_two_meanings(tmp_path, name, code):
    """--again, which .ci/run uses for all notebooks: the second half runs twice, here the last two cells."""
    sources = ["q = 3", "k = 4", "assert q + 1 == k", f"{name} = 'text'"]
    save_cells(tmp_path / "book.ipynb", [nbformat.v4.new_code_cell(source) for source in sources])
    assert run_nbval(tmp_path / "book.ipynb", "--again")[0] == code


def test_the_page_that_ships_is_that_of_the_shipped_model():
    """Else: python -m swin_cifar explain checkpoints/nano_cifar10.pt --out notebooks/explainer/nano.html
    --data-root nowhere --no-browser"""
    path = ROOT / "notebooks" / "explainer" / "nano.html"
    checkpoint = load_checkpoint(ROOT / "checkpoints" / "nano_cifar10.pt")
    # A picture's bytes differ between versions of Pillow; all else is the same.
    ships, made = (
        re.split('"pictures":{.*?}', page, maxsplit=1)
        for page in (path.read_text(encoding="utf-8"), explain_page(checkpoint))
    )
    assert ships[0] == made[0], "other weights or another style"
    assert ships[1] == made[1], "other scripts or words"
    assert path.stat().st_size < 3e6
