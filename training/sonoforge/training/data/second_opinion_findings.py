"""What the second opinion found: as a record, as pictures to judge, and as the tables that settle it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sonoforge.runtime import atomic
from sonoforge.runtime.csv_cells import defused
from sonoforge.training.copies.near_duplicates import join_groups
from sonoforge.training.copies.pose_search import Picture, flip, shrink, warp
from sonoforge.training.copies.second_search import Match
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.statistics.results import SecondOpinionPair

_PICTURE, _GAP, _CAPTION = 240, 6, 18  # pixels: longest side, space between pictures, line of text
_MOST_SHOWN = 100  # rows of the sheet

ONE_SCAN = 0.6
"""Correlation from which two images are one scan; below it, they may be two views of one lesion.

Copies planted in five public sets reach 0.76 or more. Of BUSI's pairs of different groups, those from the threshold to
this limit show one lesion twice, scanned from elsewhere.
"""


class Finding(NamedTuple):
    """Two images of different folds that show one scan, or may be two views of it."""

    match: Match
    files: tuple[str, str]  # query and key
    folds: tuple[int, int]
    seed: int  # of the plan that puts them apart

    @property
    def facts(self) -> str:
        """How alike they are, in a few words."""
        facts = [f"r = {self.match.correlation:.2f}", f"zoom {self.match.zoom:.2f}"]
        kinds = {
            "mirrored": self.match.mirrored,
            "upside down": self.match.upside_down,
            "inverted": self.match.inverted,
        }
        facts += [kind for kind, so in kinds.items() if so]
        return ", ".join(facts)

    @property
    def is_one_scan(self) -> bool:
        """Whether they are alike enough to stop a run."""
        return self.match.correlation >= ONE_SCAN

    @property
    def sentence(self) -> str:
        """Which images they are, and where."""
        (first, second), (one, other) = self.files, self.folds
        relation = "show one scan" if self.is_one_scan else "may be second views of one scan"
        return f"{first} (fold {one}) and {second} (fold {other}) {relation}"

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
            upside_down=self.match.upside_down,
            inverted=self.match.inverted,
        )


def write_sheet(path: Path, cache: ImageCache, findings: Sequence[Finding]) -> None:
    """Draw a PNG picture with one row for each pair: both as they are, then both where they show the same.

    The first is mirrored or turned over where only that matches, and dimmed outside the common part; the second is
    turned, moved and scaled onto it.
    """
    shown = findings[:_MOST_SHOWN]
    sheet = Image.new("L", (4 * (_PICTURE + _GAP), len(shown) * (_PICTURE + _CAPTION)), 255)
    for row, finding in enumerate(shown):
        top = row * (_PICTURE + _CAPTION)
        ImageDraw.Draw(sheet).text((_GAP, top + 2), f"{finding.sentence} ({finding.facts})", fill=0)
        for column, picture in enumerate(_pictures(cache, finding)):
            picture.thumbnail((_PICTURE, _PICTURE), Image.Resampling.LANCZOS)
            sheet.paste(picture, (column * (_PICTURE + _GAP), top + _CAPTION))
    with atomic.replacing(path) as file:
        sheet.save(file, "PNG")


def _pictures(cache: ImageCache, finding: Finding) -> list[Image.Image]:
    match = finding.match
    originals = [cache.pictures[index] for index in (match.query, match.key)]
    query, key = map(shrink, originals)
    shown = flip(query, match.mirrored, match.upside_down)
    laid = warp(1 - key if match.inverted else key, match.matrix, shown.shape)
    seen = warp(np.ones_like(key), match.matrix, shown.shape) > 0.5
    return [*map(Image.fromarray, originals), _grey(np.where(seen, shown, shown / 3)), _grey(laid)]


def _grey(picture: Picture) -> Image.Image:
    image = Image.fromarray(np.clip(picture * 255, 0, 255).astype(np.uint8))
    scale = _PICTURE / max(image.size)
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.resize(size, Image.Resampling.BICUBIC)


def proposed_distinct(findings: Sequence[Finding]) -> str:
    """Return all pairs as a ``distinct.csv``, of which the user keeps the lines that are true."""
    return _table([("file", "other"), *(finding.files for finding in findings)])


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
    rows = [(item.path, names.get(group, "")) for item, group in zip(items, joined.tolist(), strict=True)]
    return _table([("file", "group"), *rows])


def _table(rows: Sequence[tuple[str, str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(map(defused, row) for row in rows)
    return stream.getvalue()
