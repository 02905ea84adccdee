"""Slides from the notebooks: one HTML file for each, which needs no network when it is shown.

    python slides/build.py                                    # all decks, and lecture.html, into slides/decks
    python slides/build.py notebooks/07_shifted_windows.ipynb --pdf

Needs npm (https://nodejs.org), which fetches reveal.js and MathJax the first time. --pdf and
--check need Chrome or Chromium, too: --pdf prints each deck, --check says which slides do not fit.

Which cells are slides is written in the cells' metadata, beside what a slide says in place of
the notebook's text:

    "slideshow": {"slide_type": "slide"}    a new slide; "fragment": comes on the next key press;
                                            "-": stays on the slide before; none: not in the deck
    "slide": {
        "title": "A window is a closed room",      one sentence; a Markdown cell's heading if left out
        "text": ["Markdown", "line by line"],      in place of a Markdown cell's text, above a code cell
        "steps": true,                             the points of `text` come one after the other
        "show": "output",                          or "code", "both", "nothing", "reveal": first the code
        "code_lines": [3, 7],                      of the code only these, counted from 1
        "output_lines": [1, 4],                    of what it printed only these
        "layout": "side",                          text on the left, the rest on the right; or "title"
        "notes": ["What to say."],                 seen by the speaker alone (key S)
        "lecture": true                            also in lecture.html: one lecture through all notebooks
    }
"""

import argparse
import html
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import nbformat
from nbconvert.filters import Highlight2HTML, markdown2html
from pygments.formatters import HtmlFormatter

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
TYPES = ("slide", "fragment", "-")
KEYS = {"title", "text", "steps", "show", "code_lines", "output_lines", "layout", "notes", "lecture"}
SHOW = ("output", "code", "both", "nothing", "reveal")
LAYOUTS = ("rows", "side", "title")
BROWSERS = ("chromium", "google-chrome", "chrome", "chromium-browser", "microsoft-edge")


@dataclass
class Block:
    """A piece of a slide: "text", "code", "printed" or "picture"."""

    kind: str
    html: str
    fragment: bool = False


@dataclass
class Slide:
    title: str
    layout: str = "rows"
    blocks: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    lecture: bool = False


# --- from a notebook to its slides -------------------------------------------------------


def read_slides(notebook):
    """-> the slides of a notebook (nbformat). Raises ValueError naming the cell that is not understood."""
    slides = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "skip")
        if kind in ("skip", "notes"):
            continue
        about = _checked(cell, kind, first=not slides)
        if kind == "slide":
            title = about.get("title") or _heading(cell)
            if not title:
                raise ValueError(f"cell {cell.id!r}: a slide needs a title")
            slides.append(Slide(title, about.get("layout", "rows"), lecture=about.get("lecture", False)))
        slides[-1].blocks += _blocks(cell, about, kind == "fragment")
        slides[-1].notes += about.get("notes", [])
    if not slides:
        raise ValueError("no cell is a slide")
    return slides


