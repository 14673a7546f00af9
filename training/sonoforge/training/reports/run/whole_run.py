"""Read a finished run for its report: the results, and what is recomputed from the run folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sonoforge.training.crossval import evidence
from sonoforge.training.data import datasets, load, split_plan
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.reports.run.statements import RunFacts, gan_budget
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions
from sonoforge.training.statistics.results import ComparisonRow, Record
from sonoforge.training.statistics.verdict import GAN, PLACEBO


@dataclass(frozen=True, eq=False)
class WholeRun:
    """A run with everything that its report shows."""

    folder: Path
    cache: ImageCache
    audit: Record
    results: Record
    classes: Sequence[str]
    parts: Sequence[Predictions]
    comparisons: Sequence[ComparisonRow]
    plans: Mapping[int, split_plan.SplitPlan]  # by seed
    reads: Mapping[str, evidence.Reads]
    checks: Sequence[evidence.Check]
    generators: Sequence[evidence.GeneratorRuns]
    facts: RunFacts
    starts: Sequence[Mapping[str, Any]]  # of ``environment.json``

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def arms(self) -> Mapping[str, Record]:
        """Figures by arm."""
        arms: Mapping[str, Record] = self.results["arms"]
        return arms

    @property
    def titles(self) -> dict[str, str]:
        """Titles by arm."""
        return {name: figures["title"] for name, figures in self.arms.items()}

    @property
    def environment(self) -> Mapping[str, Any]:
        """What the run was made with, at its last start."""
        return self.starts[-1]

    @property
    def busi(self) -> bool:
        """Whether these are exactly the images of BUSI."""
        return datasets.is_busi(self.results["split"]["fingerprint"])

    @property
    def budget(self) -> str:
        """How long the generators were trained."""
        return gan_budget(self.results["gan"], self.results["budget"], self.facts.filled)

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The bundle's."""
        found: dict[str, Any] = json.loads((self.folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))
        return found


def read_run(folder: Path, cache: ImageCache, audited: Record, results: Record) -> WholeRun:
    """Read a run folder, and check its results against it."""
    parts, classes = read_predictions(folder / ANSWERS)
    evidence.read_record(folder / ANSWERS)
    plans = evidence.read_plans(folder)
    arms, split = results["arms"], results["split"]
    folds = evidence.read_folds(folder)
    reads = evidence.check_reads(folds, plans)
    near_duplicates = sum(split["test_images_with_near_duplicate_in_training"])
    generators = evidence.read_generators(folder, classes)
    checks = [
        *evidence.origin_checks(folds, plans, reads, cache.contents),
        *evidence.split_checks(plans, reads, near_duplicates),
        *evidence.check_predictions(parts, arms, len(next(iter(plans.values())).tested)),
    ]
    facts = RunFacts(
        protocol=results["protocol"],
        folds=split["folds"],
        images=split["images"],
        tested=sum(split["fold_sizes"]),
        groups=split["groups"],
        classes=len(classes),
        arms=tuple(arms),
        filled=tuple(runs.name for runs in generators),
        added=next((tuple(arms[name]["generated_per_fold"]) for name in GAN if name in arms), ()),
        simulated=len(load.find_simulated(cache.dataset)),
        given_groups=audited["given_groups"] or 0,
        second_views=len(split["second_opinion"]["possible_second_views"]),
        near_duplicates=near_duplicates,
        generator_reads=len({image for _, image in reads["generator"].same_content}) if "generator" in reads else 0,
        weights=results["weights"],
        passed=all(check.passed for check in checks),
    )
    return WholeRun(
        folder=folder,
        cache=cache,
        audit=audited,
        results=results,
        classes=classes,
        parts=parts,
        comparisons=_with_placebo(results["comparisons"], parts, classes),
        plans=plans,
        reads=reads,
        checks=checks,
        generators=generators,
        facts=facts,
        starts=json.loads((folder / "environment.json").read_text(encoding="utf-8"))["runs"],
    )


def _with_placebo(
    comparisons: Sequence[ComparisonRow], parts: Sequence[Predictions], classes: Sequence[str]
) -> list[ComparisonRow]:
    """Add the comparison of generated with duplicated images if both arms ran and neither is the baseline."""
    first_seed = {part.arm: part for part in parts if part.seed == parts[0].seed}
    known = {frozenset((row["first"], row["second"])) for row in comparisons}
    pairs = [(first, second) for first in PLACEBO for second in GAN if {first, second} <= first_seed.keys()]
    missing = [pair for pair in pairs if frozenset(pair) not in known]
    return [*comparisons, *(tables.compare_arms(first_seed[one], first_seed[two], classes) for one, two in missing)]
