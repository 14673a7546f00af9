"""Give a second opinion: nothing is trained while a test image repeats one of its training images.

Pairs that the second search finds across folds become a record, pictures to judge, and the tables that settle them:
``groups.csv``, or ``distinct.csv`` beside it for pairs that a person has compared and found different.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from sonoforge.runtime import atomic
from sonoforge.runtime.csv_tables import Names, csv_text, defused, read_table
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.copies.matches import Match, join_groups
from sonoforge.training.copies.second_search import SecondSearch, backwards, flip, search_again, shrink, warp
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.statistics.results import SEALED, Record
from sonoforge.training.statistics.wording import counted

log = logging.getLogger(__name__)

DISTINCT = "distinct.csv"
RECORD, SHEET = "second-opinion.json", "second-opinion.png"
PROPOSED_GROUPS, PROPOSED_DISTINCT = "second-opinion-groups.csv", "second-opinion-distinct.csv"

_PICTURE, _GAP, _CAPTION = 240, 6, 18  # pixels: longest side, space between pictures, line of text
_MOST_SHOWN = 100  # rows of the sheet
# Correlation from which two images are one scan; below it, they may be two views of one lesion.  Copies planted in five
# public sets reach 0.76 or more.
ONE_SCAN = 0.6
_TURNS = ("mirrored", "upside_down", "inverted")  # fields of a match


class Finding(NamedTuple):
    """Two images in different folds that show one scan, or may be two views of it."""

    match: Match
    files: tuple[str, str]  # the second of the match, whose middle was found in the first, and the first
    folds: tuple[int, int]
    seed: int  # of the plan that separates them

    @property
    def facts(self) -> str:
        """How alike they are, in brief."""
        kinds = [name for name in _TURNS if getattr(self.match, name)]
        facts = [f"r = {self.match.correlation:.2f}", f"zoom {self.match.scale:.2f}", *kinds]
        return ", ".join(facts).replace("_", " ")

    @property
    def sentence(self) -> str:
        """Which images they are, and where."""
        (first, second), (one, other) = self.files, self.folds
        relation = "show one scan" if self.match.correlation >= ONE_SCAN else "may be second views of one scan"
        return f"{first} (fold {one}) and {second} (fold {other}) {relation}"

    def record(self) -> Record:
        """Return the entry of ``second-opinion.json``."""
        return {
            "file": self.files[0],
            "other": self.files[1],
            "folds": list(self.folds),
            "seed": self.seed,
            **{name: getattr(self.match, name) for name in ("correlation", "overlap")},
            "zoom": self.match.scale,
            **{name: getattr(self.match, name) for name in _TURNS},
        }


def find_second_views(cache: ImageCache) -> list[Match]:
    """Return pairs of different groups that may be second views of one lesion, so that folds keep them together.

    They are less alike than copies, more alike than other scans, and not in ``distinct.csv``.
    """
    distinct = read_distinct(cache.dataset)
    names = [item.path for item in cache.dataset.items]
    return [
        match
        for match in search_again(cache.pictures, cache.hashes, cache.store, scan_groups(cache)).matches
        if match.correlation < ONE_SCAN and frozenset((names[match.first], names[match.second])) not in distinct
    ]


def check_plans(run: Path, cache: ImageCache, plans: Sequence[SplitPlan], views: Sequence[Match]) -> Record:
    """Refuse plans under which a network is tested on an image and trained on another picture of the same scan.

    Pairs in ``distinct.csv`` pass; they and possible second views (`find_second_views`) are recorded. Under ``thesis``
    and ``single``, leaks are only reported. There is one plan for each seed, with the same images and groups.  The run
    folder gets ``second-opinion.json`` and, if anything was found, its pictures, a ``groups.csv`` that joins the pairs
    and a ``distinct.csv`` that permits them.

    Raises:
        GateError: Two images in different folds show one scan; the message gives both, and the remedy.
    """
    found, declared, leaks, together = _search_between(cache, plans)
    alike = [*leaks, *together] if leaks else []  # joining the first moves folds, which then part the others
    seen_twice = [_find(match, plans[0]) for match in views]
    record = {
        "compared": found.compared,
        "threshold": found.threshold,
        "leaks": [finding.record() for finding in leaks],
        "possible_second_views": [finding.record() for finding in seen_twice],
        "distinct_by_hand": [finding.record() for finding in declared],
    }
    atomic.write_json(run / RECORD, record)
    if declared:
        log.info("second opinion: %d pairs were declared distinct by hand (%s)", len(declared), DISTINCT)
    if shown := [*alike, *seen_twice]:
        write_sheet(run / SHEET, cache, shown)
        atomic.write_text(run / PROPOSED_DISTINCT, _table("other", (finding.files for finding in shown)))
    if seen_twice:
        count = f"{counted(len(seen_twice), 'pair')} may be second views of one lesion"
        kept = "whatever their folds"
        if plans[0].protocol in SEALED:
            kept = "and stay in one fold" if plans[0].protocol == "sealed" else "and are never on two sides"
        log.info("second opinion: %s, %s (%s)", count, kept, run / SHEET)
    if not leaks:
        log.info("second opinion: no scan on two sides (%d pairs, r below %.2f)", found.compared, found.threshold)
        return record
    atomic.write_text(run / PROPOSED_GROUPS, proposed_groups(cache, alike))
    root, others = cache.dataset.root, len(leaks) - 1
    more = f"; and {counted(others, 'more pair')}" if others else ""
    message = (
        f"{leaks[0].sentence} ({leaks[0].facts}){more}; look at {run / SHEET}: what is one scan belongs in one group, "
        f"copy {run / PROPOSED_GROUPS} to {root / 'groups.csv'}; list other pairs in {root / DISTINCT}, copying lines "
        f"from {run / PROPOSED_DISTINCT}"
    )
    if plans[0].protocol in SEALED:
        raise GateError(f"{plans[0].protocol}: {message}")
    log.warning("%s: %s", plans[0].protocol, message)
    return record


def _search_between(
    cache: ImageCache, plans: Sequence[SplitPlan]
) -> tuple[SecondSearch, list[Finding], list[Finding], list[Finding]]:
    """Search again; return what was found, and its pairs by place.

    They are on two sides of a plan: those in ``distinct.csv``, and others; or one scan, not there, in one fold of each.
    """
    distinct = read_distinct(cache.dataset)
    found = search_again(cache.pictures, cache.hashes, cache.store, np.array(plans[0].groups))
    declared, leaks, together = list[Finding](), list[Finding](), list[Finding]()
    for match in found.matches:  # once, with its folds under the first plan that separates its images
        places = [_find(match, plan) for plan in plans]
        parted = next((one for one in places if one.folds[0] != one.folds[1]), None)
        permitted = frozenset(places[0].files) in distinct
        if parted:
            (declared if permitted else leaks).append(parted)
        elif match.correlation >= ONE_SCAN and not permitted:
            together.append(places[0])
    return found, declared, leaks, together


def foretell(cache: ImageCache, plans: Sequence[SplitPlan]) -> list[str]:
    """Say whether `check_plans` will refuse these plans."""
    leaks = _search_between(cache, plans)[2] if plans[0].protocol in SEALED else []
    stops = "the run will stop before any training, with the pictures to judge and the remedy"
    return [f"second opinion: {leaks[0].sentence} ({leaks[0].facts}); {stops}"] if leaks else []


def _find(match: Match, plan: SplitPlan) -> Finding:
    files = plan.files[match.second], plan.files[match.first]
    return Finding(match, files, (plan.fold_of[match.second], plan.fold_of[match.first]), plan.seed)


def read_distinct(dataset: Dataset) -> frozenset[frozenset[str]]:
    """Read ``distinct.csv`` (columns ``file`` and ``other``): pairs of relative paths; none without the file."""
    path = dataset.root / DISTINCT
    if not path.exists():
        return frozenset()
    known = {item.path for item in dataset.items}
    files, pairs = Names(known, dataset.root.resolve().name), set()
    for row in read_table(path, ("file", "other")).rows:
        names = [files.find(row[column]) for column in ("file", "other")]
        for name in names:
            if name not in known:
                raise SonoforgeError(
                    f"{path}: line {row.line} names {name!r}, not an image of the set{files.near(name)}; correct it"
                )
        if names[0] == names[1]:
            raise SonoforgeError(f"{path}: line {row.line} names {names[0]} twice; remove the line")
        pairs.add(frozenset(names))
    return frozenset(pairs)


def write_sheet(path: Path, cache: ImageCache, findings: Sequence[Finding]) -> None:
    """Draw a PNG picture with one row for each pair: both unchanged, then both aligned.

    In the aligned pair, the first is mirrored or flipped as needed, and dimmed outside the overlap; the second is
    rotated, moved and scaled onto it.
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
    originals = [cache.pictures[index] for index in (match.second, match.first)]
    query, key = map(shrink, originals)
    shown = flip(query, mirrored=match.mirrored, upside_down=match.upside_down)
    onto = backwards(match.matrix)  # from the query as it is shown to the key
    laid = warp(1 - key if match.inverted else key, onto, shown.shape)
    seen = warp(np.ones_like(key), onto, shown.shape) > 0.5
    aligned = [Image.fromarray(np.clip(own * 255, 0, 255).astype(np.uint8)) for own in (shown / (3 - 2 * seen), laid)]
    larger = [ImageOps.contain(own, (_PICTURE, _PICTURE), Image.Resampling.BICUBIC) for own in aligned]
    return [*map(Image.fromarray, originals), *larger]


def proposed_groups(cache: ImageCache, findings: Sequence[Finding]) -> str:
    """Return a complete ``groups.csv``: the given groups, joined by the findings, and new ones for the rest.

    A joined group keeps its first given name; a group without one is named after its first image.
    """
    items = cache.dataset.items
    members: dict[str, int] = {}
    links = [(members.setdefault(item.group, i), i) for i, item in enumerate(items) if item.group is not None]
    links += [(finding.match.second, finding.match.first) for finding in findings]
    first, second = np.array(links, dtype=np.int64).reshape(-1, 2).T
    joined = join_groups(len(items), first, second)
    names: dict[int, str] = {}
    for group, item in zip(joined.tolist(), items, strict=True):
        if item.group is not None:
            names.setdefault(group, item.group)
    in_finding = {index for finding in findings for index in (finding.match.first, finding.match.second)}
    for index in sorted(in_finding):
        names.setdefault(int(joined[index]), f"like {items[index].path}")
    rows = [(item.path, names.get(group, "")) for item, group in zip(items, joined.tolist(), strict=True)]
    return _table("group", rows)


def _table(column: str, rows: Iterable[tuple[str, str]]) -> str:
    return csv_text(map(defused, row) for row in [("file", column), *rows])
