"""From a folder or zip of submissions to students, their notebooks, and the code of each exercise."""

import ast
import json
import re
import symtable
import zipfile
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from progress import NOTEBOOKS, exercises

LARGEST = 50 * 2**20  # bytes of a notebook; and all notebooks of a zip together are at most four times that
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_")  # Jane Doe_123_assignsubmission_file_
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_.")  # doejane_LATE_123_4567_file.ipynb
GRADESCOPE = re.compile(r"(?P<name>submission_(?P<id>\d+))$")  # a folder submission_123


class Unreadable(Exception):
    """In one line, why a file is no notebook that can be graded."""


@dataclass
class Student:
    name: str
    id: str = ""  # as the learning platform gives it in names of files
    moodle: bool = False
    notebooks: dict = field(default_factory=dict)  # {"04": [(id of a cell, its source)]}
    remarks: list = field(default_factory=list)  # one line for each file that could not be used


@dataclass
class Attempt:
    """The code of one exercise of one student. `pieces`: [(cell, source, [numbers of its statements])]."""

    name: str
    pieces: list = field(default_factory=list)
    problem: str = ""  # in words, why nothing can be run
    own: str = ""  # the student's own source among the pieces


# --- files -------------------------------------------------------------------------------


def collect(path, one=False):
    """-> [Student], by name. Of a file that is no notebook of the course, the student gets a remark.

    `one`: all files are one student's.

    Raises Unreadable where there is nothing to grade at all.
    """
    path = Path(path)
    if not path.exists():
        raise Unreadable(f"there is no {path}: give the folder or zip that holds the submissions")
    students = {}
    originals = read_originals()
    for parts, data in sorted(_files(path), key=lambda found: found[0]):
        name, number = (path.stem, "") if one else _whose(parts)
        moodle = bool(MOODLE.match(parts[0]))
        student = students.setdefault((number or name).lower(), Student(name, number, moodle))
        if data is None:
            continue
        file = "/".join(parts)
        try:
            cells = read_notebook(data)
            notebook = recognise(cells, originals)
            if notebook is None:
                raise Unreadable("not a notebook of this course, or one without exercises")
        except Unreadable as reason:
            student.remarks.append(f"{file}: {reason}")
            continue
        if notebook in student.notebooks:
            student.remarks.append(f"{file}: a second notebook {notebook}; the one with more written counts")
            cells = max(student.notebooks[notebook], cells, key=lambda c: _written(originals[notebook], c))
        student.notebooks[notebook] = cells
    if not students:
        raise Unreadable(f"{path} holds no submissions")
    for student in students.values():
        if not (student.notebooks or student.remarks):
            student.remarks.append("no notebook (.ipynb) in it")
    return sorted(students.values(), key=lambda student: (student.name.lower(), student.id))


def _files(path):
    """(parts of the name, bytes) of all notebooks; None or Unreadable's words in place of bytes."""
    if path.is_file():
        yield from _unpacked((path.name,), path.read_bytes(), whole=True)
        return
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if re.match(r"assignment_\d+_export$", parts[0]):  # Gradescope's, around all folders
            parts = parts[1:]
        if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if file.is_dir():
            if len(parts) == 1:
                yield parts, None
        elif file.suffix.lower() in (".ipynb", ".zip"):
            yield from _unpacked(parts, file.read_bytes() if file.stat().st_size <= 4 * LARGEST else b"")


def _unpacked(parts, data, whole=False, depth=0):
    """A notebook as it is; of a zip the notebooks in it. `whole`: the zip holds the class."""
    if not parts[-1].lower().endswith(".zip"):
        yield parts, data
        return
    outer = () if whole else parts
    if outer:
        yield outer, None
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            left = 4 * LARGEST
            for entry in archive.infolist():
                inner = PurePosixPath(entry.filename.replace("\\", "/")).parts
                hidden = any(part.startswith(".") or part == "__MACOSX" for part in inner)
                if entry.is_dir() or hidden or not inner[-1].lower().endswith((".ipynb", ".zip")):
                    continue
                left -= entry.file_size
                if left < 0 or depth > 1:
                    raise zipfile.BadZipFile("too large")
                yield from _unpacked(outer + inner, archive.read(entry), depth=depth + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, ValueError):
        yield (outer or parts), b"PK"  # said of it when it is read


def _whose(parts):
    """-> the name and number of the student, from the first part of a file's name."""
    for pattern in (MOODLE, GRADESCOPE, CANVAS):
        if found := pattern.match(parts[0]):
            return found["name"], found["id"]
    return re.sub(r"\.(ipynb|zip)$", "", parts[0], flags=re.IGNORECASE), ""


# --- notebooks ---------------------------------------------------------------------------


def read_notebook(data):
    """bytes -> [(id, source)] of its code cells, with plain line ends. Raises Unreadable."""
    if not data.strip():
        raise Unreadable("the file is empty")
    if data.startswith(b"PK"):
        raise Unreadable("a zip that cannot be unpacked")
    if len(data) > LARGEST:
        raise Unreadable(f"larger than {LARGEST >> 20} MB")
    try:
        cells = json.loads(data.decode("utf-8-sig"))["cells"]
        found = []
        for cell in cells:
            if cell["cell_type"] == "code":
                source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
                name = cell.get("id") or cell.get("metadata", {}).get("id") or ""
                found.append((str(name), source.replace("\r\n", "\n").replace("\r", "\n")))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("damaged, or no notebook of format 4") from None


@dataclass
class Original:
    cells: list  # [(id, source)] of the code cells
    exercises: list  # names, in the notebook's order


