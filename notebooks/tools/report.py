"""Print, for each notebook: cells, lines of code, the median and longest cell, saved size.

python notebooks/tools/report.py
"""

import statistics
from pathlib import Path

import nbformat

total = 0
print(f"{'notebook':28} {'cells':>5} {'code':>5} {'lines':>6} {'median':>7} {'longest':>8} {'KB':>6}")
for path in sorted(Path(__file__).parents[1].glob("*.ipynb")):
    cells = nbformat.read(path, as_version=4).cells
    lengths = [len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code"]
    size = path.stat().st_size / 1024
    total += size
    print(
        f"{path.stem:28} {len(cells):5} {len(lengths):5} {sum(lengths):6} "
        f"{statistics.median(lengths):7.1f} {max(lengths):8} {size:6.0f}"
    )
print(f"{'all':28} {'':34} {total:6.0f}")
