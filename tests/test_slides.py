"""The decks: a lecture for every notebook, and every slide fits, as a browser sees it."""

import base64
import importlib.util
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from pygments.styles import get_style_by_name

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


def picture(alt="words", **about):
    about |= {"alt": alt}
    return nbformat.v4.new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": about})


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


@pytest.mark.parametrize("minutes", build.LECTURES)
def test_a_lecture_goes_through_the_series_in_a_frame(minutes):
    title, outline, *slides, summary, end = build.lecture(PATHS, minutes, "A & B", "", "today")
    assert "A &amp; B · today" in title.blocks[0].html and title.layout == "title"
    parts = list(dict.fromkeys(slide.part for slide in slides))
    assert len(parts) >= 8
    for part in parts:
        assert part[3:].replace("'", "&#39;") in outline.blocks[0].html
    assert outline.blocks[0].html.count("<tr>") == len(parts) + 1
    assert summary.title == "What to remember" and end.title == "Questions?"
    addressed = build.lecture(PATHS, minutes, link="a.org/<b>")[-1]
    assert "a.org/&lt;b&gt;" in addressed.blocks[0].html and "a.org" not in end.blocks[0].html
    longest = [slide.title for slide in build.lecture(PATHS, 90)]
    places = [longest.index(slide.title) for slide in slides]
    assert places == sorted(places)


# What points to another slide: a lecture is cut from the decks, and a teacher cuts further.
DANGLING = re.compile(
    r"slides? (before|after|back|later|above|below)|\b(next|last|previous|following|first|earlier) "
    r"(\w+ )?slides?\b|\bslide \d|(last|next|first|previous) section"
    r"|\b(figure|fig\.|table|equations?) \(?\d+(?!.{0,25}of the paper)",
    re.IGNORECASE,
)


def words_of(slide):
    texts = [re.sub("<[^>]*>", "", block.html) for block in slide.blocks if block.kind == "text"]
    return [slide.title, *texts, *slide.notes]


def dangling(slide):
    """Words of a slide that point to what is not on it."""
    found = [match[0] for text in words_of(slide) for match in DANGLING.finditer(text)]
    if not any(block.kind == "picture" for block in slide.blocks):
        pictured = r"\b(this figure|in the figure|of the figure|the figure shows)\b"
        found += [match[0] for text in words_of(slide) for match in re.finditer(pictured, text)]
    return found


DECKS = [path.stem for path in PATHS] + [f"lecture_{minutes}" for minutes in build.LECTURES]


def deck_of(name):
    if name.startswith("lecture_"):
        return build.lecture(PATHS, int(name.removeprefix("lecture_")))
    return slides_of(ROOT / "notebooks" / f"{name}.ipynb")


@pytest.mark.parametrize("name", DECKS)
def test_no_words_point_to_another_slide(name):
    for slide in deck_of(name):
        if slide.layout != "title":  # names the parts of the paper
            assert not dangling(slide), slide.title


@pytest.mark.parametrize(
    ("words", "points"),
    [
        ("The next slide shows it.", True),
        ("It comes three slides later.", True),
        ("As on the slide before, 87.14%.", True),
        ("See slide 12.", True),
        ("Equation 3 says it.", True),
        ("This is equation 4 of the paper.", False),
        ("The order is that of the figure.", True),
        ("On a slide, Predict means the same.", False),
    ],
)
def test_words_that_point_are_found(words, points):
    assert bool(dangling(build.Slide("T", notes=[words]))) == points


