"""MODEL_CARD.md of a bundle, from its records alone: no figure is written by hand.

Sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import re
from typing import Any

from sonoforge.export.gate.row import FormatRow, ManifestJson
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.statistics.results import IntervalResult

BUSI_LIMITS = (
    "- Published models trained on BUSI alone fall to an AUC of .64 to .79 (malignant against benign) on other "
    "hospitals' scans.",
    "- No patient identifiers are published with BUSI, so images of one patient that do not look alike may still be on "
    "both sides of a fold.",
)


def classifier_card(record: ModelRecord, parity: dict[str, Any]) -> str:
    """Render a classifier's card, without its files."""
    training, evaluation = record.training, record.evaluation
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
        f"MobileNetV2 (torchvision), 224 x 224, classes: {', '.join(record.classes)}. First weights: "
        f"{training['weights']}. Training: {training['title']}; budget `{training['budget']}` "
        f"({training['epochs']} epochs, {training['frozen_blocks']} of 19 blocks frozen), seed {training['seed']}."
        + (f" {training['members']} networks answer together." if training["members"] > 1 else "")
        + (" It answers on the mean embedding of the image and its mirror image." if record.mirror else ""),
        "",
        "## Data",
        "",
        f"{training['data']}: {training['count']} images ("
        + ", ".join(f"{name} {count}" for name, count in training["class_counts"].items())
        + f"), {training['groups']} groups of near-duplicates. Fingerprint `{training['fingerprint'][:16]}`.",
        "",
    ]
    lines += (
        _evaluation(record) if evaluation else ["## Evaluation", "", "None: this model was not cross-validated.", ""]
    )
    lines += [
        "## Calibration and trust",
        "",
        f"Temperature {record.temperature:.3f}, fitted on out-of-fold predictions. Prediction sets at "
        f"{1 - record.conformal['alpha']:.0%}: measured coverage "
        + ", ".join(f"{name} {share:.1%}" for name, share in record.conformal["measured_coverage"].items())
        + f"; mean size {record.conformal['mean_set_size']:.2f}. An image farther from the training images than "
        "95 % of held-out images is reported as out of distribution.",
        "",
        "## Export",
        "",
        f"torch {parity['torch']} against onnxruntime {parity['onnxruntime']} on {parity['images']}: largest "
        f"difference {parity['max_abs']['logits']:.1e} in logits, {parity['max_abs']['probabilities']:.1e} in "
        f"probabilities, {parity['labels_equal']} of {parity['count']} labels equal.",
        "",
        "## Limits",
        "",
        "- One collection: images from other places and machines must be expected to be judged worse.",
        *(BUSI_LIMITS if training["data"] == "BUSI" else ()),
        "- The class-activation map shows where the evidence lies, not why.",
        "",
    ]
    return "\n".join(lines)


def _evaluation(record: ModelRecord) -> list[str]:
    evaluation = record.evaluation
    accuracy, area = evaluation["accuracy"], evaluation["macro_auc"]
    rows = [
        f"| {name} | {_share(evaluation['sensitivity'][name])} | {_share(evaluation['specificity'][name])} |"
        for name in record.classes
    ]
    return [
        "## Evaluation",
        "",
        f"Protocol `{evaluation['protocol']}`, {evaluation['folds']} folds, each image predicted once by a model that "
        f"saw neither it nor a near-duplicate of it; budget `{evaluation['budget']}`. The shipped weights were then "
        "trained on all images with the same settings and have no test set of their own.",
        "",
        f"Accuracy {_share(accuracy)}, macro-AUC {area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}] "
        f"(95 % intervals by group; accuracy on training images {evaluation['train_accuracy']:.1%}).",
        "",
        "| class | sensitivity (95 % by group) | specificity (95 % by group) |",
        "|---|---|---|",
        *rows,
        "",
        f"Calibration error (ECE) {evaluation['ece']:.3f} before and {evaluation['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {evaluation['brier']:.3f} and {evaluation['brier_calibrated']:.3f}.",
        "",
    ]


def _share(interval: IntervalResult) -> str:
    return f"{interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"


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
        + (", each image with its mask as one more channel" if image["masks"] else "")
        + f". Class: {shown}. Latents: {latents['size']} {latents['distribution']} numbers, drawn by "
        f"`{latents['recipe']}`." + (" Takes psi, the truncation of styles." if record["psi"]["accepted"] else ""),
        "",
        "## Data",
        "",
        f"Trained on {training['data'] or 'a data set whose name is not recorded'}, to step {training['step']}. "
        f"Fingerprint of the training images `{training['fingerprint'][:16]}`, of the weights "
        f"`{training['generator_sha256'][:16]}`.",
        "",
        "## Limits",
        "",
        "- A generator may repeat itself, leave out what is rare, and copy training images. `sonoforge evaluate` "
        "measures all three; its figures are not part of this bundle.",
        "- The weights may allow conclusions about training images: share them as you may share the data.",
        "- Images must keep the note that they are synthetic, which `sonoforge gan sample` writes into each file.",
        "",
    ]
    return "\n".join(lines)


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
