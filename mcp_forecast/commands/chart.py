"""A forecast as a chart of characters: history and median as fine lines, the band as shade behind them.

Braille characters hold 2 × 4 dots each, so a terminal of 100 columns shows 200 points side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from rich.text import Text

from mcp_forecast.commands.picture import Band, SeriesPicture, places

ROWS: Final = 16
_MARGIN: Final = 10  # columns left of the axis
_LABEL: Final = 18  # columns a time label takes at most, with space
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode 28xx: bit of dot [row][column]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Canvas:
    """Where values lie: x and y ranges mapped onto columns and rows of characters."""

    columns: int
    left: float
    right: float
    low: float
    high: float

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """Dot column from the left and dot row from the top."""
        across = (x - self.left) / ((self.right - self.left) or 1.0)
        down = (self.high - y) / ((self.high - self.low) or 1.0)
        return round(across * (2 * self.columns - 1)), round(down * (4 * ROWS - 1))


def terminal_chart(picture: SeriesPicture, *, width: int) -> Text:
    """History, median and the 80 % band (or the widest there is), `width` columns wide."""
    past, future = _numbers(picture.history_ds), _numbers(picture.ds)
    level = _shown_level(picture)
    band: Band = ((), ()) if level is None else picture.bands[level]
    history = [(x, y) for x, y in zip(past, picture.history, strict=True) if math.isfinite(y)]
    median = list(zip(future, picture.median, strict=True))
    values = [y for _, y in (*history, *median)] + [*band[0], *band[1]]
    ticks = _ticks(min(values), max(values))
    canvas = _Canvas(
        columns=max(width - _MARGIN - 1, 20),
        left=min(past + future),
        right=max(past + future),
        low=min([*values, *ticks]),
        high=max([*values, *ticks]),
    )
    ink, shade = {**_ink(canvas, history, ""), **_ink(canvas, median, "bright_blue")}, _shade(canvas, future, band)
    chart = Text(no_wrap=True)
    labels = {canvas.dot(canvas.left, tick)[1] // 4: _short(tick) for tick in ticks}
    for row in range(ROWS):
        chart.append(f"{labels.get(row, ''):>{_MARGIN}}{'┤' if row in labels else '│'}", style="dim")
        for column in range(canvas.columns):
            chart.append(*ink.get((column, row)) or (("░", "blue") if (column, row) in shade else (" ", "")))
        chart.append("\n")
    return chart.append_text(_time_axis(canvas, [*picture.history_ds, *picture.ds], past + future))


def legend(picture: SeriesPicture) -> Text:
    """What is what in a terminal chart."""
    level = _shown_level(picture)
    made = Text(" " * (_MARGIN + 1)).append("⠒⠒ history    ").append("⠒⠒", style="bright_blue").append(" forecast")
    return made if level is None else made.append("    ").append("░░", style="blue").append(f" {level} % band")


def _shown_level(picture: SeriesPicture) -> int | None:
    return 80 if 80 in picture.bands else max(picture.bands, default=None)


def _ink(canvas: _Canvas, points: Points, style: str) -> dict[tuple[int, int], tuple[str, str]]:
    """Character and style of every cell that a line through these points touches."""
    bits: dict[tuple[int, int], int] = {}
    for across, down in _line(canvas, points):
        cell = (across // 2, down // 4)
        bits[cell] = bits.get(cell, 0) | _DOTS[down % 4][across % 2]
    return {cell: (chr(0x2800 + value), style) for cell, value in bits.items()}


def _line(canvas: _Canvas, points: Points) -> Iterator[tuple[int, int]]:
    dots = [canvas.dot(x, y) for x, y in points]
    yield from dots[:1]
    for (a, b), (c, d) in pairwise(dots):
        steps = max(abs(c - a), abs(d - b), 1)
        for i in range(1, steps + 1):
            yield a + round((c - a) * i / steps), b + round((d - b) * i / steps)


def _shade(canvas: _Canvas, x: Sequence[float], band: Band) -> set[tuple[int, int]]:
    """Cells between low and high, column by column; between two steps the band runs straight."""
    cells: set[tuple[int, int]] = set()
    if not band[0]:
        return cells
    low, high = (_line(canvas, list(zip(x, side, strict=True))) for side in band)
    bottom, top = dict(sorted(low)), dict(sorted(high, reverse=True))  # the last of a column wins: its outermost dot
    for across in bottom.keys() & top.keys():
        cells |= {(across // 2, row) for row in range(top[across] // 4, bottom[across] // 4 + 1)}
    return cells


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within the range."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= span / 4 * 0.999)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short(tick: float) -> str:
    text = f"{tick:,.10g}"
    return text if len(text) < _MARGIN else f"{tick:.3g}"


def _time_axis(canvas: _Canvas, stamps: Sequence[str], x: Sequence[float]) -> Text:
    count = max(min(canvas.columns // _LABEL, 6), 2)
    wanted = [round(i * (len(x) - 1) / (count - 1)) for i in range(count)]
    axis, labels = ["─"] * canvas.columns, [" "] * canvas.columns
    for i in wanted:
        column, text = canvas.dot(x[i], canvas.low)[0] // 2, _label(stamps[i])
        axis[column] = "┬"
        start = min(max(column - len(text) // 2, 0), canvas.columns - len(text))
        labels[start : start + len(text)] = text
    margin = " " * _MARGIN
    return Text(f"{margin}└{''.join(axis)}\n{margin} {''.join(labels)}", style="dim")


def _label(stamp: str) -> str:
    return stamp[:10] if stamp.endswith("T00:00:00") else stamp[:16].replace("T", " ")


def _numbers(stamps: Sequence[str]) -> list[float]:
    """Seconds since 1970 for dates, the number itself for steps."""
    return [p.timestamp() if isinstance(p, datetime) else float(p) for p in places(stamps)]
