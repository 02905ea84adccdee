"""A paper of exam.md to print: a page for the browser, with the questions alone.

    python notebooks/tools/exam.py A                # exam_A.html
    python notebooks/tools/exam.py B --answers      # exam_B_answers.html, for those who grade

--out names another file.
"""

import argparse
import re
import sys
from pathlib import Path

from nbconvert.filters import markdown2html

EXAM = Path(__file__).parents[1] / "exam.md"
STYLE = """body { font: 12pt/1.45 system-ui, sans-serif; max-width: 46em; margin: 2em auto; }
section { break-inside: avoid; margin-bottom: 2em; } pre { background: #f2f2f2; padding: .6em; }
h2 { font-size: 1.1em; } .anchor-link { display: none; } .who { margin: 2em 0; }"""


def paper(text, letter, answers=False):
    """exam.md -> HTML of paper "A" or "B". Level and notebook of a question stand beside its answer only."""
    body = re.search(rf"^## Paper {letter}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    questions = re.split(r"^### ", body, flags=re.MULTILINE)[1:]
    if not answers:
        questions = [question.partition("**Answer.**")[0] for question in questions]
        questions = [
            re.sub(r"\(\w+, (\d+ points), .*\)$", r"(\1)", q, count=1, flags=re.M) for q in questions
        ]
    minutes = re.search(r"and (\d+) minutes", text)[1]
    points = sum(int(re.search(r"(\d+) points", question)[1]) for question in questions)
    sections = "\n".join(f"<section>{markdown2html(f'## {question}')}</section>" for question in questions)
    who = "" if answers else "<p class='who'>Name: ____________________ &nbsp; Number: ______________</p>"
    title = f"Paper {letter}{', answers' if answers else ''}"
    return f"""<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>{STYLE}</style><h1>{title}</h1><p>{points} points, {minutes} minutes</p>{who}
{sections}</html>"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paper", choices=("A", "B"))
    parser.add_argument("--answers", action="store_true", help="with answers, levels and notebooks")
    parser.add_argument("--out", type=Path, help="file (default exam_A.html)")
    options = parser.parse_args(arguments)
    out = options.out or Path(f"exam_{options.paper}{'_answers' if options.answers else ''}.html")
    out.write_text(paper(EXAM.read_text(encoding="utf-8"), options.paper, options.answers), encoding="utf-8")
    print(f"{out}: open it in a browser and print it")


if __name__ == "__main__":
    sys.exit(main())
