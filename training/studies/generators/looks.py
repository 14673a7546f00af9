"""What a generator has learned, in pictures: truncation, style mixing (StyleGAN), and the way between images.

    python training/studies/generators/looks.py RUN OUT [--class NAME] [--count 6] [--seed 0] [--checkpoint last]

A row of ``truncation.png`` is one latent, a column a psi, or without styles a limit of the latents' numbers (none, 2,
1.5, 1, 0.5, 0.25).  In ``style-mixing.png`` (Karras 2019, figure 3) images on the left have a third of the styles of
those above.  A row of ``interpolation.png`` leads from one image to the next: on the line between two styles, or on the
arc between two latents; ``interpolation.gif`` shows all rows as a loop.  All of them are synthetic images.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.images.synthetic import NOTICE, as_picture, origin_of, png_bytes
from sonoforge.runtime.inference.generator import find_label
from sonoforge.training.data.pixels import Pixels, grid_picture, to_pixels
from sonoforge.training.gan.checkpoint import describe, find_checkpoint
from sonoforge.training.gan.generator import (
    CPU_BATCH,
    Truncation,
    generate_parts,
    label_batch,
    latent_distribution,
    load_generator,
    sample_batches,
    sample_latent,
)

PSIS = (1.0, 0.7, 0.5, 0.3, 0.0, -0.5)
LIMITS = (None, 2.0, 1.5, 1.0, 0.5, 0.25)  # of the absolute values in a latent; None: no limit
DESTINATIONS = 2  # images that receive each band of styles
STRIP = 8  # images of a strip, both ends included
FRAMES = 12  # of the film from one image to the next
FRAME_MS = 80


def main() -> None:
    """Draw all pictures that the generator has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--class", dest="class_name", default="")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default="last")
    given = parser.parse_args()
    checkpoint = find_checkpoint(given.run, given.checkpoint)
    about = describe(checkpoint)
    label = find_label(given.class_name, about.classes, about.class_name)
    name = about.class_name if label is None else about.classes[label]
    origin = origin_of(about, about.files["average.safetensors"], name, given.seed)
    subject = Subject(load_generator(checkpoint), label, given.seed, about.image_channels)
    given.out.mkdir(parents=True, exist_ok=True)
    for file, rows in subject.sheets(given.count):
        picture = grid_picture(np.concatenate(rows), len(rows[0]))
        write_bytes(given.out / file, png_bytes(picture, origin))
        print(given.out / file)
    write_bytes(given.out / "interpolation.gif", film(subject.strips(given.count, closed=True), origin))


