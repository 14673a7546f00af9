"""The figures of ``sonoforge bench`` as one picture, drawn by Pillow alone: no plotting library in the base install."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _ROW, _BAR, _MARGIN = 1100, 44, 20, 28
_INK, _GREY, _LINE = (33, 37, 41), (108, 117, 125), (222, 226, 230)
# Told apart by lightness as well as by hue, for print and for readers who do not see red and green apart.
_OURS, _OTHER = (31, 95, 153), (168, 200, 226)
_TICKS = (1, 2, 5)


def draw(result: dict[str, Any]) -> bytes:
    """Draw the median latency of one image as bars, with a whisker to the 95th percentile, as PNG.

    Args:
        result: What ``sonoforge bench`` returns; the files of the other bundle are drawn below their namesakes.
    """
    rows = _rows(result)
    font, small, title = (ImageFont.load_default(size) for size in (16, 13, 20))
    height = 2 * _MARGIN + 62 + _ROW * max(1, len(rows)) + 60
    image = Image.new("RGB", (_WIDTH, height), "white")
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN, _MARGIN), "Latency of one image: median, whisker to the 95th percentile", _INK, title)
    about = f"{result['model']['name']} {result['model']['version']}, {result['machine']['cpu']}, "
    pen.text((_MARGIN, _MARGIN + 30), f"{about}threads for one inference: {result['threads']}", _GREY, small)
    top, bottom = _MARGIN + 62, _MARGIN + 62 + _ROW * max(1, len(rows))
    left = 2 * _MARGIN + max((int(pen.textlength(label, font)) for label, *_ in rows), default=0)
    right = _WIDTH - 230
    most = max((row["latency_ms"]["p95"] for _, row, _ in rows), default=1.0)
    step = _step(most)
    scale = (right - left) / (step * -(-most // step))
    for index in range(int(-(-most // step)) + 1):
        x = left + scale * step * index
        pen.line((x, top, x, bottom), _LINE)
        pen.text((x, bottom + 6), f"{step * index:g}", _GREY, small, anchor="ma")
    pen.text(((left + right) / 2, bottom + 26), "milliseconds", _GREY, small, anchor="ma")
    for index, (label, row, colour) in enumerate(rows):
        y = top + _ROW * index + _ROW / 2
        p50, p95 = (left + scale * row["latency_ms"][key] for key in ("p50", "p95"))
        pen.text((left - 12, y), label, _INK, font, anchor="rm")
        pen.rectangle((left, y - _BAR / 2, max(p50, left + 1), y + _BAR / 2), colour)
        pen.line((p50, y, p95, y), _INK, 2)
        pen.line((p95, y - 6, p95, y + 6), _INK, 2)
        for words, colour_of_words, at in ((f"{row['latency_ms']['p50']:.2f} ms", _INK, -9), (_remarks(row), _GREY, 9)):
            place = (p95 + 12, y + at)
            pen.rectangle(pen.textbbox(place, words, small, anchor="lm"), "white")  # no grid through the words
            pen.text(place, words, colour_of_words, small, anchor="lm")
    if not rows:
        pen.text((_MARGIN, top + 10), "No file could be measured with one image.", _INK, font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any], tuple[int, int, int]]]:
    """Label, row and colour of each file with a latency, the other bundle's below its namesake."""
    others = {row["format"]: row for row in result.get("against", {}).get("files", [])}
    rows = []
    for row in result["files"]:
        other = others.pop(row["format"], None)
        rows.append((row["format"], row, _OURS))
        if other:
            rows.append((f"{row['format']}, other", other, _OTHER))
    rows += [(f"{name}, other", row, _OTHER) for name, row in others.items()]
    return [(label, row, colour) for label, row, colour in rows if row.get("latency_ms")]


def _remarks(row: dict[str, Any]) -> str:
    memory = "" if row["memory_bytes"] is None else f", {row['memory_bytes'] / 1e6:.0f} MB memory"
    return f"{row['bytes'] / 1e6:.1f} MB file{memory}"


def _step(most: float) -> float:
    """Return a round distance of ticks, so that four to ten reach the largest value."""
    power = 1e-6
    while True:
        for digit in _TICKS:
            if most <= 8 * digit * power:
                return digit * power
        power *= 10
