"""The notebook files themselves, and that comparing their outputs (nbval) can fail."""

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
    assert not re.search(r"0x[0-9a-f]{6,}", text)
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
    assert "belongs into the project's folder `notebooks`" in set_up_check()
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert "Python 3.10 or newer is needed" in set_up_check()


# --- the gate itself --------------------------------------------------------------------


def run_nbval(path, **environment):
    """-> exit code of strict nbval on one notebook, and what it printed."""
    shutil.copy(ROOT / "conftest.py", path.parent)
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", path.name]
    run = subprocess.run(
        command, cwd=path.parent, env=os.environ | environment, capture_output=True, text=True
    )
    return run.returncode, run.stdout


def save_notebook(path, source, printed):
    output = nbformat.v4.new_output("stream", name="stdout", text=printed)
    cell = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


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
