"""The hunt of notebook 14: every bug is found by the tools taught, and nothing gives it away."""

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course import hunt
from course.check import EXERCISES
from swin_cifar import load_checkpoint, load_data, load_shapes10

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "14_bug_hunt.ipynb"
SIZES = (32, 32), (36, 60)

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=hunt.BUGS)
def bug(request):
    return hunt.BUGS[request.param]


@pytest.fixture(scope="module")
def data():
    return load_shapes10(2000, 200)[1]


@pytest.fixture(scope="module")
def right():
    return hunt.right()


def solution(name):
    names = {}
    exec((ROOT / "notebooks" / "solutions" / f"14_{name}.py").read_text(encoding="utf-8"), names)
    return names[name]


def images(size):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 3, 8, 8, generator=generator)
    return F.interpolate(coarse, size=size, mode="bilinear") + 0.3 * torch.randn(
        4, 3, *size, generator=generator
    )


# --- the tools, those that the solutions define -----------------------------------------------

shapes_of, differing, changed_by = (solution(name) for name in ("shapes_of", "differing", "changed_by"))


def by_steps(program, right, size=(32, 32)):
    return differing(hunt.model_steps(program), hunt.model_steps(right), images(size))


def blocks_and_maps(program, right):
    """-> (block, right block, what enters it) of each block"""
    x = images((32, 32))[:1]
    for (name, step), (_, right_step) in zip(hunt.model_steps(program), hunt.model_steps(right)):
        if "blocks" in name:
            yield step, right_step, x
        x = right_step(x)


def by_windows(program, right):
    return [
        name
        for block, right_block, x in blocks_and_maps(program, right)
        for parts in (hunt.inside, hunt.tables)
        for name in differing(parts(block, x), parts(right_block, x), x)
    ]


def by_token(program, right):
    """More than single tokens: the noise differs from call to call, and what it does can be tiny."""
    found = 0
    for block, right_block, x in blocks_and_maps(program, right):
        for token in ((0, 0), (0, 3), (1, 1), (2, 2), (3, 0), (3, 3)):
            pair = (changed_by(b.window_attention, x, token) for b in (block, right_block))
            found += sum(a != b for a, b in zip(*(changed.flatten().tolist() for changed in pair))) > 2
    return found > 1


def by_twice(program, right):
    x = images((32, 32))
    asks = (lambda: program.model.eval()(x)), (lambda: program.evaluate(program.model.train(), x))
    return any(not torch.equal(ask(), ask()) for ask in asks)


def by_pictures(program, right, data):
    steps = hunt.picture_steps(program, data), hunt.picture_steps(right, data)
    return differing(*steps, data.images[:8])


def by_training(program, right):
    return differing(hunt.training_steps(program), hunt.training_steps(right), torch.zeros(1))


def by_shapes(program, right):
    return any(shapes_of(program.model, images(s)) != shapes_of(right.model, images(s)) for s in SIZES)


def found_by(experiment, program, right, data):
    if experiment == "sizes":
        return by_steps(program, right, SIZES[1])
    tool = globals()[f"by_{experiment}"]
    return tool(program, right, data) if experiment == "pictures" else tool(program, right)


# --- the programs ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*SIZES, (32, 64), (20, 36)])
def test_the_right_program_is_the_package(right, size):
    model = load_checkpoint(ROOT / "checkpoints" / "nano_cifar10.pt").model
    assert (right.model(images(size)) - model(images(size))).abs().max() < 1e-4


def test_there_are_enough_bugs_and_each_place_has_one():
    assert len(hunt.BUGS) >= 20
    assert {bug.place for bug in hunt.BUGS.values()} == set(hunt.PLACES)
    assert len({(bug.place, bug.new) for bug in hunt.BUGS.values()}) == len(hunt.BUGS)
    assert set(hunt.PLACES) == {place for places in hunt.GROUPS.values() for place in places}


def test_those_of_public_code_name_it():
    sources = [bug.source for bug in (*hunt.BUGS.values(), hunt.ONE) if bug.source]
    assert len(sources) >= 5 and all(part.startswith("https://") for s in sources for part in s.split())


def test_every_program_runs(bug):
    program = hunt.Program(bug)
    assert all(program.model(images(size)).shape == (4, 10) for size in (*SIZES, (5, 70)))


def test_every_bug_is_found_by_its_tool(bug, right, data):
    assert found_by(bug.experiment, hunt.Program(bug), right, data)


