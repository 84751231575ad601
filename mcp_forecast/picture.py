"""A forecast as a picture: a chart for the terminal, and a PNG. Each drawing library is imported only to draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

Stamp = str | int  # ISO date and time, or a step number
Band = tuple[Sequence[float], Sequence[float]]
PANELS: Final = 4  # series in one PNG; more would be too small to read
_TERMINAL_ROWS: Final = 20
_TICKS: Final = 5
_DARK, _BLUE, _ORANGE = "#30363d", "#1f6feb", "#d1570c"
_SHADE: Final = {95: 0.14, 80: 0.24}


@dataclass(frozen=True)
class SeriesPicture:
    """One series to draw. bands: per cent → (low, high), as long as median; actual: what came true, if known."""

    name: str
    history_ds: Sequence[Stamp]
    history: Sequence[float]
    ds: Sequence[Stamp]
    median: Sequence[float]
    bands: Mapping[int, Band]
    actual: Sequence[float] | None = None


def picture_of(
    series: Mapping[str, Any],
    levels: Sequence[int],
    *,
    history_ds: Sequence[Stamp],
    history: Sequence[float],
    actual: Sequence[float] | None = None,
) -> SeriesPicture:
    """The picture of one series of an inference result."""
    bands = {level: (series[f"lo-{level}"], series[f"hi-{level}"]) for level in levels}
    return SeriesPicture(series["unique_id"], history_ds, history, series["ds"], series["median"], bands, actual)


def terminal_chart(picture: SeriesPicture, *, width: int, colour: bool) -> str:
    """History, median and the 80 % band in characters, at most `width` columns wide.

    The band is drawn first and dense, because a character cell shows one mark only: the last one drawn.
    """
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, _TERMINAL_ROWS)
    past, future = _numbers(picture.history_ds), _numbers(picture.ds)
    level = 80 if 80 in picture.bands else max(picture.bands, default=None)
    if level is not None:
        dense = _steps(future[0], future[-1], 4 * width)
        low, high = (_interpolated(dense, future, side) for side in picture.bands[level])
        figure.draw(figure.signal(dense, high, marker=_mark("░", "blue")).fill(
            figure.signal(dense, low, marker=_mark("░", "blue"))))  # fmt: skip
    shown = [(x, y) for x, y in zip(past, picture.history, strict=True) if math.isfinite(y)]
    for points, colour_name in ((shown, None), (list(zip(future, picture.median, strict=True)), "blue+")):
        x, y = [p[0] for p in points], [p[1] for p in points]
        figure.draw(figure.signal(x, y, marker=_mark("braille", colour_name)).lines(True))
    _axes(figure, [*picture.history_ds, *picture.ds], past + future)
    return str(figure.build().string(colorless=not colour)).rstrip("\n")


def legend(picture: SeriesPicture) -> str:
    """The line below a terminal chart that says what is what (rich markup)."""
    level = 80 if 80 in picture.bands else max(picture.bands, default=None)
    band = "" if level is None else f"    [blue]░[/] {level} % band"
    return f"⠒ history    [bright_blue]⠒[/] forecast (median){band}"


def draw_png(pictures: Sequence[SeriesPicture], path: Path, *, title: str, subtitle: str, x: str, y: str) -> None:
    """Draw up to four series one below the other into a PNG. Raises ImportError without matplotlib, OSError.

    x, y: labels of the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = pictures[:PANELS]
    figure = Figure(figsize=(10, 1.6 + 3.2 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold", color=_DARK)
    for number, (axes, picture) in enumerate(zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True)):
        _draw_series(axes, picture)
        heading = subtitle if number == 0 else ""
        if len(shown) > 1:
            heading = f"{heading}\n{picture.name}".strip()
        axes.set_title(heading, loc="left", fontsize=10, color="#57606a")
        axes.set_ylabel(y)
    axes.set_xlabel(x)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, format="png", facecolor="white")


def _draw_series(axes: Any, picture: SeriesPicture) -> None:
    past, future = _places(picture.history_ds), _places(picture.ds)
    axes.plot(past, picture.history, color=_DARK, linewidth=1.3, label="history")
    for level in sorted(picture.bands, reverse=True):
        low, high = picture.bands[level]
        shade = _SHADE.get(level, 0.18)
        axes.fill_between(future, low, high, color=_BLUE, alpha=shade, linewidth=0, label=f"{level} % band")
    axes.plot(future, picture.median, color=_BLUE, linewidth=2, label="forecast (median)")
    if picture.actual is not None:
        axes.plot(future, picture.actual, color=_ORANGE, linewidth=1.4, label="what came true")
    axes.axvline(future[0], color="#8c959f", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _date_axis(axes, future)


def _date_axis(axes: Any, places: Sequence[Any]) -> None:
    if isinstance(places[0], datetime):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _mark(marker: str, colour: str | None) -> Any:
    import plotext

    return plotext.marker(marker) if colour is None else plotext.marker(marker, colour)


def _axes(figure: Any, stamps: Sequence[Stamp], x: Sequence[float]) -> None:
    wanted = [round(i * (len(x) - 1) / (_TICKS - 1)) for i in range(_TICKS)]
    ruler = figure.ruler("x", "lower")
    ruler.lim(x[0], x[-1])
    ruler.ticks([x[i] for i in wanted], [_label(stamps[i]) for i in wanted])


def _label(stamp: Stamp) -> str:
    text = str(stamp)
    return text[:10] if text.endswith("T00:00:00") else text[:16].replace("T", " ")


def _numbers(stamps: Sequence[Stamp]) -> list[float]:
    """Seconds since 1970 for dates, the number itself for steps."""
    return [p.timestamp() if isinstance(p, datetime) else float(p) for p in _places(stamps)]


def _places(stamps: Sequence[Stamp]) -> list[Any]:
    return [datetime.fromisoformat(s).replace(tzinfo=UTC) if isinstance(s, str) else s for s in stamps]


def _steps(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def _interpolated(at: Sequence[float], x: Sequence[float], y: Sequence[float]) -> list[float]:
    import numpy as np

    return [float(value) for value in np.interp(at, x, y)]
