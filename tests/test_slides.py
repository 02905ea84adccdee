"""The decks: a lecture for every notebook, and every slide fits, as a browser sees it."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from swin_cifar.config import train_config

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
    """kind "" stands for a cell without a slide type"""
    new = nbformat.v4.new_markdown_cell if outputs is None else nbformat.v4.new_code_cell
    metadata = {"slide": about} | ({"slideshow": {"slide_type": kind}} if kind else {})
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
        nbformat.v4.new_markdown_cell("no slide"),
        cell("## A heading\nsome **text**"),
        cell("left out", kind="skip"),
        cell("x = 1\nif x:\n    y = 2\n    z = 3", "", [printed("a\nb\n")], show="reveal", code_lines=[3, 4]),
        cell("draw()", "fragment", [picture('a "b"')], text=["look"], show="both", notes=["Say this."]),
        cell(
            "#no heading", title="Another", text=["- one", "- two"], steps=True, layout="side", lecture=True
        ),
    )
    first, second = build.read_slides(notebook)
    assert (first.title, first.layout, first.notes, first.lecture) == (
        *("A heading", "rows"),
        *(["Say this."], False),
    )
    assert [(block.kind, block.fragment) for block in first.blocks] == [
        *(("text", False), ("code", False), ("printed", True)),
        *(("text", True), ("code", True), ("picture", True)),
    ]
    text, code, output, _, _, image = (block.html for block in first.blocks)
    assert "A heading" not in text and "<strong>text</strong>" in text
    assert re.sub("<[^>]*>", "", code).strip() == "y = 2\nz = 3"
    assert output == "<pre>a\nb</pre>"
    assert 'alt="a &quot;b&quot;"' in image and PIXEL in image
    assert (second.title, second.layout, second.lecture) == ("Another", "side", True)
    assert second.blocks[0].html.count('<li class="fragment">') == 2


def test_what_jupyterlab_writes_for_no_slide_type_is_understood():
    stays = cell("more")
    stays.metadata["slideshow"] = {"slide_type": ""}
    left_out = nbformat.v4.new_markdown_cell("no", metadata={"slideshow": {"slide_type": "-"}})
    (slide,) = build.read_slides(notebook_of(cell("## T"), stays, left_out))
    assert [re.sub("<[^>]*>", "", block.html).strip() for block in slide.blocks] == ["more"]


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
        ([cell("")], "a slide needs a title"),
        ([cell("## T", "fragment")], "the first cell of a deck"),
        ([cell("## T", "subslide")], "the slide type 'subslide'"),
        ([cell("## T"), cell("said", "notes")], "cell 'cell-1': the slide type 'notes'"),
        ([cell("## T", colour="red")], r"not \['colour'\]"),
        ([cell("## T", show="all")], "'show' is none of"),
        ([cell("## T", layout="left")], "'layout' is none of"),
        ([cell("## T", text="one line")], "'text' must be of type list"),
        ([cell("## T", notes=[1])], "'notes' is a list of lines"),
        ([cell("## T", steps="false")], "'steps' must be of type bool"),
        ([cell("## T"), cell("more", "", title="U")], "'title' belongs to a cell of the type 'slide'"),
        ([cell("## T", "skip")], "no cell is a slide"),
        *(
            ([cell("a\nb", outputs=[], title="T", show="code", code_lines=lines)], "of 2 lines")
            for lines in ([2, 3], [0, 1], [2, 1], [1], ["1", "2"])
        ),
        ([cell("1", outputs=[printed("a")], title="T", output_lines=[1, 2])], "of 1 lines"),
        (
            [cell("1/0", outputs=[nbformat.v4.new_output("error", ename="E")], title="T")],
            "neither text nor a PNG",
        ),
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
    shutil.copy(ROOT / "slides" / "package.json", tmp_path)
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=re.escape("https://nodejs.org")):
        build.fetch_packages()


def test_packages_of_another_version_are_fetched_again(tmp_path, monkeypatch):
    shutil.copy(ROOT / "slides" / "package.json", tmp_path)
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    asked = []

    def npm(command, **options):
        asked.append(command[:2])
        for name, version in build._wanted().items():
            folder = tmp_path / "node_modules" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", npm)
    build.fetch_packages()
    build.fetch_packages()
    assert asked == [["/bin/npm", "install"]]
    (tmp_path / "node_modules" / "mathjax" / "package.json").write_text(
        '{"version": "1.0.0"}', encoding="utf-8"
    )
    build.fetch_packages()
    assert len(asked) == 2


def test_the_command_writes_all_decks_and_says_whether_they_are_right(tmp_path, monkeypatch, capsys):
    asked = []

    def browser(what, decks, *arguments):
        asked.append((what, [deck.name for deck in decks]))
        return int(what == "check")

    monkeypatch.setattr(build, "fetch_packages", lambda: None)
    monkeypatch.setattr(build, "render", lambda slides, name: f"{len(slides)} slides")
    monkeypatch.setattr(build, "in_browser", browser)
    assert build.main(["--out", str(tmp_path)]) == 0
    names = [*(f"{path.stem}.html" for path in PATHS), "lecture.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    one = [str(PATHS[3]), "--out", str(tmp_path / "one")]
    assert build.main([*one, "--pdf"]) == 0 and build.main([*one, "--pdf", "--check"]) == 1
    assert asked == [(what, [f"{PATHS[3].stem}.html"]) for what in ("pdf", "pdf", "check")]
    assert "1 decks in" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="same name"):
        build.main([one[0], *one])


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="Chrome or Chromium"):
        build.in_browser("pdf", [])


def test_the_recipe_s_numbers_on_slides_are_those_of_the_preset():
    """They stand in metadata, which no cell computes."""
    words = {slide.id: str(slide.metadata["slide"]) for slide in nbformat.read(PATHS[9], 4).cells
             if "slide" in slide.metadata}  # fmt: skip
    nano, mini = train_config("nano"), train_config("mini")
    assert f"| {nano.weight_decay:g} | {nano.matrix_lr_scale:g} |" in words["groups"]
    assert f"| 0 | {nano.table_lr_scale:g} |" in words["groups"]
    rates = f"at most {nano.learning_rate:g}. mini: 26,100 steps, at most {mini.learning_rate:g}."
    assert rates in words["schedule-draw"]


# --- in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(in_browser):
    """-> function that runs browser.mjs -> (exit code, what it printed)"""

    def run(what, decks, *arguments):
        command = ["node", build.HERE / "browser.mjs", what, build.find_browser(), *arguments, *decks]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
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
        (cell("## T\n$\\unknown$"), "slide 2: a formula is wrong"),
        (cell('## T\n<img src="data:image/png;base64,AAAA">'), "slide 2: a picture is broken"),
        (cell("print()", outputs=[printed("\n")], title="T"), "slide 2: an empty block"),
        (cell("## T"), "slide 2: nothing on it"),
        (cell("text", title="long " * 60), "slide 2: a long title"),
        (cell("## T\n<div style='width: 2000px; position: absolute'>wide</div>"), "reaches out of the slide"),
        (cell("## T\n<script>throw Error('planted')</script>"), "error: planted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
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


def test_a_deck_is_shown_step_by_step_with_notes_and_printed_whole(in_browser, tmp_path):
    slides = build.read_slides(
        notebook_of(
            cell("## First\n" + "word " * 150),
            cell(
                *("print(1 < 2)", "slide", [printed("1 < 2 & <b>true</b>")]),
                **{
                    "title": "Is a<b>c?",
                    "text": ["left"],
                    "layout": "side",
                    "show": "reveal",
                    "notes": ["Say yes."],
                },
            ),
        )
    )
    deck = build.write(slides, "deck", tmp_path)
    found = in_browser("step_through.mjs", deck.as_uri())
    assert (found["title"], found["notes"]) == ("Is a<b>c?", "Say yes.")
    assert (found["before"], found["after"]) == ([], ["1 < 2 & <b>true</b>"])
    text, code = found["columns"]
    assert text < 100 and code > 400  # side by side
    assert found["pages"] == [[1280, 720, 48, False]] * 2