class Subject:
    """A generator, and the class, seed and channels that are shown."""

    def __init__(self, generator: nn.Module, label: int | None, seed: int, channels: int) -> None:
        self.generator: Any = generator
        self.label, self.seed, self.channels = label, seed, channels
        self.styled = has_styles(generator)

    def sheets(self, count: int) -> Iterator[tuple[str, Sequence[Pixels]]]:
        """Yield each picture's name and its rows of images (N, S, S, C) uint8."""
        if self.styled or latent_distribution(self.generator) == "normal":
            yield "truncation.png", self.truncated(count)
        if self.styled:
            yield "style-mixing.png", self.mixed(count)
        yield "interpolation.png", self.strips(count)

    def truncated(self, count: int) -> list[Pixels]:
        """Return a row a latent, a column a truncation."""
        cuts = [Truncation(psi) for psi in PSIS] if self.styled else [Truncation(limit=limit) for limit in LIMITS]
        columns = [
            np.concatenate([*sample_batches(self.generator, count, self.seed, self.label, own)])[..., : self.channels]
            for own in cuts
        ]
        return list(np.stack(columns, axis=1))

    def mixed(self, count: int) -> list[Pixels]:
        """Return the sources' row, and rows of an image with a third of the styles of each source."""
        styles = self.styles(self.latents(count + DESTINATIONS))
        sources, destinations = styles[:count], styles[count:]
        unmixed = self.draw(styles)
        rows = [np.concatenate([np.full_like(unmixed[:1], 255), unmixed[:count]])]
        edges = [round(styles.shape[1] * third / 3) for third in range(4)]
        for begin, end in itertools.pairwise(edges):
            for index, own in enumerate(destinations):
                mixed = own.expand_as(sources).clone()
                mixed[:, begin:end] = sources[:, begin:end]
                rows.append(np.concatenate([unmixed[count + index, None], self.draw(mixed)]))
        return rows

    def strips(self, count: int, *, closed: bool = False) -> list[Pixels]:
        """Return the way from each image to the next, for a film without the last one of each."""
        shares = torch.arange(FRAMES) / FRAMES if closed else torch.linspace(0, 1, STRIP)
        ends = self.latents(count)
        if self.styled:
            first = self.styles(ends)
            return [
                self.draw(torch.lerp(own, other, shares[:, None, None]))
                for own, other in zip(first, first.roll(-1, 0), strict=True)
            ]
        kind = latent_distribution(self.generator)
        strips = []
        for own, other in zip(ends.numpy(), ends.roll(-1, 0).numpy(), strict=True):
            path = torch.from_numpy(between(own, other, shares.numpy(), kind)).float()
            labels = label_batch(self.generator, self.label, len(path))
            strips.append(self.pixels(torch.cat([*generate_parts(self.generator, path, labels)])))
        return strips

    def latents(self, count: int) -> Tensor:
        """Return the latents of images 0 to count - 1, as ``gan sample`` draws them: (count, Z)."""
        return torch.cat([sample_latent(self.generator, self.seed, index) for index in range(count)])

    @torch.no_grad()
    def styles(self, latents: Tensor) -> Tensor:
        """Map latents (N, Z) to styles (N, L, W)."""
        styles: Tensor = self.generator.mapping(latents, label_batch(self.generator, self.label, len(latents)))
        return styles

    @torch.no_grad()
    def draw(self, styles: Tensor) -> Pixels:
        """Generate images from styles (N, L, W)."""
        return self.pixels(torch.cat([self.generator.synthesis(part) for part in styles.split(CPU_BATCH)]))

    def pixels(self, images: Tensor) -> Pixels:
        """Convert images (N, C, S, S) to (N, S, S, image channels) uint8, without their masks."""
        return to_pixels(images[:, : self.channels])


def between(
    first: NDArray[np.floating], last: NDArray[np.floating], shares: NDArray[np.floating], distribution: str
) -> NDArray[np.float64]:
    """Return latents (T, Z) at fractions (T,), 0 to 1, of the path from one (Z,) to another.

    Normal latents lie near a sphere, so the path is an arc (White, "Sampling Generative Networks", 2016: slerp); a
    straight line would pass where no latent is ever drawn.  Between uniform latents it is a straight line.
    """
    begin, end = first.astype(np.float64), last.astype(np.float64)
    share = shares.astype(np.float64)[:, None]
    cosine = begin @ end / (np.linalg.norm(begin) * np.linalg.norm(end))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if distribution == "uniform" or angle < 1e-4:
        return np.asarray((1 - share) * begin + share * end)
    return np.asarray((np.sin((1 - share) * angle) * begin + np.sin(share * angle) * end) / np.sin(angle))


def film(strips: Sequence[Pixels], origin: dict[str, Any]) -> bytes:
    """Encode images as a looping film: greys exactly, colours reduced to 256 in each frame."""
    frames: list[Image.Image] = [as_picture(image) for image in np.concatenate(strips)]
    stream = io.BytesIO()
    comment = json.dumps({"Description": NOTICE, **origin}).encode()
    animation: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": FRAME_MS, "loop": 0}
    frames[0].save(stream, "GIF", **animation, comment=comment)
    return stream.getvalue()


if __name__ == "__main__":
    main()
