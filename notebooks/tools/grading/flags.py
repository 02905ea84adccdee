"""What a person should look at. A flag is no proof and takes no points: a short function is often equal."""

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache

from progress import NOTEBOOKS

from grading.submissions import is_original, plain, read_originals

LONG_ENOUGH = 160  # parts of the code: below this, two honest students write the same
TOGETHER = 200  # of all functions of a student: the two of 04 are the same in most of an honest class
SHORT = "like the course's own, as are others of this notebook; short, so an honest answer may be"
READS_ANSWERS = {"answer", "answers", "mistakes", "verdict"}  # after a point; a variable may be called so
CHECKS = {"check", "core", "watch", "in_use", "EXERCISES", "package_pieces", "solutions", "course"}
REACHES_OUT = {
    *("sys", "os", "gc", "inspect", "ctypes", "subprocess", "socket", "importlib", "builtins", "threading"),
    *(
        "signal",
        "resource",
        "multiprocessing",
        "pickle",
        "linecache",
        "open",
        "eval",
        "exec",
        "compile",
        "__import__",
    ),
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
                if isinstance(target, ast.Attribute) and not is_original(cell, source, original):
                    words = ast.unparse(target)
                    if re.match(r"(check|core|course|swin_cifar|torch|my_swin|watch)\b", words):
                        found.append(f"assigns to `{words}`")
    return found


def equal_code(attempts, names):
    """[(student, Attempt)] -> {(student, exercise): [lines]}, [[names, exercises, what is the same]].

    `names`: {student: what to call them}; two may have the same. A short function alone is no sign, since
    honest answers are the same: of the course's own code, those of a notebook count together. A comment that
    two have in common is a sign, however short the function is. A weak one: all that two have attempted is
    the same to the letter.
    """
    owners, sizes, found, forms, letters = {}, Counter(), {}, {}, {}
    names = {None: "the course's own"} | names
    own = [*_own_code()]
    for name, _, source in own:
        for sign in (_form(source), *_comments(source)):
            owners.setdefault((name, sign), set()).add(None)
    numbers = {name: number for name, number, _ in own if number}
    for student, attempt in attempts:
        form, name = _form(attempt.own), attempt.name
        size = sum(1 for _ in ast.walk(_tree(attempt.own)))
        signs = set(_comments(attempt.own)) | ({form} if size >= LONG_ENOUGH else set())
        forms[student, name] = form, signs
        for sign in signs:
            owners.setdefault((name, sign), set()).add(student)
        if None in owners.get((name, form), ()):
            sizes[student, numbers.get(name)] += size
        letters.setdefault(student, set()).add((name, _letters(attempt.own)))
        sizes[student] += size
    for (student, name), (form, signs) in forms.items():
        alike = owners[name, form] - {student} if form in signs else set()
        comments = set().union(*(owners[name, sign] for sign in signs)) - {student} - alike
        if alike or comments:
            words = [(alike, "code"), (comments, "comments")]
            found[student, name] = [f"the same {what} as {_called(who, names)}" for who, what in words if who]
        elif None in owners.get((name, form), ()) and sizes[student, numbers.get(name)] >= LONG_ENOUGH:
            found[student, name] = [SHORT]
    ours = {(name, _letters(source)) for name, _, source in own}
    whole = {s: frozenset(texts) for s, texts in letters.items() if len(texts) > 1 and sizes[s] >= TOGETHER}
    for student, texts in whole.items():
        owners.setdefault(texts, {None} if texts <= ours else set()).add(student)
    for student, texts in whole.items():
        if who := owners[texts] - {student}:
            first = next(place for place in forms if place[0] == student)
            line = f"letter for letter the same as {_called(who, names)} in all {len(texts)} functions"
            found.setdefault(first, []).append(f"{line} (short ones: it may be chance)")
    return found, _groups(owners, names)


def _called(who, names):
    """Five of them, and where the others stand."""
    called = [names[each] for each in names if each in who]
    more = f" and {len(called) - 5} more: see the table of groups" if len(called) > 5 else ""
    return ", ".join(called[:5]) + more


def _groups(owners, names):
    """-> [[names, exercises, why]], a line for each set of students and what they share."""
    groups = {}
    for place, who in owners.items():
        if len(who - {None}) > 1:
            whole = isinstance(place, frozenset)
            why = "all functions, letter for letter" if whole else "code, whatever its names"
            why = "comments" if not whole and place[1].startswith("#") else why
            exercises = {name for name, _ in place} if whole else {place[0]}
            students, found = groups.setdefault((frozenset(who - {None}), why), (set(), set()))
            students |= who  # and None, where one of the signs is the course's own
            found |= exercises
    return [
        [", ".join(names[each] for each in names if each in who), ", ".join(sorted(exercises)), why]
        for (_, why), (who, exercises) in groups.items()
    ]


def _own_code():
    """(name, number of the notebook or "", source): solutions, and what the package has under a name."""
    for path in NOTEBOOKS.glob("solutions/*.py"):
        yield path.stem[3:], path.stem[:2], path.read_text(encoding="utf-8")
    for path in (*NOTEBOOKS.parent.glob("swin_cifar/*.py"), NOTEBOOKS / "course" / "package_pieces.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                yield node.name, "", ast.get_source_segment(source, node)


def _comments(source):
    """-> the comments of three words or more; one of shapes alone is written by many."""
    texts = [token.string for token in _comment_tokens(source)]
    return [text for text in texts if len(re.findall(r"[A-Za-z]{3,}", text)) >= 3 and text not in _given()]


def _comment_tokens(source):
    try:
        tokens = [*tokenize.generate_tokens(io.StringIO(plain(source)).readline)]
    except (tokenize.TokenError, SyntaxError):
        return []
    return [token for token in tokens if token.type == tokenize.COMMENT]


def _letters(source):
    """-> its lines as they are, without comments, imports, empty lines and what trails."""
    lines = source.split("\n")
    for token in _comment_tokens(source):
        row, column = token.start
        lines[row - 1] = lines[row - 1][:column]
    return tuple(line.rstrip() for line in lines if line.strip() and not re.match(r"import |from ", line))


@cache
def _given():
    """All notebooks in one text: what a skeleton says, everybody has."""
    return "\n".join(source for original in read_originals().values() for _, source in original.cells)


def _form(source):
    """What the code does, without what is easily changed.

    Its variables are numbered. Left out are texts, hints of types, imports, what only prints or refuses
    its input, other names for the same, and the sizes for `view` and `reshape`: of right answers these
    are equal, -1 or not.
    """
    try:
        return _short_form(source)
    except RecursionError:
        return ""


def _short_form(source):
    tree = Shorter().visit(_tree(source))
    for _ in range(3):  # what only a dropped line has needed
        loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        tree = Unused(loaded).visit(tree)
    numbers = {}
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        for field in ("id", "arg"):
            if getattr(node, field, None) in own and isinstance(node, (ast.Name, ast.arg)):
                setattr(node, field, f"v{numbers.setdefault(getattr(node, field), len(numbers))}")
    return ast.dump(tree)


class Shorter(ast.NodeTransformer):
    """Drops what a copy may lack without doing less."""

    def __init__(self):
        self.same = {}  # other names

    def visit_FunctionDef(self, node):
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node):
        return ast.arg(node.arg)

    def visit_Import(self, node):
        return None

    visit_ImportFrom = visit_Assert = visit_Import

    def visit_If(self, node):
        if all(isinstance(each, ast.Raise) for each in node.body) and not node.orelse:
            return None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Expr(self, node):
        value = node.value
        alone = isinstance(value, ast.Constant) or (
            isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
        )
        return None if alone else self.generic_visit(node)

    def visit_Assign(self, node):
        if isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
            self.same[node.targets[0].id] = self.same.get(node.value.id, node.value.id)
            return None
        return self.generic_visit(node)

    def visit_Name(self, node):
        return ast.Name(self.same.get(node.id, node.id), node.ctx)

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("view", "reshape"):
            node.func.attr = "view"
            node.args = [ast.Constant(len(node.args))]
        return node


class Unused(ast.NodeTransformer):
    """Drops variables that nothing reads."""

    def __init__(self, loaded):
        self.loaded = loaded

    def visit_Assign(self, node):
        names = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        plain_names = all(isinstance(target, (ast.Name, ast.Tuple)) for target in node.targets)
        return None if plain_names and not names & self.loaded else node
