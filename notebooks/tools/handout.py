"""Make one zip for students, which runs by itself and holds no answers; or one for instructors, with all.

    python notebooks/tools/handout.py                               # all notebooks
    python notebooks/tools/handout.py --lab 1 --due "12 May, 18:00" # a lab of PLANS.md, with a sheet LAB.md
                                        (and --where "Moodle, Lab 1")
    python notebooks/tools/handout.py --notebooks 02 03 04          # some of them
    python notebooks/tools/handout.py --with-data                   # CIFAR-10 as well
    python notebooks/tools/handout.py --colab https://github.com/OWNER/NAME
    python notebooks/tools/handout.py --instructor

Left out for students: saved outputs, solutions, answers to the questions, slides and notes, tests, and the
tools for teachers. Cells keep their ids, so that what comes back can be graded. The paragraph that follows a
Predict is folded away, and so is the code of a Predict's figure, whose alternative text says what it shows.
The asserts of a Predict's cell, which say what comes out, are left out. Of the trainings' histories and the
emoji the zip holds what its notebooks read.

In a lab's zip the exercises that count say so, and the package's code is not shown beside them.

Some modules must travel although they hold answers: a check compares with a right function, a hunt knows its
bug. They are packed (`for_students.packed`): nobody reads them by accident, and whoever wants to can unpack
them. Nothing can be hidden from the owner of the computer that runs it. nbgrader hands out no hidden tests,
but then a check cannot say what is wrong. Here the checks are the lesson; so they are handed out, and grading
uses other inputs, at the teacher's. The package `swin_cifar` stays as it is: the notebooks show each of its
layers, after the student's own.

The same project gives the same bytes (with the same Python). A zip is written whole or not at all.
"""

import argparse
import os
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

import nbformat

TOOLS = Path(__file__).parent
ROOT = TOOLS.parents[1]
sys.path.insert(0, str(TOOLS))

from for_students import (  # noqa: E402
    Refused,
    course_for_students,
    notebook_for_students,
    say_what_is_absent,
)
from grading.labs import read_lab  # noqa: E402

MADE = b"made by swin_cifar's handout.py"  # the comment of every zip that is made here
DATE = (2000, 1, 1, 0, 0, 0)  # of every file in it

# --- which files ------------------------------------------------------------------------

FOLDERS = ("swin_cifar", "notebooks", "slides", "checkpoints", "tests", "lab")
SUFFIXES = (".md", ".toml", ".txt", ".py", ".cff")  # of the files beside them
LEFT_BEHIND = ("__pycache__", "my_pieces", "runs", "node_modules")  # by running
PAGE = "notebooks/PLATFORMS.md"
STUDENTS = (  # what students get as it is; notebooks and `course` are changed on the way
    *("LICENSE", "CITATION.cff", "pyproject.toml", "swin_cifar/", "lab/", "checkpoints/studies/"),
    *("checkpoints/study.py", "checkpoints/SHA256SUMS", "data/README.md", "notebooks/GLOSSARY.md"),
    *("notebooks/lab/", "notebooks/pictures/", "notebooks/explainer/", "notebooks/tools/progress.py", PAGE),
)
READ = {  # what is large, and what in a notebook's code asks for it
    "checkpoints/studies/": r"\bload_study\b|\bstudies\b",
    "notebooks/pictures/emoji/": r"pictures/emoji",
}
COURSE = "notebooks/course/"
CIFAR10 = tuple(
    f"data/cifar-10-batches-py/{name}"
    for name in ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)


def project_files(root):
    """-> the names of the project's files, "/" between folders, without what running it leaves behind."""
    beside = [path for path in root.iterdir() if path.suffix in SUFFIXES or path.name == "LICENSE"]
    paths = [path for path in beside if path.is_file()] + [root / "data" / "README.md"]
    for folder in FOLDERS:
        for place, inside, files in os.walk(root / folder):
            inside[:] = [name for name in inside if _belongs(name)]
            paths += [Path(place, name) for name in files]
    return sorted(path.relative_to(root).as_posix() for path in paths if _belongs(path.name))


def _belongs(name):
    return name not in LEFT_BEHIND and name[0] != "." and not name.endswith((".egg-info", ".pyc", ".part"))


def _with_folders(names):
    return {*names, *(f"{folder}/" for name in names for folder in PurePosixPath(name).parents)}


