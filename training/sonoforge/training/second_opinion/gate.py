"""The second opinion at the gate: nothing is trained while a test image shows what its training images show."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import GateError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.distinct import DISTINCT, read_distinct
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.second_opinion.copies import Match
from sonoforge.training.second_opinion.findings import Finding, proposed_distinct, proposed_groups, write_sheet
from sonoforge.training.second_opinion.recall import recall_copies
from sonoforge.training.statistics.results import SecondOpinion

log = logging.getLogger(__name__)

RECORD, SHEET = "second-opinion.json", "second-opinion.png"
PROPOSED_GROUPS, PROPOSED_DISTINCT = "second-opinion-groups.csv", "second-opinion-distinct.csv"


def check_plans(run: Path, cache: ImageCache, plans: Sequence[SplitPlan], cache_folder: Path) -> SecondOpinion:
    """Refuse plans under which a network is tested on an image and trained on another picture of the same scan.

    Pairs in ``distinct.csv`` are let through and recorded.  Under ``thesis`` what leaks is only said.

    Args:
        run: The run folder.  Gets ``second-opinion.json`` and, where something was found, its pictures, a
            ``groups.csv`` that joins it and a ``distinct.csv`` that waves it through.
        cache: The images.
        plans: Of the same images and groups; one for each seed.
        cache_folder: That of decoded images, which keeps what need not be searched again.

    Raises:
        GateError: Two images of different folds show one scan; names both, and the remedy.
        SonoforgeError: ``distinct.csv`` cannot be read.
    """
    distinct = read_distinct(cache.dataset)
    found = recall_copies(cache, np.array(plans[0].groups), cache_folder)
    findings = [finding for match in found.matches if (finding := _across(match, plans)) is not None]
    declared = [finding for finding in findings if frozenset(finding.files) in distinct]
    leaks = [finding for finding in findings if frozenset(finding.files) not in distinct]
    record = SecondOpinion(
        compared=found.compared,
        threshold=found.threshold,
        leaks=[finding.record() for finding in leaks],
        distinct_by_hand=[finding.record() for finding in declared],
    )
    atomic.write_json(run / RECORD, record)
    if declared:
        log.info("second opinion: %d pairs were declared distinct by hand (%s)", len(declared), DISTINCT)
    if not leaks:
        log.info("second opinion: no scan on two sides (%d pairs, r below %.2f)", found.compared, found.threshold)
        return record
    write_sheet(run / SHEET, cache, leaks)
    atomic.write_text(run / PROPOSED_GROUPS, proposed_groups(cache, leaks))
    atomic.write_text(run / PROPOSED_DISTINCT, proposed_distinct(leaks))
    message = _message(run, cache, leaks)
    if plans[0].protocol == "sealed":
        raise GateError(f"sealed: {message}")
    log.warning("thesis: %s", message)
    return record


def _across(match: Match, plans: Sequence[SplitPlan]) -> Finding | None:
    """Return the match with its folds under the first plan that puts its images apart."""
    for plan in plans:
        folds = plan.fold_of[match.query], plan.fold_of[match.key]
        if folds[0] != folds[1]:
            return Finding(match, (plan.files[match.query], plan.files[match.key]), folds, plan.seed)
    return None


def _message(run: Path, cache: ImageCache, leaks: Sequence[Finding]) -> str:
    more = f"; and {len(leaks) - 1} more pairs" if len(leaks) > 1 else ""
    root = cache.dataset.root
    return (
        f"{leaks[0].sentence} ({leaks[0].facts}){more}; look at {run / SHEET}: what is one scan belongs in one group, "
        f"copy {run / PROPOSED_GROUPS} to {root / 'groups.csv'}; what is not, list in {root / DISTINCT}, copy lines "
        f"from {run / PROPOSED_DISTINCT}"
    )
