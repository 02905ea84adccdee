"""The student's own Swin: what is kept and what not, and a model of the pieces equal to the package's."""

import copy
import inspect
import linecache
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course import check, my_swin, package_pieces, pieces
from course.check import EXERCISES, core
from oracles import enlarge_weights
from swin_cifar import TrainConfig, attention_maps, create_model, load_checkpoint, save_checkpoint
from swin_cifar.data import load_shapes10
from swin_cifar.training import fit, make_optimizer
from swin_cifar.weights import load_torchvision_weights

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOLUTIONS = {
    name: path for name in pieces.PIECES for path in (NOTEBOOKS / "solutions").glob(f"[0-9][0-9]_{name}.py")
}
ROUNDED = {"patch_embed"}  # their solutions add up in another order than the package: equal but for rounding

RIGHT = """\
def window_partition(x, M):
    B, H, W, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C).transpose(2, 3)
    return x.reshape(B, -1, M * M, C)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIN_CIFAR_PIECES", str(tmp_path / "my_pieces"))
    monkeypatch.setattr(core.figures, "show", lambda figure, alt: None)
    return tmp_path / "my_pieces"


def cell(source, name="window_partition", **known):
    """-> the function that a cell of a notebook defines: its source is found as IPython's is."""
    file = f"<cell {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace = {"__name__": "__main__", "torch": torch, "math": math, **known}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


def signature(function):
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(str(parameter.replace(annotation=parameter.empty)) for parameter in parameters)


def put(folder, name, source):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")


# --- keep, show, take back ---------------------------------------------------------------


def test_fourteen_pieces_with_the_same_signatures_everywhere():
    assert pieces.COUNT == len(pieces.labels()) == 14
    assert pieces.GIVEN == tuple(package_pieces.GIVEN)
    for name, (notebook, parameters, _) in pieces.PIECES.items():
        assert signature(getattr(package_pieces, name)) == parameters
        if name in SOLUTIONS:
            assert SOLUTIONS[name].name[:2] == notebook
            namespace = dict(package_pieces.GIVEN)
            exec(SOLUTIONS[name].read_text(encoding="utf-8"), namespace)
            assert signature(namespace[name]) == parameters


def test_core_pieces_and_their_exercises_have_the_same_names():
    for name, exercise in EXERCISES.items():
        assert exercise.piece == (name in pieces.PIECES), name


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_that_passes_is_kept_and_means_the_same_alone(name, capsys):
    known = dict(package_pieces.GIVEN) | {other: my_swin.piece(other) for other in pieces.PIECES}
    solution = cell(SOLUTIONS[name].read_text(encoding="utf-8"), name, **known)
    verdict = EXERCISES[name](solution)
    assert verdict.passed and f"Kept: your {name} is part of your Swin now." in verdict.text
    assert verdict.text in capsys.readouterr().out
    assert my_swin.written() == [name]
    assert EXERCISES[name].verdict(my_swin.piece(name)).passed


def test_kept_shown_and_taken_back(folder, capsys):
    package = my_swin.piece("window_partition")
    my_swin.show("window_partition")
    assert "not written yet (notebook 04)" in capsys.readouterr().out
    assert check.window_partition(cell(RIGHT)).passed
    assert (folder / "window_partition.py").read_text(encoding="utf-8") == RIGHT
    capsys.readouterr()
    my_swin.show("window_partition")
    assert capsys.readouterr().out == RIGHT
    own = my_swin.piece("window_partition")
    assert own.__code__.co_filename == str(folder / "window_partition.py")
    assert inspect.getsource(own) == RIGHT
    my_swin.take_back("window_partition")
    my_swin.take_back("window_partition")
    assert (
        "is deleted" in (said := capsys.readouterr().out) and "There is no window_partition of yours" in said
    )
    assert my_swin.piece("window_partition").__code__ == package.__code__ and my_swin.written() == []


def test_what_the_function_prints_is_shown_once(capsys):
    check.window_partition(cell(RIGHT.replace("    B,", "    print('here', tuple(x.shape), M)\n    B,")))
    assert capsys.readouterr().out.count("here (1, 4, 4, 2) 2") == 1


def test_a_wrong_answer_is_not_kept_and_leaves_the_one_before():
    check.window_partition(cell(RIGHT))
    assert not check.window_partition(lambda x, M: x).passed
    assert my_swin.written() == ["window_partition"]


