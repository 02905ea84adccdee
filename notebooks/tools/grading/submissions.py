"""From a folder or zip of submissions to students, their notebooks, and the code of each exercise."""

import ast
import json
import re
import symtable
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from progress import NOTEBOOKS, exercises

LARGEST = 50 * 2**20  # bytes of a notebook; all notebooks of a student's zip have at most four times that
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_")  # Jane Doe_123_assignsubmission_file_
CANVAS = re.compile(
    r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_(?P<file>\d+)_."
)  # doe_LATE_123_4567_x.ipynb
GRADESCOPE = re.compile(r"(?P<name>submission_(?P<id>\d+))$")  # a folder submission_123


class Unreadable(Exception):
    """In one line, why a file is no notebook that can be graded."""


class Foreign(Unreadable):
    """It can be read, and is none of the notebooks with exercises."""


@dataclass
class Student:
    name: str
    id: str = ""  # as the learning platform gives it in names of files
    moodle: bool = False
    notebooks: dict = field(default_factory=dict)  # {"04": [(id of a cell, its source)]}
    words: dict = field(default_factory=dict)  # {"04": [a text cell of the student's own]}
    unread: list = field(default_factory=list)  # one line for each file that could not be read
    remarks: list = field(default_factory=list)  # one line for each other file that was not used
    late: bool = False  # as Canvas says in names of files


@dataclass
class Attempt:
    """The code of one exercise of one student. `pieces`: [(cell, source, [numbers of its statements])]."""

    name: str
    pieces: list = field(default_factory=list)
    problem: str = ""  # in words, why nothing can be run
    own: str = ""  # the student's own source among the pieces


# --- files -------------------------------------------------------------------------------


def collect(path, one=False, originals=None):
    """-> [Student], by name. Of a file that is no notebook of the course, the student gets a remark.

    `one`: all files are one student's.

    Raises Unreadable where there is nothing to grade at all, or a zip of the class is damaged.
    """
    path, originals = Path(path), originals or read_originals()
    if not path.exists():
        raise Unreadable(f"there is no {path}: give the folder or zip that holds the submissions")
    files = [(parts, _read(data, originals)) for parts, data in _files(path)]
    files = sorted(files if one else _without_a_folder_around(files), key=lambda file: file[0])
    students, canvas = {}, _are_canvas({parts[0] for parts, _ in files})
    for parts, found in files:
        name, number, late = (path.stem, "", False) if one else _whose(parts, canvas)
        moodle = bool(MOODLE.match(parts[0]))
        student = students.setdefault((number or name).lower(), Student(name, number, moodle))
        student.late |= late
        file = "/".join(parts)
        if isinstance(found, Unreadable):
            (student.remarks if isinstance(found, Foreign) else student.unread).append(f"{file}: {found}")
        elif found:
            notebook, cells, words = found
            student.words[notebook] = student.words.get(notebook, []) + words
            if notebook in student.notebooks:
                remark = f"{file}: a second notebook {notebook}; the one with more written counts"
                student.remarks.append(remark)
                both = student.notebooks[notebook], cells
                cells = max(both, key=lambda cells: _written(originals[notebook], cells))
            student.notebooks[notebook] = cells
    if not students:
        raise Unreadable(f"{path} holds no submissions")
    for student in students.values():
        if not (student.notebooks or student.unread):
            student.unread, student.remarks = student.remarks or ["no notebook (.ipynb) in it"], []
    return sorted(students.values(), key=lambda student: (student.name.lower(), student.id))


def _read(data, originals):
    """-> (number of the notebook, its code, the student's text cells), or Unreadable; of a folder None."""
    if data is None or isinstance(data, Unreadable):
        return data
    try:
        cells = read_notebook(data)
    except Unreadable as reason:
        return reason
    number = recognise(cells, originals)
    if number:
        return number, cells, _own_words(data, originals[number])
    return Foreign("not a notebook of this course, or one without exercises")


def _own_words(data, original):
    """-> the text cells that the student has added; none where an editor has given all cells other ids."""
    texts = read_notebook(data, "markdown")
    if not original.texts_of.intersection(name for name, _ in texts):
        return []
    return [source.strip() for name, source in texts if name not in original.texts_of and source.strip()]


