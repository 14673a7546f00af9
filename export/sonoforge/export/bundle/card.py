"""MODEL_CARD.md of a bundle, from its records alone: no figure is written by hand.

Sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sonoforge.export.bundle.card_elsewhere import on_other_scanners
from sonoforge.export.gate.row import FormatRow, ManifestJson
from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.pages.run.statements import (
    RunFacts,
    count_twins,
    describe_lessons,
    judged_by,
    name_groups,
    name_simulated,
    warn_of_leaks,
)
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.results import IntervalResult, interval_text, share_text


def classifier_card(record: ModelRecord, parity: dict[str, Any]) -> str:
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
        + _lessons(training.get("settings", {}))
        + (f" {training['members']} networks answer together." if training["members"] > 1 else "")
        + (f" Each was distilled from {training['teachers']} networks." if training.get("teachers") else "")
        + (" It answers on the mean embedding of the image and its mirror image." if training["mirror"] else "")
        + (" It sees the scan that is found in each image, not menus round it." if record.crop == "auto" else "")
        + (
            f" It looks twice, at {record.look} x {record.look} pixels: at the whole image, and at the window where it "
            "sees a lesion; the answer is that to the mean of both."
            if record.look
            else ""
        ),
        "",
        "## Data",
        "",
        " ".join(_data(record, facts)),
        "",
        *_evaluation(record, facts),
        *_handed_back(record),
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
        "## Export",
        "",
        f"torch {parity['torch']} against onnxruntime {parity['onnxruntime']} on {parity['images']}: largest "
        f"difference {parity['max_abs']['logits']:.1e} in logits, {parity['max_abs']['probabilities']:.1e} in "
        f"probabilities, {parity['labels_equal']} of {parity['count']} labels equal.",
        "",
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
    if settings.get("augmentation", "flip") not in ("none", "flip"):
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
        twins=evaluation["twins"],
        generator_reads=evaluation["generator_reads"],
        passed=evaluation["twins"] == evaluation["generator_reads"] == 0,
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
        f"| {name} | {share_text(evaluation['sensitivity'][name])} | {share_text(evaluation['specificity'][name])} |"
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
        "| class | sensitivity (95 % by group) | specificity (95 % by group) |",
        "|---|---|---|",
        *rows,
        "",
        f"Calibration error (ECE) {evaluation['ece']:.3f} before and {evaluation['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {evaluation['brier']:.3f} and {evaluation['brier_calibrated']:.3f}.",
        "",
    ]


def _handed_back(record: ModelRecord) -> list[str]:
    """Say how many scans must be handed back for how few errors."""
    figures = record.evaluation.get("risk_coverage")
    if figures is None:
        text = "How many scans must be handed back for a given error rate was not recorded."
    else:
        parts = [
            f"{share_text(target['handed_back'])} for at most {target['error']:.0%} wrong"
            for target in figures["targets"]
        ]
        text = (
            "Share of these scans that must be handed back, the least probable labels first, so that few of the others "
            f"are wrong: {'; '.join(parts)} (95 % intervals by group). `sonoforge classify --abstain` hands scans back."
        )
    return [text, ""]


def _flags(record: ModelRecord) -> list[str]:
    """Say whether the causes that speak against an answer predicted errors."""
    flags = record.evaluation.get("flags")
    if flags is None:
        return ["Whether flagged images were answered worse was not recorded.", ""]
    rows = [
        f"| {own['flag']} | {own['images']} | {share_text(own['errors'])} | {share_text(own['errors_of_others'])} | "
        f"{_ratio(own['ratio'])} |"
        for own in flags
    ]
    return [
        "Held-out images with each flag that may be shown beside an answer, limits from those of other folds; a ratio "
        f"below {ENOUGH} is no reason to doubt the label.",
        "",
        "| flag | images | wrong (95 % by group) | wrong of the others | ratio |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _ratio(interval: IntervalResult | None) -> str:
    return "-" if interval is None else interval_text(interval, ".1f")


def _judged(record: ModelRecord, facts: RunFacts) -> Iterator[str]:
    """Say on which images the figures were measured, what the networks had seen of them, what was chosen on them."""
    training = record.training
    if _is_judged_itself(record):
        yield (
            f"These weights were judged on {facts.images} images of {facts.groups} groups, which were held out of "
            f"their training. {count_twins(facts)}"
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


def generator_card(record: ManifestJson) -> str:
    """Render a generator's card from its manifest, without its files."""
    image, latents, training = record["image"], record["latents"], record["training"]
    colour = "grey" if image["channels"] == 1 else "RGB"
    shown = ", ".join(record["classes"]) or record["class_name"] or "not named"
    lines = [
        f"# {record['name']} {record['version']}",
        "",
        "**Research use, not a medical device. Every image it makes is synthetic and shows no patient.**",
        "",
        "## Intended use",
        "",
        record["intended_use"],
        "",
        "## Model",
        "",
        f"Recipe `{record['recipe']}`, {image['size']} x {image['size']}, {colour}"
        + _masks_in_words(image)
        + f". Class: {shown}. Latents: {latents['size']} {latents['distribution']} numbers, drawn by "
        f"`{latents['recipe']}`." + (" Takes psi, the truncation of styles." if record["psi"]["accepted"] else ""),
        "",
        "## Data",
        "",
        f"Trained on {training['data'] or 'a data set whose name is not recorded'}, to step {training['step']}. "
        f"Fingerprint of the training images `{training['fingerprint'][:16]}`, of the weights "
        f"`{training['generator_sha256'][:16]}`"
        + (f", here {training['weights']}." if "weights" in training else ".")
        + (
            f" `reference.npz` records each training image as {reference['dimension']} features of the classifier "
            f"{reference['model']['name']} {reference['model']['version']}, to measure KID with; it may allow "
            "conclusions about training images, as the weights may."
            if (reference := record.get("reference"))
            else ""
        ),
        "",
        *(f"- {own['name']}: {own['licence']}. {own['citation']}." for own in training.get("sources", [])),
        *([""] if training.get("sources") else []),
        *_measured(training.get("measured")),
        "## Limits",
        "",
        "- A generator may repeat itself, leave out what is rare, and copy training images. `sonoforge evaluate` "
        "measures all three" + ("." if "measured" in training else "; its figures are not part of this bundle."),
        "- The weights may allow conclusions about training images: share them as you may share the data.",
        *_kept_maps_in_words(training),
        "- Images must keep the note that they are synthetic, which `sonoforge gan sample` writes into each file.",
        "",
    ]
    return "\n".join(lines)


