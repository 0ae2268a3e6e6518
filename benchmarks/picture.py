"""Charts as SVG, which text editors, diffs and browsers read alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60  # margins around the plot
COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8d6a9f", "#b08900")
# Sizes of the horizontal bars.
PANEL, LABEL, BAR, GAP = 640, 250, 14, 6

Points = Sequence[tuple[float, float]]
Bars = Sequence[tuple[str, float, bool]]  # label, value, whether it is emphasised


def line_chart(title: str, x_label: str, y_label: str, series: Mapping[str, Points], *, x_powers: bool = False) -> str:
    """
    A plot with one line per named series. Its axes begin at 0.

    Args:
        x_powers: Makes the x axis logarithmic. It then begins at the lowest power of ten.
    """
    highest = max(x for points in series.values() for x, _ in points)
    x_ticks = powers(min(x for points in series.values() for x, _ in points), highest) if x_powers else ticks(highest)
    y_ticks = ticks(max(y for points in series.values() for _, y in points))

    def x_at(x: float) -> float:
        part = math.log(x / x_ticks[0], x_ticks[-1] / x_ticks[0]) if x_powers else x / x_ticks[-1]
        return LEFT + (WIDTH - LEFT - RIGHT) * part

    def y_at(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_ticks[-1]

    parts = [text(WIDTH / 2, 24, title, size=16)]
    parts += [text(x_at(tick), HEIGHT - BOTTOM + 18, number(tick)) for tick in x_ticks]
    for tick in y_ticks:
        parts.append(line([(LEFT, y_at(tick)), (WIDTH - RIGHT, y_at(tick))], "#dddddd", 1))
        parts.append(text(LEFT - 8, y_at(tick) + 4, number(tick), anchor="end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 42, x_label))
    parts.append(text(LEFT - 50, TOP - 12, y_label, anchor="start"))
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(line([(x_at(x), y_at(y)) for x, y in points], colour, 2))
        if x_powers:
            parts += [f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(text(WIDTH - RIGHT, TOP - 12 - 16 * (len(series) - 1 - index), name, anchor="end", colour=colour))
    return document(WIDTH, HEIGHT, parts)


def bar_panels(panels: Sequence[tuple[str, Bars]]) -> str:
    """
    Panels of horizontal bars, each with its own title and scale.

    They are one below the other, so that the texts stay legible in the column of a page. A bar that is far longer than
    the others is cut, and marked so.
    """
    parts: list[str] = []
    top = 0.0
    for title, bars in panels:
        parts += bar_panel(top, title, bars)
        top += 44 + len(bars) * (BAR + GAP)
    return document(PANEL, top + 10, parts)


def bar_panel(top: float, title: str, bars: Bars) -> list[str]:
    values = sorted(value for _, value, _ in bars)
    longest = min(values[-1], 4 * values[len(values) // 2])
    parts = [text(LABEL, top + 26, title, size=14, anchor="start")]
    for index, (label, value, emphasised) in enumerate(bars):
        y = top + 38 + index * (BAR + GAP)
        width = (PANEL - LABEL - 70) * min(value, longest) / longest
        colour = COLOURS[0] if emphasised else "#9aa5b1"
        parts.append(text(LABEL - 8, y + BAR - 3, label, anchor="end"))
        parts.append(f'<rect x="{LABEL:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
        if value > longest:
            cut = LABEL + width - 24
            parts.append(line([(cut, y + BAR + 2), (cut + 8, y - 2)], "white", 4))
        parts.append(text(LABEL + width + 6, y + BAR - 3, f"{value:.3g}", anchor="start"))
    return parts


def document(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">\n'
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def line(points: Points, colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "middle", colour: str = "#222222") -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def ticks(highest: float) -> list[float]:
    """Round steps from 0 to the first that reaches the highest value."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def powers(lowest: float, highest: float) -> list[float]:
    """The powers of ten that enclose the lowest and the highest value."""
    return [10.0**i for i in range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)]


def number(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
