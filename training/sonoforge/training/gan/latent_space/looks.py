"""Views of what a generator has learned: each gives pictures, and an entry in ``looks.json``.

A new view is one function and one row of `LOOKS`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.training.data.pixels import Pixels, to_pixels
from sonoforge.training.gan.generator import (
    Truncation,
    latent_distribution,
    map_latents,
    mix_bands,
    sample_batches,
    sample_latent,
    style_bands,
    synthesise,
)
from sonoforge.training.gan.latent_space import path_length as paths
from sonoforge.training.gan.latent_space.sheets import NOTE, draw_sheet, make_film

log = logging.getLogger(__name__)

PSIS = (1.0, 0.7, 0.5, 0.3, 0.0, -0.5)
LIMITS = (None, 2.0, 1.5, 1.0, 0.5, 0.25)  # of the absolute values in a latent; None: no limit
DESTINATIONS = 2  # images that receive each band of styles
GUTTER = 8  # pixels between them and the mixed images
STRIP = 8  # images of a strip, both ends included
FRAMES = 12  # of the film from one image to the next
POINTS = 33  # on a path whose steps are measured
# Of the image: to the right and down, in sides; and about its centre, from right to down, in degrees.


@dataclass(frozen=True)
class Subject:
    """A generator, and which of its images to show."""

    generator: nn.Module  # in evaluation mode
    label: int | None  # class to show, or None
    image_channels: int  # channels that are image; those after them are masks
    count: int  # images of a row or column
    samples: int  # images or pairs to measure figures on
    seed: int
    distance: paths.SquaredDistance
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
    """Files by name, and the entry in ``looks.json``, which also records their hashes."""

    files: Mapping[str, bytes]
    entry: Mapping[str, object]


def truncation(subject: Subject) -> Look:
    """Show truncation: a row a latent, a column a psi or a limit of the latents."""
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
    """Show style mixing (Karras 2019, figure 3): images on the left with a third of the styles of those above."""
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
    """Show strips from each image to the next, and all of them as a film that ends where it begins."""
    space = paths.spaces(subject.generator)[-1]
    ends = subject.closed_pairs()

    def images(shares: Tensor) -> Tensor:
        return paths.walk(subject.generator, space, ends, shares.expand(len(ends), -1), subject.label)

    rows = [list(subject.pixels(strip)) for strip in images(torch.linspace(0, 1, STRIP))]
    titles = [f"{index} to {(index + 1) % subject.count}" for index in range(subject.count)]
    path = "on the line between two styles (w)" if space == "w" else "on the path between two latents (z)"
    sheet = draw_sheet(rows, (), titles, (f"Images {path}.", NOTE))
    film, size = make_film(subject.pixels(images(torch.arange(FRAMES) / FRAMES).flatten(0, 1)), subject.origin)
    return Look(
        {"interpolation.png": sheet.png(subject.origin), "interpolation.gif": film},
        {
            "space": space,
            "images": list(range(subject.count)),
            "layout": sheet.layout,
            "film": size,
        },
    )


def path(subject: Subject) -> Look:
    """Measure step sizes along the strips' paths, and the path length over random pairs."""
    generator, distance, label = subject.generator, subject.distance, subject.label
    ends = subject.closed_pairs()
    shares = torch.linspace(0, 1, POINTS).expand(len(ends), -1)
    lengths, steps, figures = [], {}, {}
    for space in paths.spaces(generator):
        steps[space] = paths.step_sizes(paths.walk(generator, space, ends, shares, label), distance)
        length = paths.measure_path_length(generator, space, distance, subject.samples, subject.seed, label)
        lengths.append(length)
        kept = {name: value for name, value in vars(length).items() if name not in ("space", "values")}
        figures[space] = kept | {"unevenness": paths.unevenness(steps[space])}
        log.info("%s in %s: %.4g +- %.2g", distance.figure, space, length.mean, length.standard_error)
    return Look(
        {"path-length.png": paths.figure_png(paths.draw_paths(lengths, steps, distance), subject.origin)},
        {
            "figure": distance.figure,
            "distance": distance.name,
            "unevenness": f"standard deviation over mean of {POINTS - 1} steps along a path, mean of {subject.count} "
            "paths; 0 is even",
            "spaces": figures,
        },
    )


LOOKS: dict[str, Callable[[Subject], Look]] = {
    "truncation": truncation,
    "mixing": mixing,
    "interpolation": interpolation,
    "path": path,
}


def not_applicable(generator: nn.Module) -> dict[str, str]:
    """Return the views that do not apply to a generator, each with a one-line reason."""
    reasons = {}
    if not has_styles(generator):
        if latent_distribution(generator) != "normal":
            reasons["truncation"] = "not applicable: its latents are uniform"
        reasons["mixing"] = "not applicable: only StyleGAN 1 to 3 have styles to mix"
    return reasons