HELPER = "def window_partition(x, M):\n    return helper(x, M)\n"
NESTED = "def make():\n" + "".join(f"    {line}\n" for line in RIGHT.splitlines())
right = cell(RIGHT)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (cell(HELPER, helper=right), "window_partition uses `helper`, which only its notebook knows"),
        (cell("M0 = 1\n" + RIGHT.replace("M):", "M, by=M0):")), "uses `M0`"),
        (cell("wraps = lambda f: f\n@wraps\n" + RIGHT), "uses `wraps`"),
        (cell(RIGHT.replace(", -1", ", n(M)") + "n = lambda M: [-1 for i in [M]][0]\n"), "uses `n`"),
        (cell(RIGHT.replace("window_partition", "mine"), "mine"), "your function is called mine"),
        (cell(NESTED + "\nwindow_partition = make()", "make"), "your function is called make"),
        (cell(NESTED + "    return window_partition\nmade = make()\n", "made"), "inside another function"),
        (lambda x, M: right(x, M), "a lambda has no name of its own"),
        (type("Cuts", (), {"__call__": lambda self, x, M: right(x, M)})(), "with `def`"),
        (package_pieces.window_partition, "this window_partition is the package's own"),
        (create_model("nano").patch_embed.forward, "with `def`"),
        (len, "with `def`"),
    ],
)
def test_what_cannot_be_kept_is_said_in_one_line(folder, function, says):
    line = my_swin.keep("window_partition", function)
    assert line.startswith("Not kept: ") and says in line and line.count("\n") == 0
    assert my_swin.written() == [] and not folder.exists()


def test_a_source_that_cannot_be_found():
    namespace = {}
    exec(RIGHT, namespace)
    line = my_swin.keep("window_partition", namespace["window_partition"])
    assert "cannot be found" in line and "Take away the `%%...` line of its cell" in line


def test_type_hints_may_name_what_only_the_notebook_knows():
    hinted = RIGHT.replace("x, M):", "x: Tensor, M: Side) -> Tensor:").replace(
        "    x = x", "    x: Tensor = x"
    )
    function = cell(hinted, Tensor=torch.Tensor, Side=int)
    assert "Kept: your window_partition" in check.window_partition(function).text
    assert my_swin.piece("window_partition")(torch.zeros(1, 4, 4, 2), 2).shape == (1, 4, 4, 2)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_check_lends_the_names_that_a_notebook_lacks(name):
    namespace = {}
    source = SOLUTIONS[name].read_text(encoding="utf-8")
    exec("".join(line for line in source.splitlines(True) if "import" not in line), namespace)
    known = dict(namespace)
    assert EXERCISES[name].verdict(namespace[name]).passed
    assert namespace == known


def test_the_piece_that_is_lent_is_the_students_own(folder):
    put(folder, "window_partition", RIGHT)
    lent = my_swin.names_for("to_windows", {"F": None})
    assert lent["window_partition"].__code__.co_filename == str(folder / "window_partition.py")
    assert lent.keys() == {*pieces.GIVEN, *pieces.PIECES} - {"to_windows", "F"}


def test_what_means_something_else_alone_is_not_kept():
    """`F` is a function of the notebook here, and PyTorch's where pieces are kept."""
    source = "def window_partition(x, M):\n    return F(x, M)\n"
    verdict = check.window_partition(cell(source, F=right))
    assert (
        verdict.passed and "Not kept: alone, without its notebook, it is not right any more" in verdict.text
    )


def test_neither_the_answer_of_the_check_nor_the_package_is_kept():
    for function in (check.window_partition.answer, package_pieces.window_partition):
        assert not check.window_partition(function).passed
        assert my_swin.keep("window_partition", function).startswith("Not kept")
    assert my_swin.written() == []


def test_names_inside_are_no_names_of_the_notebook():
    source = """\
@torch.no_grad()
def window_partition(x, M, sides=(1, 2)):
    import itertools
    def cut(x):
        return [window_reverse for a, b in itertools.product(sides, sides) if math.pi and len(x)]
    cut(x), nn.Identity, F.relu
    return x
"""
    nn, F = torch.nn, torch.nn.functional
    assert my_swin.keep("window_partition", cell(source, nn=nn, F=F)).startswith("Kept")


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_lost(folder, monkeypatch):
    check.window_partition(cell(RIGHT))

    def refuses(path, content):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(my_swin, "write_atomically", refuses)
    verdict = check.window_partition(cell("# another\n" + RIGHT))
    assert verdict.passed and "my_pieces cannot be written (Permission denied)." in verdict.text
    assert "The one kept before stays." in " ".join(verdict.text.split())
    assert my_swin.written() == ["window_partition"]


