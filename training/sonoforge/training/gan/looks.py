"""Show what a generator has learned: each view gives pictures, and an entry in ``looks.json``.

A new view is one function and one row of `LOOKS`.
"""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.images.synthetic import NOTICE, as_picture, png_text
from sonoforge.runtime.inference.latents import between
from sonoforge.training.data.pixels import Pixels, to_pixels
from sonoforge.training.gan.generator import (
    CPU_BATCH,
    Truncation,
    generate_parts,
    label_batch,
    latent_distribution,
    sample_batches,
    sample_latent,
)

PROGRAM = "sonoforge gan show"
NOTE = "Synthetic images. Research use, not a medical device."
PSIS = (1.0, 0.7, 0.5, 0.3, 0.0, -0.5)
LIMITS = (None, 2.0, 1.5, 1.0, 0.5, 0.25)  # of the absolute values in a latent; None: no limit
DESTINATIONS = 2  # images that receive each band of styles
GUTTER = 8  # pixels between them and the mixed images
STRIP = 8  # images of a strip, both ends included
FRAMES = 12  # of the film from one image to the next
BANDS = ("coarse", "middle", "fine")


@torch.no_grad()
def map_latents(generator: nn.Module, latents: Tensor, label: int | None) -> Tensor:
    """Return the styles of latents (N, Z): (N, L, W) on the generator's device."""
    latents = latents.to(next(generator.parameters()).device)
    styles: Tensor = generator.mapping(latents, label_batch(generator, label, len(latents)))  # type: ignore[operator]
    return styles


@torch.no_grad()
def synthesise(generator: nn.Module, styles: Tensor) -> Tensor:
    """Generate images from styles (N, L, W): (N, C, S, S) on the generator's device."""
    parts = styles.to(next(generator.parameters()).device).split(CPU_BATCH)
    return torch.cat([generator.synthesis(part) for part in parts])  # type: ignore[operator]


def style_bands(number: int) -> dict[str, tuple[int, int]]:
    """Divide the styles into thirds: start and end (exclusive) of the coarse, middle and fine ones.

    Karras 2019, figure 3, takes 4 of 18 styles as coarse and 4 as middle, which leaves no fine ones at 32 pixels.
    """
    edges = [round(number * third / 3) for third in range(4)]
    return {band: (edges[index], edges[index + 1]) for index, band in enumerate(BANDS)}


def mix_bands(styles: Tensor, sources: Tensor, begin: int, end: int) -> Tensor:
    """Replace styles ``begin`` to ``end`` (exclusive) with the sources': (N, L, W) and (N, L, W) to (N, L, W)."""
    return torch.cat([styles[:, :begin], sources[:, begin:end], styles[:, end:]], 1)


def walk(generator: nn.Module, ends: Tensor, shares: Tensor, label: int | None) -> Tensor:
    """Generate images (N, T, C, S, S) along N paths between latents (N, 2, Z), at ``shares`` (T,) of each, 0 to 1.

    A StyleGAN's paths are lines between two styles; others follow the distribution of their latents.
    """
    pairs, steps = len(ends), len(shares)
    if has_styles(generator):
        styles = map_latents(generator, ends.flatten(0, 1).float(), label).double().unflatten(0, (pairs, 2))
        places = shares.double()[None, :, None, None].to(styles.device)
        points = torch.lerp(styles[:, :1], styles[:, 1:], places)
        images = synthesise(generator, points.flatten(0, 1).float())
    else:
        distribution = latent_distribution(generator)
        points = torch.from_numpy(
            np.stack([between(own[0], own[1], np.asarray(shares), distribution) for own in ends.numpy()])
        )
        points = points.flatten(0, 1).float().to(next(generator.parameters()).device)
        images = torch.cat([*generate_parts(generator, points, label_batch(generator, label, len(points)))])
    together: Tensor = images.unflatten(0, (pairs, steps))
    return together


@dataclass(frozen=True)
class Subject:
    """A generator, and which images to show."""

    generator: nn.Module  # in evaluation mode
    label: int | None  # class to show, or None
    image_channels: int  # channels that are image; those after them are masks
    count: int  # images of a row or column
    seed: int
    origin: Mapping[str, Any]  # recorded in every file

    def latents(self, count: int) -> Tensor:
        """Return the latents of images 0 to count - 1, as ``gan sample`` draws them: (count, Z)."""
        return torch.cat([sample_latent(self.generator, self.seed, index) for index in range(count)])

    def closed_pairs(self) -> Tensor:
        """Return the latents of each image and of the next one, the first after the last: (count, 2, Z)."""
        latents = self.latents(self.count)
        return torch.stack([latents, latents.roll(-1, 0)], 1)

    def pixels(self, images: Tensor) -> Pixels:
        """Convert images (N, C, S, S) to (N, S, S, image channels) uint8, without their masks."""
        return to_pixels(images[:, : self.image_channels])

    def titles(self, count: int) -> list[str]:
        """Name images 0 to count - 1."""
        return [f"image {index}" for index in range(count)]


