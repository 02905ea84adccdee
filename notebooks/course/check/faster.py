"""Checks of notebook 13: measure in turns, split a step's time, choose a batch size, count for a roofline."""

import math
import statistics
from functools import partial
from itertools import pairwise

from matplotlib.figure import Figure

from course import figures, machines
from course.check.core import Exercise, Symptom
from course.check.watch import calls

# --- median_of_turns ---------------------------------------------------------------------


class _Machine:
    """A machine with a clock of its own: functions that take the seconds they are said to take.

    `usual`: {name: seconds}. The first call of each takes three times as long, no call exactly as long as
    another, and while the machine is busy, from `busy[0]` to `busy[1]`, all take four times as long.
    """

    def __init__(self, usual, busy):
        self.now, self.busy, self.calls = 0.0, busy, []
        self.functions = {name: partial(self._run, name, seconds) for name, seconds in usual.items()}

    def clock(self):
        return self.now

    def _run(self, name, seconds):
        before = sum(name == other for other, _, _ in self.calls)
        seconds *= 1 + 0.03 * (7 * before % 5) + 2 * (before == 0)
        seconds *= 4 if self.busy[0] <= self.now < self.busy[1] else 1
        self.calls.append((name, self.now, self.now + seconds))
        self.now += seconds


def _on_a_machine(function, usual, busy, repeats):
    machine = _Machine(usual, busy)
    return function(machine.functions, repeats, machine.clock)


def _as_a_log(functions, repeats, clock):
    """The clock is read after every call; what lies between two readings is a call."""
    names, readings = [*functions] * (repeats + 1), []
    for name in names:
        readings.append(clock())
        functions[name]()
    lengths = [end - start for start, end in pairwise([*readings, clock()])]
    count = len(functions)
    return {name: statistics.median(lengths[count + i :: count]) for i, name in enumerate(functions)}


def _timed(function, clock):
    start = clock()
    function()
    return clock() - start


def _turns(warm=1, skip=0, choose=statistics.median, factor=1.0):
    """Turns with a mistake, if asked for; the first `skip` values do not count."""

    def function(functions, repeats, clock):
        for _ in range(warm):
            for each in functions.values():
                each()
        rounds = [{name: _timed(each, clock) for name, each in functions.items()} for _ in range(repeats)]
        return {name: factor * choose([one[name] for one in rounds][skip:]) for name in functions}

    return function


def _one_after_the_other(warm):
    def function(functions, repeats, clock):
        found = {}
        if warm == "all first":
            for each in functions.values():
                each()
        for name, each in functions.items():
            if warm == "each":
                each()
            found[name] = statistics.median([_timed(each, clock) for _ in range(repeats)])
        return found

    return function


def _one_start_a_round(functions, repeats, clock):
    for each in functions.values():
        each()
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        start = clock()
        for name, each in functions.items():
            each()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _warm_in_every_round(functions, repeats, clock):
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, each in functions.items():
            each()
            seconds[name].append(_timed(each, clock))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _counts_the_warm_up(functions, repeats, clock):
    return _turns(warm=0)(functions, repeats + 1, clock)


def _draw_turns(function):
    machine = _Machine({"old": 1.0, "new": 0.9}, (14.0, 32.0))
    found = function(machine.functions, 7, machine.clock)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(*machine.busy, color="#dddddd", label="busy")
    for y, (name, colour) in enumerate(zip(found, figures.COLOURS)):
        bars = [(start, end - start) for other, start, end in machine.calls if other == name]
        ax.broken_barh(bars, (y - 0.35, 0.7), color=colour, edgecolor="white")
    labels = [f"{name}: {seconds:.2f} s" for name, seconds in found.items()]
    ax.set_yticks(range(len(found)), labels, fontsize=12)
    ax.set_xlabel("seconds on the clock of a machine that is busy for a while (grey)", fontsize=12)
    alt = "Two functions in turns; while the machine is busy, calls of both take longer."
    return figure, alt