def test_a_file_in_the_place_of_the_folder(folder):
    folder.write_text("")
    assert "cannot be written" in check.window_partition(cell(RIGHT)).text
    assert not check.pad_centred(lambda images, P: images).passed
    assert my_swin.written() == [] and folder.read_text() == ""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def window_partition(x, M)\n    return x\n", "(line 1: SyntaxError"),
        ("\n1 / 0\n" + RIGHT, "(line 2: ZeroDivisionError"),
        ("import numpyy\n" + RIGHT, "(line 1: ModuleNotFoundError: No module named 'numpyy')"),
        ("", "it does not define window_partition"),
        (HELPER, "(line 2: window_partition uses `helper`"),
        ("raise SystemExit\n" + RIGHT, "SystemExit"),
        ("x = '\0'", "source code"),
    ],
)
def test_a_broken_file_is_said_and_the_package_takes_its_place(folder, source, says, capsys):
    package = my_swin.piece("window_partition").__code__
    put(folder, "window_partition", source)
    assert my_swin.piece("window_partition").__code__ == package
    said = capsys.readouterr().out
    assert said.startswith("window_partition.py cannot be used") and says in said and said.count("\n") == 1
    assert "the package's window_partition takes its place" in said
    x = torch.randn(1, 3, 8, 8)
    model = my_swin.build("nano")
    assert torch.isfinite(model(x)).all() and "0 of 14 pieces are yours" in capsys.readouterr().out


def test_why_a_file_cannot_be_used_is_said_once_for_each_state_of_it(folder, capsys):
    for source, says in [(HELPER, "uses `helper`"), ("", "does not define"), (HELPER, "uses `helper`")]:
        put(folder, "window_partition", source)
        my_swin.written(), my_swin.build("nano")
        said = capsys.readouterr().out
        assert said.count("cannot be used") == 1 and says in said
    put(folder, "window_partition", RIGHT)
    my_swin.written()
    put(folder, "window_partition", HELPER)
    my_swin.written()
    assert capsys.readouterr().out.count("cannot be used") == 1


def test_a_file_that_is_no_text(folder, capsys):
    put(folder, "block", "")
    (folder / "block.py").write_bytes(b"\xff\xfe\x00")
    assert my_swin.written() == [] and "block.py cannot be used" in capsys.readouterr().out
    my_swin.show("block")


@pytest.mark.parametrize("ask", [my_swin.piece, my_swin.show, my_swin.take_back])
def test_a_piece_that_does_not_exist(ask):
    with pytest.raises(ValueError, match="there is no piece 'windows'; there are: patch_embed, "):
        ask("windows")


# --- the model ---------------------------------------------------------------------------


def build(folder, names, **overrides):
    for name in names:
        put(folder, name, SOLUTIONS[name].read_text(encoding="utf-8"))
    torch.manual_seed(3)
    return my_swin.build("nano", drop_path_rate=0.3, **overrides)


def reference(**overrides):
    torch.manual_seed(3)
    return create_model("nano", drop_path_rate=0.3, **overrides)


def assert_equal(found, expected, names):
    if ROUNDED & set(names):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    else:
        assert torch.equal(found, expected)


EXACT = tuple(name for name in SOLUTIONS if name not in ROUNDED)
WHOSE = [(), EXACT, tuple(SOLUTIONS), *((name,) for name in SOLUTIONS)]
WHOSE = list(dict.fromkeys(WHOSE))  # each once


@pytest.mark.parametrize(
    "names", WHOSE, ids=lambda names: "+".join(names) if len(names) < 2 else f"{len(names)}"
)
@pytest.mark.parametrize("size", [(32, 32), (30, 28), (13, 41)])
def test_logits_and_gradients_are_those_of_the_package(folder, names, size):
    mine, theirs = enlarge_weights(build(folder, names)), enlarge_weights(reference())
    theirs.load_state_dict(mine.state_dict())
    images, targets = torch.randn(5, 3, *size), torch.randint(10, (5,))
    found = []
    for model in (mine, theirs):
        torch.manual_seed(5)  # drop path draws
        logits = model.train()(images)
        torch.nn.functional.cross_entropy(logits, targets).backward()
        found.append([logits, *(p.grad for p in model.parameters()), *model.eval().stage_maps(images)])
    for one, other in zip(*found, strict=True):
        assert_equal(one, other, names)
    assert found[0][0].std() > 0.1


