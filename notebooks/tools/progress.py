"""What is written and what is open, notebook by notebook, and what the checks said last.

python notebooks/tools/progress.py
"""

import json
import re
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1]
sys.path.insert(0, str(NOTEBOOKS))

from course import pieces  # noqa: E402

WIDTH = 105


def exercises(path):
    """-> the names that the notebook's check cells hand over, in its order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell.get("id", "").endswith("-check"))
    found = (re.match(r"check\.(\w+)\(", source) for source in sources)
    return [match[1] for match in found if match]


def line(name, own, verdicts):
    """A line of the list: the name, whether it is written, what its check said last."""
    verdict = verdicts.get(name)
    if name in pieces.PIECES:
        broken = pieces.broken(name) if name in own else ""
        state = "open" if name not in own else "broken" if broken else "written"
    else:
        state, broken = "right" if verdict and verdict["passed"] else "open", ""
    text = f"  {state:8} {name:26} {broken or (verdict['says'] if verdict else '')}".rstrip()
    return text if len(text) <= WIDTH else text[: WIDTH - 4] + " ..."


def main(folder=NOTEBOOKS):
    own, verdicts = pieces.kept(), pieces.verdicts()
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        core = [name for name, (notebook, *_) in pieces.PIECES.items() if notebook == path.stem[:2]]
        others = [name for name in exercises(path) if name not in pieces.PIECES]
        if core or others:
            print(path.stem)
        for title, names in (("core pieces", core), ("exercises", others)):
            if names:
                print(f" {title}", *(line(name, own, verdicts) for name in names), sep="\n")
    whole = pieces.count_whole(name for name in own if not pieces.broken(name))
    print(f"{whole} of {pieces.COUNT} pieces are yours.")


if __name__ == "__main__":
    main()
