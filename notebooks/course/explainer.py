"""The interactive page inside a notebook."""

from html import escape
from pathlib import Path

from IPython.display import display

PAGE = Path(__file__).parents[1] / "explainer" / "nano.html"


def show_explainer(place: str, height: int = 720) -> None:
    """Show the page of the shipped model at a place such as "block=1&token=3,4", `height` pixels high.

    Raises FileNotFoundError where the page is not there.
    """
    if not PAGE.exists():
        out = "notebooks/explainer/nano.html"
        raise FileNotFoundError(
            f"{PAGE} is missing: python -m swin_cifar explain checkpoints/nano_cifar10.pt --out {out}"
        )
    address = f"explainer/{PAGE.name}#{escape(place)}"
    frame = f'<iframe src="{address}" title="Swin, step by step" width="100%" height="{height}"></iframe>'
    display({"text/html": frame, "text/plain": f"The page explainer/{PAGE.name}, at {place}"}, raw=True)