@pytest.mark.parametrize("names", [(), EXACT], ids=["package", "solutions"])
def test_trained_weights_are_those_of_the_package(folder, names):
    train, _ = load_shapes10(96, 1)
    recipe = TrainConfig(amp=False, epochs=2, batch_size=32, ema_decay=0.9)
    mine, theirs = build(folder, names), reference()
    start = copy.deepcopy(theirs.state_dict())
    for model in (mine, theirs):
        torch.manual_seed(7)
        fit(model, train, recipe=recipe, progress=False)
    assert any(not torch.equal(theirs.state_dict()[key], value) for key, value in start.items())
    for key, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[key], value), key


def test_it_steps_with_the_students_step_and_learning_rate(folder):
    for name in {"learning_rate", "training_step"} & SOLUTIONS.keys():
        put(folder, name, SOLUTIONS[name].read_text(encoding="utf-8"))
    recipe = replace(TrainConfig(amp=False), table_lr_scale=3.0)
    images, targets = torch.randn(8, 3, 32, 32), torch.eye(10)[torch.arange(8)]
    found = []
    for step, rate in (
        (my_swin.piece("training_step"), my_swin.piece("learning_rate")),
        (package_pieces.training_step, package_pieces.learning_rate),
    ):
        model = reference()
        optimizer = make_optimizer(model, recipe)
        torch.manual_seed(9)
        results = [step(model, optimizer, images, targets, rate(i, 40, recipe), recipe) for i in range(3)]
        found.append([*results, *model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("patch_embed", "return F.conv2d(images, weight, bias, weight.shape[-1]).permute(0, 3, 2, 1)"),
        ("patch_merging", "return reduction(norm(x.reshape(len(x), x.shape[1] // 2, x.shape[2] // 2, -1)))"),
        ("window_partition", "return x.reshape(len(x), -1, M * M, x.shape[-1])"),
        ("window_reverse", "return windows.reshape(len(windows), H, W, -1)"),
        ("attention", "return proj(x)"),
        ("relative_position_index", "return torch.zeros(M * M, M * M, dtype=torch.long)"),
        ("shifted_window_mask", "return torch.ones(-(-H // M) * -(-W // M), M * M, M * M, dtype=torch.bool)"),
        ("to_windows", "return window_partition(x, M), None"),
        ("from_windows", "return window_reverse(windows, M, H, W)"),
        ("drop_path", "return x"),
        ("block", "return x + layer.mlp(layer.norm2(x))"),
        ("stage", "return layer.downsample(x)"),
        ("forward", "return model.head(model.stage_maps(images)[-1].mean((1, 2)))"),
    ],
)  # fmt: skip
def test_every_piece_takes_part(folder, name, source):
    """Each piece, written wrongly, changes what the model answers: by far, not by rounding."""
    put(folder, name, f"def {name}({pieces.PIECES[name][1]}):\n    {source}\n")
    mine, theirs = enlarge_weights(build(folder, ())), enlarge_weights(reference())
    theirs.load_state_dict(mine.state_dict())
    images = torch.randn(4, 3, 32, 32)
    answers = []
    for model in (mine, theirs):
        torch.manual_seed(5)
        answers.append(model.train()(images).detach())
    assert (answers[0] - answers[1]).abs().max() > 0.05 * answers[1].abs().max()


def test_it_is_a_swin_transformer_like_any_other(folder, tmp_path):
    model = build(folder, ("window_partition",)).eval()
    images = torch.randn(2, 3, 32, 32)
    copied = copy.deepcopy(model)
    assert list(model.state_dict()) == list(reference().state_dict())
    assert torch.equal(copied(images), model(images)) and type(copied) is my_swin.MySwin
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), model(images))
    train, _ = load_shapes10(20, 1)
    save_checkpoint(tmp_path / "mine.pt", model, train)
    assert torch.equal(load_checkpoint(tmp_path / "mine.pt").model(images), model(images))
    theirs = reference().eval()
    for one, other in zip(attention_maps(model, images), attention_maps(theirs, images), strict=True):
        assert torch.equal(one, other)


