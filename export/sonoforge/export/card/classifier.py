"""MODEL_CARD.md of a classifier's bundle, from its records alone: no figure is written by hand.

Sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sonoforge.export.card.files import page, table
from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.reports.run.statements import RunFacts, describe_lessons, name_groups
from sonoforge.training.statistics.decision import DecisionFigures
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, SourceFigures, interval_text, share_text
from sonoforge.training.statistics.verdict import judge_coverage, judge_guessing, judge_weights
from sonoforge.training.validation.figures import DisturbedFigures, Robustness
from sonoforge.training.validation.robustness import DISTURBANCES

_SHOWN_AIMS = (0.90, 0.95)  # sensitivities of the questions that are shown


def classifier_card(record: ModelRecord) -> str:
    """Render a classifier's card, without its files; every sentence follows from the record."""
    training = record.training
    facts = _facts(record)
    measured = record.conformal["measured_coverage"]
    return page(
        [
            f"# {record.name} {record.version}",
            "**Research use, not a medical device.**",
            *_doubt(record),
            "## Intended use",
            record.intended_use,
            "## Model",
            f"MobileNetV2 (torchvision), {record.image_size} x {record.image_size}, classes: "
            f"{', '.join(record.classes)}. First weights: {training['weights']}. Training: {training['title']}; budget "
            f"`{training['budget']}` ({training['epochs']} epochs, {training['frozen_blocks']} of 19 blocks frozen), "
            f"seed {training['seed']}."
            + _lessons(training["settings"])
            + (f" {training['ensemble_size']} networks are averaged." if training["ensemble_size"] > 1 else "")
            + (f" Each was distilled from {training['teachers']} networks." if training["teachers"] else "")
            + (" It answers on the mean embedding of the image and its mirror image." if training["mirror"] else "")
            + (" It sees the scan that is found in each image, not menus around it." if record.crop == "auto" else "")
            + (
                f" It runs twice, at {record.look} x {record.look} pixels: on the whole image, and zoomed in on the "
                "part where it sees a lesion; the answer is that to the mean of both."
                if record.look
                else ""
            ),
            "## Data",
            " ".join(_data(record, facts)),
            *_evaluation(record, facts),
            *_decision(record),
            *_on_other_scanners(record),
            "## Calibration and trust",
            f"Temperature {record.temperature:.3f}, fitted on {calibrated_on(record)}. Prediction sets at "
            f"{1 - record.conformal['alpha']:.0%} of each class, of equally frequent classes: measured coverage "
            + ", ".join(f"{name} {share:.1%}" for name, share in measured.items())
            + f"; mean size {record.conformal['mean_set_size']:.2f}. An image farther from the training images than "
            "95 % of these images were is reported as out of distribution.",
            "Held-out images with each flag that may be shown beside an answer, limits from those of other folds; a "
            f"ratio below {ENOUGH} is no reason to doubt the label.",
            _flags(record),
            "## Factors and ethics",
            " ".join(_unknown(record)),
            "## Limits",
            "\n".join(f"- {limit}" for limit in _limits(record, facts)),
        ]
    )


def _doubt(record: ModelRecord) -> list[str]:
    """Say in the card's first lines what makes its figures doubtful, or better than they are."""
    found = (judge_weights(record.training["weights"]), judge_guessing(record.evaluation))
    said = [f"**{verdict.headline}.** " + " ".join(verdict.sentences) for verdict in found if verdict is not None]
    if not record.training["given_groups"]:
        said.append(
            "**The data name no patients**: images of one patient may lie on both sides of the split. If a patient has "
            "several images, every figure here is optimistic and every interval too narrow."
        )
    return said