def test_no_tool_finds_anything_in_the_right_program(right, data):
    assert not any(found_by(experiment, hunt.right(), right, data) for experiment in hunt.EXPERIMENTS)


def test_the_complaint_is_true(bug, right, data):
    program = hunt.Program(bug)
    differs = [bool(by_steps(program, right, size)) for size in SIZES]
    elsewhere = by_pictures(program, right, data), by_training(program, right)
    if bug.complaint == "logits":
        assert differs[0] or "normalize" in elsewhere[0]
    elif bug.complaint == "sizes":
        assert differs == [False, True] and elsewhere == ([], [])
    elif bug.complaint == "twice":
        assert by_twice(program, right)
    elif bug.complaint == "training":
        assert differs == [False, False] and any(elsewhere)
    else:
        assert differs == [False, False] and elsewhere == ([], []) and by_windows(program, right)


def test_many_bugs_leave_the_answers_as_they_are(right):
    same = sum(not by_steps(hunt.Program(bug), right) for bug in hunt.BUGS.values())
    assert same >= 10


@pytest.mark.slow
def test_the_accuracy_alone_tells_none():
    """Many change it by less than a point. That their symptoms are shared: see the complaints."""
    test = load_data(root=ROOT / "data", download=False)[1]
    if test.name != "cifar10":
        pytest.skip("the weights are those of CIFAR-10")
    shares = hunt.right_answers(test.subset(slice(0, 500))).double().mean(dim=1)
    lost = 100 * (shares[0] - shares[1:])
    assert (lost.abs() < 1).sum() >= 10


# --- cases -------------------------------------------------------------------------------


def test_draw_is_deterministic_and_gives_a_class_different_bugs():
    def drawn(seed, level):
        return hunt._BUGS[hunt.draw(seed, level)]

    assert drawn(3, 1) == drawn(3, 1) and drawn("Maria", 2) == drawn("Maria", 2)
    for level in hunt.LEVELS:
        assert len({drawn(seed, level).what for seed in range(len(hunt.BUGS))}) == len(hunt.BUGS)
    assert [drawn(s, 1).what for s in range(5)] != [drawn(s, 2).what for s in range(5)]
    assert drawn(np.int64(3), 1) == drawn(3, 1)  # a seed from a table
    with pytest.raises(ValueError, match="levels 1, 2, 3"):
        hunt.draw(0, level=9)


def case_of(bug, hints=3):
    return hunt.Case(bug, "Case", hints)


def test_every_hint_fits_and_says_more(bug, capsys):
    case, said = case_of(bug), []
    for _ in range(4):
        case.hint()
        said.append(capsys.readouterr().out)
    group, experiment, pair, none = said
    assert bug.place in next(places for words, places in hunt.GROUPS.items() if words in group)
    assert hunt.EXPERIMENTS[bug.experiment] in experiment  # that it finds the bug is tested above
    both = {words for words in pair.split("`")[1::2]}
    assert bug.place in both and len(both) == 2
    assert both <= set(next(places for words, places in hunt.GROUPS.items() if words in group))
    assert not any(f"`{bug.place}`" in words for words in (group, experiment))
    assert "no more hints" in none and bug.what not in "".join(said)


def test_the_third_hint_follows_no_rule(capsys):
    """Else the pair would tell the place to whoever has had another case."""
    pairs = set()
    for bug in (bug for bug in hunt.BUGS.values() if bug.place == "attention"):
        case = case_of(bug)
        for _ in range(3):
            case.hint()
        pairs.add(capsys.readouterr().out.split("Look at ")[1])
    assert len(pairs) > 2


@pytest.mark.parametrize("level", hunt.LEVELS)
def test_a_level_has_its_number_of_hints(level, capsys):
    case = hunt.draw(0, level)
    for _ in range(4):
        case.hint()
    assert capsys.readouterr().out.count("Hint ") == hunt.LEVELS[level] == case.asked


@pytest.mark.slow
def test_nothing_that_is_looked_at_tells_the_bug(bug, data, capsys, monkeypatch):
    monkeypatch.setattr(hunt.figures, "show", lambda figure, alt: print(alt))
    case = case_of(bug)
    case.symptoms(data)
    case.score()
    names = next(name for name, other in hunt.BUGS.items() if other is bug)
    said = f"{case!r} {case.model!r} {vars(case)} {capsys.readouterr().out}"
    assert bug.what not in said and f"'{names}'" not in said
    assert bug.new not in said or bug.new.replace(".", "").isdigit()  # "1.0" is in an accuracy, too
    with pytest.raises((OSError, TypeError)):
        inspect.getsource(case.normalize)
    with pytest.raises((OSError, TypeError)):
        inspect.getsource(type(case.model))


