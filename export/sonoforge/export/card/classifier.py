"""MODEL_CARD.md of a classifier's bundle, from its records alone: no figure is written by hand.

Sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from sonoforge.export.card.files import table
from sonoforge.export.card.other_scanners import on_other_scanners
from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.pages.run.statements import (
    RunFacts,
    count_near_duplicates,
    describe_lessons,
    judged_by,
    name_groups,
    name_simulated,
    warn_of_leaks,
)
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.results import Interval, interval_text, share_text


def classifier_card(record: ModelRecord) -> str:
    """Render a classifier's card, without its files; every sentence follows from the record."""
    training = record.training
    facts = _facts(record)
    lines = [
        f"# {record.name} {record.version}",
        "",
        "**Research use, not a medical device.**",
        "",
        "## Intended use",
        "",
        record.intended_use,
        "",
        "## Model",
        "",
        f"MobileNetV2 (torchvision), {record.image_size} x {record.image_size}, classes: {', '.join(record.classes)}. "
        f"First weights: {training['weights']}. Training: {training['title']}; budget `{training['budget']}` "
        f"({training['epochs']} epochs, {training['frozen_blocks']} of 19 blocks frozen), seed {training['seed']}."
        + _lessons(training["settings"])
        + (f" {training['ensemble_size']} networks are averaged." if training["ensemble_size"] > 1 else "")
        + (f" Each was distilled from {training['teachers']} networks." if training["teachers"] else "")
        + (" It answers on the mean embedding of the image and its mirror image." if training["mirror"] else "")
        + (" It sees the scan that is found in each image, not menus around it." if record.crop == "auto" else "")
        + (
            f" It runs twice, at {record.look} x {record.look} pixels: on the whole image, and zoomed in on the part "
            "where it sees a lesion; the answer is that to the mean of both."
            if record.look
            else ""
        ),
        "",
        "## Data",
        "",
        " ".join(_data(record, facts)),
        "",
        *_evaluation(record, facts),
        *_abstained(record),
        *on_other_scanners(record),
        "## Calibration and trust",
        "",
        f"Temperature {record.temperature:.3f}, fitted on {calibrated_on(record)}. Prediction sets at "
        f"{1 - record.conformal['alpha']:.0%}: measured coverage "
        + ", ".join(f"{name} {share:.1%}" for name, share in record.conformal["measured_coverage"].items())
        + f"; mean size {record.conformal['mean_set_size']:.2f}. An image farther from the training images than "
        "95 % of these images were is reported as out of distribution.",
        "",
        *_flags(record),
        "## Factors and ethics",
        "",
        " ".join(_unknown(record)),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(record, facts)),
        "",
    ]
    return "\n".join(lines)


def _lessons(settings: Mapping[str, Any]) -> str:
    parts = describe_lessons(settings)
    if settings["augmentation"] not in ("none", "flip"):
        parts.append(f"random {IN_WORDS[settings['augmentation']]}")
    return f" In training: {'; '.join(parts)}." if parts else ""


def calibrated_on(record: ModelRecord) -> str:
    """Name the images that the temperature was fitted on, which the networks that answered had not trained on."""
    images = record.evaluation["images"]
    return (
        f"the {images} held-out images" if _is_judged_itself(record) else f"out-of-fold predictions of {images} images"
    )


def _is_judged_itself(record: ModelRecord) -> bool:
    """Whether the figures are of these very weights; else they are of those that cross-validation trained."""
    return record.training["count"] < record.training["data_images"]


def _facts(record: ModelRecord) -> RunFacts:
    training, evaluation = record.training, record.evaluation
    return RunFacts(
        protocol=evaluation["protocol"],
        folds=evaluation["folds"],
        images=evaluation["images"],
        tested=evaluation["images"],
        groups=evaluation["groups"],
        classes=len(record.classes),
        arms=(evaluation["arm"],),
        filled=(),
        added=(),
        simulated=training["simulated"],
        given_groups=training["given_groups"],
        second_views=0,
        near_duplicates=evaluation["near_duplicates"],
        generator_reads=evaluation["generator_reads"],
        passed=evaluation["near_duplicates"] == evaluation["generator_reads"] == 0,
    )


def _data(record: ModelRecord, facts: RunFacts) -> Iterator[str]:
    """Say what the weights were trained on."""
    training = record.training
    counts = ", ".join(f"{name} {count}" for name, count in training["class_counts"].items())
    yield (
        f"{training['data']}: {training['count']} of {training['data_images']} images ({counts}), in "
        f"{training['groups']} groups (joined: {name_groups(facts)})."
    )
    added = {name: count for name, count in training["added"].items() if count}
    named = ", ".join(f"{name} {count}" for name, count in added.items())
    generator = training["generator"]
    if generator:
        yield (
            f"To these, {sum(added.values())} generated images were added ({named}), each drawn by a generator that "
            f"was trained on these images of its class (recipe `{generator['recipe']}`)."
        )
    elif added:
        yield f"To these, {sum(added.values())} copies of themselves were added ({named})."
    else:
        yield "Nothing was added to them."
    yield f"Fingerprint of the whole set `{training['fingerprint'][:16]}`."


