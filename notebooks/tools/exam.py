"""A paper of exam.md to print: a page for the browser, with the questions alone and room for answers.

    python notebooks/tools/exam.py A                                  # build/exam_A.html
    python notebooks/tools/exam.py A --notebooks 02 03 04 05 06 07 08 # what labs 1 to 3 teach
    python notebooks/tools/exam.py B --answers                        # exam_B_answers.html, to grade with

--course names your course on it, --out another file.
"""

import argparse
import re
import sys
from pathlib import Path

from nbconvert.filters import markdown2html

EXAM = Path(__file__).parents[1] / "exam.md"
COURSE = "The Swin Transformer, built and trained"
ROOM = 1.1  # cm for a point
STYLE = """@page { size: A4; margin: 2cm; }
body { font: 12pt/1.45 system-ui, sans-serif; max-width: 46em; margin: 2em auto; }
section { break-inside: avoid; margin-bottom: 1em; } pre { background: #f2f2f2; padding: .6em; }
h2 { font-size: 1.1em; } .anchor-link { display: none; } .who { margin: 2em 0; }
table { border-collapse: collapse; } th, td { border: 1px solid; padding: .2em .45em; text-align: center; }"""


def paper(text, letter, answers=False, notebooks=None, course=COURSE):
    """exam.md -> HTML of paper "A" or "B". Level and notebook of a question stand beside its answer only.

    `notebooks`: numbers, such as ["02"]; questions that need another one are left out. Raises ValueError
    where none is left.
    """
    body = re.search(rf"^## Paper {letter}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    questions = re.split(r"^### ", body, flags=re.MULTILINE)[1:]
    if notebooks:
        taught = {number.zfill(2) for number in notebooks}
        if unknown := taught - {path.name[:2] for path in EXAM.parent.glob("*.ipynb")}:
            raise ValueError(f"there is no notebook {min(unknown)}")
        questions = [question for question in questions if set(_about(question)[1]) <= taught]
        if not questions:
            raise ValueError(f"paper {letter} has no question on {', '.join(sorted(taught))} alone")
    points = [_about(question)[0] for question in questions]
    names = [question.split(".")[0] for question in questions]
    if not answers:
        questions = [question.partition("**Answer.**")[0] for question in questions]
        questions = [
            re.sub(r"\(\w+, (\d+ points), .*\)$", r"(\1)", q, count=1, flags=re.M) for q in questions
        ]
    title = f"{course}: paper {letter}{', answers' if answers else ''}, {sum(points)} points"
    of, minutes = map(int, re.search(r"papers of (\d+) points\s+and\s+(\d+) minutes", text).groups())
    allowed = re.search(r"Allowed: (.*?No\s+computer\.)", text, re.DOTALL)[1]
    head = "" if answers else _head(round(sum(points) * minutes / of), names, points, allowed)
    sections = "\n".join(
        f"<section>{markdown2html(f'## {question}')}"
        + ("" if answers else f"<div style='height: {ROOM * of:.1f}cm'></div>")
        + "</section>"
        for question, of in zip(questions, points)
    )
    return f"""<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>{STYLE}</style><h1>{title}</h1>
{head}{sections}</html>"""


def _about(question):
    """-> its points, the numbers of the notebooks that teach it; both stand in its title."""
    title = question.split("\n")[0]
    return int(re.search(r"(\d+) points", title)[1]), re.findall(r"\b\d\d\b", title.rpartition("notebook")[2])


def _head(minutes, names, points, allowed):
    """What stands above the questions: name, minutes, what is allowed, a table of the points."""
    rows = {"Question": names, "Points": points, "Reached": [""] * len(names)}
    last = {"Question": "Sum", "Points": sum(points), "Reached": ""}
    table = "\n".join(
        f"<tr><th scope=row>{row}" + "".join(f"<td>{each}" for each in (*cells, last[row]))
        for row, cells in rows.items()
    )
    return f"""<p class='who'>Name: ______________________________ &nbsp; Number: ______________</p>
<p>{minutes} minutes. Allowed: {" ".join(allowed.split())}</p>
<table>
{table}
</table>
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paper", choices=("A", "B"))
    parser.add_argument("--answers", action="store_true", help="with answers, levels and notebooks")
    parser.add_argument("--notebooks", nargs="+", metavar="NN", help="only questions that these teach")
    parser.add_argument("--course", default=COURSE, help="its name in the title")
    parser.add_argument("--out", type=Path, help="file (default build/exam_A.html)")
    options = parser.parse_args(arguments)
    out = options.out or Path("build", f"exam_{options.paper}{'_answers' if options.answers else ''}.html")
    try:
        text = EXAM.read_text(encoding="utf-8")
        page = paper(text, options.paper, options.answers, options.notebooks, options.course)
    except ValueError as error:
        sys.exit(f"exam.py: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    print(f"{re.search('<title>(.*)</title>', page)[1]}. Open {out} in a browser and print it.")


if __name__ == "__main__":
    sys.exit(main())