def read_originals(folder=NOTEBOOKS):
    """-> {"04": Original}, of the notebooks that have exercises."""
    found = {}
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        names = exercises(path)
        if names:
            found[path.name[:2]] = Original(read_notebook(path.read_bytes()), names)
    return found


def recognise(cells, originals):
    """-> which of the course's notebooks this is, by its cells' ids, then by what it checks; or None."""
    ids, text = {name for name, _ in cells}, "\n".join(source for _, source in cells)

    def shared(original):
        stems = [name.replace("_", "-") for name in original.exercises]
        return sum(ids.intersection((f"{stem}-skeleton", f"{stem}-check")) != set() for stem in stems)

    def checked(original):
        return sum(f"check.{name}(" in text or f"def {name}(" in text for name in original.exercises)

    for count in (shared, checked):
        best = max(originals, key=lambda number: count(originals[number]))
        if count(originals[best]):
            return best
    return None


def _written(original, cells):
    return sum(bool(attempt(original, cells, name)) for name in original.exercises)


# --- the code of an exercise -------------------------------------------------------------


def attempt(original, cells, name):
    """-> Attempt, or None where the student wrote nothing.

    It holds the cell `NAME-skeleton` and, of other cells, only the definitions which that code needs: first
    the student's own, then the original notebook's imports and functions. Nothing else of the notebook runs.
    """
    skeleton = f"{name.replace('_', '-')}-skeleton"
    texts = {_lines(source) for _, source in original.cells}
    own = [(cell, source) for cell, source in cells if source.strip() and _lines(source) not in texts]
    written = dict(own).get(skeleton)
    if written is None or not _defines(written, name):
        elsewhere = [(cell, source) for cell, source in own if _defines(source, name)]
        if elsewhere:
            skeleton, written = elsewhere[-1]
        elif written is None:
            return None
    try:
        ast.parse(plain(written))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = getattr(error, "msg", None) or str(error) or type(error).__name__
        line = f" in line {error.lineno}" if getattr(error, "lineno", None) else ""
        return Attempt(name, problem=f"The cell does not run: {what}{line}.", own=written)
    if not _defines(written, name):
        return Attempt(name, problem=f"The cell does not define `{name}`: keep the name.", own=written)
    own = [pair for pair in own if pair != (skeleton, written)] + [(skeleton, written)]
    return _with_what_it_needs(name, own, original)


def _with_what_it_needs(name, own, original):
    """`own`: the student's cells, the one with the function last."""
    place = next((i for i, (cell, _) in enumerate(original.cells) if cell == own[-1][0]), len(original.cells))
    theirs = original.cells[place:] + original.cells[:place]  # of two definitions the last one counts
    theirs = [(f"original {cell}", source) for cell, source in theirs if not cell.endswith("-skeleton")]
    table, order = {}, []  # name: (cell, source, number of the statement, names it uses)
    for cell, source in theirs + own:
        for number, (defined, used, simple) in enumerate(_statements(source)):
            if defined and (simple or not cell.startswith("original ")):
                order.append((cell, source, number, used))
                table.update((each, order[-1]) for each in defined)
    chosen = [table[name]]
    for entry in chosen:  # grows
        chosen += [table[each] for each in sorted(entry[3]) if each in table and table[each] not in chosen]
    pieces = {}
    for cell, source, number, _ in (entry for entry in order if entry in chosen):
        pieces.setdefault((cell, source), []).append(number)
    parts = [
        _part(source, number)
        for (cell, source), numbers in pieces.items()
        for number in numbers
        if not cell.startswith("original ")
    ]
    pieces = [(cell, plain(source), numbers) for (cell, source), numbers in pieces.items()]
    return Attempt(name, pieces, own="\n".join(parts))


def plain(source):
    """Without IPython's `%...`, `!...` and `?`: as many lines as before."""
    return "\n".join("" if re.match(r"\s*[%!?]|[\w.]+\?+$", line) else line for line in source.split("\n"))


def _tree(source):
    try:
        return ast.parse(plain(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _part(source, number):
    return ast.get_source_segment(plain(source), _tree(source)[number]) or ""


def _lines(source):
    """Two sources with the same lines are the same."""
    return tuple(line.rstrip() for line in source.strip().split("\n"))


def _defines(source, name):
    """At its margin? A cell with an error in it is searched for the line."""
    found = any(name in defined for defined, _, _ in _statements(source))
    return found or bool(not _tree(source) and re.search(rf"^def {name}\b", source, re.MULTILINE))


@lru_cache(4096)  # the original's cells are asked for again and again
def _statements(source):
    """For each statement at the margin: names it defines, names it uses, is it an import, def or constant?"""
    return [*_each_statement(source)]


def _each_statement(source):
    for node in _tree(source):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield {(each.asname or each.name).split(".")[0] for each in node.names}, set(), True
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield {node.name}, _used(node) - {node.name}, True
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {each.id for t in targets for each in ast.walk(t) if isinstance(each, ast.Name)}
            plain_names = all(isinstance(t, (ast.Name, ast.Tuple)) for t in targets)
            constant = isinstance(node.value, ast.Constant)
            yield (names if plain_names else set()), _used(node) - names, constant
        else:
            yield set(), set(), False


def _used(node):
    """The names that a statement takes from outside itself."""
    tables = [symtable.symtable(ast.unparse(node), "a cell", "exec")]
    used = set()
    for table in tables:  # grows: functions, their own functions, comprehensions, ...
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() or (table is tables[0] and symbol.is_referenced()):
                used.add(symbol.get_name())
    return used
