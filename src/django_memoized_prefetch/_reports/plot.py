"""Draws miss-ratio curves: how many keys are fetched against how many entries are kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from .._memory.curve import Curve

# Told apart in grey too: by the line, not only by the colour. The colours are those of Okabe and Ito, which people with
# any colour vision can tell apart.
STYLES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", (0, (1, 1))),
    ("#000000", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", (0, (8, 2))),
)
# Sizes at which a curve is drawn.
STEPS = 160
# Sizes at which the optimum is worked out, for each table.
OPTIMA = 16
# If the largest curve is so many times the smallest, only a logarithmic axis shows both.
FAR_APART = 30

Optimum = Callable[[str, Sequence[int]], Sequence[int]]


def draw(curves: Mapping[str, Curve], ax: Any = None, optimum: Optimum | None = None) -> Any:
    """
    Draws the curve of every table.

    Args:
        curves: By name of the table.
        ax: The matplotlib Axes to draw on; None makes one.
        optimum: From the name of a table and sizes to how many keys Belady's optimum would fetch.

    Returns:
        The Axes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    Figure, Line2D = drawing_classes()  # noqa: N806
    is_ours = ax is None
    if is_ours:
        ax = Figure(figsize=(8, 4.5), layout="constrained").add_subplot()
    lines = []
    for (name, curve), (color, style) in zip(curves.items(), STYLES * (len(curves) // len(STYLES) + 1)):
        sizes = shown_sizes(curve)
        fetched = [curve.fetched_with(size) for size in sizes]
        ax.plot(sizes, fetched, color=color, linestyle=style, linewidth=1.8, drawstyle="steps-post")
        lines.append(Line2D([], [], color=color, linestyle=style, linewidth=1.8, label=name))
        if optimum is not None:
            some = sorted({*spread(sizes, OPTIMA), curve.enough})
            ax.plot(some, optimum(name, some), color=color, linestyle=style, linewidth=0.7)
        if curve.kept is not None and curve.kept <= sizes[-1]:
            ax.plot([curve.kept], [curve.fetched_with(curve.kept)], "o", color=color, markersize=7)
        enough = getattr(curve, "avoids", None) or curve.enough
        ax.plot([enough], [curve.fetched_with(enough)], "D", color=color, markersize=8, fillstyle="none")
    ax.set_xscale("log")
    highest = max((curve.fetched_with(1) for curve in curves.values()), default=1)
    lowest = min((curve.unavoidable for curve in curves.values()), default=1)
    if highest > FAR_APART * max(lowest, 1):
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlabel("entries kept between chunks")
    ax.set_ylabel("keys fetched")
    ax.yaxis.set_major_formatter(thousands)
    ax.xaxis.set_major_formatter(thousands)
    ax.grid(alpha=0.3, linewidth=0.6)
    marks = [
        Line2D([], [], color="#555555", marker="o", linestyle="none", label="size in use"),
        Line2D([], [], color="#555555", marker="D", fillstyle="none", linestyle="none", label="size that would do"),
    ]
    if optimum is not None:
        marks.append(Line2D([], [], color="#555555", linewidth=0.7, label="thin: the optimum"))
    if is_ours:
        ax.figure.legend(handles=[*lines, *marks], fontsize="small", loc="outside right center", frameon=False)
    else:
        ax.legend(handles=[*lines, *marks], fontsize="small")
    return ax


def drawing_classes() -> tuple[Any, Any]:
    """matplotlib's Figure and Line2D. Raises ImportError if it is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        msg = 'plot: it needs matplotlib: pip install "django-memoized-prefetch[plot]".'
        raise ImportError(msg) from error
    return Figure, Line2D


def thousands(value: float, _position: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 1 else ""


def shown_sizes(curve: Curve) -> list[int]:
    """The sizes at which the curve is drawn: from 1 to somewhat more than is of use."""
    needed = max([size for size, _ in curve.found[-1:]] + [curve.enough, 2])
    last = 1.3 * max(needed, min(curve.kept or 1, 10 * needed))
    return sorted({round(last ** (step / STEPS)) for step in range(STEPS + 1)} | {curve.enough})


def spread(sizes: Sequence[int], count: int) -> list[int]:
    """About so many of the sizes, evenly, with the first and the last."""
    step = max(1, -(-len(sizes) // count))
    return sorted({*sizes[::step], sizes[-1]})


def svg(ax: Any) -> str:
    """The picture as SVG, on white, so that it can be read on a dark page too."""
    text = io.StringIO()
    ax.figure.savefig(text, format="svg", facecolor="white")
    return text.getvalue()


def html(report: str, picture: Callable[[], Any]) -> str:
    """A report for notebooks: the text, and the picture if matplotlib is there."""
    try:
        drawn = svg(picture())
    except ImportError:
        drawn = ""
    return f"<pre>{escape(report)}</pre>{drawn[drawn.find('<svg') :] if drawn else ''}"