median_of_turns = Exercise(
    "median_of_turns",
    answer=_as_a_log,
    cases=lambda: {
        "two functions, five repeats": ({"old": 1.0, "new": 0.9}, (9.0, 13.0), 5),
        "three functions": ({"a": 0.5, "b": 2.0, "c": 1.1}, (25.0, 40.0), 6),
        "the same function twice": ({"one": 1.0, "again": 1.0}, (8.0, 12.0), 4),
        "a machine that gets busy": ({"old": 1.0, "new": 0.7}, (10.0, 99.0), 7),
    },
    call=_on_a_machine,
    mistakes={
        "The first call of each function counts. Call each once before, without the clock.": _turns(warm=0),
        "The warm-up counts as one more repeat. Its time is not kept.": _counts_the_warm_up,
        "One function runs all its repeats, then the next. If the machine gets busy in between, one of them "
        "looks slow: take turns.": _one_after_the_other("all first"),
        "Each function warms up and runs all its repeats before the next one begins. Take turns.": (
            _one_after_the_other("each")
        ),
        "One function runs all its repeats, then the next, and nothing warms up.": _one_after_the_other(None),
        "That is the mean. One disturbed run moves it; it does not move the median.": _turns(
            choose=statistics.mean
        ),
        "That is the smallest time. It hides what usually happens: take the median.": _turns(choose=min),
        "That is the largest time. Take the median.": _turns(choose=max),
        "That is the sum of all repeats. Take the median.": _turns(choose=sum),
        "Of an even number of repeats you take the upper one in the middle, `statistics.median` both.": (
            _turns(choose=statistics.median_high)
        ),
        "Of an even number of repeats you take the lower one in the middle, `statistics.median` both.": (
            _turns(choose=statistics.median_low)
        ),
        "The clock starts once a round, so each function also gets the time of those before it.": (
            _one_start_a_round
        ),
        "Each function warms up again in every round. Once is enough, before the first round.": (
            _warm_in_every_round
        ),
        "The first round of each function is thrown away although it has warmed up before.": _turns(skip=1),
        "The times are in milliseconds. Asked for are seconds.": _turns(factor=1e3),
        "You do not read `clock`, but another clock: this one can be stopped and tested.": Symptom(
            lambda found, *inputs: (
                isinstance(found, dict) and all(isinstance(s, float) and s < 0.1 for s in found.values())
            )
        ),
    },
    picture=_draw_turns,
)

# --- split_step --------------------------------------------------------------------------


def _line(seconds, share=0.1):
    """By trying out batches; the line is that of Cramer's rule."""
    (a, s), (b, t) = seconds.items()
    overhead, each = (b * s - a * t) / (b - a), (t - s) / (b - a)
    B = 1
    while overhead > share * (overhead + B * each):
        B += 1
    return overhead, each, B


def _split(
    each=lambda small, large: (large[1] - small[1]) / (large[0] - small[0]),
    overhead=lambda small, large, each: small[1] - small[0] * each,
    enough=lambda overhead, each, share: math.ceil(overhead * (1 - share) / (share * each)),
    give=lambda overhead, each, B: (overhead, each, B),
):
    """The split with a mistake in one of its parts, if asked for."""

    def function(seconds, share=0.1):
        small, large = sorted(seconds.items())
        picture = each(small, large)
        start = overhead(small, large, picture)
        return give(start, picture, enough(start, picture, share))

    return function


def _draw_split(function):
    seconds = {2: 0.016, 32: 0.121}
    overhead, each, enough = function(seconds)
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    ax = figure.subplots()
    sizes = range(0, max(40, enough + 4))
    total = [1e3 * (overhead + B * each) for B in sizes]
    ax.fill_between(sizes, 0, 1e3 * overhead, color=figures.COLOURS[5], label="overhead")
    ax.fill_between(sizes, 1e3 * overhead, total, color=figures.COLOURS[4], label="the rest")
    for B, s in seconds.items():
        ax.plot(B, 1e3 * s, "o", color="black", markersize=9)
    ax.axvline(enough, color="black", linestyle=":", linewidth=2.5, label="overhead 10% of the step")
    ax.set_xlabel("pictures in a batch; dots: measured", fontsize=12)
    ax.set_ylabel("milliseconds for a step", fontsize=12)
    ax.legend(fontsize=12, loc="upper left")
    return figure, f"A line through two measured steps; the overhead is 10% from {enough} pictures on."


