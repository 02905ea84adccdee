"""What a person should look at. A flag is no proof and takes no points: a short function is often equal."""

import ast
import re

from progress import NOTEBOOKS

from grading.submissions import plain

LONG_ENOUGH = 60  # parts of the code: below this, two honest students write the same
READS_ANSWERS = {"answer", "answers", "mistakes", "verdict"}  # after a point; a variable may be called so
CHECKS = {"check", "core", "watch", "in_use", "EXERCISES", "package_pieces", "solutions", "course"}
REACHES_OUT = {
    *("sys", "os", "gc", "inspect", "ctypes", "subprocess", "socket", "importlib", "builtins", "threading"),
    *("signal", "multiprocessing", "pickle", "linecache", "open", "eval", "exec", "compile", "__import__"),
    *("globals", "settrace", "_getframe", "__globals__", "__code__", "__subclasses__", "__builtins__"),
    *("getattr", "setattr", "delattr", "vars", "__dict__", "__class__", "__loader__", "__mro__", "__base__"),
}


def of_code(name, source):
    """-> [a line for each]: words in the code of an exercise that it does not need."""
    tree = _tree(source)
    parts = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    parts |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    words = parts | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {part for node in ast.walk(tree) for part in _imported(node)}
    found = [f"reads the check: `{word}`" for word in sorted(parts & READS_ANSWERS)]
    found += [f"reaches the check: `{word}`" for word in sorted(words & CHECKS)]
    found += [f"reaches out of the exercise: `{word}`" for word in sorted(words & REACHES_OUT)]
    if any(isinstance(n, ast.Attribute) and n.attr == name for n in ast.walk(tree)) or _imports(tree, name):
        found.append(f"uses another `{name}`")
    return found


def _tree(source):
    try:
        return ast.parse(plain(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _imported(node):
    if isinstance(node, ast.ImportFrom):
        places = {*(node.module or "").split(".")} - {"course"}  # some of its modules are for students
        return [*places, *(each.name for each in node.names)]
    return [p for each in node.names for p in each.name.split(".")] if isinstance(node, ast.Import) else []


def _imports(tree, name):
    return any(name in _imported(node) for node in ast.walk(tree))


def of_notebook(original, cells):
    """-> [a line for each]: check cells changed or gone, assignments into the checks or the package."""
    found, theirs, known = [], dict(cells), dict(original.cells)
    for name in original.exercises:
        cell = f"{name.replace('_', '-')}-check"
        source = theirs.get(cell)
        if source is None:
            found.append(f"the check cell of {name} is gone")
        elif re.sub(r"(#.*|\s)", "", source) != re.sub(r"\s", "", known[cell]):
            found.append(f"the check cell of {name} is changed")
    for cell, source in cells:
        for node in ast.walk(_tree(source)):
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                if isinstance(target, ast.Attribute) and source != known.get(cell):
                    words = ast.unparse(target)
                    if re.match(r"(check|core|course|swin_cifar|torch|my_swin|watch)\b", words):
                        found.append(f"assigns to `{words}`")
    return found


def equal_code(attempts, names):
    """[(student, Attempt)] -> {(student, exercise): a line} for code that is the same but for its names.

    `names`: {student: what to call them}; two may have the same.
    """
    groups, found = {}, {}
    for student, attempt in attempts:
        if form := _form(attempt.own):
            groups.setdefault((attempt.name, form), []).append(student)
    solutions = {(name, _form(source)) for name, source in _solutions()}
    for (name, form), students in groups.items():
        for student in students:
            others = ["the course's own"] if (name, form) in solutions else []
            others += [names[other] for other in students if other != student]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            if others:
                found[student, name] = f"the same code as {', '.join(others[:5])}{more}"
    return found


def _solutions():
    """(name, source): those of the course, and what the package has under the same name."""
    for path in NOTEBOOKS.glob("solutions/*.py"):
        yield path.stem[3:], path.read_text(encoding="utf-8")
    for path in (*NOTEBOOKS.parent.glob("swin_cifar/*.py"), NOTEBOOKS / "course" / "package_pieces.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                yield node.name, ast.get_source_segment(source, node)


def _form(source):
    """The code with its variables numbered, without texts that stand alone; "" where it is short."""
    tree, numbers = _tree(source), {}
    tree.body = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        for field in ("id", "arg"):
            if getattr(node, field, None) in own and isinstance(node, (ast.Name, ast.arg)):
                setattr(node, field, f"v{numbers.setdefault(getattr(node, field), len(numbers))}")
        if isinstance(getattr(node, "body", None), list):
            alone = [each for each in node.body if isinstance(each, ast.Expr)]
            texts = [each for each in alone if isinstance(each.value, ast.Constant)]
            node.body = [each for each in node.body if each not in texts] or [ast.Pass()]
        for hint in ("annotation", "returns"):
            if hasattr(node, hint) and not isinstance(node, ast.AnnAssign):
                setattr(node, hint, None)
    return ast.dump(tree) if sum(1 for _ in ast.walk(tree)) >= LONG_ENOUGH else ""