def test_torchvisions_weights_fit(folder):
    torchvision = pytest.importorskip("torchvision")
    there = torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10).eval()
    sizes = dict(patch_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4)
    mine = my_swin.build("nano", **sizes).eval()
    load_torchvision_weights(mine, there.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(mine(images), there(images), rtol=1e-5, atol=1e-5)


def test_a_mask_changed_in_place_stays_right_for_the_next_block(folder):
    name = "to_windows"
    source = inspect.getsource(package_pieces.to_windows)
    put(
        folder,
        name,
        source.replace("    return", "    mask = mask if mask is None else ~mask.logical_not_()\n    return"),
    )
    mine, theirs = build(folder, ()).eval(), reference().eval()
    images = torch.randn(2, 3, 30, 28)
    for _ in range(2):
        assert torch.equal(mine(images), theirs(images))


def test_what_is_whose_is_printed(folder, capsys):
    put(folder, "window_partition", RIGHT)
    put(folder, "to_windows", inspect.getsource(package_pieces.to_windows))
    my_swin.build("nano")
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(
        "1 of 14 pieces is yours: window_partition (and to_windows, half of a piece); from "
    )
    put(folder, "from_windows", inspect.getsource(package_pieces.from_windows))
    my_swin.build("nano")
    assert capsys.readouterr().out.startswith(
        "2 of 14 pieces are yours: window_partition, to_windows/from_windows;"
    )


# --- what the checks said last -----------------------------------------------------------


def progress(**environment):
    command = [sys.executable, str(NOTEBOOKS / "tools" / "progress.py")]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=os.environ | environment, check=True
    )
    return run.stdout.splitlines()


def test_progress_lists_what_is_written_and_what_was_said(folder):
    assert progress()[-1] == "0 of 14 pieces are yours."
    check.window_partition(cell(RIGHT))
    check.pad_centred(lambda images, P: images)
    check.window_partition("not a function")
    put(folder, "block", "def block(x, layer)\n")
    put(folder, "to_windows", inspect.getsource(package_pieces.to_windows))
    lines = progress()
    assert lines[-1] == "1 of 14 pieces are yours."
    state = {line.split()[1]: line.split(maxsplit=2) for line in lines if line.startswith("  ")}
    assert state["window_partition"][0] == "written"
    assert state["window_partition"][2].startswith("Hand over the function itself")
    assert state["block"][0] == "broken" and state["forward"][0] == "open"
    assert state["pad_centred"][0] == "open" and state["pad_centred"][2]
    assert max(map(len, lines)) <= 105
    assert {*pieces.PIECES} | {*EXERCISES} == state.keys()


def test_a_piece_that_cannot_be_used_says_why_in_the_list(folder, capsys):
    """The same test as `my_swin` has, and not what the check said of another state."""
    check.window_partition(cell(RIGHT))
    for name, source in {
        "window_partition": "import numpyy\n" + RIGHT,
        "block": "def block(x, layer)\n",
        "stage": "\ndef stage(x, layer):\n    return blok(x)\n",
        "forward": "",
    }.items():
        put(folder, name, source)
    assert my_swin.written() == [] and capsys.readouterr().out.count("cannot be used") == 4
    lines = {line.split()[1]: line for line in progress() if line.startswith("  broken")}
    assert "line 1: ModuleNotFoundError: No module named 'numpyy'" in lines["window_partition"]
    assert "line 1: SyntaxError" in lines["block"]
    assert "line 3: stage uses `blok`, which only its" in lines["stage"]
    assert "it does not define forward" in lines["forward"] and len(lines) == 4


def test_a_piece_that_is_right_but_not_kept_says_so_in_the_list():
    check.window_partition(cell(HELPER, helper=right))
    line = next(line for line in progress() if " window_partition " in line)
    assert line.split()[0] == "open" and "Not kept: window_partition uses `helper`" in line


@pytest.mark.parametrize("content", ["", "[1]", '{"block": 3}', '{"block": {"passed"', "\0"])
def test_verdicts_that_cannot_be_read_are_begun_anew(folder, content):
    folder.mkdir()
    (folder / pieces.VERDICTS).write_text(content)
    assert pieces.verdicts() == {} and progress()[-1] == "0 of 14 pieces are yours."
    check.window_partition(cell(RIGHT))
    assert pieces.verdicts()["window_partition"]["passed"] is True


def test_progress_needs_no_pytorch():
    code = (
        "import sys; sys.path.insert(0, '.'); from tools import progress; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=NOTEBOOKS, check=True)
