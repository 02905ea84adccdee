"""The decks: a lecture for every notebook, and every slide fits, as a browser sees it."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
spec = importlib.util.spec_from_file_location("build", ROOT / "slides" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def slides_of(path):
    return build.read_file(path)


def notebook_of(*cells):
    for i, each in enumerate(cells):
        each.id = f"cell-{i}"
    return nbformat.v4.new_notebook(cells=cells)


def cell(source, kind="slide", outputs=None, **about):
    new = nbformat.v4.new_markdown_cell if outputs is None else nbformat.v4.new_code_cell
    metadata = {"slideshow": {"slide_type": kind}, "slide": about}
    return new(source, metadata=metadata, **({} if outputs is None else {"outputs": outputs}))


def printed(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def picture(alt="words"):
    return nbformat.v4.new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": alt}})


# --- the lectures ------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_is_a_lecture(path):
    slides = slides_of(path)
    assert 15 <= len(slides) <= 30
    assert slides[0].layout == "title"
    for slide in slides:
        assert slide.notes, f"no notes: {slide.title}"
        assert slide.blocks, f"empty: {slide.title}"
        assert len(slide.title) <= 70, slide.title


def test_one_lecture_goes_through_the_series():
    slides = build.lecture(PATHS)
    assert 30 <= len(slides) <= 50  # 90 minutes
    from_notebooks = [path for path in PATHS if any(slide.lecture for slide in slides_of(path))]
    assert len(from_notebooks) >= 8


# --- from cells to slides ----------------------------------------------------------------


def test_slides_follow_the_metadata():
    notebook = notebook_of(
        cell("## A heading\nsome **text**"),
        cell("left out", kind="skip"),
        cell(
            "x = 1\nif x:\n    y = 2\n    z = 3",
            "-",
            [printed("a\nb\nc\n")],
            show="reveal",
            code_lines=[3, 4],
        ),
        cell("draw()", "fragment", [picture('a "b"')], notes=["Say this."]),
        cell("ignored", title="Another", text=["- one", "- two"], steps=True, layout="side"),
    )
    first, second = build.read_slides(notebook)
    assert (first.title, first.layout, first.notes) == ("A heading", "rows", ["Say this."])
    assert [(block.kind, block.fragment) for block in first.blocks] == [
        *(("text", False), ("code", False), ("printed", True), ("picture", True))
    ]
    text, code, output, image = (block.html for block in first.blocks)
    assert "A heading" not in text and "<strong>text</strong>" in text
    assert re.sub("<[^>]*>", "", code).strip() == "y = 2\nz = 3"
    assert output == "<pre>a\nb\nc</pre>"
    assert 'alt="a &quot;b&quot;"' in image and PIXEL in image
    assert (second.title, second.layout) == ("Another", "side")
    assert second.blocks[0].html.count('<li class="fragment">') == 2


@pytest.mark.parametrize(
    ("show", "kinds"),
    [
        ("output", ["printed"]),
        ("code", ["code"]),
        ("both", ["code", "printed"]),
        ("nothing", []),
        ("reveal", ["code", "printed"]),
    ],
)
def test_what_is_shown_of_a_code_cell(show, kinds):
    (slide,) = build.read_slides(notebook_of(cell("1", outputs=[printed("1\n2")], title="T", show=show)))
    assert [block.kind for block in slide.blocks] == kinds


def test_only_the_chosen_lines_of_the_output():
    outputs = [printed("a\n  b\n    c\nd\n")]
    (slide,) = build.read_slides(notebook_of(cell("1", outputs=outputs, title="T", output_lines=[2, 3])))
    assert slide.blocks[0].html == "<pre>b\n  c</pre>"


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([cell("no heading")], "a slide needs a title"),
        ([cell("## T", "fragment")], "the first cell of a deck"),
        ([cell("## T", "subslide")], "the slide type 'subslide'"),
        ([cell("## T", colour="red")], r"unknown \['colour'\]"),
        ([cell("## T", show="all")], "'show' is none of"),
        ([cell("## T", layout="left")], "'layout' is none of"),
        ([cell("## T", text="one line")], "lists of lines"),
        ([cell("## T"), cell("more", "-", title="U")], "'title', 'layout' and 'lecture' belong to"),
        ([cell("## T", "skip")], "no cell is a slide"),
    ],
)
def test_what_is_not_understood_is_refused(cells, says):
    with pytest.raises(ValueError, match=says):
        build.read_slides(notebook_of(*cells))


def test_a_wrong_notebook_is_named(tmp_path):
    nbformat.write(notebook_of(cell("no heading")), tmp_path / "wrong.ipynb")
    with pytest.raises(SystemExit, match=r"wrong\.ipynb: cell 'cell-0': a slide needs a title"):
        build.main([str(tmp_path / "wrong.ipynb"), "--out", str(tmp_path)])
    assert not (tmp_path / "wrong.html").exists()
    with pytest.raises(SystemExit, match="missing.ipynb"):
        build.main([str(tmp_path / "missing.ipynb")])


def test_without_npm_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=re.escape("https://nodejs.org")):
        build.fetch_packages()


# --- in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """-> function that runs browser.mjs -> (exit code, what it printed)"""
    missing = [name for name in ("npm", "node") if not shutil.which(name)]
    if missing or not build.find_browser():
        pytest.skip(f"slides are seen by a browser; missing: {', '.join(missing) or 'Chrome or Chromium'}")
    try:
        build.fetch_packages()
    except subprocess.CalledProcessError:
        pytest.skip("npm could not fetch reveal.js, MathJax and playwright-core")

    def run(what, decks, *arguments):
        command = ["node", build.HERE / "browser.mjs", what, build.find_browser(), *arguments, *decks]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def looked_at(browser, tmp_path_factory):
    """What the browser says of all decks."""
    folder = tmp_path_factory.mktemp("decks")
    decks = [build.write(slides_of(path), path.stem, folder) for path in PATHS]
    return browser("check", decks, "")[1]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_slide_fits_and_needs_no_network(looked_at, path):
    about = [line for line in looked_at.splitlines() if line.startswith(f"{path.stem}:")]
    assert about == [f"{path.stem}: {len(slides_of(path))} slides, 0 complaints"], "\n".join(about)


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (cell("## T\n" + "word " * 600), "slide 2: does not fit"),
        (cell("x = " + "1 + " * 60, outputs=[], title="T", show="code"), "slide 2: does not fit"),
        (cell("draw()", outputs=[picture()] * 4, title="T"), "slide 2: a picture is only"),
        (
            cell('## T\n<img src="https://example.org/a.png">'),
            "asks the network for https://example.org/a.png",
        ),
        (cell("## T\n$\\frac{1}$"), "slide 2: a formula is wrong"),
        (cell("## T\n<div style='width: 2000px; position: absolute'>wide</div>"), "reaches out of the slide"),
        (cell("## T\n<script>throw Error('planted')</script>"), "error: planted"),
    ],
    ids=["much text", "a long line", "small pictures", "network", "formula", "wide", "script"],
)
def test_the_browser_notices(browser, tmp_path, planted, says):
    slides = build.read_slides(notebook_of(cell("## Fine\ntext"), planted))
    deck = build.write(slides, "deck", tmp_path)
    code, found = browser("check", [deck], tmp_path / "pictures")
    assert code == 1 and says in found
    assert "slide 1:" not in found
    assert len(list((tmp_path / "pictures" / "deck").glob("*.png"))) == 2


def test_pdf_has_a_page_for_each_slide(browser, tmp_path):
    deck = build.write(slides_of(PATHS[7]), "deck", tmp_path)
    code, found = browser("pdf", [deck])
    assert code == 0, found
    pages = re.findall(rb"/Type\s*/Page\b", deck.with_suffix(".pdf").read_bytes())
    assert len(pages) == len(slides_of(PATHS[7]))
