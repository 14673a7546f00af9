"""The picture of an answer: the scan at its own size under a heat map, and below it the answer in words.

The upper left corner is the scan's, so a pixel of the scan has the same place in the picture.  The picture of a narrow
scan is wider than the scan, to fit the words.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.burned_in_marks import SENTENCE
from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.images.file_kinds import first_bytes
from sonoforge.runtime.images.quality_metrics import flag_in_words
from sonoforge.runtime.inference import activation_map
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.inference.verdict import UNUSABLE
from sonoforge.runtime.notice import NOTICE

_LEVELS = 256  # of the heat map

# From OKLab to the cone responses' cube roots, and from cones to linear sRGB: Ottosson 2020, "Converting".
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)
# Ours: lightness, chroma and hue (degrees) at the ends; chosen by eye on grey scans.
_LIGHTNESS, _CHROMA, _HUE = (0.35, 0.95), 0.16, (290.0, 460.0)

_MARK = "sonoforge:overlay"  # key in a PNG's text that identifies such a picture
_OPENING = 4096  # bytes of a PNG that hold its text, which is written before the pixels
_MOST_OPAQUE = 0.55  # the heat map is transparent where there is no evidence, and never hides the scan
_NARROWEST = 260  # pixels: room for about 40 letters of the smallest size
_GROUND, _INK = (16, 16, 16), (235, 235, 235)


def draw(image: Path | str | Image.Image | NDArray[np.uint8], result: Result) -> Image.Image:
    """Draw the picture of an answer.

    Examples:
        >>> from sonoforge.runtime import Classifier, draw_overlay
        >>> picture = draw_overlay("scan.png", Classifier().classify("scan.png"))
        >>> picture.mode
        'RGB'

    Args:
        image: The scan, as given to `Classifier.classify`.
        result: Its answer.

    Returns:
        RGB, at least as wide as the scan and higher than it.

    Raises:
        ImageError: The scan cannot be read.
        ValueError: The scan and the scan that was answered differ in size.
    """
    scan = as_image(image)
    coloured = painted(scan, result)
    width = max(scan.width, _NARROWEST)
    points = min(max(width // 38, 12), 40)
    font = ImageFont.load_default(points)
    gap = points // 2
    lines = [line for text in caption(result) for line in _wrapped(text, font, width - 2 * gap)]
    step = round(1.35 * points)
    bar = points
    picture = Image.new("RGB", (width, scan.height + 3 * gap + bar + step * (len(lines) + 1)), _GROUND)
    picture.paste(coloured)
    draft = ImageDraw.Draw(picture)
    top = scan.height + gap
    # The colours from 0 to the strongest, as over mid grey.
    row = _blended()[np.linspace(0, _LEVELS - 1, width - 2 * gap).round().astype(np.uint8), 128]
    picture.paste(Image.fromarray(np.repeat(row[None], bar, axis=0)), (gap, top))
    top += bar + gap // 2
    strongest = f"{max(float(result.map.max()), 0):.1f}"
    draft.text((gap, top), "0", _INK, font)
    draft.text((width - gap - font.getlength(strongest), top), strongest, _INK, font)
    for line in lines:
        top += step
        draft.text((gap, top), line, _INK, font)
    return picture


def painted(scan: Image.Image, result: Result) -> Image.Image:
    """Return a scan under the heat map of its answer, RGB, of the scan's size.

    Raises:
        ValueError: The scan and the scan that was answered differ in size.
    """
    if scan.size != result.size:
        raise ValueError(f"the scan has size {scan.size}, the answer is for {result.size}")
    pixels = np.asarray(scan.convert("RGB"))
    values = result.map_on_scan()
    top = float(result.map.max())
    if top <= 0:
        return Image.fromarray(pixels)
    levels = np.rint(np.clip(values / top, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
    blended = _blended()
    coloured = np.stack([blended[levels, pixels[..., channel], channel] for channel in range(3)], axis=2)
    inside = values >= max(activation_map.limit_of_brightest(result.map), float(np.finfo(np.float32).tiny))
    line = max(1, round(min(scan.size) / 350))
    outer, inner = _grown(inside, line) & ~inside, _grown(~inside, line) & inside
    coloured[outer], coloured[inner] = 0, 255  # white within black shows on every background
    return Image.fromarray(coloured)


def png(picture: Image.Image, result: Result) -> bytes:
    """Encode the picture as a PNG whose text says that it is derived, and by which model."""
    text = PngInfo()
    text.add_text(_MARK, "1")
    text.add_text("Description", f"Derived picture, not a scan: a network's heat map drawn over a scan. {NOTICE}")
    text.add_text("Software", "sonoforge classify")
    for key in ("name", "version", "sha256"):
        text.add_itxt(f"sonoforge:model_{key}", result.model[key])
    text.add_itxt("sonoforge:label", result.answer)
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def caption(result: Result) -> list[str]:
    """Return the answer in words, one item for each paragraph."""
    share = activation_map.share_in_brightest(result.map)
    verdict = result.verdict
    usable = verdict.state not in UNUSABLE
    trust = "; ".join(result.trust.reasons) or "like the training images"
    where = (
        f"The map holds no evidence for {result.label} anywhere."
        if share is None
        else f"Colour: evidence for {result.label}, in units of the logit. The line encloses the brightest tenth of "
        f"the area, which holds {100 * share:.0f} % of the evidence."
    )
    return [
        f"{verdict.heading}. {verdict.advice}",
        *([f"Probability of {result.label}: {result.probabilities[result.label]:.0%}"] if usable else []),
        *(
            [f"The network saw a part of the image: {result.crop.reason}"]
            if result.crop and result.crop.kept < 1
            else []
        ),
        f"Trust {result.trust.score:.2f}: {trust}",
        f"Image quality: {', '.join(map(flag_in_words, result.quality.flags)) or 'no fault found'}",
        *([f"Burned in: {result.marks.summary}. {SENTENCE}"] if result.marks.marks else []),
        where,
        NOTICE,
    ]


def _blended() -> NDArray[np.uint8]:
    """Return each heat level over each grey level, (256, 256, 3)."""
    opacity = _MOST_OPAQUE * np.sqrt(np.linspace(0, 1, _LEVELS))[:, None, None]
    grey = np.arange(256)[None, :, None]
    return np.asarray(np.rint((1 - opacity) * grey + opacity * heat()[:, None, :]).astype(np.uint8))


def _grown(inside: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Add the four neighbours of every pixel, several times."""
    for _ in range(steps):
        grown = inside.copy()
        grown[1:] |= inside[:-1]
        grown[:-1] |= inside[1:]
        grown[:, 1:] |= inside[:, :-1]
        grown[:, :-1] |= inside[:, 1:]
        inside = grown
    return inside