def student_files(root, numbers=None, data="", colab=None, lab=None, due="", where=""):
    """-> {name: bytes, or the path to copy from}: what students get, of the notebooks with these numbers.

    `data`: in words, where CIFAR-10 is; `colab`: as in `notebook_for_students`; `lab`: a Lab; `due`, `where`:
    until when and where it is handed in. Raises Refused.
    """
    project = every = project_files(root)
    notebooks = {name[10:12]: name for name in project if re.fullmatch(r"notebooks/\d\d_\w+\.ipynb", name)}
    chosen = sorted({number.zfill(2) for number in numbers or notebooks})
    if unknown := [number for number in chosen if number not in notebooks]:
        raise Refused(f"there is no notebook {unknown[0]}; there are: {', '.join(notebooks)}")
    books = {number: _notebook(root / notebooks[number]) for number in chosen}
    code = "\n".join(c.source for book in books.values() for c in book.cells if c.cell_type == "code")
    unread = tuple(folder for folder, words in READ.items() if not re.search(words, code))
    project = [name for name in project if not name.startswith(unread)]
    models = (root / "checkpoints" / "SHA256SUMS").read_text(encoding="utf-8").split()[1::2]
    models = {
        f"checkpoints/{Path(name).stem}{suffix}"
        for name in models
        if name in code
        for suffix in (".pt", ".json")
    }
    files = {name: root / name for name in project if name.startswith(STUDENTS) or name in models}
    course = {
        name.removeprefix(COURSE): (root / name).read_text(encoding="utf-8")
        for name in project
        if name.startswith(COURSE)
    }
    exercises = [Path(name).stem[3:] for name in project if name.startswith("notebooks/solutions/")]
    files |= {COURSE + name: each for name, each in course_for_students(course, exercises).items()}
    files |= {notebooks[number]: None for number in chosen} | {"README.md": None}
    absent = _with_folders(every) - _with_folders(files)
    files[PAGE] = say_what_is_absent((root / PAGE).read_text(encoding="utf-8"), absent).encode()
    for number, book in books.items():
        points = lab and lab.weights
        text = nbformat.writes(
            notebook_for_students(book, Path(notebooks[number]).name, absent, colab, points)
        )
        files[notebooks[number]] = f"{text}\n".encode()
    readme = (TOOLS / "handout_README.md").read_text(encoding="utf-8")
    words = {"<VERSION>": version(root), "<FIRST>": Path(notebooks[chosen[0]]).name, "<DATA>": data}
    words["<LAB>"] = (
        f"**{lab.title}**: what counts, and how to hand in, says [LAB.md](LAB.md).\n\n" if lab else ""
    )
    for place, value in words.items():
        readme = readme.replace(place, value)
    files |= {"LAB.md": sheet(lab, due, where).encode()} if lab else {}
    return files | {"README.md": readme.encode(), "requirements.txt": b"-e .[notebooks]\n"}