def _checked(cell, kind, first):
    about = cell.metadata.get("slide", {})
    problems = {
        f"the slide type {kind!r} is none of {TYPES}": kind not in TYPES,
        "the first cell of a deck must be of the type 'slide'": first and kind != "slide",
        f"unknown {sorted(set(about) - KEYS)}": not set(about) <= KEYS,
        f"'show' is none of {SHOW}": about.get("show", "output") not in SHOW,
        f"'layout' is none of {LAYOUTS}": about.get("layout", "rows") not in LAYOUTS,
        "'text' and 'notes' are lists of lines": not all(
            isinstance(about.get(key, []), list) for key in ("text", "notes")
        ),
        "'title', 'layout' and 'lecture' belong to a cell of the type 'slide'": kind != "slide"
        and bool({"title", "layout", "lecture"} & set(about)),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(f"cell {cell.id!r}: {problem}")
    return about


def _heading(cell):
    first = cell.source.splitlines()[0] if cell.cell_type == "markdown" else ""
    return first.lstrip("# ") if first.startswith("#") else ""


def _blocks(cell, about, fragment):
    text = about.get("text")
    if text is None and cell.cell_type == "markdown":
        text = cell.source.splitlines()[1 if _heading(cell) else 0 :]
    blocks = [Block("text", _markdown(text, about.get("steps", False)), fragment)] if text else []
    if cell.cell_type != "code":
        return blocks
    show = about.get("show", "output")
    if show in ("code", "both", "reveal"):
        source = _lines(cell.source, about.get("code_lines"))
        blocks.append(Block("code", Highlight2HTML()(source, language="python"), fragment))
    if show in ("output", "both", "reveal"):
        blocks += [
            Block(kind, content, fragment or show == "reveal")
            for kind, content in _outputs(cell, about.get("output_lines"))
        ]
    return blocks


def _markdown(lines, steps):
    content = markdown2html("\n".join(lines))
    return content.replace("<li>", '<li class="fragment">') if steps else content


def _outputs(cell, lines):
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
            yield "picture", f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"].strip()}">'
        else:
            text = output.get("text", data.get("text/plain", ""))
            yield "printed", f"<pre>{html.escape(_lines(text, lines))}</pre>"


def _lines(text, chosen):
    """The lines from the first to the last chosen one, moved to the left edge as one."""
    lines = text.rstrip().splitlines()
    if chosen:
        lines = lines[chosen[0] - 1 : chosen[1]]
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        lines = [line[indent:] for line in lines]
    return "\n".join(lines)


# --- from slides to a file ---------------------------------------------------------------


def render(slides, name):
    """-> one HTML page that holds everything: slides, reveal.js, MathJax, fonts of the system."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=False)
    packages = HERE / "node_modules"
    return environment.get_template("deck.html.j2").render(
        slides=slides,
        name=name,
        markdown=lambda lines: markdown2html("\n\n".join(lines)),
        styles=[
            (packages / "reveal.js/dist/reset.css").read_text(),
            (packages / "reveal.js/dist/reveal.css").read_text(),
            HtmlFormatter(style="friendly").get_style_defs(".highlight"),
            (HERE / "deck.css").read_text(),
        ],
        scripts=[
            (packages / "mathjax/es5/tex-svg.js").read_text(),
            (packages / "reveal.js/dist/reveal.js").read_text(),
            (packages / "reveal.js/dist/plugin/notes.js").read_text(),
            (HERE / "deck.js").read_text(),
        ],
    )


def fetch_packages():
    """npm packages into slides/node_modules, once. Raises SystemExit where there is no npm."""
    if (HERE / "node_modules/reveal.js").exists():
        return
    npm = shutil.which("npm")
    if not npm:
        raise SystemExit(
            "Slides are made with reveal.js, which npm fetches: install it from https://nodejs.org"
        )
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=HERE, check=True)


def read_file(path):
    """-> the slides of the notebook at `path`. Raises SystemExit where it cannot be read or understood."""
    try:
        return read_slides(nbformat.read(path, as_version=4))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from None


def lecture(paths):
    """-> the slides of all these notebooks that belong to the one lecture through the series."""
    return [slide for path in paths for slide in read_file(path) if slide.lecture]


def write(slides, name, folder):
    """Write a deck into the folder -> its path."""
    folder.mkdir(parents=True, exist_ok=True)
    deck = folder / f"{name}.html"
    deck.write_text(render(slides, name), encoding="utf-8")
    return deck


def find_browser():
    """-> path of Chrome or Chromium, None where there is none on the search path."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def in_browser(what, decks, *arguments):
    """Run browser.mjs -> its exit code."""
    command = ["node", HERE / "browser.mjs", what, find_browser() or "", *arguments, *decks]
    return subprocess.run(command).returncode


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all if left out")
    parser.add_argument("--out", type=Path, default=HERE / "decks", help="folder (default slides/decks)")
    parser.add_argument("--pdf", action="store_true", help="print each deck to PDF as well")
    parser.add_argument("--check", action="store_true", help="look at each slide: pictures into OUT/pictures")
    options = parser.parse_args(arguments)
    paths = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    contents = {path.stem: read_file(path) for path in paths}
    if not options.notebooks:
        contents["lecture"] = lecture(paths)
    fetch_packages()
    decks = [write(slides, name, options.out) for name, slides in contents.items()]
    print(f"{len(decks)} decks in {options.out}")
    if options.pdf:
        in_browser("pdf", decks)
    if options.check:
        sys.exit(in_browser("check", decks, options.out / "pictures"))


if __name__ == "__main__":
    main()
