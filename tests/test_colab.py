"""The notebooks, published: they open in Colab, and are otherwise as before."""

import importlib.util
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/someone/swin"
spec = importlib.util.spec_from_file_location("colab", ROOT / "notebooks" / "tools" / "colab.py")
colab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colab)


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def folder(tmp_path):
    for name in ("00_start_here.ipynb", "07_shifted_windows.ipynb"):
        shutil.copy(ROOT / "notebooks" / name, tmp_path)
    return tmp_path


def test_two_cells_below_the_title_and_nothing_else(folder):
    colab.main([ADDRESS], folder)
    for path in sorted(folder.glob("*.ipynb")):
        before, after = read(ROOT / "notebooks" / path.name), read(path)
        nbformat.validate(after)
        before.cells = [cell for cell in before.cells if cell.id not in colab.IDS]
        title, text, code, *rest = after.cells
        link = f"https://colab.research.google.com/github/someone/swin/blob/main/notebooks/{path.name}"
        assert f"[Open in Colab]({link})" in text.source
        assert "github.com/someone/swin.git" in code.source
        assert [(c.id, c.source) for c in (title, *rest)] == [(c.id, c.source) for c in before.cells]
        counts = [cell.execution_count for cell in after.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))


def test_numbers_of_results_follow_their_cells():
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    cells = [nbformat.v4.new_markdown_cell("# T"), nbformat.v4.new_code_cell("1 + 1", outputs=[result])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    colab.publish(notebook, "a.ipynb", ADDRESS)
    assert notebook.cells[-1].execution_count == notebook.cells[-1].outputs[0].execution_count == 2


def test_another_address_replaces_the_first(folder):
    colab.main([ADDRESS], folder)
    colab.main(["https://github.com/other/place.git", "--branch", "course"], folder)
    notebook = read(folder / "00_start_here.ipynb")
    before = read(ROOT / "notebooks" / "00_start_here.ipynb").cells
    assert len(notebook.cells) == len([cell for cell in before if cell.id not in colab.IDS]) + 2
    text, code = notebook.cells[1:3]
    assert "/other/place/blob/course/" in text.source and "someone" not in text.source
    assert "--branch course https://github.com/other/place.git" in code.source


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ((), ["git clone", "cd -q swin/notebooks", "pip install"]),  # a fresh machine
        (("swin",), ["cd -q swin/notebooks", "pip install"]),
        (("swin", "package"), ["cd -q swin/notebooks"]),  # the kernel was restarted
        (("project",), ["pip install"]),
        (("project", "package"), []),  # at home
    ],
)
def test_the_cell_fetches_what_is_missing_and_nothing_else(there, asked, tmp_path, monkeypatch):
    notebook = read(ROOT / "notebooks" / "00_start_here.ipynb")
    colab.publish(notebook, "00_start_here.ipynb", ADDRESS)
    done = []

    class Shell:
        def system(self, command):
            done.append(command)

        def run_line_magic(self, name, line):
            done.append(f"{name} {line}")

    if "swin" in there:
        (tmp_path / "swin").mkdir()
    if "project" in there:
        (tmp_path / "checkpoints").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks" if "project" in there else tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "package" in there or None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    source = TransformerManager().transform_cell(notebook.cells[2].source)
    exec(source, {"get_ipython": Shell})
    assert len(done) == len(asked)
    assert all(command.startswith(start) for command, start in zip(done, asked))
    assert (".." in sys.path) == ("package" not in there)


@pytest.mark.parametrize("address", ["swin", "https://example.org/a/b", "https://github.com/only-owner"])
def test_another_kind_of_address_is_refused_and_nothing_written(folder, capsys, address):
    before = (folder / "00_start_here.ipynb").read_bytes()
    with pytest.raises(SystemExit):
        colab.main([address], folder)
    assert "https://github.com/OWNER/NAME" in capsys.readouterr().err
    assert (folder / "00_start_here.ipynb").read_bytes() == before
