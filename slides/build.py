"""Slides from the notebooks: one HTML file for each, which needs no network when it is shown.

    python slides/build.py                                    # all decks and lectures, into slides/decks
    python slides/build.py notebooks/07_shifted_windows.ipynb --pdf
    python slides/build.py --speaker "Ada Lovelace" --date "3 May" --place "Room 5" --link example.org/swin

The lectures, lecture_45.html, lecture_60.html and lecture_90.html, are slides chosen from all notebooks, in
the frame of slides/lecture.ipynb: a title, an outline (written here), a summary, references.

Needs Node.js (https://nodejs.org), whose npm fetches reveal.js and MathJax the first time. --pdf
and --check need Chrome or Chromium, too: --pdf prints each deck, --check says which slides do not fit.

Which cells are slides is written in the cells' metadata, beside what a slide says in place of
the notebook's text. A cell with neither of the two is not in the deck, one with "slide" alone
stays on the slide before.

    "slideshow": {"slide_type": "slide"}           a new slide; "fragment": comes at a key press
    "slide": {
        "title": "Shift, then cut into windows",   one sentence; a Markdown cell's heading if left out
        "text": ["Markdown", "line by line"],      in place of a Markdown cell's text, above a code cell
        "steps": true,                             the points of `text` come one after the other
        "show": "output",                          or "code", "both", "nothing", "reveal": first the code
        "code_lines": [3, 7],                      of the code only these, counted from 1
        "output_lines": [1, 4],                    of what it printed only these; []: nothing of it
        "source": true,                            what it printed is Python: with colours
        "layout": "side",                          text on the left, the rest on the right; or "title"
        "notes": ["What to say."],                 seen by the speaker alone (key S)
        "lecture": 60,                             45, 60 or 90: the shortest lecture that has the slide
        "minutes": 3.0                             how long it is shown in a lecture; 1.5 if left out
    }
"""

import argparse
import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import jinja2
import nbformat
from nbconvert.filters import Highlight2HTML, markdown2html
from PIL import Image, ImageSequence
from pygments.formatters import HtmlFormatter

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
TYPES = {  # what the values of "slide" are; lists hold lines, or the first and the last one
    **{"title": str, "layout": str, "show": str, "steps": bool, "source": bool, "lecture": int},
    **{"text": list, "notes": list, "code_lines": list, "output_lines": list, "minutes": float},
}
SHOW = ("output", "code", "both", "nothing", "reveal")
LAYOUTS = ("rows", "side", "title")
LECTURES = (45, 60, 90)  # minutes
MINUTES = 1.5  # of a slide
STYLE = "default"  # of pygments: all its colours can be read on the pale grey of deck.css
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
    lecture: int = 0  # minutes of the shortest lecture that has it, 0 = none
    minutes: float = MINUTES
    part: str = ""  # of a lecture: which notebook it is from


# --- from a notebook to its slides -------------------------------------------------------


def read_slides(notebook):
    """-> the slides of a notebook (nbformat). Raises ValueError naming the cell that is not understood."""
    slides = []
    for cell in notebook.cells:
        kind, about = _checked(cell)
        if kind == "skip":
            continue
        if kind == "slide":
            title = about.get("title") or _heading(cell)
            if not title:
                raise _problem(cell, "a slide needs a title")
            numbers = about.get("lecture", 0), about.get("minutes", MINUTES)
            slides.append(Slide(title, about.get("layout", "rows"), [], [], *numbers))
        elif not slides:
            raise _problem(cell, "the first cell of a deck must be of the type 'slide'")
        slides[-1].blocks += _blocks(cell, about, kind == "fragment")
        slides[-1].notes += about.get("notes", [])
    if not slides:
        raise ValueError("no cell is a slide")
    return slides


def _problem(cell, words):
    return ValueError(f"cell {cell.get('id')!r}: {words}")