split_step = Exercise(
    "split_step",
    answer=_line,
    cases=lambda: {
        "2 and 32 pictures": ({2: 0.016, 32: 0.121},),
        "the larger batch first": ({64: 0.49, 4: 0.05},),
        "half of the step": ({8: 0.031, 48: 0.119}, 0.5),
        "a twentieth": ({1: 0.0101, 16: 0.033}, 0.05),
    },
    mistakes={
        "The time of a picture is that of the largest batch, divided. The overhead is still in it.": _split(
            each=lambda small, large: large[1] / large[0]
        ),
        "The time of a picture is that of the smaller batch, divided. Most of the overhead is in it.": _split(
            each=lambda small, large: small[1] / small[0]
        ),
        "The overhead is the whole step of the smaller batch. Its pictures take time, too.": _split(
            overhead=lambda small, large, each: small[1]
        ),
        "The overhead is what is left after one picture. The smaller batch has more.": _split(
            overhead=lambda small, large, each: small[1] - each
        ),
        "The batch is one too small: with it, the overhead is still more than its share. Round up.": _split(
            enough=lambda overhead, each, share: math.floor(overhead * (1 - share) / (share * each))
        ),
        "The batch is that at which the overhead is `share` of the rest. Asked for is its share of the whole "
        "step.": _split(enough=lambda overhead, each, share: math.ceil(overhead / (share * each))),
        "The batch is that at which the overhead is as long as the rest, whatever `share` is.": _split(
            enough=lambda overhead, each, share: math.ceil(overhead / each)
        ),
        "The share is always a tenth. Use `share`.": _split(
            enough=lambda overhead, each, share: math.ceil(9 * overhead / each)
        ),
        "`share` is taken for the share of the rest: at yours, the overhead has all but `share`.": _split(
            enough=lambda overhead, each, share: math.ceil(overhead * share / ((1 - share) * each))
        ),
        "The batch is not a whole number. Round up.": _split(
            enough=lambda overhead, each, share: overhead * (1 - share) / (share * each)
        ),
        "Overhead and time of a picture have changed places.": _split(give=lambda o, each, B: (each, o, B)),
        "The overhead is divided by the pictures of the smaller batch. Asked for is that of a step.": _split(
            overhead=lambda small, large, each: small[1] / small[0] - each
        ),
    },
    forbidden={"It is made by the course's `split_step`: write it yourself.": calls(machines.split_step)},
    picture=_draw_split,
    tolerance=1e-9,
)

# --- choose_batch ------------------------------------------------------------------------


def _fits_and_is_fast(seconds, memory, limit, loss=0.1):
    """From the smallest up: the first that keeps the promise."""
    speeds = {B: B / seconds[B] for B in sorted(seconds) if memory[B] <= limit}
    return next((B for B, speed in speeds.items() if speed >= (1 - loss) * max(speeds.values())), None)


def _choice(
    fits=lambda B, memory, limit: memory[B] <= limit,
    speed=lambda B, seconds: B / seconds,
    enough=lambda speed, best, loss: speed >= (1 - loss) * best,
    best_of_all=False,
    pick=min,
    none=None,
):
    """The choice with a mistake in one of its parts, if asked for."""

    def function(seconds, memory, limit, loss=0.1):
        speeds = {B: speed(B, s) for B, s in seconds.items()}
        fitting = {B: s for B, s in speeds.items() if fits(B, memory, limit)}
        best = max((speeds if best_of_all else fitting).values(), default=0)
        good = [B for B, s in fitting.items() if enough(s, best, loss)]
        return pick(good) if good else none

    return function


def _largest_that_fits(seconds, memory, limit, loss=0.1):
    return max((B for B in seconds if memory[B] <= limit), default=None)


def _most_memory(seconds, memory, limit, loss=0.1):
    return min(memory, key=lambda B: abs(limit - memory[B]))


def _speeds_of(values):
    """{batch: pictures per second} -> {batch: seconds}."""
    return {B: B / speed for B, speed in values.items()}