def _decision(record: ModelRecord) -> list[str]:
    """Say what an answer takes for granted, and how well it does with the default and at other shares."""
    policy = record.trust["checks"]["policy"]
    decision, measured = record.decision, record.evaluation["decision"]
    reference = ", ".join(f"{name} {share:.1%}" for name, share in decision["reference"].items())
    if len(measured) > 1 and record.evaluation["protocol"] == LEAVE_ONE_OUT:
        apart, others = "a collection was used for its own row", "other collections"
    elif record.evaluation["folds"] > 1:
        apart, others = "a fold was used for the answers to it", "other folds"
    else:
        apart, others = "one half of them was used for the answers to it", "other half"
    lacking = [
        f"of {where}, which has no {name} images, {figures['called'][name]:.0%} are called {name}"
        for where, figures in measured.items()
        for name in record.classes
        if name not in figures["sensitivity"]
    ]
    aims = [
        (
            f"{' or '.join(question['positive'])}, among {', '.join(question['among'])}",
            f"{point['aim']:.0%}",
            f"{point['sensitivity']:.1%}",
            f"{point['specificity']:.1%}",
        )
        for question in decision["questions"]
        for point in question["points"]
        if point["aim"] in _SHOWN_AIMS
    ]
    paragraphs = [
        "## What it answers",
        "Unless `--prevalence` names a clinic's class shares, all classes count as equally frequent. The network "
        "itself takes these shares for granted, and its probabilities are divided by them: "
        f"{reference}. Class shares change probabilities and labels; prediction sets and questions hold within each "
        "class, however frequent it is.",
        f"Measured on the {record.evaluation['images']} held-out images of the section above. Nothing of {apart}: "
        f"temperature, class shares and thresholds are those of the {others}. The last two columns are told the class "
        "shares of the row's own images.",
        _decision_table(record.classes, measured),
        f"`--abstain` withholds labels less probable than {policy['least_probability']:.3f}: chosen on these images so "
        f"that of those kept at most {policy['error']:.0%} are wrong, each class counting alike.",
    ]
    if lacking:
        paragraphs.append(
            f"Where a class is rare or missing, the default names it too often: {'; '.join(lacking)}. Give "
            "`--prevalence` there."
        )
    missed = judge_coverage(measured, record.conformal["alpha"])
    if missed:
        paragraphs.append(f"**{missed.headline}.** {' '.join(missed.sentences)}")
    if aims:
        paragraphs += [
            "Questions behind the label, each asked at a sensitivity (`--sensitivity`), on the same images; thresholds "
            "are from the others, as above.",
            table(("question", "asked at", "sensitivity", "specificity"), aims),
        ]
    return paragraphs


def _decision_table(classes: Sequence[str], measured: Mapping[str, DecisionFigures]) -> str:
    heads = ["images of", "count", "balanced accuracy", *(f"sensitivity, {name}" for name in classes)]
    heads += [*(f"coverage, {name}" for name in classes), "mean set size", "one class alone"]
    heads += ["accuracy at own shares", "ECE at own shares"]
    rows = []
    for where, own in measured.items():
        each = [
            share_text(own[kind][name]) if name in own[kind] else "-"
            for kind in ("sensitivity", "coverage")
            for name in classes
        ]
        rows.append(
            (
                where,
                str(own["images"]),
                f"{own['balanced_accuracy']:.1%}",
                *each,
                f"{own['mean_set_size']:.2f}",
                f"{own['single_class']:.0%}",
                share_text(own["accuracy_at_own_shares"]),
                f"{own['ece_at_own_shares']:.3f}",
            )
        )
    return table(heads, rows)


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
    abstained = [
        f"{share_text(target['abstained'])} for at most {target['error']:.0%} wrong"
        for target in evaluation["risk_coverage"]["targets"]
    ]
    return [
        "## Evaluation",
        " ".join(_judged(record, facts))
        + " Labels, probabilities and sets in tables other than those of the next section are the network's own, at "
        "the class shares that it takes for granted.",
        figures,
        table(("class", "sensitivity (95 % by group)", "specificity (95 % by group)"), rows),
        f"Calibration error (ECE) {evaluation['ece']:.3f} before and {evaluation['ece_calibrated']:.3f} after "
        f"temperature scaling; Brier score {evaluation['brier']:.3f} and {evaluation['brier_calibrated']:.3f}.",
        "Share of these scans on which to abstain, the least probable labels first, so that few of the others are "
        f"wrong: {'; '.join(abstained)} (95 % intervals by group).",
    ]


def _flags(record: ModelRecord) -> str:
    """Say whether the causes that speak against an answer predicted errors."""
    rows = [
        (
            own["flag"],
            str(own["images"]),
            *map(share_text, (own["errors"], own["errors_of_others"])),
            "-" if own["ratio"] is None else interval_text(own["ratio"], ".1f"),
        )
        for own in record.evaluation["flags"]
    ]
    return table(("flag", "images", "wrong (95 % by group)", "wrong of the others", "ratio"), rows)


def _judged(record: ModelRecord, facts: RunFacts) -> Iterator[str]:
    """Say on which images the figures were measured, what the networks had seen of them, what was chosen on them."""
    training = record.training
    if _is_judged_itself(record):
        yield (
            f"These weights were judged on {facts.images} images of {facts.groups} groups, which were held out of "
            f"their training. {facts.said['near_duplicates_counted']}"
        )
    else:
        yield facts.said["judged_by"]
        yield from filter(None, [facts.said["warning"]])
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
        yield dataclasses.replace(facts, images=training["data_images"]).said["simulation"]
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
    yield "The class-activation map shows where the evidence lies, not why."