def test_accuse_shows_code_only_where_it_is_right(bug, capsys):
    case = case_of(bug)
    other = next(place for place in hunt.PLACES if place != bug.place)
    case.accuse("nowhere")
    case.accuse(other, line=1)
    said = capsys.readouterr().out
    assert "There is no place 'nowhere'" in said and "Wrong accusations so far: 1" in said
    assert "def " not in said
    case.accuse(bug.place)
    code = capsys.readouterr().out
    assert f"def {bug.place}(" in code and bug.new.split("\n")[0] in code and bug.what not in code
    lines = len(code.split("\n\n")[-1].splitlines())
    for line in (0, lines + 1):
        case.accuse(bug.place, line=line)
        assert f"`{bug.place}` has the lines 1 to {lines}." in capsys.readouterr().out
    case.accuse(bug.place, line=1)
    assert "line 1 is right" in capsys.readouterr().out
    case.accuse(bug.place, line=hunt._lines(bug)[0])
    said = capsys.readouterr().out
    assert bug.what in said and all(part in said for part in bug.source.split())
    case.score()
    assert "found; 0 hints, 2 wrong accusations" in capsys.readouterr().out


def a_function(source, name):
    """As in a notebook: it knows torch, F and math, and not the other places."""
    names = {"torch": torch, "F": F, "math": __import__("math")}
    exec(source, names)
    return names[name]


def test_a_repair_is_checked_and_put_in(bug, right, data, capsys):
    case = case_of(bug)
    repaired = a_function(hunt._sources()[bug.place], bug.place)
    case.repair(repaired)
    assert "First say where it is" in capsys.readouterr().out
    case.accuse(bug.place)
    case.repair(a_function(hunt._found(bug), bug.place))
    said = capsys.readouterr().out
    assert "Not right yet" in said or "Right for" in said
    case.repair(repaired)
    assert "Right. Tried with" in capsys.readouterr().out
    assert not found_by(bug.experiment, case, right, data)
    case.accuse(bug.place)
    assert case.stage == "repaired"


NEARLY = [  # (place, what of its right code, is replaced by what)
    ("drop_path", "1 - rate", "rate"),
    ("drop_path", "x.ndim - 1", "x.ndim"),
    ("drop_path", "bernoulli_(keep)", "bernoulli_(0.1)"),
    ("training_step", "model.train()", "pass"),
    ("training_step", 'group["lr"] = lr', "pass"),
    ("training_step", "return loss.item()", "pass"),
    ("shifts", "H > M", "H != M"),
    ("shifts", "W > M", "W != M"),
    ("mask", "shifts(H, W, M, shift)", "[shift if n != M else 0 for n in (H, W)]"),
    ("embed", "-w % P", "w % P"),
    ("embed", "-h % P", "h % P"),
    ("learning_rate", "max(1, steps - 1 - warmup)", "(steps - 1 - warmup)"),
]


@pytest.mark.parametrize(("place", "old", "new"), NEARLY)
def test_a_repair_that_is_nearly_right_is_refused(place, old, new, capsys):
    source = hunt._sources()[place]
    assert source.count(old) == 1
    case = case_of(next(bug for bug in hunt.BUGS.values() if bug.place == place))
    case.accuse(place)
    case.repair(a_function(source.replace(old, new), place))
    assert case.stage == "its place is known" and "Right." not in capsys.readouterr().out


def test_the_mode_of_the_program_does_not_matter_to_a_repair(capsys):
    case = case_of(hunt.BUGS["evaluated as in training"])
    case.evaluate(case.model.train(), images((32, 32)))
    case.accuse("evaluate")
    case.repair(a_function(hunt._sources()["evaluate"], "evaluate"))
    assert "differ by at most 0e+00" in capsys.readouterr().out


def test_a_repair_may_have_a_helper_beside_it():
    def made(half):
        def evaluate(model, images):
            model.eval()
            with torch.no_grad():
                return 2 * model(images) * half

        return evaluate

    case = case_of(hunt.BUGS["evaluated as in training"])
    case.accuse("evaluate")
    case.repair(made(0.5))
    assert case.stage == "repaired"


