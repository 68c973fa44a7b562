"""Draws a plot as SVG for the inside of a page: its text is text, in the page's own colour."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the colour of the page's text until the plot is drawn."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called "$5"
}
LONGEST_NAME = 24


def drawn(
    name: str,
    draw: Callable[..., None],
    size: tuple[float, float] = (5.6, 3.4),
    num_panels: int = 1,
) -> str:
    """Return an `svg` element of ``size`` inches; ``draw`` is given the axes of each panel.

    Equal plots give equal bytes; ``name`` keeps the ids of a page's plots apart.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # The page's fonts draw the text, not the one that its place is measured with.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        panels = figure.subplots(1, num_panels, squeeze=False)[0]
        for axes in panels:
            axes.patch.set_visible(False)
        draw(*panels)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _inside_a_page(buffer.getvalue())


def one_line(name: str) -> str:
    """Return a name of the data's as a label: short, and of characters that can be drawn."""
    text = "".join(each if each.isprintable() else "\ufffd" for each in name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def _inside_a_page(text: str) -> str:
    """Leave out what only a file of its own needs: prolog, namespaces, style, groups' ids."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    head = re.sub(r' xmlns(:xlink)?="[^"]*"', "", head)
    rest = re.sub(r'<g id="[^"]*"', "<g", rest).replace(' xlink:href="', ' href="')
    rest = re.sub(rf"(fill|stroke): {INK}", r"\1: currentColor", rest)
    return f"{head}>{rest}".strip()