def _notebook(path):
    try:
        return nbformat.read(path, as_version=4)
    except ValueError as error:
        raise Refused(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None


def sheet(lab, due, where=""):
    """-> LAB.md: what is handed in, where and until when, and what PLANS.md says of the lab."""
    count, page = f"notebooks {', '.join(lab.graded)}", ""
    if lab.weights["choose"]:
        fixed = [number for number in lab.graded if number not in lab.weights["choose"]]
        count = f"notebook {', '.join(fixed)}, and the one that you choose"
        points = lab.weights["by hand"]["page"]
        page = f"""
- **And the page** of the notebook that you choose, {points} of the points: one page, a PDF beside the
  notebooks or a Markdown cell at the end of that notebook. For 14 it is the output of `case.score()`."""
    hand_in = f"""# {lab.title}

## Hand in

- **What**: the saved {count}, with your code in the cells that are there. An exercise has its points when
  your function is right for other inputs, too.{page}
- **Where**: {where or "where your instructor says"}.
- **Until**: {due or "when your instructor says"}.
- **In pairs** each hands in their own notebook, and names the other in a new text cell at its top.
- **Half of the points** of a function that is not right you get by hand, if you say *why* its numbers come
  out wrong (which line, which axis), and give an input of your own on which it shows: none that the check or
  your feedback page prints. The check's words, repeated, are not enough. Write both into a new text cell
  below the check, or tell your instructor within a week of the feedback page, with the function mended.
- Be ready to explain each line that you wrote: which shape it has, and what happens without it. A piece that
  you cannot explain counts half; in pairs each is asked.
- What is not finished in class is finished at home. Exercises under "Further" are voluntary, without points.

## The plan
"""
    return f"{hand_in}\n{lab.text}\n"


def version(root):
    text = (root / "swin_cifar" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"', text, re.M)[1]


# --- the zip ----------------------------------------------------------------------------


def write_zip(path, files, force=False):
    """Write {name: bytes or path}, in a folder of the zip's name. Raises Refused for somebody else's file."""
    if path.exists() and not force and not _is_ours(path):
        raise Refused(f"{path} is there, and was not made by this program. Another --out, or --force?")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            archive.comment = MADE
            for name, content in sorted(files.items()):
                info = zipfile.ZipInfo(f"{path.stem}/{name}", DATE)
                info.external_attr, info.create_system = 0o644 << 16, 3  # the same on every system
                info.compress_type = zipfile.ZIP_STORED if name in CIFAR10 else zipfile.ZIP_DEFLATED
                archive.writestr(info, content.read_bytes() if isinstance(content, Path) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _is_ours(path):
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return archive.comment == MADE


def make(options, root=ROOT):
    """Write the zip that is asked for -> in words, what it is. Raises Refused or OSError."""
    if options.instructor and (options.notebooks or options.colab or options.lab):
        raise Refused("--lab, --notebooks and --colab are for students; leave out --instructor")
    if options.lab and options.notebooks:
        raise Refused("a lab has its notebooks from PLANS.md; leave out --notebooks or --lab")
    if (options.due or options.where) and not options.lab:
        raise Refused("--due and --where stand on the sheet of a lab; add --lab")
    try:
        lab = read_lab(options.lab) if options.lab else None
    except ValueError as error:
        raise Refused(str(error)) from None
    data = CIFAR10 if options.with_data else ()
    if missing := [name for name in data if not (root / name).is_file()]:
        raise Refused(f"{missing[0]} is missing; `python -m swin_cifar train` fetches CIFAR-10")
    if options.instructor:
        files, kind = {name: root / name for name in project_files(root)}, "instructor"
        inside = "everything, with solutions and notes: not for students"
    else:
        where = "CIFAR-10 is in `data`." if data else "CIFAR-10 (170 MB) is fetched when it is first needed."
        colab = (options.colab, options.branch) if options.colab else None
        chosen = lab.notebooks if lab else options.notebooks
        files = student_files(root, chosen, where, colab, lab, options.due, options.where)
        numbers = sorted(Path(name).name[:2] for name in files if name.endswith(".ipynb"))
        part = [f"lab-{options.lab}"] if lab else numbers if options.notebooks else []
        kind = "-".join(["students", *part])
        inside = f"notebooks {' '.join(numbers)} without outputs, solutions, answers and notes"
    files |= {name: root / name for name in data}
    path = options.out
    if path.suffix != ".zip":
        path /= f"swin_cifar-{version(root)}-{kind}{'-with-data' if data else ''}.zip"
    write_zip(path, files, options.force)
    size = f"{path.stat().st_size / 1e6:.1f} MB, {len(files)} files"
    return f"{path}: {size}\n{inside}; {'with' if data else 'without'} the data of CIFAR-10"


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instructor", action="store_true", help="everything, with all answers")
    parser.add_argument("--lab", type=int, help="what this lab of PLANS.md needs, and a sheet LAB.md")
    parser.add_argument("--due", default="", metavar="TEXT", help="until when the lab is handed in")
    parser.add_argument("--where", default="", metavar="TEXT", help="where the lab is handed in")
    parser.add_argument("--notebooks", nargs="+", metavar="NN", help="these alone, such as 02 03 04")
    parser.add_argument("--with-data", action="store_true", help="CIFAR-10, too: 177 MB more")
    parser.add_argument(
        "--colab", metavar="ADDRESS", help='lines "Open in Colab": https://github.com/OWNER/NAME'
    )
    parser.add_argument("--branch", default="handout", help="where there the unpacked zip lies (handout)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "handouts", help="a folder, or a name ending in .zip"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that this program did not make")
    try:
        print(make(parser.parse_args(arguments)))
    except (Refused, OSError) as problem:
        raise SystemExit(f"Nothing was written: {problem}") from None


if __name__ == "__main__":
    main()
