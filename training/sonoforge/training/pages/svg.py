"""Small charts as inline SVG: colours and type come from the page's style sheet, so light, dark and print all work.

A chart is drawn about as wide as a phone (`WIDTH` units), so that its text is as large as the page's on any
screen.  Series are told apart by marker shape as well as by colour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 420
SERIES = 6
"""Number of colours and of marker shapes in the style sheet; further series start again."""
_CHARACTER = 7.0  # view-box units a character of 13-unit text takes at most, for wrapping


@dataclass(frozen=True)
class Frame:
    """The plotting area: data ranges laid onto view-box units.

    Attributes:
        x: Data range, left to right.
        y: Data range, bottom to top.
        height: Of the whole chart, in view-box units.
        left: Margin.
        right: Margin.
        top: Margin.
        bottom: Margin.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    height: float = 250
    left: float = 58
    right: float = 24
    top: float = 10
    bottom: float = 42

    def across(self, value: float) -> float:
        """Return the horizontal position of a value."""
        low, high = self.x
        return self.left + (value - low) / ((high - low) or 1.0) * (WIDTH - self.left - self.right)

    def up(self, value: float) -> float:
        """Return the vertical position of a value."""
        low, high = self.y
        return (
            self.height - self.bottom - (value - low) / ((high - low) or 1.0) * (self.height - self.top - self.bottom)
        )


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers at 1, 2 or 5 times a power of ten that enclose a range; at most about ``count`` + 2 of them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def svg(height: float, parts: Iterable[str], label: str) -> Markup:
    """Wrap drawn parts as one picture that screen readers announce as ``label``."""
    body = "".join(parts)
    return Markup(  # noqa: S704 - every text in it went through `escape`
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Draw words; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def wrapped(words: str, width: float) -> list[str]:
    """Break a label into lines of about ``width`` units; a word that is too long alone is cut."""
    room = max(8, int(width / _CHARACTER))
    pieces = [word[i : i + room] for word in words.split() for i in range(0, len(word), room)]
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 1 + len(piece) <= room:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines or [""]


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Draw a straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Draw a filled rectangle."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"/>'


def path(frame: Frame, xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
    """Draw a line through data points; a value that is not finite leaves a gap."""
    pieces, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        pieces.append(f"{pen}{frame.across(x):.1f} {frame.up(y):.1f}")
        pen = "L"
    return f'<path class="{kind}" d="{"".join(pieces)}"/>' if pieces else ""


def marker(x: float, y: float, series: int, size: float = 4.0, kind: str = "dot") -> str:
    """Draw a series' marker, centred on a view-box position."""
    name = f"{kind} s{series % SERIES}"
    if series % SERIES == 0:
        return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>'
    corners = {
        1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        2: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        3: ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        4: ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
        5: ((-1.2, -0.5), (1.2, -0.5), (1.2, 0.5), (-1.2, 0.5)),
    }[series % SERIES]
    points = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in corners)
    return f'<polygon class="{name}" points="{points}"/>'


def key(series: int, kind: str = "dot") -> Markup:
    """Draw a series' line and marker for a legend."""
    drawn = f'<line class="line s{series % SERIES}" x1="0" y1="7" x2="26" y2="7"/>' + marker(13, 7, series, kind=kind)
    return Markup(f'<svg class="key" viewBox="0 0 26 14" aria-hidden="true">{drawn}</svg>')  # noqa: S704 - numbers


def axes(
    frame: Frame,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_label: str,
    y_label: str,
    x_format: Callable[[float], str] = "{:g}".format,
    y_format: Callable[[float], str] = "{:g}".format,
) -> str:
    """Draw grid lines, tick labels and axis names (the vertical one along its axis)."""
    bottom, right = frame.height - frame.bottom, WIDTH - frame.right
    parts = []
    for y in y_ticks:
        parts.append(rule(frame.left, frame.up(y), right, frame.up(y), "grid"))
        parts.append(text(frame.left - 6, frame.up(y) + 4, y_format(y), "tick", "end"))
    for x in x_ticks:
        parts.append(rule(frame.across(x), bottom, frame.across(x), bottom + 4, "axis"))
        parts.append(text(frame.across(x), bottom + 17, x_format(x), "tick", "middle"))
    parts.append(rule(frame.left, bottom, right, bottom, "axis"))
    parts.append(text((frame.left + right) / 2, frame.height - 5, x_label, "name", "middle"))
    if y_label:
        middle = (frame.top + bottom) / 2
        parts.append(
            f'<text class="name" transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>"
        )
    return "".join(parts)


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values that are numbers."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def column_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Mean of the n-th values of several rows; rows may differ in length."""
    columns = itertools.zip_longest(*rows)
    return [sum(found) / len(found) if (found := finite(column)) else math.nan for column in columns]
