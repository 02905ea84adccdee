"""The process that decides. It starts a student's processes, and never runs a student's code itself."""

import json
import multiprocessing
import os
import sys
import tempfile
import threading
from dataclasses import replace

import torch

from course.check import EXERCISES
from course.check.core import Stopped, Wrong
from course.check.watch import code_of
from grading import hidden, sandbox, wire
from grading.results import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, Result


def start(limits):
    """Once in each judge's process: prepare the server from which students' processes are forked."""
    global _limits, _context, _hidden
    torch.set_num_threads(1)
    _limits, _hidden = limits, {}
    os.environ["SWIN_CIFAR_PIECES"] = tempfile.gettempdir() + os.sep + "no-pieces-here"
    root = os.path.dirname(sandbox.NOTEBOOKS)
    places = [os.path.dirname(sandbox.HERE), sandbox.NOTEBOOKS, root, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    _context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        _context.set_forkserver_preload(["grading.preload"])
    vars(sys.modules["__main__"]).pop("__file__", None)  # else each process runs the command's file again
    sandbox.limit_memory(4 * limits.megabytes)  # a student's function may ask for large masks


def grade(attempt):
    """Attempt -> Result. Nothing that a student's code does comes out of here."""
    if attempt.problem:
        return Result(FAILED, attempt.problem)
    try:
        found = _check(attempt)
        if found["passed"] is None:
            return Result(NOT_ATTEMPTED)
        if not found["passed"]:
            return Result(STOPPED if found["stopped"] else FAILED, str(found["says"])[:2000])
        problem = _confirm(attempt)
    except Stopped as reason:
        return Result(STOPPED, str(reason))
    return Result(FAILED, problem) if problem else Result(PASSED, "Right.")


def _check(attempt):
    """-> {"passed", "says", "stopped"} as the check in the student's process gives it. Raises Stopped."""
    with _Process(sandbox.check, attempt) as process:
        try:
            found = json.loads(process.receive())
            return {name: found[name] for name in ("passed", "says", "stopped")}
        except (ValueError, KeyError, TypeError):
            raise Stopped("What its process sent is no verdict: look at the code.") from None


def _confirm(attempt):
    """-> in words, what is wrong with the results for hidden inputs, or "". Raises Stopped."""
    exercise = replace(EXERCISES[attempt.name], **hidden.own_call(attempt.name))
    if attempt.name not in _hidden:  # the same for all students: answered once
        cases = hidden.cases(exercise, _limits.seed)
        _hidden[attempt.name] = cases, exercise.answers(cases)
    cases, answers = _hidden[attempt.name]
    with _Process(sandbox.serve, attempt, _forbidden(exercise)) as process:
        wrong = exercise.differs(_Function(process), cases, answers)
    return f"Right for the inputs of the notebook, but not for others. {wrong}" if wrong else ""


def _forbidden(exercise):
    """-> {(file, first line)} of the functions that the exercise forbids by `calls`, and the names of the
    operators that it forbids by `uses`."""
    codes, operators = {code_of(exercise.answer)}, set()
    for seen in exercise.forbidden.values():
        for cell in getattr(seen, "__closure__", None) or ():
            if isinstance(cell.cell_contents, set):
                codes |= cell.cell_contents
            elif seen.__qualname__.startswith("uses."):
                operators.update(cell.cell_contents)
    places = {(code.co_filename, code.co_firstlineno) for code in codes if code}
    return places, operators


class _Function:
    """The student's function, as far as the judge is concerned: inputs go there, data comes back."""

    def __init__(self, process):
        self.process = process

    def __call__(self, *inputs):
        functions = []
        message = {"inputs": wire.with_handles(inputs, functions), "gradients": wire.gradients(inputs)}
        message |= {"chance": torch.get_rng_state(), "grad": torch.is_grad_enabled()}
        self.process.send(wire.pack(message))
        while True:
            try:
                reply = wire.unpack(self.process.receive())
                if "call" in reply:
                    self.process.send(wire.pack(_call(functions[reply["call"]], reply["inputs"])))
                    continue
                torch.set_rng_state(reply["chance"]) if "chance" in reply else None
                wire.bring_up_to_date(inputs, reply["state"]) if "state" in reply else None
                error = reply.get("error")
                result = None if error else reply["result"]
            except Stopped:
                raise
            except Exception as error:  # whatever it is in bytes that a student could have written
                raise Wrong("what its process sent is no result: look at the code") from error
            if error:
                raise AssertionError if error[0] == "AssertionError" else Wrong(str(error[1]))
            return result


def _call(function, inputs):
    try:
        return {"result": wire.plain(function(*inputs))}
    except Exception as error:
        return {"error": (type(error).__name__, str(error))}


class _Process:
    """A fresh process for one attempt, killed at the time limit, and in any case at the end."""

    def __init__(self, target, *task):
        self.conn, theirs = _context.Pipe()
        arguments = (theirs, *task, _limits.seconds, _limits.megabytes)
        self.process = _context.Process(target=target, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.late = False
        self.timer = threading.Timer(_limits.seconds, self._too_late)
        self.timer.daemon = True

    def __enter__(self):
        self.timer.start()
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.join()
        self.process.close()
        self.conn.close()

    def _too_late(self):
        self.late = True
        self.process.kill()

    def send(self, data):
        try:
            self.conn.send_bytes(data)
        except OSError:
            self._ended()

    def receive(self):
        try:
            return self.conn.recv_bytes(wire.LARGEST)
        except (EOFError, OSError):
            self._ended()

    def _ended(self):
        if self.late:
            raise Stopped(f"It was stopped after {_limits.seconds:g} seconds. Does a loop never end?")
        self.process.join(5)
        code = self.process.exitcode
        raise Stopped(
            "Its process ended before the function did "
            + (f"(signal {-code}: out of memory, or a crash)." if code and code < 0 else "(`os._exit`?).")
        )