def _wrapped(text: str, font: Any, width: int) -> Iterator[str]:
    """Break a paragraph into lines that fit, between words if possible, within them if not."""

    def pieces(word: str) -> Iterator[str]:
        while font.getlength(word) > width:
            fits = next(n for n in range(len(word), 0, -1) if n == 1 or font.getlength(word[:n]) <= width)
            yield word[:fits]
            word = word[fits:]
        if word:
            yield word

    line = ""
    for piece in (piece for word in text.split() for piece in pieces(word)):
        longer = f"{line} {piece}" if line else piece
        if font.getlength(longer) <= width:
            line = longer
        else:
            yield line
            line = piece
    yield line


class OverlayFolder:
    """The folder of the pictures: ``STEM-overlay.png``, or ``STEM-2-overlay.png`` for a second file of that stem."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if needed, and check that it can be written.

        Raises:
            SonoforgeError: It cannot be made or written, such as on a full disk.
        """
        self._folder = folder
        self._chosen: dict[str, Path] = {}
        self._taken: set[str] = set()
        atomic.prepare_folder(folder)

    def reserve(self, files: Sequence[str]) -> None:
        """Choose the names of more files' pictures, in this order; a file keeps the name it has.

        Raises:
            SonoforgeError: A file that is not an overlay has that name.
        """
        for file in files:
            if file in self._chosen:
                continue
            stem, number = Path(file).stem, 1
            name = f"{stem}-overlay.png"
            while name.casefold() in self._taken:  # some file systems ignore case
                number += 1
                name = f"{stem}-{number}-overlay.png"
            self._taken.add(name.casefold())
            target = self._chosen[file] = self._folder / name
            if target.exists() and _MARK.encode() not in first_bytes(target, _OPENING):
                raise SonoforgeError(f"{target}: exists and is not an overlay; choose another folder")

    def target(self, file: str) -> Path:
        """Return where the picture of a file goes."""
        return self._chosen[file]


def write(target: Path, scan: str | Image.Image, result: Result) -> None:
    """Draw the picture of an answer for a file or a frame and write it, whole or not at all.

    Raises:
        ImageError: The file can no longer be read.
        SonoforgeError: The picture cannot be written.
    """
    atomic.write_bytes(target, png(draw(scan, result), result))


@functools.cache
def heat() -> NDArray[np.uint8]:
    """Return the colours of a heat map, (256, 3) uint8 sRGB: dark blue over red to light yellow, from little to much.

    The path is drawn in OKLab (B. Ottosson, A perceptual color space for image processing, 2020), whose distances
    follow the eye's, and cut into steps of equal length; lightness rises all the way, so it reads without colour
    vision too.
    """
    along = np.linspace(0, 1, 16 * _LEVELS)
    lightness = np.interp(along, (0, 1), _LIGHTNESS)
    hue = np.radians(np.interp(along, (0, 1), _HUE))
    chroma = np.full_like(along, _CHROMA)
    # The largest chroma up to ours that a screen can show, by bisection.
    low, high = np.zeros_like(along), chroma
    for _ in range(20):
        middle = (low + high) / 2
        rgb = _linear_rgb(lightness, middle, hue)
        inside = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    path = np.stack([lightness, low * np.cos(hue), low * np.sin(hue)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    steps = np.interp(np.linspace(0, length[-1], _LEVELS), length, along)
    linear = np.stack([np.interp(steps, along, channel) for channel in _linear_rgb(lightness, low, hue).T], axis=1)
    linear = np.clip(linear, 0, 1)
    # IEC 61966-2-1: sRGB's transfer curve.
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded).astype(np.uint8))


def _linear_rgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return linear sRGB (N, 3) of OKLab colours (N,) in polar form; outside 0..1 where a screen cannot show them."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return np.asarray((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T)
