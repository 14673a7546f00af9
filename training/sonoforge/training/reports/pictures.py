"""Put pictures in a page as ``data:`` URLs: small, and grey if they are grey."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.pages import data_url
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.reports.blocks import Block, Card, Clusters, Heading, Scan, Text, label
from sonoforge.training.reports.words import Words
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import listed, number


def embed(picture: Path | io.BytesIO, side: int, alt: str) -> Markup:
    """Return a file's picture as an element: at most ``side`` pixels, encoded as JPEG."""
    with Image.open(picture) as opened:
        small = opened.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(small)
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    element = Markup('<img src="{}" width="{}" height="{}" alt="{}">')
    return element.format(data_url(Image.fromarray(pixels), "jpeg"), small.width, small.height, alt)


_HEIGHT = 150  # pixels
_SHOWN_SCANS = 6  # of a group that was never answered rightly


def cluster_blocks(clusters: Sequence[Record], cache: ImageCache) -> list[Block]:
    """Show clusters of repeated scans, starting with mixed labels."""
    index = _places(cache)
    cards = [
        Card(_scans(cluster["files"], cache, index), len(cluster["files"]), cluster["mixed"], _facts(cluster))
        for cluster in clusters
    ]
    mixed, alike = ([card for card in cards if card.mixed is kind] for kind in (True, False))
    shown: list[Block] = []
    if mixed:
        doubt = Words("audit")("mixed_labels")
        shown += [Heading(f"One scan, different labels ({len(mixed)})"), Text(doubt, "note-text"), Clusters(mixed)]
    return shown + ([Heading(f"One scan, one label ({len(alike)})"), Clusters(alike)] if alike else [])


def _facts(cluster: Record) -> str:
    different = [pair for pair in cluster["pairs"] if not pair["same_pixels"]]
    correlations = [f"{pair['correlation']:.2f}" for pair in different]
    ends = sorted({min(correlations), max(correlations)}) if correlations else []
    scales = [max(pair["scale"], 1 / pair["scale"]) for pair in different if pair["scale"]]
    turns = [abs(pair["degrees"]) for pair in different]
    facts = ["equal pixels"] if cluster["same_pixels"] else []
    facts += [f"r = {' to '.join(ends)}"] if ends else []
    facts += [f"zoom {max(scales):.1f}"] if max(scales, default=1) >= 1.1 else []
    facts += [f"turned {max(turns)}°"] if max(turns, default=0) >= 3 else []
    facts += ["mirrored"] if any(pair["mirrored"] for pair in different) else []
    facts += ["inverted"] if any(pair["inverted"] for pair in different) else []
    return " · ".join(facts)


def wrong_cards(clusters: Sequence[Record], cache: ImageCache) -> Clusters:
    """Show groups that were never answered correctly."""
    index = _places(cache)
    cards = []
    for cluster in clusters:
        files = cluster["files"]
        called = listed(list(dict.fromkeys(cluster["answers"])))
        facts = [f"called {called}", f"mean probability of its label {number(cluster['probability'], 2)}"]
        facts += [f"{_SHOWN_SCANS} of {len(files)} shown"] if len(files) > _SHOWN_SCANS else []
        scans = _scans(files[:_SHOWN_SCANS], cache, index)
        cards.append(Card(scans, len(files), len(set(cluster["labels"])) > 1, " · ".join(facts)))
    return Clusters(cards)


def _places(cache: ImageCache) -> dict[str, int]:
    return {item.path: i for i, item in enumerate(cache.dataset.items)}


def _scans(files: Sequence[str], cache: ImageCache, index: Mapping[str, int]) -> list[Scan]:
    scans = []
    for file in files:
        own = cache.dataset.items[index[file]].label
        width, height = cache.sizes[index[file]].tolist()
        shape = (max(1, min(round(_HEIGHT * width / height), 3 * _HEIGHT)), _HEIGHT)  # in its own proportions
        small = Image.fromarray(cache.images[index[file]]).resize(shape, Image.Resampling.LANCZOS)
        picture = data_url(small if cache.modes[index[file]] == "RGB" else small.convert("L"), "jpeg")
        scans.append(Scan(Path(file).name, label(cache.dataset.classes, own), picture, f"{width} × {height}"))
    return scans
