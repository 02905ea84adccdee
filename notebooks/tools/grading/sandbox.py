"""The process in which a student's code runs: its limits, and the two things it is asked for.

`check` runs the notebook's own check and sends what it says. `serve` calls the function with what the judge
sends; there neither checks nor solutions can be imported, and what the exercise forbids is not there.
What the limits are worth stands in `grading/__init__.py`.
"""

import ast
import contextlib
import copy
import importlib
import inspect
import json
import linecache
import os
import pkgutil
import sys
import traceback

REFUSED = (  # the first words of Python's audit events
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty."),
    *("os.startfile", "os.kill", "signal.pthread_kill", "resource.", "ctypes.dl", "ctypes.call", "gc.get_"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("os.chown", "os.utime", "shutil.", "sqlite3.", "urllib.", "webbrowser.", "winreg."),
)
HERE = os.path.dirname(os.path.abspath(__file__))
NOTEBOOKS = os.path.dirname(os.path.dirname(HERE))


# --- limits ------------------------------------------------------------------------------


def limit(conn, seconds, megabytes):
    """From here on: time, memory; no output, network, other program or writing; only `conn` is open."""
    if os.name == "posix":  # else the pipes of the fork server could be written to
        os.closerange(3, conn.fileno())
        os.closerange(conn.fileno() + 1, 2**16)
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    limit_memory(megabytes)
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has none of this
        import resource

        for name, value in {"CORE": 0, "FSIZE": 0, "CPU": int(seconds) + 2}.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    for module in ("os", "posix", "signal", "_signal"):  # Python does not report these two
        for name in ("pidfd_open", "pidfd_send_signal"):
            vars(sys.modules.get(module, os)).pop(name, None)
    if hasattr(os, "unshare"):  # Python 3.12, Linux: no network at all, where the system allows it
        with contextlib.suppress(OSError):
            os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    sys.addaudithook(_guard([os.path.realpath(folder) for folder in _libraries()]))


def limit_memory(megabytes):
    """From here on: so much more than now. Linux alone can be asked how much that is."""
    with contextlib.suppress(ImportError, OSError, ValueError), open("/proc/self/statm") as file:
        import resource

        most = int(file.read().split()[0]) * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _libraries():
    """The folders of Python and its packages. The course is no library, even if it lies in one."""
    places = [sys.prefix, sys.base_prefix, *(path for path in sys.path if "site-packages" in path)]
    return [place for place in places if place and not _is_in(HERE, os.path.realpath(place))]


def _is_in(path, folder):
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _guard(readable):
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    allowed = {os.devnull, "/dev/urandom", "/dev/random"}

    def guard(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                return
            path = os.path.realpath(os.fsdecode(path))
            if path in allowed:
                return
            if (mode and set(mode) & set("wax+")) or (flags or 0) & writing:
                raise PermissionError(f"writing files is not allowed here: {os.path.basename(path)}")
            if not any(_is_in(path, folder) for folder in readable):
                raise PermissionError(f"this file may not be read here: {os.path.basename(path)}")
        elif event.startswith(REFUSED):
            raise PermissionError(f"not allowed here: {event}")

    return guard


def load_libraries():
    """Import all that a student's function may ask for; not the checks, and so none of their answers.

    The fork server does this once; each process then starts with it.
    """
    import torch

    torch.set_num_threads(1)
    from torch.utils._python_dispatch import TorchDispatchMode

    import course
    import swin_cifar

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            return operator(*args, **(kwargs or {}))

    with Watched():  # PyTorch imports much at the first watched operator
        torch.nn.functional.softmax(torch.zeros(2, 3), 1).sum().item()

    for package in (swin_cifar, course):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name not in ("check", "__main__", "explainer"):
                importlib.import_module(f"{package.__name__}.{module.name}")


# --- the student's function --------------------------------------------------------------


class Unusable(Exception):
    """In words, why there is no function to run."""


def lent_to(name):
    """-> {name: object}: the other pieces, `F`, `nn`, ..., within reach of a core piece, as in a check."""
    from course import my_swin, pieces

    return my_swin.names_for(name, ()) if name in pieces.PIECES else {}


def define(attempt, lent):
    """Run the chosen statements of an Attempt -> the function. Raises Unusable."""
    space, problem = {"__name__": "__student__"}, ""
    for cell, source, numbers in attempt.pieces:
        file = f"<cell {cell}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        for number in numbers:
            for statement in _one_by_one(ast.parse(source).body[number]):
                try:
                    code = compile(ast.Module([statement], []), file, "exec", dont_inherit=True)
                    exec(code, space)
                except Exception as error:  # then the function misses a name, and says so when it is called
                    problem = problem or f"{type(error).__name__}: {error}"
    function = space.get(attempt.name)
    if not callable(function):
        raise Unusable(f"The cell does not run: {problem or 'nothing is defined'}")
    space |= {name: each for name, each in lent.items() if name not in space}
    return function


def _one_by_one(statement):
    """`from a import b, c` as two statements: where one is refused, the other is there."""
    names = getattr(statement, "names", None)
    if not names or type(statement).__name__ not in ("Import", "ImportFrom"):
        return [statement]
    parts = [copy.copy(statement) for _ in names]
    for part, name in zip(parts, names):
        part.names = [name]
    return parts


# --- what it is asked for ----------------------------------------------------------------


def check(conn, attempt, seconds, megabytes):
    """The notebook's own check, in the student's process: what it says may be a lie."""
    load_libraries()
    from course.check import EXERCISES, watch

    watch.SECONDS = min(watch.SECONDS, seconds / 2)
    lent = lent_to(attempt.name)
    limit(conn, seconds, megabytes)
    try:
        function = define(attempt, lent)
        verdict = EXERCISES[attempt.name].verdict(function)
        found = {"passed": verdict.passed, "says": verdict.text, "stopped": verdict.stopped}
        if verdict.passed is False and not verdict.stopped:
            found["says"] += first_wrong(EXERCISES[attempt.name], function, verdict.text)
    except Unusable as reason:
        found = {"passed": False, "says": str(reason), "stopped": False}
    except BaseException as error:
        found = {"passed": False, "says": f"{type(error).__name__}: {error}"[:300], "stopped": True}
    conn.send_bytes(json.dumps(found).encode())
    os._exit(0)


def first_wrong(exercise, function, said):
    """-> in words, the first input of the notebook's check for which the result is wrong, if any is.

    `said`: by the check; what is in it stands there once.
    """
    import torch

    with torch.random.fork_rng([]), exercise._within_reach(function):
        torch.manual_seed(0)
        for label, inputs in exercise.cases().items():
            case = {label: inputs}
            if wrong := exercise.differs(function, case, exercise.answers(case)):
                known = label in " ".join(said.split())
                return f" First seen with {in_words(inputs)}." + ("" if known else f" {wrong}")
    return ""


def in_words(inputs):
    """Sizes of tensors, and numbers, in words."""
    words = []
    for each in inputs:
        if hasattr(each, "shape"):
            words.append("×".join(map(str, each.shape)) or "a number")
        elif isinstance(each, (int, float, tuple, str)):
            words.append(f"{each:.4g}" if isinstance(each, float) else str(each))
    return ", ".join(words)


def serve(conn, attempt, forbidden, seconds, megabytes):
    """Call the student's function with what the judge sends, and send back what it gives."""
    load_libraries()
    import torch

    from grading import layers, wire  # noqa: F401

    sys.modules["course.check"] = None  # cannot be imported, and its files cannot be read
    warm_up = wire.pack({"a": torch.zeros(1)})
    wire.unpack(warm_up), wire.unpack_trusted(warm_up)
    lent = lent_to(attempt.name)
    places, operators = forbidden
    take_away(places, lent)
    limit(conn, seconds, megabytes)

    def made(number):
        def ask(*inputs):
            conn.send_bytes(wire.pack({"call": number, "inputs": wire.plain(inputs)}))
            answer = wire.unpack_trusted(conn.recv_bytes())
            if "error" in answer:
                raise wire.error_of(*answer["error"])
            return answer["result"]

        return ask

    try:
        function = define(attempt, lent)
    except Unusable as reason:
        conn.send_bytes(wire.pack({"error": ("Unusable", str(reason))}))
        os._exit(0)
    while True:
        message = wire.unpack_trusted(conn.recv_bytes())
        torch.set_rng_state(message["chance"])
        torch.set_grad_enabled(message["grad"])
        inputs = wire.with_functions(message["inputs"], made)
        for tensor, gradient in zip(wire.tensors(inputs), message["gradients"]):
            tensor.grad = gradient
        try:
            with without(operators):
                result = function(*inputs)
            reply = {"result": wire.plain(result)}
        except Exception as error:
            reply = {"error": (type(error).__name__, _said(error, function))}
        reply |= {"chance": torch.get_rng_state(), "state": wire.state(inputs)}
        conn.send_bytes(wire.pack(reply))


def _said(error, function):
    """Where in the student's code it stopped, and why."""
    text = f"{type(error).__name__}: {error}".split("\n")[0][:160]
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if "<cell" in frame.filename]
    return f"your code stops at `{lines[-1]}` with {text}" if lines else text


def without(operators):
    """-> a context in which these operators of PyTorch raise PermissionError."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Without(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            if (name := operator.overloadpacket.__name__) in operators:
                raise PermissionError(f"the exercise forbids PyTorch's `{name}`: write it yourself")
            return operator(*args, **(kwargs or {}))

    return Without() if operators else contextlib.nullcontext()


def take_away(places, lent):
    """The functions whose code begins at these places, (file, line), raise PermissionError when called."""

    def gone(*inputs, **named):
        raise PermissionError("the exercise forbids this function: write it yourself")

    files = {file for file, _ in places}
    holders = [module for module in list(sys.modules.values()) if getattr(module, "__file__", "") in files]
    holders += [each for holder in holders for each in vars(holder).values() if isinstance(each, type)]
    spaces = [vars(holder) for holder in holders]
    spaces += [each.__globals__ for each in lent.values() if inspect.isfunction(each)][:1]
    for space in spaces:
        for name, each in list(space.items()):
            function = inspect.unwrap(each) if callable(each) else None
            code = function.__code__ if inspect.isfunction(function) else None
            if not code or (code.co_filename, code.co_firstlineno) not in places:
                continue
            if code.co_freevars:  # as what calls `super()`: another name for it stays what it is
                setattr(holders[spaces.index(space)], name, gone)
            else:
                function.__code__ = gone.__code__