def _checked(cell):
    """-> "slide", "fragment", "stay" or "skip", and the cell's words for the slide."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type") or "-"
    about = cell.metadata.get("slide")
    if kind == "skip" or (kind == "-" and about is None):
        return "skip", {}
    if kind not in ("slide", "fragment", "-"):
        raise _problem(cell, f"the slide type {kind!r} is none of 'slide', 'fragment', 'skip', '-'")
    about = {} if about is None else about
    if not isinstance(about, dict) or not set(about) <= set(TYPES):
        raise _problem(cell, f"'slide' may hold {', '.join(TYPES)}, not {sorted(set(about) - set(TYPES))}")
    if about.get("lecture", 45) not in LECTURES:
        raise _problem(cell, "'lecture' is the shortest lecture that has the slide: 45, 60 or 90")
    for key, value in about.items():
        if not isinstance(value, TYPES[key]):
            raise _problem(cell, f"{key!r} must be of type {TYPES[key].__name__}")
    for key in ("text", "notes"):
        if not all(isinstance(line, str) for line in about.get(key, [])):
            raise _problem(cell, f"{key!r} is a list of lines")
    for key, choices in (("show", SHOW), ("layout", LAYOUTS)):
        if about.get(key, choices[0]) not in choices:
            raise _problem(cell, f"{key!r} is none of {', '.join(choices)}")
    for key in ("title", "layout", "lecture", "minutes"):
        if key in about and kind != "slide":
            raise _problem(cell, f"{key!r} belongs to a cell of the type 'slide'")
    return ("stay" if kind == "-" else kind), about


def _heading(cell):
    found = re.match("#+ +(.*)", cell.source) if cell.cell_type == "markdown" else None
    return found[1] if found else ""


def _blocks(cell, about, fragment):
    text = about.get("text")
    if text is None and cell.cell_type == "markdown":
        text = cell.source.splitlines()[1 if _heading(cell) else 0 :]
    blocks = [Block("text", _markdown(text, about.get("steps", False)), fragment)] if text else []
    if cell.cell_type != "code":
        return blocks
    show = about.get("show", "output")
    if show in ("code", "both", "reveal"):
        source = _lines(cell, cell.source, about.get("code_lines"))
        blocks.append(Block("code", Highlight2HTML()(source, language="python"), fragment))
    if show in ("output", "both", "reveal"):
        for kind, content in _outputs(cell, about.get("output_lines"), about.get("source", False)):
            blocks.append(Block(kind, content, fragment or show == "reveal"))
    return blocks


def _markdown(lines, steps):
    sizes = r"\b(\d+|[A-Z]) (x|=) (?=(\d+|[A-Z])\b)"  # 4 x 4, M = 4: not on two lines
    content = markdown2html(re.sub(sizes, "\\1\u00a0\\2\u00a0", "\n".join(lines)))
    return content.replace("<li>", '<li class="fragment">') if steps else content


def _outputs(cell, chosen, source):
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text", data.get("text/plain"))
        if "image/png" in data:
            yield "picture", _picture(data["image/png"].strip(), output.metadata.get("image/png", {}))
        elif text is not None and chosen == []:
            continue
        elif text is not None and source:
            yield "code", Highlight2HTML()(_lines(cell, text, chosen), language="python")
        elif text is not None:
            yield "printed", f"<pre>{html.escape(_lines(cell, text, chosen))}</pre>"
        else:
            raise _problem(cell, "an output is neither text nor a PNG")


def _picture(png, about):
    """A PNG in base64 -> HTML. What moves is followed by three of its frames, a page each on paper."""
    alt = html.escape(about.get("alt", ""))
    letters = ""  # in shares of the picture's width, so that browser.mjs knows their size
    if about.get("width"):
        letters = f' data-letters="{about["letters"] / about["width"]:.6f}"'
    tag = f'<img alt="{alt}"{letters} src="data:image/png;base64,{png}">'
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    last = getattr(image, "n_frames", 1) - 1
    if not last:
        return tag
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    stills = zip(("Beginning", "Middle", "End"), (0, last // 2, last))
    stills = (_still(frames[i], f"{when} of what moves: {alt}") for when, i in stills)
    return f"{tag}<div class='frames'>{''.join(stills)}</div>"


def _still(frame, alt):
    small = io.BytesIO()
    frame.quantize(256).save(small, "PNG", optimize=True)
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}">'


def _lines(cell, text, chosen):
    """The lines from the first to the last chosen one, moved to the left edge as one."""
    lines = text.rstrip().splitlines()
    if chosen is not None:
        whole = len(chosen) == 2 and all(type(n) is int for n in chosen)
        if not whole or not 1 <= chosen[0] <= chosen[1] <= len(lines):
            raise _problem(cell, f"{chosen} are not the first and the last of {len(lines)} lines")
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
            _read(packages / "reveal.js/dist/reset.css"),
            _read(packages / "reveal.js/dist/reveal.css"),
            HtmlFormatter(style=STYLE).get_style_defs(".highlight"),
            _read(HERE / "deck.css"),
        ],
        scripts=[
            _read(packages / "mathjax/es5/tex-svg.js"),
            _read(packages / "reveal.js/dist/reveal.js"),
            _read(packages / "reveal.js/dist/plugin/notes.js"),
            _read(HERE / "deck.js"),
        ],
    )


def _read(path):
    return path.read_text(encoding="utf-8")


def fetch_packages():
    """npm packages into slides/node_modules, once. Raises SystemExit where they cannot be had."""
    if _installed() == _wanted():
        return
    npm = shutil.which("npm")
    if not npm:
        raise SystemExit("slides are made with reveal.js, which npm fetches: install https://nodejs.org")
    quick = ["--fetch-retries=0", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run([npm, "install", *quick], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"npm could not fetch reveal.js and MathJax; the first time needs internet\n{done.stderr}"
        )


def _wanted():
    package = json.loads(_read(HERE / "package.json"))
    return package["dependencies"] | package["devDependencies"]


def _installed():
    paths = {name: HERE / "node_modules" / name / "package.json" for name in _wanted()}
    return {name: json.loads(_read(path))["version"] for name, path in paths.items() if path.exists()}


@cache  # a lecture asks for all notebooks
def read_file(path):
    """-> the slides of the notebook at `path`, read once.

    Raises SystemExit where it cannot be read or understood.
    """
    try:
        return read_slides(nbformat.read(path, as_version=4))
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise SystemExit(f"{path}: {error}") from None


def lecture(paths, minutes, *who, link=""):
    """-> the slides of a lecture of 45, 60 or 90 minutes: those of all notebooks, in the frame.

    `who`: words for the title, such as name, date and place; `link`: an address for the last slide.
    """
    title, outline, *end = read_file(HERE / "lecture.ipynb")
    chosen, parts = [], []
    for path in paths:
        slides = read_file(path)
        mine = [slide for slide in slides if 0 < slide.lecture <= minutes]
        if mine:
            parts.append(f"| {path.stem[:2]} | {slides[0].title} |")
        chosen += [replace(slide, part=f"{path.stem[:2]} {slides[0].title}") for slide in mine]
    if any(who):
        title = _begins_with(title, [html.escape(" · ".join(filter(None, who)))])
    if link:
        address = link if "://" in link else f"https://{link}"
        end[-1] = _begins_with(end[-1], [f"**[{html.escape(link)}]({html.escape(address)})**"])
    outline = _begins_with(outline, ["| notebook | |", "|---|---|", *parts])
    return _with_clock([title, outline, *chosen, *end])


def _with_clock(slides):
    """The notes of each slide begin with the minutes from the beginning; the last stays for questions."""
    at, timed = 0.0, []
    for slide in slides:
        clock = f"Minute {at:g}" + (
            f" to {at + slide.minutes:g}" if slide is not slides[-1] else " to the end"
        )
        timed.append(replace(slide, notes=[f"**{clock}**", *slide.notes]))
        at += slide.minutes
    return timed


def _begins_with(slide, lines):
    return replace(slide, blocks=[Block("text", _markdown(lines, False)), *slide.blocks])


def write(slides, name, folder):
    """Write a deck into the folder -> its path."""
    folder.mkdir(parents=True, exist_ok=True)
    deck = folder / f"{name}.html"
    deck.write_text(render(slides, name), encoding="utf-8")
    return deck


def find_browser():
    """-> path of Chrome or Chromium, or "" to try an installed Chrome, where none is on the search path."""
    return next(filter(None, map(shutil.which, BROWSERS)), "")


def in_browser(what, decks, *arguments):
    """Run browser.mjs -> its exit code. Raises SystemExit where there is no Node.js."""
    node = shutil.which("node")
    if not node:
        raise SystemExit("to look at decks or print them, install https://nodejs.org, and Chrome or Chromium")
    return subprocess.run([node, HERE / "browser.mjs", what, find_browser(), *arguments, *decks]).returncode


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all if left out")
    parser.add_argument("--only", metavar="DECK", help="one of them, such as lecture_45")
    parser.add_argument("--out", type=Path, default=HERE / "decks", help="folder (default slides/decks)")
    parser.add_argument("--pdf", action="store_true", help="print each deck to PDF as well")
    parser.add_argument("--notes", action="store_true", help="with --pdf: notes on a page after each slide")
    for word in ("speaker", "date", "place"):
        parser.add_argument(f"--{word}", default="", help="for the title of the lectures")
    parser.add_argument("--link", default="", help="where the class finds the notebooks: on the last slide")
    parser.add_argument("--check", action="store_true", help="look at each slide: pictures into OUT/pictures")
    options = parser.parse_args(arguments)
    if options.notes and not options.pdf:
        parser.error("--notes puts notes into the PDF files: give --pdf, too (on the screen: key S)")
    paths = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    contents = {path.stem: read_file(path) for path in paths}
    if len(contents) < len(paths):
        raise SystemExit("two of these notebooks have the same name, and so would their decks")
    if not options.notebooks:
        who = options.speaker, options.date, options.place
        contents |= {
            f"lecture_{minutes}": lecture(paths, minutes, *who, link=options.link) for minutes in LECTURES
        }
    if options.only:
        if options.only not in contents:
            raise SystemExit(f"there is no deck {options.only!r}; there are: {', '.join(contents)}")
        contents = {options.only: contents[options.only]}
    fetch_packages()
    decks = [write(slides, name, options.out) for name, slides in contents.items()]
    print(f"decks in {options.out}: {len(decks)}")
    failed = options.pdf and in_browser("pdf", decks, "notes" if options.notes else "")
    failed |= options.check and in_browser("check", decks, options.out / "pictures")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
