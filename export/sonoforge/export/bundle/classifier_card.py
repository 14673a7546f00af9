"""Render MODEL_CARD.md of a classifier's bundle from its record; no figure is written by hand."""

import dataclasses
import functools

from sonoforge.export.bundle.card import render, table
from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.reports.conclusions import judge_coverage, judge_guessing, judge_weights
from sonoforge.training.reports.run.statements import RunFacts, describe_lessons, name_groups
from sonoforge.training.statistics.calibration import ENOUGH
from sonoforge.training.statistics.results import LEAVE_ONE_OUT

_SHOWN_AIMS = (0.90, 0.95)  # sensitivities of the questions that are shown


def classifier_card(record: ModelRecord) -> str:
    """Render a classifier's card, except for its table of files."""
    training, evaluation, decision = record.training, record.evaluation, record.decision
    measured, elsewhere = evaluation["decision"], record.elsewhere
    facts = RunFacts(
        protocol=evaluation["protocol"],
        folds=evaluation["folds"],
        images=evaluation["images"],
        tested=evaluation["images"],
        groups=evaluation["groups"],
        classes=len(record.classes),
        arms=(evaluation["arm"],),
        simulated=training["simulated"],
        given_groups=training["given_groups"],
        near_duplicates=evaluation["near_duplicates"],
        generator_reads=evaluation["generator_reads"],
        weights=training["weights"],
        passed=evaluation["near_duplicates"] == evaluation["generator_reads"] == 0,
    )
    all_left_out = evaluation["protocol"] == LEAVE_ONE_OUT
    lessons = describe_lessons(training["settings"])
    if training["settings"]["augmentation"] not in ("none", "flip"):
        lessons.append(f"random {IN_WORDS[training['settings']['augmentation']]}")

    def networks(kind: str) -> str:
        """Name the networks behind a table of other runs, and how they differ from the bundle's."""
        teachers = elsewhere.get("teachers", {}).get(kind)
        if teachers is None:
            return "networks of the same recipe"
        return f"networks of the same recipe, but {f'distilled from {teachers}' if teachers else 'not distilled'},"

    return render(
        "classifier_card",
        record=record,
        training=training,
        evaluation=evaluation,
        decision=decision,
        measured=measured,
        sealed=elsewhere.get("sealed"),
        left_out=elsewhere.get("left_out"),
        facts=facts,
        lessons=lessons,
        networks=networks,
        all_left_out=all_left_out,
        table=functools.partial(table, evaluation=evaluation, classes=record.classes),
        enough=ENOUGH,
        doubts=[found for found in (judge_weights(training["weights"]), judge_guessing(evaluation)) if found],
        missed=judge_coverage(measured, record.conformal["alpha"]),
        groups=name_groups(facts),
        added={name: count for name, count in training["added"].items() if count},
        judged_itself=_is_judged_itself(record),
        calibrated_on=calibrated_on(record),
        policy=record.trust["checks"]["policy"],
        others="collections"
        if len(measured) > 1 and all_left_out
        else "folds"
        if evaluation["folds"] > 1
        else "half of the images",
        overcalled=[
            f"of {where}, which has no {name} images, {figures['called'][name]:.0%} are called {name}"
            for where, figures in measured.items()
            for name in record.classes
            if name not in figures["sensitivity"] and figures["called"][name] > record.conformal["alpha"]
        ],
        aims=[
            (question, point)
            for question in decision["questions"]
            for point in question["points"]
            if point["aim"] in _SHOWN_AIMS
        ],
        own=[row for row in evaluation.get("by_source", []) if row["kind"] == "collection"],
        simulation=dataclasses.replace(facts, images=training["data_images"]).said["simulation"],
        is_busi=is_busi(training["fingerprint"]),
    )


def calibrated_on(record: ModelRecord) -> str:
    """Describe the images that the temperature was fitted on; the networks that answered had not trained on them."""
    images = record.evaluation["images"]
    return (
        f"the {images} held-out images" if _is_judged_itself(record) else f"out-of-fold predictions of {images} images"
    )


def _is_judged_itself(record: ModelRecord) -> bool:
    """Whether the figures describe these very weights, rather than those that cross-validation trained."""
    return bool(record.training["count"] < record.training["data_images"])