def _measured(measured: ManifestJson | None) -> list[str]:
    """Say what `sonoforge evaluate` found of these weights; nothing where that is not recorded."""
    if measured is None:
        return []
    rows = [
        f"| {row['title']} | {row['space']} | {row['matched']:.3g} | {row['floor']:.3g} | {row['ratio']:.2g} |"
        for row in measured["metrics"]
    ]
    copies = measured.get("copies")
    recall = "; ".join(f"{kind} {share:.0%}" for kind, share in copies["recall"].items()) if copies else ""
    found = (
        f"Of {copies['images']} generated images {copies['copies']} match a training image better than the limit, "
        f"which {copies['false_alarm']:.1%} of real images that were not trained on pass. Of planted copies it finds: "
        f"{recall}."
        if copies
        else "Copies were not searched for."
    )
    return [
        "## Evaluation",
        "",
        f"{measured['images']} generated images against {measured['real_images']} real ones ({measured['real']}), "
        f"before any rounding of the weights; protocol `{measured['protocol_id']}`. Each figure is the mean over draws "
        f"of {measured['per_set']} images a side, the floor that of real images against real ones; up to a ratio of 1, "
        "generated images are within it.",
        "",
        "| figure | measured in | generated | floor | ratio |",
        "|---|---|---|---|---|",
        *rows,
        "",
        found,
        *measured["warnings"],
        "",
    ]


def _masks_in_words(image: ManifestJson) -> str:
    if not image["masks"]:
        return ""
    if image["masks"] == 1:
        return ", each image with its mask as one more channel"
    return f", each image with masks of {', '.join(image['structures'])} as further channels"


def _kept_maps_in_words(training: ManifestJson) -> list[str]:
    if not training.get("label_maps"):
        return []
    return [
        f"- It draws into {training['label_maps']} label maps of its training images, which its files hold: outlines "
        "of real patients."
    ]


FILES = "## Files"

_EXPLAINED = {
    "classification": "Each file against the trained network: differences of probabilities, equal labels, and the "
    "largest loss of sensitivity of any class in points.",
    "generation": "Each file against the trained network, on a CPU in batches of 1, 3 and 5: largest difference of "
    "images, which are in about [-1, 1].",
}


def replace_files(card: str, manifest: ManifestJson) -> str:
    """Return the card with a table of the bundle's model files, as the manifest has them, before its last section.

    Args:
        card: With or without such a table.
        manifest: With the gates' figures in ``parity.formats``.
    """
    task = manifest["task"]
    rows = [_cells(row, task) for row in manifest["parity"]["formats"].values()]
    images = dict.fromkeys(row["images"] for row in manifest["parity"]["formats"].values() if "images" in row)
    checked_on = f" Checked on {'; '.join(images)}." if images else ""
    lines = [FILES, "", _EXPLAINED[task] + checked_on, "", f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row.values())} |" for row in rows]
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept = [section for section in sections if not section.startswith(FILES)]
    return "".join([*kept[:-1], "\n".join(lines) + "\n\n", kept[-1]])


def _cells(row: FormatRow, task: str) -> dict[str, str]:
    """Return the cells of a file's row by title."""
    judged = "max_abs" in row
    cells = {
        "format": row["format"],
        "file": row["file"],
        "precision": row["precision"],
        "MB": f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "-",
        "largest difference": f"{row['max_abs']:.1e}" if judged else "-",
    }
    if task == "classification":
        changes = row.get("sensitivity_change")
        cells["mean"] = f"{row['mean_abs']:.1e}" if judged else "-"
        cells["labels"] = f"{row['labels_equal']} of {row['count']}" if judged else "-"
        cells["sensitivity"] = f"{max(0.0, -min(changes.values())):.1f}" if changes else "-"
    else:
        cells["allowed"] = f"{row['tolerance']:g}" if "tolerance" in row else "-"
    cells["status"] = row["status"] + (f": {row['reason']}" if "reason" in row else "")
    return {**cells, "runs on": row["runs_on"]}
