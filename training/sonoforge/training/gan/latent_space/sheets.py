"""Sheets and films of generated images, labelled as synthetic in the picture and in the file's metadata."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sonoforge.runtime.images.synthetic import NOTICE, as_picture, png_text
from sonoforge.training.data.pixels import Pixels

PROGRAM = "sonoforge gan show"
NOTE = "Synthetic images. Research use, not a medical device."
SMALLEST_CELL = 96  # pixels; smaller images are enlarged by a whole factor, pixel for pixel
FILM_SIDE = 256  # pixels; images of a film are enlarged up to it, or averaged down to it
FRAME_MS = 80
GAP = 2  # pixels between images
PADDING = 6  # around text
_FONT = ImageFont.load_default(13)
_LINE = 17  # pixels from line to line


@dataclass(frozen=True)
class Sheet:
    """A picture of images in rows and columns, and its layout, recorded in ``looks.json``.

    The layout is in pixels: ``width``, ``height``, ``left`` of the first column, ``top`` above the first row, ``cell``,
    the side of each image, ``step`` from one to the next, and the gap ``apart`` after the first row and column.
    """

    picture: Image.Image
    layout: Mapping[str, int]

    def png(self, origin: Mapping[str, Any]) -> bytes:
        """Encode as PNG with its origin as text."""
        stream = io.BytesIO()
        self.picture.save(stream, "PNG", pnginfo=png_text(origin, PROGRAM))
        return stream.getvalue()


def draw_sheet(
    rows: Sequence[Sequence[Pixels | None]],
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    below: Sequence[str] = (NOTE,),
    *,
    gutter: int = 0,
    smallest: int = SMALLEST_CELL,
) -> Sheet:
    """Arrange images (S, S, C) uint8, or None for empty cells, in rows and columns, with texts below."""
    first = next(image for row in rows for image in row if image is not None)
    side, channels = first.shape[0], first.shape[2]
    cell: int = side * max(1, math.ceil(smallest / side))
    step = cell + GAP
    left = max((math.ceil(_FONT.getlength(title)) + 2 * PADDING for title in row_titles), default=0)
    top = _LINE + PADDING if column_titles else 0
    columns = max(map(len, rows))
    width = left + columns * step - GAP + (gutter if columns > 1 else 0)
    lines = [line for text in below for line in _wrap(text, width - 2 * PADDING)]
    bottom = top + len(rows) * step - GAP + (gutter if len(rows) > 1 else 0)
    height = bottom + len(lines) * _LINE + 2 * PADDING
    picture = Image.new("L" if channels == 1 else "RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)

    def offset(index: int) -> int:
        return index * step + (gutter if index else 0)

    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            if image is not None:
                enlarged = as_picture(image).resize((cell, cell), Image.Resampling.NEAREST)
                picture.paste(enlarged, (left + offset(column), top + offset(row)))
    for column, title in enumerate(column_titles):
        draw.text((left + offset(column) + cell / 2, top / 2), title, "black", _FONT, anchor="mm")
    for row, title in enumerate(row_titles):
        draw.text((left - PADDING, top + offset(row) + cell / 2), title, "black", _FONT, anchor="rm")
    for number, line in enumerate(lines):
        draw.text((PADDING, bottom + PADDING + number * _LINE), line, "black", _FONT)
    layout = {"width": width, "height": height, "left": left, "top": top, "cell": cell, "step": step, "apart": gutter}
    return Sheet(picture, layout)


def _wrap(text: str, width: int) -> list[str]:
    """Break text between words into lines of at most ``width`` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and _FONT.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def make_film(images: Pixels, origin: Mapping[str, Any]) -> tuple[bytes, dict[str, int]]:
    """Encode images (N, S, S, C) uint8 as a looping film: greys exactly, colours reduced to 256 in each frame.

    Also returns its ``width`` and ``height`` in pixels and its ``frames``.  Pillow drops a frame that repeats the one
    before, and shows that one longer.
    """
    smaller = max(1, images.shape[1] // FILM_SIDE)
    if smaller > 1:
        count, side, _, channels = images.shape
        blocks = images.reshape(count, side // smaller, smaller, side // smaller, smaller, channels)
        images = np.rint(blocks.mean((2, 4))).astype(np.uint8)
    frames = [draw_sheet([[image]], smallest=FILM_SIDE // 2 + 1).picture for image in images]
    stream = io.BytesIO()
    comment = json.dumps({"Description": NOTICE, "Software": PROGRAM, "Use": NOTE, **origin}).encode()
    animation = {"save_all": True, "append_images": frames[1:], "duration": FRAME_MS, "loop": 0}
    frames[0].save(stream, "GIF", **animation, comment=comment)
    width, height = frames[0].size
    return stream.getvalue(), {"width": width, "height": height, "frames": len(frames)}