def _on_other_scanners(record: ModelRecord) -> list[str]:
    """Say how the figures differ by collection, and what a stranger's scanner will get."""
    evaluation = record.evaluation
    own = [row for row in evaluation.get("by_source", []) if row["kind"] == "collection"]
    left_out, sealed = record.elsewhere.get("left_out"), record.elsewhere.get("sealed")
    disturbed = record.elsewhere.get("disturbed")
    all_left_out = evaluation["protocol"] == LEAVE_ONE_OUT
    paragraphs = ["## Other scanners"]
    if own:
        trained_on = "on the other collections alone" if all_left_out else "on the other images of it, too"
        expected = ": what a scanner that the network does not know can expect" if all_left_out else ""
        paragraphs += [
            f"The held-out images above, by collection; networks were trained {trained_on}{expected}.",
            _by_collection(own),
        ]
    if sealed:
        paragraphs += [
            f"{_networks(record, 'sealed').capitalize()} in sealed folds (seed {sealed['seed']}), trained on other "
            "images of the same collection, too: what the hospitals of these collections can expect.",
            _by_collection(sealed["collections"]),
        ]
    if left_out:
        paragraphs += [
            f"Each collection answered by {_networks(record, 'left_out')} that were trained on the other collections "
            f"alone (seed {left_out['seed']}): what a scanner that the network does not know can expect. Temperature, "
            "sets and thresholds are from the answers to the other collections.",
            _by_collection(left_out["collections"]),
        ]
    if disturbed:
        paragraphs += _disturbed(disturbed, _networks(record, "disturbed"))
    if not left_out and not all_left_out:
        paragraphs.append("How the recipe does on collections that it was not trained on was not recorded.")
    if not disturbed:
        paragraphs.append("How it does on scans with more shadow, other gain, haze and the like was not recorded.")
    return paragraphs


def _by_collection(rows: Sequence[SourceFigures]) -> str:
    pairs = list(dict.fromkeys(pair for row in rows for pair in row["auc"]))
    heads = ["collection", "images", "accuracy", *(f"AUC {pair}" for pair in pairs), "ECE", "coverage of the sets"]
    found = []
    for row in rows:
        counts = ", ".join(f"{count} {name}" for name, count in row["images"].items() if count)
        areas = [interval_text(row["auc"][pair]) if pair in row["auc"] else "-" for pair in pairs]
        figures = (share_text(row["accuracy"]), *areas, interval_text(row["ece"]), share_text(row["coverage"]))
        found.append((row["name"], counts, *figures))
    return table(heads, found)


def _networks(record: ModelRecord, table: str) -> str:
    """Name the networks behind a table of other runs, and what sets them apart from the bundle's."""
    teachers = record.elsewhere.get("teachers", {}).get(table)
    if teachers is None:
        return "networks of the same recipe"
    return f"networks of the same recipe, but {f'distilled from {teachers}' if teachers else 'not distilled'},"


def _disturbed(by_collection: dict[str, Robustness], networks: str) -> list[str]:
    """Show each disturbance at its strongest: the change of the AUC, and how often the scan is called unfit."""
    untouched = "; ".join(
        f"{name}: AUC of {own['pair']} {interval_text(own['auc'])} on {own['images']} images, "
        f"{share_text(own['noticed'])} called foreign or poor"
        for name, own in by_collection.items()
    )
    text = (
        f"Scans disturbed as another scanner, setting or hand would, answered by {networks} that were "
        "trained without the collection: change of the AUC at the strongest of three strengths, and the share of scans "
        f"called foreign or poor. As they are, {untouched}."
    )
    rows = []
    for kind, disturbance in DISTURBANCES.items():
        cells = [_strongest([row for row in own["disturbed"] if row["kind"] == kind]) for own in by_collection.values()]
        rows.append([f"{disturbance.title}, {disturbance.strengths[-1]:g} {disturbance.unit}", *cells])
    return [text, table(["disturbance", *by_collection], rows)]


def _strongest(rows: Sequence[DisturbedFigures]) -> str:
    if not rows:
        return "-"
    return f"{rows[-1]['change']['value']:+.3f}, noticed {rows[-1]['noticed']['value']:.0%}"
