"""What students get: a notebook without its answers, a module with its answers packed. (For handout.py.)"""

import ast
import base64
import re
import zlib

import nbformat
from colab import IDS, publish


class Refused(Exception):
    """In one line, why no handout can be made, and what to do."""


# --- notebooks --------------------------------------------------------------------------

WORDS = (  # what would not be true in a handout, and what is
    (r"and some questions, with hidden\s+answers\.", "and some questions."),
    (
        r"Stuck\? `%load \S+` in an empty cell fetches a solution; run that cell, then the\s+check\.",
        "Stuck? Read once more what is asked, the hint, and what the check says.",
    ),
    (r"<details><summary>Answers</summary>.*?</details>", "(The answers are not part of this handout.)"),
    (
        r"Question 2 has said that the picture can be computed back from tokens of 96 numbers, given the "
        r"weights\.\s+Here it is done:",
        "Question 2, for C = 96: can the picture be computed back from the tokens, given the weights?",
    ),
)
SKIP = (  # what is not true of an exercise that counts
    r"\s+You may also\s+skip\s+it\s+and\s+go\s+on\.",
    r"\s+If\s+you\s+skip\s+it,\s+the\s+package's\s+(piece|function)\s+takes\s+its\s+place,[^.]*\.",
)
SOURCE = r"^print\(inspect\.getsource\("  # shows the package's layer
LATER = "(Here stands the package's own code. In a lab read it when you have handed in.)"
FOLD = "<details><summary>Open this once you have run the cell above</summary>\n\n{}\n\n</details>"
NO_ANSWER = {  # texts that follow a Predict and do not answer it
    "00": "name-count-text",
    "02": "norm-hand-intro norm-hand-text",
    "04": "split-text mix-text",
    "05": "variance-text slope-text",
    "06": "general-equal-text learned-check-text resize-model-text",
    "07": "parts-text one-bit-proof padding-figure-text",
    "09": "floor-text newton-schulz-text until-text",
    "10": "classes-check-text confusion-text",
    "11": "query-text content-shared-text content-read-text greyed-read-text vote-read-text "
    "base-reach-figure-text",
    "13": "steps-answer-text parts-answer-text",
    "14": "one-shapes-text two-read-text",
    "15": "rivals-text from-text worth-read-text honest-text honest-more-text photo-read-text",
}


def notebook_for_students(notebook, file, absent=(), colab=None, points=None):
    """-> the notebook of this file name without outputs, answers, slides and notes; cells keep their ids.

    `absent`: files and folders that the handout lacks; `colab`: (address, branch) for a line "Open in Colab";
    `points`: {exercise: what it is worth} in a lab. Then the package's code is not shown either.
    Raises Refused where an answer would be left: an exercise that was solved in its skeleton, say.
    """
    notebook.cells = [cell for cell in notebook.cells if cell.id not in IDS]  # they fetch the whole project
    if colab:
        try:
            publish(notebook, file, *colab)
        except ValueError as error:
            raise Refused(str(error)) from None
    exercises = {cell.id[:-9].replace("-", "_") for cell in notebook.cells if cell.id.endswith("-skeleton")}
    if counts := exercises.intersection(points or {}):
        as_in_a_lab(notebook.cells, {name: points[name] for name in counts})
    asked = told = False  # a Predict, which the next text answers; what follows shows the answer
    for cell in notebook.cells:
        predicted = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if (predicted or told) and re.search(r"\balt\b", cell.source):
                cell.metadata["jupyter"] = {"source_hidden": True}
            elif predicted:
                cell.source = without_asserts(cell.source)
            asked |= predicted
        else:
            told = False
            if asked and cell.id not in NO_ANSWER.get(file[:2], "").split():
                cell.source = fold_answer(cell.source, cell.id.endswith("-task"))
                told = cell.source.startswith(FOLD.partition("{}")[0])
            for old, new in WORDS:
                cell.source = re.sub(old, new, cell.source, flags=re.S)
            cell.source = say_what_is_absent(cell.source, absent)
            asked = False
        if "solutions/" in cell.source or "<summary>Answer" in cell.source:
            raise Refused(f"{file}, cell {cell.id}: answers, in words that for_students.py does not know")
        if cell.cell_type == "code" and _is_solved(cell, exercises):
            raise Refused(f"{file}, cell {cell.id}: it is solved. Put `raise NotImplementedError` back")
    return notebook