def _evaluation(record: ModelRecord, facts: RunFacts) -> list[str]:
    evaluation = record.evaluation
    accuracy, area = evaluation["accuracy"], evaluation["macro_auc"]
    rows = [
        (name, share_text(evaluation["sensitivity"][name]), share_text(evaluation["specificity"][name]))
        for name in record.classes
    ]
    figures = (
        f"Accuracy {share_text(accuracy)}, macro-AUC {interval_text(area)} "
        "(95 % intervals by group; accuracy of the weights in this bundle on their own training images "
        f"{evaluation['train_accuracy']:.1%})."
    )
    seeds = evaluation["seed_accuracy"]
    if len(seeds) > 1:
        each = ", ".join(f"{value:.1%} with seed {seed}" for seed, value in seeds.items())
        figures += f" These figures are of seed {record.training['seed']}; accuracy was {each}."
    return [
        "## Evaluation",
        "",
        " ".join(_judged(record, facts)),
        "",
        figures,
        "",
        *table(("class", "sensitivity (95 % by group)", "specificity (95 % by group)"), rows),
        f"Calibration error (ECE) {evaluation['ece']:.3f} before and {evaluation['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {evaluation['brier']:.3f} and {evaluation['brier_calibrated']:.3f}.",
        "",
    ]


def _abstained(record: ModelRecord) -> list[str]:
    """Say how often it must abstain for how few errors."""
    parts = [
        f"{share_text(target['abstained'])} for at most {target['error']:.0%} wrong"
        for target in record.evaluation["risk_coverage"]["targets"]
    ]
    text = (
        "Share of these scans on which to abstain, the least probable labels first, so that few of the others "
        f"are wrong: {'; '.join(parts)} (95 % intervals by group). `sonoforge classify --abstain` abstains."
    )
    return [text, ""]


def _flags(record: ModelRecord) -> list[str]:
    """Say whether the causes that speak against an answer predicted errors."""
    rows = [
        (
            own["flag"],
            str(own["images"]),
            *map(share_text, (own["errors"], own["errors_of_others"])),
            _ratio(own["ratio"]),
        )
        for own in record.evaluation["flags"]
    ]
    return [
        "Held-out images with each flag that may be shown beside an answer, limits from those of other folds; a ratio "
        f"below {ENOUGH} is no reason to doubt the label.",
        "",
        *table(("flag", "images", "wrong (95 % by group)", "wrong of the others", "ratio"), rows),
    ]


def _ratio(interval: Interval | None) -> str:
    return "-" if interval is None else interval_text(interval, ".1f")


def _judged(record: ModelRecord, facts: RunFacts) -> Iterator[str]:
    """Say on which images the figures were measured, what the networks had seen of them, what was chosen on them."""
    training = record.training
    if _is_judged_itself(record):
        yield (
            f"These weights were judged on {facts.images} images of {facts.groups} groups, which were held out of "
            f"their training. {count_near_duplicates(facts)}"
        )
    else:
        yield judged_by(facts)
        yield from filter(None, [warn_of_leaks(facts)])
        yield (
            f"The weights in this bundle were then trained on all {training['count']} images with the same settings "
            "and have no test set of their own."
        )
    yield training["choice"]


def _unknown(record: ModelRecord) -> Iterator[str]:
    """Say what a model card should tell and no run can know."""
    training = record.training
    if training["simulated"] == training["data_images"]:
        yield "Nobody was imaged: there are no groups of people, no consent and no ethical approval to report."
    else:
        yield (
            "Age, sex, origin and other attributes of the people imaged, and the machines used, are not recorded: no "
            "figure is known for any such group."
        )
        yield "Consent and ethical approval are to be filled in by those who hold the data."
    yield "Licence, contact and how to cite this model are to be filled in by those who share it."


def _limits(record: ModelRecord, facts: RunFacts) -> Iterator[str]:
    training, left_out = record.training, record.evaluation["protocol"] == LEAVE_ONE_OUT
    if training["simulated"]:
        yield name_simulated(dataclasses.replace(facts, images=training["data_images"]))
    if training["simulated"] < training["data_images"]:
        yield (
            f"Trained on {training['data']} alone: images from other places and machines must be expected to be judged "
            + ("as those of the collections left out are, or worse." if left_out else "worse.")
        )
    if is_busi(training["fingerprint"]):
        yield (
            "Published models trained on BUSI alone fall to an AUC of .64 to .79 (malignant against benign) on other "
            "hospitals' scans."
        )
    if not training["given_groups"]:
        yield "The data name no patients: images of one patient may lie on both sides of the split."
    yield "The class-activation map shows where the evidence lies, not why."