class Look(NamedTuple):
    """Files by name, and their entry in ``looks.json``, which also records their hashes."""

    files: Mapping[str, bytes]
    entry: Mapping[str, object]


def truncation(subject: Subject) -> Look:
    """Show truncation: a row for each latent, a column for each psi or limit of the latents."""
    if has_styles(subject.generator):
        columns = {f"psi {psi:g}": Truncation(psi) for psi in PSIS}
        entry: dict[str, object] = {"psi": PSIS}
        caption = "Styles truncated towards their mean by psi (Karras 2019)"
        caption += ", the mean over all classes." if subject.label is not None else "."
    else:
        columns = {"no limit" if limit is None else f"up to {limit:g}": Truncation(limit=limit) for limit in LIMITS}
        entry = {"clip": LIMITS}
        caption = "Latents whose numbers beyond a limit are redrawn (Brock 2019)."
    images = []
    for own in columns.values():
        batches = sample_batches(subject.generator, subject.count, subject.seed, subject.label, own)
        images.append(np.concatenate([*batches])[..., : subject.image_channels])
    sheet = draw_sheet([*zip(*images, strict=True)], list(columns), subject.titles(subject.count), (caption, NOTE))
    entry |= {"images": list(range(subject.count)), "layout": sheet.layout}
    return Look({"truncation.png": sheet.png(subject.origin)}, entry)


def mixing(subject: Subject) -> Look:
    """Show style mixing (Karras 2019, figure 3): images on the left with a third of the styles from those above."""
    count = subject.count
    styles = map_latents(subject.generator, subject.latents(count + DESTINATIONS), subject.label)
    sources, destinations = styles[:count], styles[count:]
    bands = style_bands(styles.shape[1])
    unmixed = subject.pixels(synthesise(subject.generator, styles))
    rows: list[list[Pixels | None]] = [[None, *unmixed[:count]]]
    titles = [""]
    for band, (begin, end) in bands.items():
        for index, destination in enumerate(destinations):
            mixed = mix_bands(destination.expand_as(sources), sources, begin, end)
            rows.append([unmixed[count + index], *subject.pixels(synthesise(subject.generator, mixed))])
            titles.append(f"{band} {begin + 1}-{end}")
    caption = (
        f"Style mixing (Karras 2019, figure 3): of {styles.shape[1]} styles, the named ones come from the image above, "
        "the others from the image on the left."
    )
    sheet = draw_sheet(rows, ["", *subject.titles(count)], titles, (caption, NOTE), gutter=GUTTER)
    return Look(
        {"style-mixing.png": sheet.png(subject.origin)},
        {
            "styles": styles.shape[1],
            "bands": {band: list(range(begin + 1, end + 1)) for band, (begin, end) in bands.items()},
            "sources": list(range(count)),
            "destinations": list(range(count, count + DESTINATIONS)),
            "layout": sheet.layout,
        },
    )


def interpolation(subject: Subject) -> Look:
    """Show strips from each image to the next, and all of them as an animation that ends where it begins."""
    ends = subject.closed_pairs()

    def images(shares: Tensor) -> Tensor:
        return walk(subject.generator, ends, shares, subject.label)

    rows = [list(subject.pixels(strip)) for strip in images(torch.linspace(0, 1, STRIP))]
    styled = has_styles(subject.generator)
    titles = [f"{index} to {(index + 1) % subject.count}" for index in range(subject.count)]
    path = "on the line between two styles (w)" if styled else "on the path between two latents (z)"
    sheet = draw_sheet(rows, (), titles, (f"Images {path}.", NOTE))
    film, size = make_film(subject.pixels(images(torch.arange(FRAMES) / FRAMES).flatten(0, 1)), subject.origin)
    return Look(
        {"interpolation.png": sheet.png(subject.origin), "interpolation.gif": film},
        {
            "space": "w" if styled else "z",
            "images": list(range(subject.count)),
            "layout": sheet.layout,
            "film": size,
        },
    )


LOOKS: dict[str, Callable[[Subject], Look]] = {
    "truncation": truncation,
    "mixing": mixing,
    "interpolation": interpolation,
}


def not_applicable(generator: nn.Module) -> dict[str, str]:
    """Return the views that do not apply to a generator, each with a one-line reason."""
    reasons = {}
    if not has_styles(generator):
        if latent_distribution(generator) != "normal":
            reasons["truncation"] = "not applicable: its latents are uniform"
        reasons["mixing"] = "not applicable: only StyleGAN 1 to 3 have styles to mix"
    return reasons


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

    The layout is in pixels: ``width``, ``height``, ``left`` of the first column, ``top`` above the first row, ``cell``
    for the side of each image, ``step`` from one to the next, and the gap ``apart`` after the first row and column.
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
    """Encode images (N, S, S, C) uint8 as a looping animation: exact greys, but at most 256 colours in each frame.

    Also return its ``width`` and ``height`` in pixels and its ``frames``. Pillow drops a frame that repeats the
    previous one, and shows that one longer.
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