def _draw_choice(function):
    seconds = {2**i: 0.02 + 2**i * 0.004 for i in range(8)}
    memory = {B: B * 9e6 for B in seconds}
    chosen = function(seconds, memory, 6e8)
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    ax = figure.subplots()
    for B in seconds:
        kind = "out of memory" if memory[B] > 6e8 else "fits"
        colour = figures.COLOURS[7] if kind == "fits" else "#bbbbbb"
        ax.plot(B, B / seconds[B], "o" if kind == "fits" else "x", color=colour, markersize=10)
    best = max(B / seconds[B] for B in seconds if memory[B] <= 6e8)
    ax.axhline(0.9 * best, color="#444444", linestyle=":", linewidth=2, label="nine tenths of the best")
    ax.plot(chosen, chosen / seconds[chosen], "s", color=figures.COLOURS[5], markersize=14, label="yours")
    ax.set_xscale("log", base=2)
    ax.set_xticks([*seconds], [*seconds])
    ax.set_xlabel("pictures in a batch; cross: does not fit", fontsize=12)
    ax.set_ylabel("pictures per second", fontsize=12)
    ax.legend(fontsize=12, loc="lower right")
    return figure, f"Speed over batch size, sizes that do not fit crossed out; yours, {chosen}, is marked."


choose_batch = Exercise(
    "choose_batch",
    answer=_fits_and_is_fast,
    cases=lambda: {
        "the largest does not fit": (
            _speeds_of({8: 50.0, 16: 80.0, 32: 93.0, 64: 100.0, 128: 130.0}),
            {8: 10, 16: 20, 32: 40, 64: 80, 128: 160},
            100,
        ),
        "larger is slower": (
            _speeds_of({4: 20.0, 8: 92.0, 16: 99.95, 32: 100.0, 64: 93.0, 128: 60.0}),
            {4: 1, 8: 2, 16: 4, 32: 8, 64: 16, 128: 32},
            40,
        ),
        "half of the speed may be lost": (
            _speeds_of({1: 10.0, 2: 48.0, 4: 55.0, 8: 95.0, 16: 100.0}),
            {1: 3, 2: 5, 4: 9, 8: 17, 16: 33},
            33,
            0.5,
        ),
        "in another order": (
            _speeds_of({64: 88.0, 4: 96.0, 16: 100.0, 2: 50.0}),
            {2: 1, 4: 2, 16: 8, 64: 30},
            16,
            0.05,
        ),
        "nothing fits": (_speeds_of({8: 50.0, 16: 80.0}), {8: 10, 16: 20}, 5),
    },
    mistakes={
        "Batches that do not fit into the memory are chosen, too.": _choice(fits=lambda *_: True),
        "The best speed is looked for among all batches, also those that do not fit.": _choice(
            best_of_all=True
        ),
        "A batch that fills the memory exactly fits.": _choice(
            fits=lambda B, memory, limit: memory[B] < limit
        ),
        "That is the largest batch that fits. Beyond some size a larger one costs memory alone.": (
            _largest_that_fits
        ),
        "That is the fastest batch. Asked for is the smallest that is nearly as fast.": _choice(
            enough=lambda speed, best, loss: speed == best
        ),
        "That is the largest batch that is nearly as fast as the best. Take the smallest.": _choice(pick=max),
        "Seconds of a step are compared. A large batch takes longer and does more: compare pictures per "
        "second.": _choice(
            speed=lambda B, seconds: -seconds, enough=lambda speed, best, loss: speed >= best / (1 - loss)
        ),
        "You keep the share `loss` of the best speed. It is what may be lost.": _choice(
            enough=lambda speed, best, loss: speed >= loss * best
        ),
        "The loss is always a tenth. Use `loss`.": _choice(
            enough=lambda speed, best, loss: speed >= 0.9 * best
        ),
        "`loss` is taken off as pictures per second. It is a share of the best speed.": _choice(
            enough=lambda speed, best, loss: speed >= best - loss
        ),
        "That is the batch whose memory is nearest to the limit. Speed decides, memory only forbids.": (
            _most_memory
        ),
        "Where no batch fits, return None.": _choice(none=0),
    },
    picture=_draw_choice,
)

# --- least_seconds -----------------------------------------------------------------------


