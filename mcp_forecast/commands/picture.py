"""A forecast as a PNG, and the values that any drawing of it needs; matplotlib is imported only to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

Band = tuple[Sequence[float], Sequence[float]]
PANELS: Final = 4  # series in one PNG; more would be too small to read
_DARK, _GREY, _LIGHT, _BLUE, _ORANGE = "#30363d", "#57606a", "#d0d7de", "#1f6feb", "#d1570c"
_SHADES: Final = (0.13, 0.32, 0.48, 0.6, 0.7, 0.78)  # of blue on white, the widest band first


@dataclass(frozen=True)
class SeriesPicture:
    """One series to draw. ds: ISO date and time, or the step number, as forecasts carry it.

    bands: per cent → (low, high), as long as median; actual: what came true, if known.
    """

    name: str
    history_ds: Sequence[str]
    history: Sequence[float]
    ds: Sequence[str]
    median: Sequence[float]
    bands: Mapping[int, Band]
    actual: Sequence[float] | None = None


def picture_of(
    series: Mapping[str, Any],
    levels: Sequence[int],
    *,
    history_ds: Sequence[str],
    history: Sequence[float],
    actual: Sequence[float] | None = None,
) -> SeriesPicture:
    """The picture of one series of an inference result."""
    bands = {level: (series[f"lo-{level}"], series[f"hi-{level}"]) for level in levels}
    return SeriesPicture(series["unique_id"], history_ds, history, series["ds"], series["median"], bands, actual)


def places(stamps: Sequence[str]) -> list[Any]:
    """Where stamps lie on an axis: a datetime for a date, the number for a step."""
    return [int(s) if s.lstrip("-").isdigit() else datetime.fromisoformat(s).replace(tzinfo=UTC) for s in stamps]


def draw_png(pictures: Sequence[SeriesPicture], path: Path, *, title: str, subtitle: str, x: str, y: str) -> None:
    """Draw up to four series one below the other into a PNG. Raises ImportError without matplotlib, OSError.

    x, y: labels of the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = pictures[:PANELS]
    figure = Figure(figsize=(10, 1.6 + 3.2 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold", color=_DARK, parse_math=False)
    panels = figure.subplots(len(shown), squeeze=False)[:, 0]
    for number, (axes, picture) in enumerate(zip(panels, shown, strict=True)):
        _draw_series(axes, picture)
        own = [picture.name] if len(shown) > 1 else []
        heading = "\n".join(([subtitle] if number == 0 else []) + own)
        axes.set_title(heading, loc="left", fontsize=10, color=_GREY, parse_math=False)
        axes.set_ylabel(y, parse_math=False)
    panels[-1].set_xlabel(x, parse_math=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, format="png", facecolor="white")


def _draw_series(axes: Any, picture: SeriesPicture) -> None:
    past, future = places(picture.history_ds), places(picture.ds)
    axes.plot(past, picture.history, color=_DARK, linewidth=1.2, label="history")
    # Opaque, so that a band looks in the picture as it does in the legend.
    for level, shade in zip(sorted(picture.bands, reverse=True), _SHADES, strict=False):
        low, high = picture.bands[level]
        axes.fill_between(future, low, high, color=_tinted(shade), linewidth=0, label=f"{level} % band")
    axes.plot(future, picture.median, color=_BLUE, linewidth=1.8, label="forecast (median)")
    if picture.actual is not None:
        axes.plot(future, picture.actual, color=_ORANGE, linewidth=1.3, label="what came true")
    axes.axvline(future[0], color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.margins(x=0.01)
    axes.grid(axis="y", color=_LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if isinstance(future[0], datetime):
        _date_axis(axes)


def _tinted(shade: float) -> tuple[float, ...]:
    blue = (int(_BLUE[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(1 - shade * (1 - part) for part in blue)


def _date_axis(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    zeros = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    offsets = ["", "", "%Y", "%Y", "%d %b %Y", "%d %b %Y"]
    locator = AutoDateLocator(minticks=3, maxticks=12)  # type: ignore[no-untyped-call]  # matplotlib's dates are untyped
    formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, formats=formats, zero_formats=zeros, offset_formats=offsets
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
