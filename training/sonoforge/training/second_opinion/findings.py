"""What the second opinion found: as a record, as pictures to judge, and as a ``groups.csv`` that joins it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.duplicates import join_groups
from sonoforge.training.pages.embedding import Picture as Embedded
from sonoforge.training.pages.embedding import embed
from sonoforge.training.pages.shell import write_page
from sonoforge.training.second_opinion.copies import Match
from sonoforge.training.second_opinion.pose_search import mirror, shrink, warp
from sonoforge.training.statistics.results import SecondOpinionPair

_PICTURE = 240  # pixels of the longest side on the page
_MOST_SHOWN = 200  # pairs on the page: some 10 MB


class Finding(NamedTuple):
    """Two images of different folds that show one scan."""

    match: Match
    files: tuple[str, str]  # query and key
    folds: tuple[int, int]
    seed: int  # of the plan that puts them apart

    @property
    def facts(self) -> str:
        """How alike they are, in a few words."""
        facts = [f"r = {self.match.correlation:.2f}", f"zoom {self.match.zoom:.2f}"]
        facts += ["mirrored"] * self.match.mirrored + ["inverted"] * self.match.inverted
        return ", ".join(facts)

    def record(self) -> SecondOpinionPair:
        """Return the entry of ``second-opinion.json``."""
        return SecondOpinionPair(
            file=self.files[0],
            other=self.files[1],
            folds=list(self.folds),
            seed=self.seed,
            correlation=self.match.correlation,
            overlap=self.match.overlap,
            zoom=self.match.zoom,
            mirrored=self.match.mirrored,
            inverted=self.match.inverted,
        )


class Card(NamedTuple):
    """One pair on the page."""

    finding: Finding
    pictures: list[Embedded]  # both as they are, then both laid on each other


def write_findings(path: Path, cache: ImageCache, findings: Sequence[Finding], threshold: float) -> None:
    """Write the page: each pair side by side, and the second image laid on the first."""
    context = {
        "name": cache.dataset.name,
        "findings": findings,
        "cards": [_card(cache, finding) for finding in findings[:_MOST_SHOWN]],
        "threshold": threshold,
    }
    write_page(path, "second_opinion/page.html.j2", context)


def _card(cache: ImageCache, finding: Finding) -> Card:
    originals = [read_image(cache.dataset.root / name).convert("L") for name in finding.files]
    query, key = (shrink(np.asarray(image)) for image in originals)
    match = finding.match
    shown = mirror(query) if match.mirrored else query
    laid = warp(1 - key if match.inverted else key, match.matrix, shown.shape)
    seen = warp(np.ones_like(key), match.matrix, shown.shape) > 0.5
    pictures = [*originals, _grey(np.where(seen, shown, shown / 3)), _grey(laid)]
    titles = (*finding.files, f"{finding.files[0]}, where both show the same", f"{finding.files[1]}, laid on the first")
    return Card(finding, [embed(image, _PICTURE, title) for image, title in zip(pictures, titles, strict=True)])


def _grey(picture: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Image.Image:
    image = Image.fromarray(np.clip(picture * 255, 0, 255).astype(np.uint8))
    return image.resize((_PICTURE, round(_PICTURE * image.height / image.width)), Image.Resampling.BICUBIC)


def proposed_groups(cache: ImageCache, findings: Sequence[Finding]) -> str:
    """Return a whole ``groups.csv``: the given groups, joined where a finding joins them, and new ones for the rest.

    A joined group keeps its first given name; one without any is called after its first image.
    """
    items = cache.dataset.items
    members: dict[str, int] = {}
    links = [(members.setdefault(item.group, i), i) for i, item in enumerate(items) if item.group is not None]
    links += [(finding.match.query, finding.match.key) for finding in findings]
    first, second = np.array(links, dtype=np.int64).reshape(-1, 2).T
    joined = join_groups(len(items), first, second)
    names: dict[int, str] = {}
    for group, item in zip(joined.tolist(), items, strict=True):
        if item.group is not None:
            names.setdefault(group, item.group)
    in_finding = {index for finding in findings for index in (finding.match.query, finding.match.key)}
    for index in sorted(in_finding):
        names.setdefault(int(joined[index]), f"like {items[index].path}")
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("file", "group"))
    table.writerows((item.path, names.get(group, "")) for item, group in zip(items, joined.tolist(), strict=True))
    return stream.getvalue()
