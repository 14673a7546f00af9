"""MODEL_CARD.md of a bundle (sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019)."""

from __future__ import annotations

import re
from typing import Any

from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.statistics.results import IntervalResult

BUSI_LIMITS = (
    "- Published models trained on BUSI alone fall to an AUC of .64 to .79 (malignant against benign) on other "
    "hospitals' scans.",
    "- No patient identifiers are published with BUSI, so images of one patient that do not look alike may still be on "
    "both sides of a fold.",
)


def model_card(record: ModelRecord, parity: dict[str, Any]) -> str:
    """Render the card from the record alone: no figure is written by hand."""
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


FILES = "## Files"


def replace_files(card: str, manifest: dict[str, Any]) -> str:
    """Return the card with a table of the bundle's model files, as the manifest has them, before its last section.

    Args:
        card: With or without such a table.
        manifest: With the gates' figures in ``parity.formats``.
    """
    formats = manifest["parity"].get("formats", {})
    titles = ("format", "file", "precision", "MB", "largest difference", "mean", "labels", "sensitivity", "status")
    lines = [
        FILES,
        "",
        "Each file against the trained network: differences of probabilities, equal labels, and the largest loss of "
        "sensitivity of any class in points.",
        "",
        f"| {' | '.join((*titles, 'runs on'))} |",
        "|---" * (len(titles) + 1) + "|",
        *(_file_row(row) for row in formats.values()),
        "",
    ]
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept = [section for section in sections if not section.startswith(FILES)]
    return "".join([*kept[:-1], "\n".join(lines) + "\n", kept[-1]])


def _file_row(row: dict[str, Any]) -> str:
    cells = [row["format"], row["file"], row["precision"], f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "-"]
    if "max_abs" in row:
        loss = max((-change for change in row.get("sensitivity_change", {}).values()), default=None)
        cells += [f"{row['max_abs']:.1e}", f"{row['mean_abs']:.1e}", f"{row['labels_equal']} of {row['count']}"]
        cells.append("-" if loss is None else f"{max(0.0, loss):.1f}")
    else:
        cells += ["-"] * 4
    cells.append(row["status"] + (f": {row['reason']}" if "reason" in row else ""))
    cells.append(row["runs_on"])
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


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
        f"(95 % intervals, bootstrap by group; accuracy on training images {evaluation['train_accuracy']:.1%}).",
        "",
        "| class | sensitivity (95 %) | specificity (95 %) |",
        "|---|---|---|",
        *rows,
        "",
        f"Calibration error (ECE) {evaluation['ece']:.3f} before and {evaluation['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {evaluation['brier']:.3f} and {evaluation['brier_calibrated']:.3f}.",
        "",
    ]


def _share(interval: IntervalResult) -> str:
    return f"{interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"
