"""The second opinion at the gate: nothing is trained while a test image shows what its training images show."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import GateError
from sonoforge.training.copies.kept import recall_copies
from sonoforge.training.copies.second_search import Match
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.distinct import DISTINCT, read_distinct
from sonoforge.training.data.second_opinion_findings import (
    ONE_SCAN,
    Finding,
    proposed_distinct,
    proposed_groups,
    write_sheet,
)
from sonoforge.training.data.split_plan import SEALED, SplitPlan
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.statistics.results import SecondOpinion

log = logging.getLogger(__name__)

RECORD, SHEET = "second-opinion.json", "second-opinion.png"
PROPOSED_GROUPS, PROPOSED_DISTINCT = "second-opinion-groups.csv", "second-opinion-distinct.csv"


def find_second_views(cache: ImageCache) -> list[Match]:
    """Return the pairs of different groups that may be second views of one lesion: folds keep them together.

    Less alike than copies, more than other scans, and not in ``distinct.csv``.

    Raises:
        SonoforgeError: ``distinct.csv`` cannot be read.
    """
    distinct = read_distinct(cache.dataset)
    items = cache.dataset.items
    return [
        match
        for match in recall_copies(cache.pictures, cache.hashes, cache.store, scan_groups(cache)).matches
        if match.correlation < ONE_SCAN and frozenset((items[match.query].path, items[match.key].path)) not in distinct
    ]


def check_plans(run: Path, cache: ImageCache, plans: Sequence[SplitPlan], views: Sequence[Match]) -> SecondOpinion:
    """Refuse plans under which a network is tested on an image and trained on another picture of the same scan.

    Pairs in ``distinct.csv`` are let through; they and the possible second views are recorded.  Under ``thesis`` and
    ``single`` what leaks is only said.

    Args:
        run: The run folder.  Gets ``second-opinion.json`` and, where something was found, its pictures, a
            ``groups.csv`` that joins it and a ``distinct.csv`` that waves it through.
        cache: The images.
        plans: Of the same images and groups; one for each seed.
        views: See `find_second_views`.

    Raises:
        GateError: Two images of different folds show one scan; names both, and the remedy.
        SonoforgeError: ``distinct.csv`` cannot be read.
    """
    distinct = read_distinct(cache.dataset)
    found = recall_copies(cache.pictures, cache.hashes, cache.store, np.array(plans[0].groups))
    findings = [finding for match in found.matches if (finding := _across(match, plans)) is not None]
    declared = [finding for finding in findings if frozenset(finding.files) in distinct]
    leaks = [finding for finding in findings if frozenset(finding.files) not in distinct]
    seen_twice = [_find(match, plans[0]) for match in views]
    record = SecondOpinion(
        compared=found.compared,
        threshold=found.threshold,
        leaks=[finding.record() for finding in leaks],
        possible_second_views=[finding.record() for finding in seen_twice],
        distinct_by_hand=[finding.record() for finding in declared],
    )
    atomic.write_json(run / RECORD, record)
    if declared:
        log.info("second opinion: %d pairs were declared distinct by hand (%s)", len(declared), DISTINCT)
    if leaks or seen_twice:
        write_sheet(run / SHEET, cache, [*leaks, *seen_twice])
        atomic.write_text(run / PROPOSED_DISTINCT, proposed_distinct([*leaks, *seen_twice]))
    if seen_twice:
        count = f"{len(seen_twice)} {'pair' if len(seen_twice) == 1 else 'pairs'} may be second views of one lesion"
        kept = "whatever their folds"
        if plans[0].protocol in SEALED:
            kept = "and stay in one fold" if plans[0].protocol == "sealed" else "and are never on two sides"
        log.info("second opinion: %s, %s (%s)", count, kept, run / SHEET)
    if not leaks:
        log.info("second opinion: no scan on two sides (%d pairs, r below %.2f)", found.compared, found.threshold)
        return record
    atomic.write_text(run / PROPOSED_GROUPS, proposed_groups(cache, leaks))
    message = _message(run, cache, leaks)
    if plans[0].protocol in SEALED:
        raise GateError(f"{plans[0].protocol}: {message}")
    log.warning("%s: %s", plans[0].protocol, message)
    return record


def _across(match: Match, plans: Sequence[SplitPlan]) -> Finding | None:
    """Return the match with its folds under the first plan that puts its images apart."""
    findings = (_find(match, plan) for plan in plans)
    return next((finding for finding in findings if finding.folds[0] != finding.folds[1]), None)


def _find(match: Match, plan: SplitPlan) -> Finding:
    files = plan.files[match.query], plan.files[match.key]
    return Finding(match, files, (plan.fold_of[match.query], plan.fold_of[match.key]), plan.seed)


def _message(run: Path, cache: ImageCache, pairs: Sequence[Finding]) -> str:
    """Name the first of the pairs, count the rest, and say what to do."""
    others = len(pairs) - 1
    more = f"; and {others} more {'pair' if others == 1 else 'pairs'}" if others else ""
    root = cache.dataset.root
    return (
        f"{pairs[0].sentence} ({pairs[0].facts}){more}; look at {run / SHEET}: what is one scan belongs in one group, "
        f"copy {run / PROPOSED_GROUPS} to {root / 'groups.csv'}; what is not, list in {root / DISTINCT}, copy lines "
        f"from {run / PROPOSED_DISTINCT}"
    )
