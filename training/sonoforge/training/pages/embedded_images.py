"""Pictures inside the report: small, grey where they are grey, as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID = 640  # side of a sample grid; 160 pixels an image, about 80 kB
QUALITY = 82
SAMPLED_CLASSES = 8
"""More classes than these are counted but not shown: the page must stay below 6 MB and readable."""
MIXED_CLUSTERS = 4
PLAIN_CLUSTERS = 3
CLUSTER_IMAGES = 10
"""A larger cluster is counted but not shown."""


class Picture(NamedTuple):
    """A picture ready for ``<img>``."""

    source: str
    width: int
    height: int
    alt: str


def embed(image: Image.Image, side: int, alt: str) -> Picture:
    """Reduce a picture to at most ``side`` pixels and encode it as JPEG."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(small)
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{encoded}", small.width, small.height, alt)


def handful(clusters: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose a few clusters to show: with mixed labels first, then the largest of one label."""
    small = [cluster for cluster in clusters if len(cluster["files"]) <= CLUSTER_IMAGES]
    mixed = [cluster for cluster in small if cluster["mixed"]]
    return [*mixed[:MIXED_CLUSTERS], *[cluster for cluster in small if not cluster["mixed"]][:PLAIN_CLUSTERS]]


class Samples(NamedTuple):
    """Real and generated images of one class."""

    name: str
    real: Picture
    generated: Picture


def sample_pictures(folder: Path, classes: Sequence[str]) -> tuple[list[Samples], list[str]]:
    """Read the grids of real and generated images of the classes that have both.

    Returns:
        The first `SAMPLED_CLASSES` of them, and the names of the other ones.
    """
    found = [name for name in classes if all(_grid(folder, kind, name).is_file() for kind in ("real", "generated"))]
    shown = []
    for name in found[:SAMPLED_CLASSES]:
        pictures = []
        for kind, words in (("real", "real training"), ("generated", "generated")):
            with Image.open(_grid(folder, kind, name)) as image:
                pictures.append(embed(image, GRID, f"Grid of {words} images of class {name}"))
        shown.append(Samples(name, *pictures))
    return shown, found[SAMPLED_CLASSES:]


def _grid(folder: Path, kind: str, name: str) -> Path:
    return folder / "samples" / f"{kind}-{name}.png"
