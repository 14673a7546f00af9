"""Draw the marks of a sonographer into a scan, with Pillow: what `burned_in_marks` must find."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Box = tuple[int, int, int, int]


def cross(draw: ImageDraw.ImageDraw, at: tuple[int, int], arm: int, width: int, ink: int, shape: str = "+") -> None:
    """Draw one cross."""
    x, y = at
    if shape == "+":
        half = width // 2
        draw.rectangle((x - arm, y - half, x + arm, y - half + width - 1), fill=ink)
        draw.rectangle((x - half, y - arm, x - half + width - 1, y + arm), fill=ink)
    else:
        draw.line((x - arm, y - arm, x + arm, y + arm), fill=ink, width=width)
        draw.line((x - arm, y + arm, x + arm, y - arm), fill=ink, width=width)


def dotted(draw: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], ink: int) -> None:
    """Draw dots of 2 x 2 pixels on a line, five pixels apart."""
    length = np.hypot(end[0] - start[0], end[1] - start[1])
    for part in np.arange(8, length - 8, 5) / max(length, 1):
        x, y = (round(a + part * (b - a)) for a, b in zip(start, end, strict=True))
        draw.rectangle((x, y, x + 1, y + 1), fill=ink)


def calipers(scan: Image.Image, box: Box, rng: np.random.Generator, lines: bool | None = None) -> list[tuple[int, int]]:
    """Draw a measurement across a lesion's box, and at times a second one upright; returns the centres of the crosses.

    Sizes, widths and levels are those of BUSI and BUS-BRA; half of them have numbers and, without ``lines``, half have
    dotted lines.
    """
    draw = ImageDraw.Draw(scan)
    arm, width = int(rng.integers(4, 9)), int(rng.integers(1, 4))
    ink = int(rng.integers(190, 256))
    shape = "+" if rng.random() < 0.75 else "x"
    left, top, right, bottom = box
    middle, centre = (top + bottom) // 2, (left + right) // 2
    pairs = [((left, middle), (right, middle))]
    if rng.random() < 0.6:
        pairs.append(((centre, top), (centre, bottom)))
    room = arm + 2
    numbered = rng.random() < 0.5
    lined = rng.random() < 0.5 if lines is None else lines
    places = []
    for number, pair in enumerate(pairs, start=1):
        ends = [(min(max(x, room), scan.width - room), min(max(y, room), scan.height - room)) for x, y in pair]
        for end in ends:
            cross(draw, end, arm, width, ink, shape)
            places.append(end)
        if numbered:
            draw.text((ends[0][0] - arm - 6, ends[0][1] - arm - 10), str(number), fill=ink)
        if lined:
            dotted(draw, ends[0], ends[1], ink)
    return places


def text(scan: Image.Image, words: str, rng: np.random.Generator) -> Box:
    """Write a label into the lower half; returns its box."""
    draw = ImageDraw.Draw(scan)
    font = ImageFont.load_default(int(rng.integers(10, 19)))
    width = draw.textlength(words, font)
    at = (int(rng.uniform(4, max(5, scan.width - width - 4))), int(rng.uniform(0.55, 0.85) * scan.height))
    draw.text(at, words, fill=int(rng.integers(190, 256)), font=font)
    box = draw.textbbox(at, words, font)
    return int(box[0]), int(box[1]), int(box[2]), int(box[3])


def body_mark(scan: Image.Image, rng: np.random.Generator) -> Box:
    """Draw a breast from the front, with the position of the probe, in a lower corner; returns its box."""
    draw = ImageDraw.Draw(scan)
    side, ink = int(rng.integers(44, 80)), int(rng.integers(200, 256))
    left = 6 if rng.random() < 0.5 else scan.width - side - 6
    top = scan.height - side - 6
    draw.ellipse((left, top, left + side, top + side), outline=ink)
    middle = (left + side // 2, top + side // 2)
    draw.ellipse((middle[0] - 4, middle[1] - 4, middle[0] + 4, middle[1] + 4), outline=ink)
    angle = rng.uniform(0, 2 * np.pi)
    tip = (middle[0] + 0.4 * side * np.cos(angle), middle[1] + 0.4 * side * np.sin(angle))
    draw.line((*middle, *tip), fill=ink, width=2)
    return left, top, left + side + 1, top + side + 1


ICONS = ("circle", "cross", "rings", "tail", "pair", "chest")


def icon(scan: Image.Image, shape: str, height: int, rng: np.random.Generator) -> Box:
    """Draw a body mark of one of `ICONS` with the bar of the probe into a lower corner, at times smoothed.

    Returns its box.
    """
    fine = 4 if rng.random() < 0.6 else 1
    width = {"tail": int(1.25 * height), "pair": 2 * height, "chest": 2 * height}.get(shape, height)
    layer = Image.new("L", ((width + 2) * fine, (height + 2) * fine))
    draw, side, ink = ImageDraw.Draw(layer), height * fine, int(rng.integers(170, 256))
    stroke = fine * (int(rng.integers(1, 3)) if height > 28 else 1)

    def ring(x: float, y: float, radius: float) -> None:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=stroke)

    def line(*ends: float) -> None:
        draw.line(tuple(fine + end * side for end in ends), fill=ink, width=stroke)

    radius = side / 2
    x, y = fine + radius + (side // 4 if shape == "tail" else 0), fine + radius
    if shape == "chest":
        for ends in ((0.2, 0, 0, 1), (1.8, 0, 2, 1), (0.2, 0, 1.8, 0)):
            line(*ends)
        for left in (0.2, 1.04):
            arc = (fine + left * side, fine + 0.25 * side, fine + (left + 0.76) * side, fine + side - 1)
            draw.arc(arc, 0, 180, fill=ink, width=stroke)
    else:
        for centre in (x, x + side) if shape == "pair" else (x,):
            ring(centre, y, radius - 0.5)
            if shape != "cross":
                ring(centre, y, max(1.5 * fine, 0.09 * side))
    if shape == "cross":
        line(0, 0.5, 1, 0.5)
        line(0.5, 0, 0.5, 1)
    if shape == "rings":
        ring(x, y, 0.6 * radius)
    if shape == "tail":
        line(0, 0, 0.35, 0.65)
        line(0, 0, 0.65, 0.05)
    away, turn, half = rng.uniform(0.3, 0.8) * radius, rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.25, 0.4) * radius
    probe = (x + away * np.cos(turn[0]), y + away * np.sin(turn[0]))
    bar = (half * np.cos(turn[1]), half * np.sin(turn[1]))
    ends = (probe[0] - bar[0], probe[1] - bar[1], probe[0] + bar[0], probe[1] + bar[1])
    draw.line(ends, fill=ink, width=max(stroke, 2 * fine))
    layer = layer.reduce(fine)
    left, top = 6 if rng.random() < 0.5 else scan.width - layer.width - 6, scan.height - layer.height - 6
    scan.paste(ink, (left, top), layer.point([min(255, 255 * level // ink) for level in range(256)]))
    return left, top, left + layer.width, top + layer.height


def as_jpeg(scan: Image.Image, quality: int) -> Image.Image:
    """Pack and unpack."""
    stream = io.BytesIO()
    scan.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert(scan.mode)


def speckle(height: int, width: int, seed: int = 0, compressed: bool = True) -> NDArray[np.uint8]:
    """A scan's texture, (H, W) uint8: the envelope of complex noise that a beam has blurred.

    ``compressed``: 70 dB of it are shown on a logarithmic scale, as scanners do; else the envelope itself, whose
    contrast is far stronger.
    """
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(2, height + 16, width + 16))
    for axis, span in ((1, 9), (2, 15)):  # pixels: a beam is wider than it is long
        window = np.hanning(span + 2)[1:-1]
        field = ndimage.convolve1d(field, window / window.sum(), axis, mode="constant")
    envelope = np.hypot(*field)[8:-8, 8:-8]
    envelope /= envelope.mean()
    shown = 70 + 255 / 70 * 20 * np.log10(np.maximum(envelope, 1e-6)) if compressed else 60 * envelope
    levels: NDArray[np.uint8] = shown.clip(0, 255).astype(np.uint8)
    return levels


COLOURS = {
    "yellow": (255, 255, 0), "green": (0, 255, 0), "cyan": (0, 255, 255), "magenta": (255, 0, 255),
    "red": (255, 40, 40), "orange": (255, 160, 0),
}  # fmt: skip
SHAPES = ("+", "x", "open cross", "circle", "diamond")


def coloured_mark(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], arm: int, width: int, ink: tuple[int, int, int], shape: str
) -> None:
    """Draw one end of a measurement in colour."""
    x, y = at
    lines = {
        "+": [(x - arm, y, x + arm, y), (x, y - arm, x, y + arm)],
        "x": [(x - arm, y - arm, x + arm, y + arm), (x - arm, y + arm, x + arm, y - arm)],
        "open cross": [
            (x - arm, y, x - 2, y), (x + 2, y, x + arm, y), (x, y - arm, x, y - 2), (x, y + 2, x, y + arm),
        ],
        "diamond": [(x - arm, y, x, y - arm, x + arm, y, x, y + arm, x - arm, y)],
    }  # fmt: skip
    if shape == "circle":
        draw.ellipse((x - arm, y - arm, x + arm, y + arm), outline=ink, width=width)
    for line in lines.get(shape, []):
        draw.line(line, fill=ink, width=width)


def flow(scan: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Draw the vessels of a colour Doppler image, red and blue, in a box that is drawn at times."""
    picture = scan.convert("RGB")
    wide, high = (int(rng.uniform(0.25, 0.6) * side) for side in picture.size)
    left, top = int(rng.uniform(0, picture.width - wide)), int(rng.uniform(0, picture.height - high))
    if rng.random() < 0.7:
        frame = ((0, 255, 0), (255, 255, 0), (255, 255, 255), (0, 200, 255))[rng.integers(4)]
        ImageDraw.Draw(picture).rectangle((left, top, left + wide, top + high), outline=frame)
    levels = np.array(picture, np.float64)
    y, x = np.mgrid[: picture.height, : picture.width]
    for _ in range(int(rng.integers(2, 8))):
        radii = (rng.uniform(0.03, 0.13) * wide + 2, rng.uniform(0.03, 0.13) * high + 2)
        centre = (
            rng.uniform(left + radii[0], left + wide - radii[0]),
            rng.uniform(top + radii[1], top + high - radii[1]),
        )
        away = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
        slow, fast = ((120, 20, 0), (255, 170, 0)) if rng.random() < 0.5 else ((0, 20, 120), (60, 180, 255))
        share = (1 - away[away < 1])[:, None]
        levels[away < 1] = share * fast + (1 - share) * slow
    return Image.fromarray(levels.astype(np.uint8))


def side_by_side(one: Image.Image, other: Image.Image, gap: int) -> Image.Image:
    """Put two scans beside each other, the second as high as the first."""
    other = other.resize((max(1, round(other.width * one.height / other.height)), one.height))
    both = Image.new(one.mode, (one.width + gap + other.width, one.height))
    both.paste(one)
    both.paste(other, (one.width + gap, 0))
    return both