def as_in_a_lab(cells, points):
    """Say what counts; after that show neither the package's code nor the words that go with it."""
    asked = False
    for before, cell in zip([None, *cells], cells):
        name, _, part = cell.id.replace("-", "_").rpartition("_")
        asked |= part == "task" and name in points
        if part == "task" and name in points:
            for words in SKIP:
                cell.source = re.sub(words, "", cell.source)
            cell.source += f"\n\n**It counts: {points[name]:g} points.**"
        if asked and cell.cell_type == "code" and re.search(SOURCE, cell.source, re.M):
            cell.source = re.sub(SOURCE, r"# \g<0>", cell.source, flags=re.M)
            if re.fullmatch(r"((import|#) ?.*\n*)+", cell.source) and before.cell_type == "markdown":
                heads = [line for line in before.source.split("\n") if line.startswith("#")]
                before.source = "\n\n".join([*heads, LATER])


def without_asserts(source):
    """The code of a Predict without the lines that say what comes out, if something is left."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # IPython's lines
        return source
    drop = {
        n for each in body if isinstance(each, ast.Assert) for n in range(each.lineno, each.end_lineno + 1)
    }
    left = [line for n, line in enumerate(source.split("\n"), 1) if n not in drop]
    return "\n".join(left).rstrip() if any(not isinstance(each, ast.Assert) for each in body) else source


def _is_solved(cell, exercises):
    """Does it define one of these functions, and more of it than a docstring and `raise`?"""
    skeleton = cell.id.endswith("-skeleton")
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:  # IPython's lines, or an attempt
        return skeleton or re.search(rf"^def ({'|'.join(exercises)})\(", cell.source, re.M)
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    functions = [each for each in functions if skeleton or each.name in exercises]
    return skeleton > bool(functions) or any(not _is_empty(each) for each in functions)


def _is_empty(function):
    body = function.body[ast.get_docstring(function) is not None :]
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0])


def fold_answer(text, task=False):
    """Fold the first paragraph away, as far as it asks no new question.

    Left as they are: a heading, and a task that says nothing before its heading.
    """
    if text.startswith("#") or (task and "\n#" not in text):
        return text
    first, *rest = text.split("\n\n")
    answer, question = re.fullmatch(r"(.*?)\s*(\*\*Predict.*)?", first, re.S).groups()
    return "\n\n".join([FOLD.format(answer)] * bool(answer) + [question] * bool(question) + rest)


def say_what_is_absent(text, absent):
    """Say so behind `tests/` and `python slides/build.py`: the project has them, the handout has not."""

    def note(match):
        return match[0] + " (not in this handout)" * (match[1] in absent)

    return re.sub(r"`(?:python )?([\w.-]+/[\w./-]*)[^`]*`", note, text)


# --- modules ----------------------------------------------------------------------------

PACKED = '''"""Packed by notebooks/tools/handout.py, because it holds answers. It works as it is."""

exec(compile(__import__("zlib").decompress(__import__("base64").b64decode("""
{}""")), __file__, "exec"))
'''
PROGRAM = '(HERE / "hunted.py").read_text(encoding="utf-8")'  # in hunt.py: its program, without a bug


def packed(source):
    """-> a Python source that does what `source` does, unreadable to the eye. `__file__` stays the same."""
    return PACKED.format(base64.encodebytes(zlib.compress(source.encode(), 9)).decode()).encode()


def course_for_students(sources, exercises):
    """{path: source} of the folder `course` -> the same; packed is what defines a function students write.

    The hunt carries the text of its program, hunted.py, with it.
    """
    exercises = "|".join(exercises)
    answer = re.compile(rf"^(def ({exercises})\(|({exercises}) = Exercise\()", re.M)
    program = repr(sources["hunted.py"])
    return {
        path: packed(source.replace(PROGRAM, program)) if answer.search(source) else source.encode()
        for path, source in sources.items()
        if path != "hunted.py"
    }