def _files(path):
    """(parts of the name, bytes) of all notebooks; None for a folder, Unreadable for what cannot be read."""
    if path.is_file():
        yield from _unpacked((path.name,), path.read_bytes(), whole=True)
        return
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        if _is_hidden(parts):
            continue
        if file.is_dir():
            yield parts, None
        elif file.suffix.lower() in (".ipynb", ".zip"):
            large = _too_large(parts, file.stat().st_size)
            yield from [(parts, large)] if large else _unpacked(parts, file.read_bytes())


def _unpacked(parts, data, whole=False, depth=0):
    """A notebook as it is; of a zip the notebooks in it. `whole`: the zip holds the class."""
    if not parts[-1].lower().endswith(".zip"):
        yield parts, data
        return
    outer = () if whole else parts
    if outer:
        yield outer, None
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except BROKEN:
        if whole:  # never go on with a part of the class
            raise Unreadable(f"{parts[-1]} cannot be unpacked: download it again") from None
        yield outer, Unreadable("a zip that cannot be unpacked")
        return
    left = 4 * LARGEST  # for a student's zip; the class may need more
    for entry in archive.infolist():
        inner = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if not inner or _is_hidden(inner):
            continue
        if entry.is_dir():
            yield outer + inner, None
        elif inner[-1].lower().endswith((".ipynb", ".zip")):
            left -= 0 if whole else entry.file_size
            large = _too_large(inner, entry.file_size)
            if large or left < 0 or depth > 1:
                yield outer + inner, large or Unreadable("in a zip that is too large")
                continue
            try:
                content = archive.read(entry)
            except BROKEN:
                yield outer + inner, Unreadable("a file in a zip that cannot be unpacked")
                continue
            yield from _unpacked(outer + inner, content, depth=depth + 1)


def _is_hidden(parts):
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _too_large(parts, size):
    most = LARGEST if parts[-1].lower().endswith(".ipynb") else 4 * LARGEST
    return Unreadable(f"larger than {most >> 20} MB") if size > most else None


def _without_a_folder_around(files):
    """Without Gradescope's folder around the class, or another one: it holds one of the notebooks twice."""
    files = [(p[1:] if re.match(r"assignment_\d+_export$", p[0]) else p, found) for p, found in files]
    files = [(parts, found) for parts, found in files if parts]
    numbers = [found[0] for _, found in files if isinstance(found, tuple)]
    if len(set(numbers)) == len(numbers):
        return files
    while len(tops := {parts[0] for parts, _ in files}) == 1:
        inner = [(parts[1:], found) for parts, found in files if parts[1:]]
        if not inner or any(pattern.match(*tops) for pattern in (MOODLE, GRADESCOPE)):
            break
        files = inner
    return files


def _are_canvas(names):
    """Has each name Canvas's form, and each file a number of its own?"""
    found = [CANVAS.match(name) for name in names]
    return all(found) and len({each["file"] for each in found}) == len(found)


def _whose(parts, canvas):
    """-> the name and number of the student, is it late, from the first part of a file's name."""
    for pattern in (MOODLE, GRADESCOPE, *[CANVAS] * canvas):
        if found := pattern.match(parts[0]):
            return found["name"], found["id"], bool(found.groupdict().get("late"))
    return re.sub(r"\.(ipynb|zip)$", "", parts[0], flags=re.IGNORECASE), "", False


# --- notebooks ---------------------------------------------------------------------------


def read_notebook(data, kind="code"):
    """bytes -> [(id, source)] of its cells of a kind, with plain line ends. Raises Unreadable."""
    if not data.strip():
        raise Unreadable("the file is empty")
    try:
        cells = json.loads(data.decode("utf-8-sig"))["cells"]
        found = []
        for cell in cells:
            if cell["cell_type"] == kind:
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
    texts_of: frozenset = frozenset()  # ids of its text cells

    @cached_property
    def texts(self):
        return {_lines(source) for _, source in self.cells}