# In a lecture a word or letter is used from the slide on that explains it; this is how it does.
EXPLAINED = {
    r"\bpatch(es)?\b": r"Patch: a small square",
    r"\bMap\b|\(B, H, W, C\)": r"Map: all tokens",
    r"\b[Cc]hannels?\b": r"C numbers, its channels",
    r"\bpairs\b": r"H·W tokens make \(H·W\)² pairs",
    r"\bM x M\b|\bnW\b|\bN = ": r"square windows of M x M tokens",
    r"\bpatch merging\b": r"(each|Each) square of 2 x 2.*becomes one.*patch merging",
    r"\bquer(y|ies)\b|\bkeys?\b": r"query asks, a key offers, a value",
    r"[Ss]oftmax|softmax": r"Softmax: exp of each score, divided by the sum of these",
    r"\\sqrt": r"keeps scores small",
    r"\bhead\b(?! of| activation)": r"A head: one set of attention weights",
    r"\bbias\b": r"(one number is added to each score, the bias|the 12, plus a constant)",
    r"\bdx\b|\bdy\b": r"row i // M, column i % M",
    r"index\[": r"index\[i, j\]: which row of the table",
    r"\broll(ed)?\b": r"what falls off at one end",
    r"\bmask\b": r"The mask allows|Without a mask",
    r"−∞|-inf": r"the score becomes −∞, the weight exp",
    r"\bcrop\b": r"crop \(cut the padding off\)",
    r"\bpadding\b": r"padding \(zeros at",
    r"\bSW-MSA\b": r"SW-MSA: (attention )?in shifted",
    r"\bW-MSA\b": r"(In windows \(W-MSA\)|W-MSA: attention in regular windows)",
    r"\bMLP\b": r"(The MLP: linear layer|MLP: for each token alone)",
    r"\bLN\b|LayerNorm": r"LN \(LayerNorm\) brings each token",
    r"\blogits?\b": r"one number per class, the logits",
    r"\bablation\b": r"Such an experiment is an ablation",
}


@pytest.mark.parametrize("minutes", build.LECTURES)
def test_every_symbol_of_a_lecture_is_explained_where_it_comes_first(minutes):
    shown = []
    for slide in build.lecture(PATHS, minutes)[2:-2]:
        html = " ".join(block.html for block in slide.blocks if block.kind in ("text", "code", "printed"))
        shown.append((slide.title, " ".join(re.sub("<[^>]*>", "", html).split())))
    for word, explanation in EXPLAINED.items():
        first = next(((title, text) for title, text in shown if re.search(word, text)), None)
        assert first is None or re.search(explanation, first[1]), f"{word} is first on {first[0]!r}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_source_code_has_colours(path):
    python = re.compile(r"^\s*(def |class |return |for .* in .*:|if .*:$|import )", re.MULTILINE)
    for slide in slides_of(path):
        for block in slide.blocks:
            assert block.kind != "printed" or not python.search(block.html), slide.title


