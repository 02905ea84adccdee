"""The exercises: solutions pass, skeletons are not attempts, and every planted mistake is named."""

import contextlib
import inspect
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from course import package_pieces
from course.check import EXERCISES, core, pad_centred, watch
from course.check.core import Exercise, Symptom
from course.pieces import PIECES
from course.questions import tokens_at
from planted_answers import ALIKE, CHEATS, PLANTED
from swin_cifar.model import SwinTransformerBlock

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOLUTIONS = {path.stem[3:]: path for path in sorted((NOTEBOOKS / "solutions").glob("*.py"))}
MISTAKES = [(name, text) for name, exercise in EXERCISES.items() for text in exercise.mistakes]


def cells(suffix):
    """{exercise: source} of the notebooks' cells whose ids end in it."""
    return {
        cell.id.removesuffix(suffix).replace("-", "_"): cell.source
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.id.endswith(suffix) and cell.id.removesuffix(suffix).replace("-", "_") in EXERCISES
    }


def run(source, name):
    """-> the function that the source defines; a core piece finds the others, nothing else is imported."""
    namespace = dict(vars(package_pieces)) if name in PIECES else {}
    exec(source, namespace)
    return namespace[name]


@cache  # a planted answer is judged once for all tests
def judge(name, wrong):
    return EXERCISES[name].verdict(wrong)


def words(verdict):
    return " ".join(verdict.text.split())


def test_exercises_solutions_cells_and_planted_answers_agree():
    assert EXERCISES.keys() == SOLUTIONS.keys() == PLANTED.keys()
    for suffix in ("-task", "-skeleton", "-check", "-solution"):
        assert cells(suffix).keys() == EXERCISES.keys(), suffix
    for name, source in cells("-check").items():
        assert source == f"check.{name}({name})"
    for name, source in cells("-solution").items():
        assert f"`%load solutions/{SOLUTIONS[name].name}`" in source


def test_every_exercise_has_at_least_three_planted_answers():
    assert min(map(len, PLANTED.values())) >= 3
    assert sum(map(len, PLANTED.values())) >= 60


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes_and_is_drawn(name):
    solution = run(SOLUTIONS[name].read_text(encoding="utf-8"), name)
    verdict = EXERCISES[name].verdict(solution)
    assert verdict.passed and verdict.text.startswith("Right."), verdict.text
    figure, alt = EXERCISES[name].picture(solution)
    assert isinstance(figure, Figure) and len(alt) > 20


@pytest.mark.parametrize("name", EXERCISES)
def test_the_skeleton_is_not_attempted(name, capsys):
    skeleton = run(cells("-skeleton")[name], name)
    assert EXERCISES[name](skeleton).passed is None
    assert capsys.readouterr().out == f"{name} is not written yet. Run this cell again when it is.\n"
    solution = run(SOLUTIONS[name].read_text(encoding="utf-8"), name)
    assert inspect.signature(skeleton) == inspect.signature(solution)
    assert skeleton.__doc__ == solution.__doc__


