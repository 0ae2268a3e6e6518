"""Charts as SVG, which text editors, diffs and browsers read alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60  # margins around the plot
COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8d6a9f", "#b08900")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """One line per series, by name, in a plot whose axes begin at 0."""
    x_ticks = ticks(max(x for points in series.values() for x, _ in points))
    y_ticks = ticks(max(y for points in series.values() for _, y in points))

    def x_at(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / x_ticks[-1]

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
        parts.append(text(WIDTH - RIGHT, TOP - 12 + 16 * index, name, anchor="end", colour=colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def line(points: Points, colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "middle", colour: str = "#222222") -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def ticks(highest: float) -> list[float]:
    """From 0 in round steps to the first that is not below the highest value."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def number(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
