"""Grade what students hand in: each exercise passed, failed and why, not attempted, or stopped.

    python notebooks/tools/grade.py SUBMISSIONS --lab 1 --out grades.csv

--lab takes notebooks and points from PLANS.md; --notebooks and --weights are for a course of your own.
SUBMISSIONS is a folder or zip as Moodle, Canvas or Gradescope hand it out, or one with a notebook, zip or
folder for each student. Notebooks are known by their cells, whatever their names. Beside grades.csv it writes
grades_totals.csv and a folder grades_feedback with a page for each student. How it works, and what it does
not protect from: notebooks/tools/grading/__init__.py. How to hand in and give back: INSTRUCTORS.md.
"""

import argparse
import itertools
import multiprocessing
import os
import secrets
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from grading import flags, labs, report  # noqa: E402
from grading.results import (  # noqa: E402
    BY_HAND,
    NOT_ATTEMPTED,
    NOT_READ,
    PASSED,
    STOPPED,
    WEIGHTS,
    Limits,
    Result,
    Row,
    read_points,
    read_weights,
    settled,
    worth,
)
from grading.submissions import Unreadable, attempt, collect, read_originals  # noqa: E402

NOT_GRADED = "Not graded, the grader stumbled"


def grade(students, originals, notebooks, limits, weights, by_hand=None, workers=2, progress=True):
    """-> [(Student, [Row])], groups of students with the same code. `notebooks`: those that count, as ["04"].

    An exercise that is worth no points is left out.
    `by_hand`: {(place in students, exercise): (points, comment)}, as `read_points` gives it.
    """
    counts = {n: [name for name in originals[n].exercises if worth(name, weights)] for n in notebooks}
    originals = {n: replace(originals[n], exercises=counts[n]) for n in notebooks}
    attempts = {}  # (place in students, exercise): Attempt
    for i, student in enumerate(students):
        for number in originals.keys() & student.notebooks:
            for name in originals[number].exercises:
                if found := attempt(originals[number], student.notebooks[number], name):
                    attempts[i, name] = found
    results = _run(attempts, limits, workers, progress)
    names = {i: f"{student.name} {student.id}".strip() for i, student in enumerate(students)}
    equal, groups = flags.equal_code([(i, each) for (i, _), each in attempts.items()], names)
    graded = []
    for i, student in enumerate(students):
        rows = []
        for number in notebooks:
            original = originals[number]
            unread = student.unread and number not in student.notebooks
            missing = Result(NOT_READ if unread else NOT_ATTEMPTED)
            seen = flags.of_notebook(original, student.notebooks.get(number, original.cells))
            for name in original.exercises:
                result, of = results.get((i, name), missing), worth(name, weights)
                row = Row(number, name, result, of if result.outcome == PASSED else 0, of)
                if (i, name) in attempts:
                    row.code = attempts[i, name].own
                    row.flags += flags.of_code(name, row.code)
                    row.flags += equal.get((i, name), [])
                row.flags, seen = row.flags + seen, []  # those of the notebook stand at its first exercise
                rows.append(row)
        given = {name: points for (j, name), points in (by_hand or {}).items() if j == i}
        graded.append((student, settled(rows, weights, given)))
    return graded, groups


def _run(attempts, limits, workers, progress):
    """-> {key: Result}, each by a judge in a process of its own."""
    if not attempts:
        return {}
    results, context = {}, multiprocessing.get_context("spawn")
    settings = {"mp_context": context, "initializer": _start, "initargs": (limits,)}
    with ProcessPoolExecutor(min(workers, len(attempts)), **settings) as pool:
        waiting = {pool.submit(_judge, each): key for key, each in attempts.items()}
        bar = tqdm(as_completed(waiting), total=len(waiting), unit="exercise", disable=not progress)
        try:
            for done in bar:
                try:
                    results[waiting[done]] = done.result()
                except Exception as error:  # of the grader, or the machine: no fault of the student
                    results[waiting[done]] = Result(STOPPED, f"{NOT_GRADED}: {error}")
        except KeyboardInterrupt:
            for each in waiting:
                each.cancel()
            raise
    return results


def _start(limits):
    from grading import judge

    judge.start(limits)