@pytest.mark.parametrize(
    ("name", "says", "wrong"),
    [(name, says, wrong) for name, answers in PLANTED.items() for says, wrong in answers] + ALIKE,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_planted_mistake_is_named(name, says, wrong):
    verdict = judge(name, wrong)
    assert verdict.passed is False
    assert says in words(verdict)
    assert len(verdict.text.splitlines()) <= 3
    assert max(map(len, verdict.text.splitlines())) <= 110


@pytest.mark.parametrize("name", EXERCISES)
def test_no_two_planted_mistakes_get_the_same_words(name):
    verdicts = [words(judge(name, wrong)) for _, wrong in PLANTED[name]]
    assert len(set(verdicts)) == len(verdicts)


@pytest.mark.parametrize(("name", "text"), MISTAKES)
def test_every_mistake_that_a_check_knows_can_be_told_from_the_others(name, text):
    mistake = EXERCISES[name].mistakes[text]
    if isinstance(mistake, Symptom):
        assert any(says in text for says, _ in PLANTED[name]), "no planted answer shows this symptom"
    else:
        assert words(EXERCISES[name].verdict(mistake)) == f"Not right yet. {text}"


@pytest.mark.parametrize(
    ("name", "says", "cheat"), CHEATS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_right_result_made_in_a_way_that_is_not_asked_for_is_not_right(name, says, cheat):
    verdict = EXERCISES[name].verdict(cheat)
    assert verdict.passed is False and says in words(verdict)
    assert verdict.text.startswith("The result is right, but not yet the way to it.")
    assert len(verdict.text.splitlines()) <= 3


def goes_through_the_axes(images, weight, bias):
    P, sizes, order = weight.shape[-1], list(images.shape), []
    for axis in (0, 2, 4, 1, 3, 5):
        order.append(axis)
    x = images.reshape(*sizes[:2], sizes[2] // P, P, sizes[3] // P, P).permute(order)
    return torch.einsum("bhwcij,dcij->bhwd", x, weight) + bias


def unfolds(images, weight, bias):
    P = weight.shape[-1]
    x = images.unfold(2, P, P).unfold(3, P, P).permute(0, 2, 3, 1, 4, 5).flatten(3)
    return torch.nn.functional.linear(x, weight.flatten(1), bias)


def merges_by_axes(x, norm, reduction):
    x = torch.nn.functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    B, H, W, C = x.shape
    x = x.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 4, 2, 5)
    return reduction(norm(x.reshape(B, H // 2, W // 2, 4 * C)))


def merges_with_a_short_loop(x, norm, reduction):
    x = torch.nn.functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    four = []
    for column in (0, 1):
        for row in (0, 1):
            four.append(x[:, row::2, column::2])
    return reduction(norm(torch.cat(four, dim=-1)))


def chunks_with_a_column_of_ones(q, chunks):
    largest, sums = torch.full((len(q), 1), -1e9), torch.zeros(len(q), q.shape[1] + 1)
    for keys, values in chunks:
        scores = torch.einsum("nd,kd->nk", q, keys) / q.shape[1] ** 0.5
        new = torch.maximum(largest, scores.amax(1, keepdim=True))
        values = torch.cat([values, torch.ones(len(values), 1)], dim=1)
        sums, largest = sums * (largest - new).exp() + (scores - new).exp() @ values, new
    return sums[:, :-1] / sums[:, -1:]


def head_with_its_values(x, weight, bias, heads, head):
    weight, bias = (t.unflatten(0, (3, heads, -1))[:, head].flatten(0, 1) for t in (weight, bias))
    q, k, _ = torch.einsum("bwnc,dc->bwnd", x, weight).add(bias).chunk(3, dim=-1)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def holds_out_by_rank(labels, keys, share):
    same = labels[:, None] == labels
    rank, size = (same & (keys < keys[:, None])).sum(1), same.sum(1)
    count = (share * size).round().long()
    return rank < torch.minimum(count, size - 1).clamp(min=1)


def takes_over_copies(old, new):
    fits = {name for name in new if getattr(old.get(name), "shape", None) == new[name].shape}
    weights = OrderedDict((name, (old if name in fits else new)[name].clone()) for name in new)
    return weights, tuple(name for name in new if name not in fits)


def stacks_colours_of_double_precision(picture, mean, std):
    return np.stack([(picture[None, ..., i] / 255 - mean[i]) / std[i] for i in range(3)], 1).astype("f4")


@pytest.mark.parametrize(
    ("name", "honest"),
    [
        ("hold_out", holds_out_by_rank),
        ("take_over", takes_over_copies),
        ("to_input", stacks_colours_of_double_precision),
        ("patch_embed", goes_through_the_axes),
        ("patch_embed", unfolds),
        ("patch_merging", merges_by_axes),
        ("patch_merging", merges_with_a_short_loop),
        ("attend_in_chunks", chunks_with_a_column_of_ones),
        ("one_head", head_with_its_values),
        ("cyclic_shift", lambda x, s: torch.cat(x.tensor_split([s], 1)[::-1], 1)[:, :, _rolled(x, s)]),
        (
            "stable_softmax",
            lambda scores: torch.stack([_weights(row) for row in scores.flatten(0, -2)]).view_as(scores),
        ),
    ],
)
def test_other_honest_ways_are_right(name, honest):
    verdict = EXERCISES[name].verdict(honest)
    assert verdict.passed, verdict.text


def _weights(row):
    return (row - row.max() - (row - row.max()).logsumexp(0)).exp()


def _rolled(x, shift):
    return (torch.arange(x.shape[2]) + shift) % x.shape[2]


def test_every_way_that_is_not_asked_for_is_planted():
    for name, exercise in EXERCISES.items():
        for text in exercise.forbidden:
            assert any(name == exercise and says in text for exercise, says, _ in CHEATS), text


@pytest.mark.parametrize("name", EXERCISES)
def test_the_answer_inside_the_check_is_no_answer(name):
    exercise = EXERCISES[name]
    assert "the answer inside the check" in words(exercise.verdict(lambda *inputs: exercise.answer(*inputs)))


# --- what every check says ---------------------------------------------------------------


def double(x):
    return 2 * x


def make_exercise(answer=double):
    cases = {"a map": (torch.arange(6.0).view(2, 3),)}
    return Exercise("double", answer, lambda: cases, {}, picture=None, axes="(H, W)")


def adds_first(x):
    y = x + torch.ones(2)
    return 2 * y


def forgets_return(x):
    2 * x


def changes_its_input(x):
    x *= 2
    return x


def calls_something_unwritten(x):
    return pytest_is_not_a_student(x)


def pytest_is_not_a_student(x):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (forgets_return, "for a map: nothing is returned. Does the function end with `return`?"),
        (lambda x: 2 * x.T, "you return the shape (3, 2), expected (H, W) = (2, 3)"),
        (lambda x: (2 * x).long(), "the numbers are of type torch.int64, expected torch.float32"),
        (lambda x: (2 * x).numpy(), "you return a NumPy array, expected a tensor (H, W) = (2, 3)"),
        (lambda x: (2 * x).to_sparse(), "you return a tensor of torch.sparse_coo on cpu"),
        (lambda x: (2 * x).to("meta"), "you return a tensor of torch.strided on meta"),
        (lambda x: (2 * x).tolist(), "you return a list, expected a tensor (H, W) = (2, 3)"),
        (
            lambda x: 2 * x + (x > 3),
            "2 of 6 numbers differ, the first at (H, W) = (1, 1): you have 9, expected 8",
        ),
        (lambda x: 2 * x / (x < 5), "the first at (H, W) = (1, 2): you have inf, expected 10"),
        (adds_first, "your code stops at `y = x + torch.ones(2)` with RuntimeError: The size of tensor"),
        (lambda: 0, "it cannot be called as the skeleton can: TypeError"),
        (calls_something_unwritten, "with NotImplementedError"),
        (changes_its_input, "The function changes its input (a map): make a new tensor."),
        (torch.zeros(2), "Hand over the function itself"),
    ],
)
def test_what_no_exercise_foresees_is_said_too(attempt, says):
    verdict = make_exercise().verdict(attempt)
    assert verdict.passed is False and says in words(verdict)


@pytest.mark.parametrize(
    ("expected", "found", "says"),
    [
        (3, torch.tensor(3), "you return a tensor, expected a plain Python number"),
        (3, 4, "you return 4, expected 3"),
        (3, 3.0, "you return a number, expected a whole number"),
        (0.25, 0.5, "you return 0.5, expected 0.25"),
        ((1, 2), (1,), "you return 1 things, expected 2"),
        ([(1, 2), (3, 4)], [(1, 2), (3, 5)], "in place 1 in place 1 you return 5, expected 4"),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, "b: you return 'y', expected 'x'"),
        (True, 1, "you return a whole number, expected True or False"),
    ],
)
def test_other_results_than_tensors(expected, found, says):
    verdict = make_exercise(answer=lambda x: expected).verdict(lambda x: found)
    assert verdict.passed is False and says in words(verdict)
    assert make_exercise(answer=lambda x: expected).verdict(lambda x: expected).passed


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_leaves_the_random_numbers_alone(name, monkeypatch):
    monkeypatch.setattr(core.figures, "show", lambda figure, alt: None)
    before = torch.get_rng_state()
    EXERCISES[name](lambda *inputs: torch.randn(3))
    EXERCISES[name](run(SOLUTIONS[name].read_text(encoding="utf-8"), name))
    assert torch.equal(torch.get_rng_state(), before)


ODD = ([], (None, 1), ([[]], 0.5), math.inf, np.float64(0.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_what_a_check_says_of_odd_results_is_about_the_result(name):
    """A check that stumbles over a result tells that the function cannot be called."""
    for odd in ODD:
        verdict = EXERCISES[name].verdict(lambda *inputs, odd=odd: odd)
        assert verdict.passed is False and "cannot be called" not in words(verdict), odd


@pytest.mark.parametrize(
    ("found", "number"),
    [
        (torch.tensor(7), 7),
        (np.float64(0.5), 0.5),
        ((torch.tensor([1.5]), [np.int64(2)]), (1.5, [2])),
        (None, None),
        ("a text", "a text"),
    ],
)
def test_numbers_in_tensors_and_of_numpy_are_as_good_as_plain_ones(found, number):
    plain = core.plain(found)
    assert plain == number and type(plain) is type(number)


def test_a_course_in_a_folder_with_the_name_of_a_library_is_no_library(monkeypatch):
    def used(file):
        seen = watch.Watch(None)
        seen.functions = {compile("1", str(file), "exec")}
        return watch.ready_made(seen)

    home = Path("/home/anna/transformers")
    assert used(home / "swin" / "swin_cifar" / "windows.py") == ""
    loaded = types.SimpleNamespace(__file__=str(home / "src" / "transformers" / "__init__.py"))
    monkeypatch.setitem(sys.modules, "transformers", loaded)
    assert used(home / "src" / "transformers" / "models" / "swin.py") == "transformers"
    assert used(home / "swin" / "swin_cifar" / "windows.py") == ""


def test_pairs_are_drawn_of_kinds_that_hold_both_answers():
    """A few pictures may be tellable: here those with two tokens of one colour, always yes."""
    exercise, name = EXERCISES["needs_mask"], "needs_mask"
    solution = run(SOLUTIONS[name].read_text(encoding="utf-8"), name)

    def question(B, generator):
        pictures, answers = solution(B, generator)
        few = slice(0, B // 50)
        place = torch.zeros(B // 50, 2, dtype=torch.long)
        place[:, 1] = torch.arange(B // 50) % 3 + 1
        pictures[few] = tokens_at(place, place, torch.zeros_like(place))
        answers[few] = 1
        return pictures, answers

    assert exercise.verdict(question).passed
    assert isinstance(exercise.picture(question)[0], Figure)


def opens_the_mask(block, x):
    block.to_windows(x)[1].fill_(True)


def test_a_function_cannot_change_the_masks_of_other_models():
    block = SwinTransformerBlock(8, 2, window_size=4, shift_size=2)
    inputs = block, torch.zeros(1, 8, 8, 8)
    held = block.to_windows(inputs[1])[1]  # by a cell of the notebook
    before = held.clone()
    exercise = Exercise("opens", lambda *_: None, lambda: {"a block": inputs}, {}, picture=None)
    says = "The function changes the mask that `to_windows` hands out, which all blocks share (a block)"
    assert says in words(exercise.verdict(opens_the_mask))
    assert block.to_windows(inputs[1])[1].equal(before) and held.equal(before)


def test_nor_can_it_while_its_picture_is_drawn(monkeypatch):
    monkeypatch.setattr(core.figures, "show", lambda figure, alt: None)
    block, x = SwinTransformerBlock(8, 2, window_size=4, shift_size=2), torch.zeros(1, 8, 8, 8)
    before = block.to_windows(x)[1].clone()
    drawn = []

    def picture(function):
        opens_the_mask(block, x)
        drawn.append(block.to_windows(x)[1].all())
        return None, "a picture"

    Exercise("double", double, lambda: {"a map": (torch.ones(2, 3),)}, {}, picture)(lambda x: 2 * x)
    assert drawn == [True] and block.to_windows(x)[1].equal(before)


def test_the_weights_of_a_layer_are_input_too():
    inputs = (torch.nn.Linear(2, 2),)
    exercise = Exercise("clears", lambda *_: None, lambda: {"a layer": inputs}, {}, picture=None)
    assert "changes its input" in words(exercise.verdict(lambda layer: layer.weight.data.zero_() and None))


def test_what_a_function_did_to_its_input_does_not_reach_the_answer():
    shared = torch.zeros(3)  # by the function and the answer, as what a layer keeps

    def answer(x):
        return x + shared

    def changes_what_is_shared(x):
        shared.fill_(1)
        return x + shared

    assert make_exercise(answer).verdict(changes_what_is_shared).passed is False


def test_what_fails_for_the_input_of_a_picture_alone_is_said(capsys):
    cases = {"a map": (torch.ones(2, 3),)}
    exercise = Exercise("double", double, lambda: cases, {}, picture=lambda function: function(None))
    exercise(lambda x: 2 * x)
    said = capsys.readouterr().out
    assert said.startswith("Right.") and "But for the input of a picture, your code stops at" in said


def test_a_right_answer_shows_a_picture(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(core.figures, "show", lambda figure, alt: shown.append(alt))
    solution = run(SOLUTIONS["pad_centred"].read_text(encoding="utf-8"), "pad_centred")
    assert pad_centred(solution).passed
    assert capsys.readouterr().out.startswith("Right. Tried with: a picture that fits;") and len(shown) == 1


def test_no_verdict_holds_an_address():
    def fails(x):
        raise ValueError(f"wrong: {object()}")

    text = make_exercise().verdict(fails).text
    assert "ValueError: wrong" in words(make_exercise().verdict(fails)) and not re.search(
        "0x[0-9a-f]{4}", text
    )


# --- what does not end well --------------------------------------------------------------


def loops_forever(x):
    while True:
        pass


def loops_in_a_try(x):
    while True:
        with suppress(Exception):
            x + 1


def sleeps(x):
    time.sleep(60)


def exits(x):
    sys.exit()


def gives_up(x):
    raise GeneratorExit


def fills_the_memory(x):
    kept = []
    while True:
        kept.append(x + torch.zeros(1000, 2, 3))


def makes_a_giant(x):
    return x + torch.ones(100_000, 100_000, 100).sum()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm")
def test_an_alarm_after_the_function_ended_breaks_nothing(monkeypatch):
    """It rang while the output was put back, and left a stream of the check in its place."""

    class Late(watch.Watch):
        @contextlib.contextmanager
        def _cut(self):
            try:
                yield
            finally:
                signal.raise_signal(signal.SIGALRM)
                done.append(True)

    done, notebook = [], {"signal": signal}
    exec("def three(): return 3\ndef rings(): signal.raise_signal(signal.SIGALRM)", notebook)
    assert Late(notebook["three"])() == 3
    with pytest.raises(watch.Stopped, match="never ends"):
        Late(notebook["rings"])()
    assert done == [True, True]


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (loops_forever, "Is there a loop that never ends?"),
        (loops_in_a_try, "Is there a loop that never ends?"),
        (exits, "The function ends Python (`exit`)"),
        (gives_up, "raises GeneratorExit"),
        (fills_the_memory, "it makes tensors of more than"),
        (makes_a_giant, "it makes tensors of more than"),
        pytest.param(
            sleeps,
            "Is there a loop that never ends?",
            marks=pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm"),
        ),
    ],
)
def test_what_does_not_end_well_is_stopped(attempt, says, monkeypatch, capsys):
    monkeypatch.setattr(watch, "SECONDS", 0.3)
    monkeypatch.setattr(watch, "BYTES", 2**22)
    alarm, trace = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None, sys.gettrace()
    verdict = make_exercise()(attempt)
    assert (
        verdict.passed is False
        and says in words(verdict)
        and says in " ".join(capsys.readouterr().out.split())
    )
    assert sys.gettrace() is trace
    assert alarm is None or signal.getsignal(signal.SIGALRM) is alarm


def test_a_stop_is_handled_to_its_end():
    """Else each later error is shown as one that happened while this one was handled."""
    code = (
        "import sys, test_check as t; t.watch.SECONDS = 0.05\n"
        "for _ in range(20):\n    t.make_exercise().verdict(t.loops_in_a_try)\n"
        "    assert sys.exc_info()[0] is None"
    )
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | paths, check=True)


def test_without_an_alarm_the_clock_is_read_line_by_line(monkeypatch):
    monkeypatch.setattr(watch, "SECONDS", 0.3)
    said = []
    thread = threading.Thread(target=lambda: said.append(words(make_exercise().verdict(loops_forever))))
    thread.start()
    thread.join(30)
    assert "Is there a loop that never ends?" in said[0]


def test_ctrl_c_still_interrupts():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_exercise().verdict(interrupted)


def test_what_a_function_prints_is_shown_and_cut(capsys):
    def prints(x):
        print("seen")
        print("x" * 10**7)
        print("y" * 10**7)
        return 2 * x

    assert make_exercise().verdict(prints).passed
    out = capsys.readouterr().out
    assert out.startswith("seen") and len(out) < 5000 and out.count("is left out") == 1


def test_a_verdict_shows_nothing_of_its_own_in_a_notebook():
    formatter = (
        pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance().display_formatter
    )
    assert formatter.format(core.Verdict(True, "Right.")) == ({}, {})
