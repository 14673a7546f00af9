"""Render MODEL_CARD.md of a classifier's bundle from its record; no figure is written by hand."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from sonoforge.export.bundle.card import table
from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.reports.conclusions import judge_coverage, judge_guessing, judge_weights
from sonoforge.training.reports.run.statements import RunFacts, describe_lessons, name_groups
from sonoforge.training.statistics.calibration import ENOUGH
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, Record, interval_text, share_text

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
        filled=(),
        added=(),
        simulated=training["simulated"],
        given_groups=training["given_groups"],
        second_views=0,
        near_duplicates=evaluation["near_duplicates"],
        generator_reads=evaluation["generator_reads"],
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

    text = _template().render(
        record=record,
        training=training,
        evaluation=evaluation,
        decision=decision,
        sealed=elsewhere.get("sealed"),
        left_out=elsewhere.get("left_out"),
        facts=facts,
        lessons=lessons,
        networks=networks,
        all_left_out=all_left_out,
        by_collection=_by_collection,
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
            (
                f"{' or '.join(question['positive'])}, among {', '.join(question['among'])}",
                *(f"{point[key]:.{digits}%}" for key, digits in (("aim", 0), ("sensitivity", 1), ("specificity", 1))),
            )
            for question in decision["questions"]
            for point in question["points"]
            if point["aim"] in _SHOWN_AIMS
        ],
        class_rows=[
            (name, share_text(evaluation["sensitivity"][name]), share_text(evaluation["specificity"][name]))
            for name in record.classes
        ],
        decision_heads=[
            *("images of", "count", "balanced accuracy"),
            *(f"{kind}, {name}" for kind in ("sensitivity", "coverage") for name in record.classes),
            *("mean set size", "one class alone", "accuracy at own shares", "ECE at own shares"),
        ],
        decision_rows=[_decision_row(where, own, record.classes) for where, own in measured.items()],
        flag_rows=[
            (
                own["flag"],
                own["images"],
                share_text(own["errors"]),
                share_text(own["errors_of_others"]),
                "-" if own["ratio"] is None else interval_text(own["ratio"], ".1f"),
            )
            for own in evaluation["flags"]
        ],
        own=[row for row in evaluation.get("by_source", []) if row["kind"] == "collection"],
        simulation=dataclasses.replace(facts, images=training["data_images"]).said["simulation"],
        is_busi=is_busi(training["fingerprint"]),
    )
    blocks = [block for block in re.split(r"\n\s*\n|\n(?=#)", text.strip()) if block.strip()]
    joined = [block if block[0] in "|-" else " ".join(block.split("\n")) for block in blocks]
    return "\n\n".join(re.sub(" {2,}", " ", block).strip() for block in joined) + "\n"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "f": format,
        "share": share_text,
        "interval": interval_text,
        "counts": lambda counts: ", ".join(f"{name} {count}" for name, count in counts.items()),
    }
    return environment.get_template("classifier_card.md.j2")


def calibrated_on(record: ModelRecord) -> str:
    """Describe the images that the temperature was fitted on; the networks that answered had not trained on them."""
    images = record.evaluation["images"]
    return (
        f"the {images} held-out images" if _is_judged_itself(record) else f"out-of-fold predictions of {images} images"
    )


def _is_judged_itself(record: ModelRecord) -> bool:
    """Whether the figures describe these very weights, rather than those that cross-validation trained."""
    return bool(record.training["count"] < record.training["data_images"])


def _decision_row(where: str, own: Record, classes: Sequence[str]) -> tuple[str, ...]:
    return (
        where,
        str(own["images"]),
        f"{own['balanced_accuracy']:.1%}",
        *(share_text(own["sensitivity"][name]) if name in own["sensitivity"] else "-" for name in classes),
        *(share_text(own["coverage"][name]) if name in own["coverage"] else "-" for name in classes),
        f"{own['mean_set_size']:.2f}",
        f"{own['single_class']:.0%}",
        share_text(own["accuracy_at_own_shares"]),
        f"{own['ece_at_own_shares']:.3f}",
    )


def _by_collection(rows: Sequence[Record]) -> str:
    pairs = list(dict.fromkeys(pair for row in rows for pair in row["auc"]))
    heads = ["collection", "images", "accuracy", *(f"AUC {pair}" for pair in pairs), "ECE", "coverage of the sets"]
    cells = []
    for row in rows:
        counts = ", ".join(f"{count} {name}" for name, count in row["images"].items() if count)
        areas = [interval_text(row["auc"][pair]) if pair in row["auc"] else "-" for pair in pairs]
        figures = (share_text(row["accuracy"]), *areas, interval_text(row["ece"]), share_text(row["coverage"]))
        cells.append((row["name"], counts, *figures))
    return table(heads, cells)