def _from_a_table(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    """From a table of what each step reads, writes and computes."""
    map_, scores = n * C, n * N * heads
    table = [  # operations; numbers read; numbers written
        (2 * n * N * C, 2 * map_, scores),
        (5 * scores, scores, scores),
        (2 * n * N * C, scores + map_, map_),
    ]
    if fused:
        table = [(sum(row[0] for row in table), 3 * map_, map_)]
    seconds = [(a / operations_per_second, 4 * (r + w) / bytes_per_second) for a, r, w in table]
    return float(sum(map(max, seconds)))


def _least(
    slower=max,
    size=4,
    scores=lambda n, N, heads: n * N * heads,
    multiply_add=2,
    softmax=(5, 2),  # operations for each score, numbers for each score
    moved_by_fused=lambda map_, scores: 4 * map_,
    one_roof=False,
    per_head=1,
):
    """The least time with a mistake in one of its parts, if asked for."""

    def function(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
        S, product = scores(n, N, heads), multiply_add * n * N * C * (heads if per_head != 1 else 1)
        steps = [(product, 2 * n * C + S), (softmax[0] * S, softmax[1] * S), (product, 2 * n * C + S)]
        if fused or one_roof:
            moved = moved_by_fused(n * C, S) if fused else sum(numbers for _, numbers in steps)
            steps = [(sum(operations for operations, _ in steps), moved)]
        return float(sum(slower((a / operations_per_second, size * b / bytes_per_second)) for a, b in steps))

    return function


def _draw_least(function):
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.subplots()
    windows = (4, 16, 49, 144, 256)
    for fused, colour, line in ((False, figures.COLOURS[5], "s-"), (True, figures.COLOURS[0], "o--")):
        times = [1e3 * function(4096, N, 96, 3, 5e11, 4e10, fused) for N in windows]
        label = "one fused kernel" if fused else "three steps"
        ax.plot(windows, times, line, color=colour, linewidth=2.5, markersize=8, label=label)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(windows, windows)
    ax.set_xticks([], minor=True)
    ax.set_xlabel("tokens in a window, N", fontsize=12)
    ax.set_ylabel("milliseconds at least", fontsize=12)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=12)
    return figure, "The least time of three steps and of one fused kernel over N: the gap widens with N."


least_seconds = Exercise(
    "least_seconds",
    answer=_from_a_table,
    cases=lambda: {
        "memory is slow": (4096, 16, 96, 3, 4.5e11, 4.4e10),
        "memory is slow, fused": (4096, 16, 96, 3, 4.5e11, 4.4e10, True),
        "arithmetic is slow": (1024, 49, 192, 6, 1e10, 1e12),
        "arithmetic is slow, fused": (1024, 49, 192, 6, 1e10, 1e12, True),
        "a limit for each step": (1000, 64, 64, 2, 1e11, 3e10),
    },
    mistakes={
        "The seconds of arithmetic and of bytes are added. They overlap: each step takes the longer of "
        "both.": _least(slower=sum),
        "You take the shorter of both times. The slower limit decides.": _least(slower=min),
        "The three steps are put under one roof. Each waits for its own limit: choose for each, then add.": (
            _least(one_roof=True)
        ),
        "Numbers are counted, not bytes. A number in float32 has 4 bytes.": _least(size=1),
        "A number in float32 has 4 bytes, not 2.": _least(size=2),
        "Every head has scores of its own: n · N · heads numbers, not n · N.": _least(
            scores=lambda n, N, heads: n * N
        ),
        "Scores are counted between all tokens. A token meets the N of its window.": _least(
            scores=lambda n, N, heads: n * n * heads
        ),
        "A multiplication and an addition count as two operations.": _least(multiply_add=1),
        "The products are counted once for every head. All heads together have C channels.": _least(
            per_head=0
        ),
        "Softmax computes, too: 5 operations for each score.": _least(softmax=(0, 2)),
        "Softmax reads the scores and writes the weights: each is moved once.": _least(softmax=(5, 1)),
        "The fused kernel never writes the scores, and never reads them.": _least(
            moved_by_fused=lambda map_, scores: 4 * map_ + 4 * scores
        ),
        "The fused kernel still has to read q, k and v, and to write the result.": _least(
            moved_by_fused=lambda map_, scores: 0
        ),
        "The fused kernel reads q, k and v and writes the result: four maps.": _least(
            moved_by_fused=lambda map_, scores: 3 * map_
        ),
    },
    picture=_draw_least,
    tolerance=1e-9,
)