def contrast(one, other):
    """Of two colours "rrggbb", by WCAG 2: from 1 to 21."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, pale = sorted((luminance(one), luminance(other)))
    return (pale + 0.05) / (dark + 0.05)


def test_all_letters_stand_out():
    style = re.sub(r"/\*.*?\*/", "", (ROOT / "slides" / "deck.css").read_text(encoding="utf-8"))
    grounds = {"ffffff", *re.findall(r"background: #(\w{6})", style)} - {"e69f00"}  # the line below a title
    assert len(grounds) >= 3
    letters = re.findall(r"[ {;]color: #(\w{3,6})\b", style)
    assert len(letters) >= 6
    code = {str(kind): look["color"] for kind, look in get_style_by_name(build.STYLE) if look["color"]}
    unseen = ("Token.Text.Whitespace", "Token.Generic")  # of terminals
    pairs = [(colour, "f6f8fa") for kind, colour in code.items() if not kind.startswith(unseen)]
    assert "background: #f6f8fa" in re.search(r"\.code pre {[^}]*}", style)[0] and len(pairs) > 30
    letters = ["".join(2 * digit for digit in c) if len(c) == 3 else c for c in letters]
    pairs += [(colour, ground) for colour in letters for ground in grounds]
    for colour, ground in pairs:
        assert contrast(colour, ground) >= 4.5, (colour, ground)
    assert contrast("777777", "ffffff") < 4.5 < contrast("767676", "ffffff")  # the known border


# --- from cells to slides ----------------------------------------------------------------


def test_slides_follow_the_metadata():
    notebook = notebook_of(
        nbformat.v4.new_markdown_cell("no slide"),
        cell("## A heading\nsome **text**"),
        cell("left out", kind="skip"),
        cell("x = 1\nif x:\n    y = 2\n    z = 3", "", [printed("a\nb\n")], show="reveal", code_lines=[3, 4]),
        cell("draw()", "fragment", [picture('a "b"')], text=["look"], show="both", notes=["Say this."]),
        cell("#no heading", title="Another", text=["- one", "- two"], steps=True, layout="side", lecture=60),
    )
    first, second = build.read_slides(notebook)
    assert (first.title, first.layout, first.notes, first.lecture) == (
        *("A heading", "rows"),
        *(["Say this."], 0),
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
    assert (second.title, second.layout, second.lecture) == ("Another", "side", 60)
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


def test_nothing_of_the_output_may_be_chosen_beside_a_picture():
    outputs = [printed("a\nb\n"), picture()]
    (slide,) = build.read_slides(notebook_of(cell("1", outputs=outputs, title="T", output_lines=[])))
    assert [block.kind for block in slide.blocks] == ["picture"]


def test_printed_source_is_drawn_as_code():
    outputs = [printed("text\n    return 1  # one\n")]
    notebook = notebook_of(cell("1", outputs=outputs, title="T", output_lines=[2, 2]))
    notebook.cells[0].metadata["slide"]["source"] = True
    (block,) = build.read_slides(notebook)[0].blocks
    assert block.kind == "code" and '<span class="k">return</span>' in block.html


def moving(*colours):
    frames = [Image.new("RGB", (40, 40), colour) for colour in colours]
    data = io.BytesIO()
    frames[0].save(data, "PNG", save_all=True, append_images=frames[1:])
    image = {"image/png": base64.b64encode(data.getvalue()).decode()}
    return nbformat.v4.new_output("display_data", image, metadata={"image/png": {"alt": "moves"}})


def test_paper_gets_three_frames_of_what_moves():
    outputs = [moving("red", "lime", "blue", "black", "white")]
    (slide,) = build.read_slides(notebook_of(cell("1", outputs=outputs, title="T")))
    pictures = re.findall('base64,([^"]*)', slide.blocks[0].html)
    alts = re.findall('alt="([^"]*)"', slide.blocks[0].html)
    assert alts == ["moves", *(f"{when} of what moves: moves" for when in ("Beginning", "Middle", "End"))]
    stills = [Image.open(io.BytesIO(base64.b64decode(data))) for data in pictures[1:]]
    assert [still.convert("RGB").getpixel((5, 5)) for still in stills] == [
        *((255, 0, 0), (0, 0, 255), (255, 255, 255))
    ]
    assert all(getattr(still, "n_frames", 1) == 1 for still in stills)


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
        ([cell("## T", lecture=True)], "shortest lecture that has the slide: 45, 60 or 90"),
        ([cell("## T", lecture=50)], "shortest lecture that has the slide: 45, 60 or 90"),
        ([cell("## T", minutes=2)], "'minutes' must be of type float"),
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
        asked.append((what, [deck.name for deck in decks], *arguments[: what == "pdf"]))
        return int(what == "check")

    monkeypatch.setattr(build, "fetch_packages", lambda: None)
    monkeypatch.setattr(build, "render", lambda slides, name: f"{len(slides)} slides")
    monkeypatch.setattr(build, "in_browser", browser)
    assert build.main(["--out", str(tmp_path)]) == 0
    names = [f"{path.stem}.html" for path in PATHS] + [f"lecture_{n}.html" for n in (45, 60, 90)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    one = [str(PATHS[3]), "--out", str(tmp_path / "one")]
    assert build.main([*one, "--pdf"]) == 0 and build.main([*one, "--pdf", "--check"]) == 1
    assert build.main([*one, "--pdf", "--notes"]) == 0
    deck = [f"{PATHS[3].stem}.html"]
    assert asked == [("pdf", deck, ""), ("pdf", deck, ""), ("check", deck), ("pdf", deck, "notes")]
    assert build.main(["--only", "lecture_60", "--out", str(tmp_path / "lecture")]) == 0
    assert [path.name for path in (tmp_path / "lecture").iterdir()] == ["lecture_60.html"]
    assert f"decks in {tmp_path / 'lecture'}: 1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no deck 'lecture'; there are: 00_start_here, .*lecture_90$"):
        build.main(["--only", "lecture"])
    with pytest.raises(SystemExit, match="same name"):
        build.main([one[0], *one])
    with pytest.raises(SystemExit):
        build.main([*one, "--notes"])
    assert "give --pdf, too" in capsys.readouterr().err


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
    decks = [build.write(deck_of(name), name, folder) for name in DECKS]
    return browser("check", decks, "")[1]


@pytest.mark.parametrize("name", DECKS)
def test_every_slide_fits_and_needs_no_network(looked_at, name):
    about = [line for line in looked_at.splitlines() if line.startswith(f"{name}:")]
    assert about == [f"{name}: {len(deck_of(name))} slides, 0 complaints"], "\n".join(about)


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (cell("## T\n" + "word " * 600), "slide 2: does not fit"),
        (cell("x = " + "1 + " * 60, outputs=[], title="T", show="code"), "slide 2: does not fit"),
        (cell("draw()", outputs=[picture()] * 4, title="T"), "slide 2: a picture is only"),
        (cell("draw()", outputs=[picture(width=600, letters=12)], title="T"), "slide 2: letters of 11"),
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


def test_paper_has_a_page_for_a_question_one_for_its_answer_and_notes_on_request(browser, tmp_path):
    slides = build.read_slides(
        notebook_of(
            cell("- one\n- two", title="A list", steps=True, notes=["Say it."]),
            cell("1", outputs=[printed("answer")], title="T", show="reveal", notes=["Ask it."]),
        )
    )
    deck = build.write(slides, "deck", tmp_path)
    for notes, name, pages in (("", "deck.pdf", 3), ("notes", "deck_notes.pdf", 5)):
        code, found = browser("pdf", [deck], notes)
        assert code == 0, found
        assert len(re.findall(rb"/Type\s*/Page\b", Path(tmp_path, name).read_bytes())) == pages


@pytest.mark.parametrize(("words", "pages"), [("Announced:", 2), ("A question?", 3)])
def test_a_line_with_a_colon_comes_together_with_what_it_announces(browser, tmp_path, words, pages):
    more = cell("1", "fragment", [printed("answer")], text=[words])
    deck = build.write(build.read_slides(notebook_of(cell("## T"), more)), "deck", tmp_path)
    assert browser("pdf", [deck], "")[0] == 0
    assert len(re.findall(rb"/Type\s*/Page\b", deck.with_suffix(".pdf").read_bytes())) == pages


def test_paper_has_the_last_row_of_a_full_slide(browser, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    cells = []
    for lines in range(1, 9):
        cells.append(cell("\n\n".join(["words"] * lines), title="T"))
        cells.append(cell("1", "", [printed("".join(f"row {i}\n" for i in range(5)))]))
    slides = build.read_slides(notebook_of(*cells))
    deck = build.write(slides, "deck", tmp_path)
    assert browser("pdf", [deck], "")[0] == 0
    pages = pypdf.PdfReader(deck.with_suffix(".pdf")).pages
    assert [page.extract_text().count("row") for page in pages] == [5] * len(slides)


def test_paper_can_be_read_aloud(browser, tmp_path):
    """Tagged, with a language, a title, bookmarks; alternative texts of all slides arrive."""
    slides = build.read_slides(
        notebook_of(
            cell("words", title="The title"),
            cell("1", outputs=[picture("a red dot")], title="Still"),
            cell("1", outputs=[moving("red", "lime", "blue")], title="Moving"),
        )
    )
    deck = build.write(slides, "deck", tmp_path)
    code, found = browser("pdf", [deck], "")
    assert code == 0, found
    paper = deck.with_suffix(".pdf").read_bytes()
    tags = rb"/Marked true", rb"/Lang\s*\(en", rb"/Title\s*\(The title\)", rb"/Outlines"
    for wanted in tags:
        assert re.search(wanted, paper), wanted
    alts = re.findall(rb"/Alt\s*\(([^)]*)\)", paper)
    moved = [f"{when} of what moves: moves".encode() for when in ("Beginning", "Middle", "End")]
    assert alts == [b"a red dot", *moved]
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 2 + 3


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
    assert found["pages"] == [[1280, 720, 48, False]] * 3  # the second without and with its answer
