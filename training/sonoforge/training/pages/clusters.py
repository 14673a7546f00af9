"""Clusters of repeated scans, as cards of pictures: `cluster_card` of `macros.html.j2`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from sonoforge.training.data.cache import ImageCache
from sonoforge.training.pages.embedding import QUALITY, data_url

_HEIGHT = 150  # pixels


class Scan(NamedTuple):
    """One image of a cluster; ``label`` is the class's number."""

    file: str
    label: int
    source: str
    size: str


class Card(NamedTuple):
    """One cluster: the images shown of it, how many it has, whether their labels differ, and what is said of it."""

    scans: list[Scan]
    images: int
    mixed: bool
    facts: str


def cluster_cards(clusters: Sequence[Mapping[str, Any]], cache: ImageCache) -> list[Card]:
    """Make the cards of some clusters."""
    index = {item.path: i for i, item in enumerate(cache.dataset.items)}
    return [_card(cluster, cache, [index[file] for file in cluster["files"]]) for cluster in clusters]


def _card(cluster: Mapping[str, Any], cache: ImageCache, members: Sequence[int]) -> Card:
    scans = [
        Scan(
            file.rsplit("/", 1)[-1],
            cache.dataset.items[i].label,
            picture(cache, i),
            "{} × {}".format(*cache.sizes[i]),
        )
        for file, i in zip(cluster["files"], members, strict=True)
    ]
    different = [pair for pair in cluster["pairs"] if not pair["same_pixels"]]
    correlations = [f"{pair['correlation']:.2f}" for pair in different]
    ends = sorted({min(correlations), max(correlations)}) if correlations else []
    scales = [max(pair["scale"], 1 / pair["scale"]) for pair in different if pair["scale"]]
    turns = [abs(pair["degrees"]) for pair in different]
    facts = ["equal pixels"] if cluster["same_pixels"] else []
    facts += [f"r = {' to '.join(ends)}"] if ends else []
    facts += [f"zoom {max(scales):.1f}"] if max(scales, default=1) >= 1.1 else []
    facts += [f"turned {max(turns)}°"] if max(turns, default=0) >= 3 else []
    facts += [word for word in ("mirrored", "inverted") if any(pair[word] for pair in different)]
    return Card(scans, len(scans), cluster["mixed"], " · ".join(facts))


def picture(cache: ImageCache, index: int) -> str:
    """Encode one image in its own proportions, as a data URL."""
    width, height = (int(side) for side in cache.sizes[index])
    shape = (max(1, min(round(_HEIGHT * width / height), 3 * _HEIGHT)), _HEIGHT)
    small = Image.fromarray(cache.images[index]).resize(shape, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    (small if cache.modes[index] == "RGB" else small.convert("L")).save(stream, "JPEG", quality=QUALITY)
    return data_url(stream.getvalue(), "jpeg")