def read_originals(folder=NOTEBOOKS):
    """-> {"04": Original}, of the notebooks that have exercises."""
    found = {}
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        names = exercises(path)
        if names:
            data = path.read_bytes()
            texts = frozenset(name for name, _ in read_notebook(data, "markdown"))
            found[path.name[:2]] = Original(read_notebook(data), names, texts)
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
    own = [
        (cell, source) for cell, source in cells if source.strip() and not is_original(cell, source, original)
    ]
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


def is_original(cell, source, original):
    """Is it one of the notebook's cells, or, as in a handout, one with lines left out or after a "#"?"""
    lines = _lines(source)
    if lines in original.texts or cell.endswith("-skeleton"):
        return lines in original.texts
    known = dict(original.cells).get(cell, "")
    return {line.removeprefix("# ") for line in lines} <= {line.removeprefix("# ") for line in _lines(known)}


def _with_what_it_needs(name, own, original):
    """`own`: the student's cells, the one with the function last."""
    place = next((i for i, (cell, _) in enumerate(original.cells) if cell == own[-1][0]), len(original.cells))
    theirs = original.cells[place:] + original.cells[:place]  # of two definitions the last one counts
    theirs = [(f"original {cell}", source) for cell, source in theirs if not cell.endswith("-skeleton")]
    table, order = {}, []  # name: [(cell, source, number of the statement, names it uses)]
    for cell, source in theirs + own:
        for number, (kind, defined, changed, used) in enumerate(_statements(source)):
            if cell.startswith("original ") and kind is OTHER:
                continue
            order.append((cell, source, number, used))
            for each in defined | changed:  # of a function the last definition counts, else all of it
                table[each] = ([] if kind is WHOLE else table.get(each, [])) + [order[-1]]
    chosen = [*table[name], *table.get("*", [])]
    for entry in chosen:  # grows
        chosen += [e for each in sorted(entry[3]) for e in table.get(each, []) if e not in chosen]
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
    """Without IPython's `%...`, `!...` and `?`: as many lines as before. What is Python stays as it is."""
    try:
        ast.parse(source)
        return source
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    magic = re.compile(r"[ \t]*(%%?[a-zA-Z]|[!?](?!=))|[\w.]+\?+$")
    return "\n".join("" if magic.match(line) else line for line in source.split("\n"))


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
    found = any(name in defined for _, defined, _, _ in _statements(source))
    return found or bool(not _tree(source) and re.search(rf"^def {name}\b", source, re.MULTILINE))


WHOLE, SIMPLE, OTHER = "a function or class", "an import or a constant", "another statement"
CHANGE = {"append", "extend", "insert", "update", "add", "setdefault", "pop", "remove", "sort", "reverse"}


@lru_cache(4096)  # the original's cells are asked for again and again
def _statements(source):
    """For each statement at the margin: its kind; the names it defines, changes by `T[0] = 1`, and uses."""
    return [(_kind(node), *_names(node)) for node in _tree(source)]


def _kind(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return WHOLE
    constant = isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
    return SIMPLE if constant or isinstance(node, (ast.Import, ast.ImportFrom)) else OTHER


def _names(node):
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return {"*"}, set(), set()
    try:
        tables = [symtable.symtable(ast.unparse(node), "a cell", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # such as `nonlocal x` at the margin
        return set(), set(), set()
    outside = tables[0].get_symbols()
    defined = {each.get_name() for each in outside if each.is_assigned() or each.is_imported()}
    used = {each.get_name() for each in outside if each.is_referenced()}
    for table in tables:  # grows: functions, their own functions, comprehensions, ...
        tables += table.get_children()
        used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    changed = set() if _kind(node) is WHOLE else {_base(part) for part in ast.walk(node)} - {None}
    return defined, changed, used | changed


def _base(part):
    """`T` of `T[0] = 1`, `T.a.b = 1` and `T.append(1)`, or None."""
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
        place = part.func if part.func.attr in CHANGE or part.func.attr.endswith("_") else None
    else:
        place = part if isinstance(getattr(part, "ctx", None), (ast.Store, ast.Del)) else None
    if not isinstance(place, (ast.Attribute, ast.Subscript)):
        return None
    while isinstance(place, (ast.Attribute, ast.Subscript)):
        place = place.value
    return place.id if isinstance(place, ast.Name) else None
