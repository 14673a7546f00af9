"""Draw the picture of an answer: the scan at its own size under a heat map, with the answer in words below.

The scan is in the upper left corner, so its pixels have the same place in the picture.  The picture of a narrow scan is
wider than the scan, to fit the words.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import burned_in_marks, decoding, file_kinds, quality_metrics
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.runtime.inference import activation_map, decision
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.inference.verdict import UNUSABLE
from sonoforge.runtime.notice import NOTICE

_LEVELS = 256  # of the heat map

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
        RGB, at least as wide as the scan and taller.

    Raises:
        ImageError: The scan cannot be read.
        ValueError: The scan and the one answered differ in size.
    """
    scan = decoding.as_image(image)
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
    """Return a scan under the heat map of its answer, in RGB and the scan's size.

    Raises:
        ValueError: The scan and the one answered differ in size.
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
    """Encode the picture as a PNG, marked as derived and with the model that made it."""
    text = PngInfo()
    text.add_text(_MARK, "1")
    text.add_text("Description", f"Derived picture, not a scan: a network's heat map drawn over a scan. {NOTICE}")
    text.add_text("Software", "sonoforge classify")
    for key in ("name", "version", "sha256"):
        text.add_itxt(f"sonoforge:model_{key}", result.model[key])
    text.add_itxt("sonoforge:label", result.answer)
    return encoded(picture, pnginfo=text)


def caption(result: Result) -> list[str]:
    """Return the answer in words, one item per paragraph."""
    share = activation_map.share_in_brightest(result.map)
    verdict = result.verdict
    usable = verdict.state not in UNUSABLE
    figures = decision.figures_in_words(result.to_dict())
    trust = "; ".join(result.trust.reasons) or "like the training images"
    where = (
        f"The map holds no evidence for {result.label} anywhere."
        if share is None
        else f"Colour: evidence for {result.label}, in units of the logit. The line encloses the brightest tenth of "
        f"the area, which holds {100 * share:.0f} % of the evidence."
    )
    return [
        f"{verdict.heading}. {verdict.advice}",
        *([f"{title}: {said}" for title, said in figures.items()] if usable else []),
        *(
            [f"The network saw a part of the image: {result.crop.reason}"]
            if result.crop and result.crop.kept < 1
            else []
        ),
        f"Trust {result.trust.score:.2f}: {trust}",
        f"Image quality: {', '.join(map(quality_metrics.flag_in_words, result.quality.flags)) or 'no fault found'}",
        *([f"Burned in: {result.marks.summary}. {burned_in_marks.SENTENCE}"] if result.marks.marks else []),
        where,
        NOTICE,
    ]


@functools.cache
def heat() -> NDArray[np.uint8]:
    """Return the colours of a heat map, (256, 3) uint8 sRGB: dark blue over red to light yellow.

    They are a path through OKLab, whose distances follow the eye's (B. Ottosson, A perceptual color space for image
    processing, 2020), cut into 256 steps of equal length: lightness from 0.35 to 0.95, hue from 290 to 460 degrees,
    chroma 0.16 or the largest that sRGB can show (IEC 61966-2-1).  Lightness rises all the way, so it reads without
    colour vision, too.  Ours, chosen by eye.
    """
    return np.asarray(np.load(Path(__file__).with_name("heat_colours.npy")))


def _blended() -> NDArray[np.uint8]:
    """Return the blend of each heat level with each grey level, (256, 256, 3)."""
    opacity = _MOST_OPAQUE * np.sqrt(np.linspace(0, 1, _LEVELS))[:, None, None]
    grey = np.arange(256)[None, :, None]
    return np.asarray(np.rint((1 - opacity) * grey + opacity * heat()[:, None, :]).astype(np.uint8))


def _grown(inside: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Add the four neighbours of every pixel, several times."""
    for _ in range(steps):
        wide = np.pad(inside, 1)
        inside = inside | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
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


def choose_targets(folder: Path, files: Sequence[str], chosen: dict[str, Path]) -> None:
    """Add each further file's picture to ``chosen``: ``STEM-overlay.png``, or ``STEM-2-overlay.png`` for a second STEM.

    Raises:
        SonoforgeError: The folder has a file of that name that is not such a picture.
    """
    taken = {target.name.casefold() for target in chosen.values()}  # some file systems ignore case
    for file in (file for file in files if file not in chosen):
        stem, number = atomic.safe_name(Path(file).stem), 1
        name = f"{stem}-overlay.png"
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}-overlay.png"
        taken.add(name.casefold())
        target = chosen[file] = folder / name
        if target.exists() and _MARK.encode() not in file_kinds.first_bytes(target, _OPENING):
            raise SonoforgeError(f"{target}: exists and is not an overlay; choose another folder")