def test_a_wrong_line_in_the_right_place_makes_the_place_known():
    case = case_of(hunt.BUGS["no mask"])
    case.accuse("mask", line=1)
    assert case.stage == "its place is known" and case.wrong == 1


def test_a_test_before_the_repair_counts():
    case = case_of(hunt.BUGS["rows alone are masked"])
    case.test(rows_are_normal)
    case.accuse("mask")
    assert case.stage == "its place is known"
    case.repair(a_function(hunt._sources()["mask"], "mask"))
    assert case.stage == "repaired and tested"


def test_a_repair_that_is_not_written_is_no_attempt(capsys):
    def repaired(*inputs):
        raise NotImplementedError

    case = case_of(hunt.BUGS["no mask"])
    case.accuse("mask")
    case.repair(repaired)
    assert "is not written yet" in capsys.readouterr().out


def always(program):
    raise AssertionError("no")


def never(program):
    program.model(images((32, 32)))


def unwritten(program):
    raise NotImplementedError


def fails(program):
    pytest.fail("as pytest does")  # no Exception, but a BaseException


def interrupted(program):
    raise KeyboardInterrupt


def rows_are_normal(program):
    """Which tokens reach which at the left edge: the mask of the columns."""
    attend = program.model.stages[0].blocks[1].window_attention
    changed = changed_by(attend, torch.randn(1, 8, 8, 48), (4, 0))
    assert changed[2:6, :2].all() and changed.sum() == 8


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (always, "fails on the right program: AssertionError: no"),
        (fails, "fails on the right program: Failed: as pytest does"),
        (never, "and on this case's as well"),
        (unwritten, "unwritten is not written yet"),
        (rows_are_normal, "Right. It passes on the right program and fails on this case's."),
    ],
)
def test_a_test_is_run_on_right_and_wrong_programs(test, says, capsys):
    case_of(hunt.BUGS["rows alone are masked"]).test(test)
    assert says in capsys.readouterr().out


def test_a_test_can_be_interrupted():
    with pytest.raises(KeyboardInterrupt):
        case_of(hunt.BUGS["no mask"]).test(interrupted)


@pytest.mark.slow
def test_report_one_has_symptoms_too(data, monkeypatch, capsys):
    monkeypatch.setattr(hunt.figures, "show", lambda *_, **__: None)
    hunt.report_one().symptoms(data)
    said = capsys.readouterr().out
    assert "200 pictures of 32 x 32" in said and "200 pictures of 36 x 60" in said


def test_a_curve_begins_with_new_weights_and_bias_tables(right, data):
    """Programs of other weights have the same curve."""
    other = hunt.Program()
    for parameter in other.model.parameters():
        parameter.normal_()
    assert hunt._curve(other, data, steps=2) == hunt._curve(right, data, steps=2)


def test_the_map_of_report_two_is_right_without_a_shift_and_moved_with_one(right):
    x, answer = torch.randn(1, 8, 8, 48), EXERCISES["received_attention"].answer
    far = [
        (hunt.found_received(block, x) - answer(block, x)).abs().max()
        for block in right.model.stages[0].blocks
    ]
    assert far[0] < 1e-4 and far[1] > 1e-3


def test_report_one_is_worked_and_never_drawn(capsys):
    one = hunt.report_one()
    assert hunt.ONE not in hunt.BUGS.values()
    one.accuse("mask")
    one.accuse("mask", line=9)
    assert "255" in capsys.readouterr().out
    assert EXERCISES["additive_mask"].verdict(a_mask(one)).passed is False


def a_mask(case):
    """The mask of a case, as `additive_mask` is called."""
    return hunt._NAMES[case]["mask"]


# --- the notebook ------------------------------------------------------------------------


def test_the_notebook_tells_no_solution():
    text = nbformat.writes(nbformat.read(NOTEBOOK, as_version=4))
    for bug in hunt.BUGS.values():
        assert bug.what not in text
    drawn = hunt._BUGS[hunt.draw(0, 1)]
    assert drawn.place != "mask"  # that of report 1, which the notebook accuses
    assert 'accuse(\\"' + drawn.place not in text


def test_tools_are_the_students_where_their_check_passes(capsys):
    def unwritten(*inputs):
        raise NotImplementedError

    tools = hunt.tools(shapes_of, unwritten, unwritten)
    assert tools.shapes_of is shapes_of and tools.differing is hunt.differing
    assert capsys.readouterr().out.startswith("shapes_of: yours; differing: the course's")