def _judge(each):
    from grading import judge

    return judge.grade(each)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("submissions", type=Path, help="a folder or a zip")
    parser.add_argument("--out", type=Path, default=Path("grades.csv"))
    parser.add_argument("--lab", type=int, help="notebooks and points of this lab in PLANS.md")
    parser.add_argument("--notebooks", nargs="+", metavar="NN", help="default: the lab's, or those handed in")
    parser.add_argument("--weights", type=Path, help='JSON: {"exercise": 1, "core piece": 2, "own_map": 5}')
    parser.add_argument("--adjust", type=Path, help="CSV of points by hand: student,exercise,points,comment")
    parser.add_argument("--roster", type=Path, help="Moodle's worksheet or Canvas's gradebook, to fill in")
    parser.add_argument("--column", default="swin_cifar", help="name of the grade's column in Canvas's list")
    parser.add_argument("--gradescope", type=Path, metavar="RESULTS.JSON", help="all files are one student's")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="for an exercise's check")
    parser.add_argument("--megabytes", type=int, default=Limits.megabytes)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, help="of the hidden inputs; default: others in each run")
    options = parser.parse_args(arguments)
    try:
        _main(options)
    except (Unreadable, ValueError, OSError) as error:
        sys.exit(f"grade.py: {error}")
    except KeyboardInterrupt:
        sys.exit("grade.py: interrupted; no grades were written")


def _main(options):
    lab = labs.read_lab(options.lab) if options.lab else None
    weights = read_weights(options.weights) if options.weights else lab.weights if lab else WEIGHTS
    originals = read_originals()
    students = collect(options.submissions, bool(options.gradescope), originals)
    handed_in = sorted({number for student in students for number in student.notebooks})
    wanted = options.notebooks or (lab.graded if lab else handed_in)
    notebooks = [number.zfill(2) for number in wanted]
    if unknown := [number for number in notebooks if number not in originals]:
        raise ValueError(f"notebook {unknown[0]} has no exercises; there are: {', '.join(originals)}")
    if options.roster:
        report.read_roster(options.roster)  # better to know now
    most = {name: worth(name, weights) for number in notebooks for name in originals[number].exercises}
    most = {name: of for name, of in (most | weights.get(BY_HAND, {})).items() if of}
    by_hand = read_points(options.adjust, students, most) if options.adjust else {}
    seed = secrets.randbits(31) if options.seed is None else options.seed
    options.out = _reserved(options.out)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started: as many as there are workers
    limits = Limits(options.seconds, options.megabytes, seed)
    try:
        graded, groups = grade(students, originals, notebooks, limits, weights, by_hand, options.workers)
    except BaseException:
        options.out.unlink()
        raise
    stem = options.out.with_suffix("")
    report.write_rows(options.out, graded)
    report.write_totals(f"{stem}_totals.csv", graded)
    title = lab.title if lab else f"notebooks {', '.join(notebooks)}"
    for student, rows in graded:
        report.write_page(Path(f"{stem}_feedback"), student, rows, title, bool(lab))
    if groups:
        report.write_groups(f"{stem}_groups.csv", groups)
    if options.gradescope:
        report.write_gradescope(options.gradescope, *graded[0])
    for student in students:
        for remark in student.unread + student.remarks:
            print(f"{student.name}: {remark}")
    print(f"students: {len(students)}, notebooks: {', '.join(notebooks) or 'none'}: {options.out}")
    if flagged := sum(bool(row.flags) for _, rows in graded for row in rows):
        print(f"lines with flags: {flagged}; look at their code.")
    if groups:
        print(f"groups of students with the same code: {len(groups)}, in {stem}_groups.csv")
    if open_ := sum(row.result.says.startswith(NOT_GRADED) for _, rows in graded for row in rows):
        print(f"{open_} exercises could not be graded (see `says`): run the command again.")
    print(f"--seed {seed} gives these hidden inputs again.")
    if options.roster:
        left = report.fill(options.roster, Path(f"{stem}_{options.roster.stem}.csv"), graded, options.column)
        print(f"{stem}_{options.roster.stem}.csv: {options.roster.name} with the grades.", end=" ")
        print(f"Not found there: {', '.join(left)}." if left else "All students were found.")


def _reserved(path):
    """-> this file, empty, or one with a number where it is there: somebody may have worked on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        stem = free.with_suffix("")
        if not any(Path(f"{stem}_{what}").exists() for what in ("totals.csv", "groups.csv", "feedback")):
            try:
                free.open("x").close()
                return free
            except FileExistsError:
                pass


if __name__ == "__main__":
    main()
