"""Makes every measured table whose answers are kept: ``python .ci/measured.py``; ``--check`` changes nothing.

Reads ``training/docs/predictions`` and ``training/docs/measured/*.csv``; writes ``training/docs/measured/*.md`` and,
between its markers ``<!-- measured -->``, the tables of README.md.  With ``--check`` it exits with 1 where one differs.
"""

from __future__ import annotations

import csv
import difflib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import few_labels
import numpy as np
import where_it_helps
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tables import (
    ANSWERS,
    ROOT,
    TABLES,
    Row,
    answers,
    change,
    interval,
    points,
    printed,
    read,
    sonoforge,
    table,
    with_ratio,
)

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training.segmentation.figures import correlate
from sonoforge.training.statistics.published import PAPERS, published_for
from sonoforge.training.validation.robustness import DISTURBANCES

CLASSES = ("normal", "benign", "malignant")
COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST")
SEEDS = ("0", "1", "2")


def accuracies(path: Path) -> dict[tuple[str, str, str], float]:
    """The share of right answers by arm, protocol and seed."""
    right: dict[tuple[str, str, str], list[bool]] = {}
    for row in read(path):
        answer = max(CLASSES, key=lambda name: float(row[f"p_{name}"]))
        right.setdefault((row["arm"], row["protocol"], row["seed"]), []).append(answer == row["label"])
    return {key: statistics.fmean(own) for key, own in right.items()}


def malignant_auc(rows: Sequence[Row]) -> float:
    """AUC of malignant against benign, by scikit-learn; healthy scans do not count."""
    own = [row for row in rows if row["label"] != "normal"]
    scores = [float(row["p_malignant"]) / (float(row["p_benign"]) + float(row["p_malignant"])) for row in own]
    return float(roc_auc_score([row["label"] == "malignant" for row in own], scores))


def of_collection(rows: Iterable[Row], name: str) -> list[Row]:
    return [row for row in rows if row.get("collection", "BUSI") == name]


def sealed(file: str, seed: str, collection: str = "BUSI", arm: str = "real") -> list[Row]:
    """Answers of sealed folds to a collection's images."""
    rows = (row for row in read(ANSWERS / file) if (row["arm"], row["protocol"], row["seed"]) == (arm, "sealed", seed))
    return of_collection(rows, collection)


def arrays(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels (N,) and probabilities (N, 3)."""
    labels = np.array([CLASSES.index(row["label"]) for row in rows])
    return labels, np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])


def accuracy_and_auc(labels: Any, values: Any) -> tuple[float, float]:
    """Accuracy and macro-AUC, by scikit-learn; no macro-AUC without healthy scans."""
    areas = [roc_auc_score(labels == i, values[:, i]) for i in range(3)] if (labels == 0).any() else [float("nan")]
    return float((values.argmax(axis=1) == labels).mean()), float(np.mean(areas))


def three_figures(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Accuracy, macro-AUC, AUC of malignant against benign."""
    return (*accuracy_and_auc(*arrays(rows)), malignant_auc(rows))


def over_seeds(file: str, collection: str) -> list[str]:
    """Mean and range of `three_figures`."""
    by_seed = [three_figures(sealed(file, seed, collection)) for seed in SEEDS]
    return [f"{np.mean(of):.3f} ({min(of):.3f} to {max(of):.3f})" for of in zip(*by_seed, strict=True)]


def changes(file: str, arms: Iterable[str], share: str = "") -> dict[str, list[Any]]:
    """What `compare` finds of each arm against the first."""
    runs = sonoforge("compare", ANSWERS / file, "--arms", ",".join(arm + share for arm in arms))["runs"]
    return {run["name"].removesuffix(share): run["figures"] for run in runs}


# The tables, by page


def arms() -> str:
    parts = [
        "Intervals at 95 %, groups of images drawn whole. What each arm is: [guide](../did-it-help.md); what it means: "
        "[notebook](../notebook/arms.md).\n"
    ]
    for title, file, seeds in (
        ("A small DCGAN on BUSI", "arms-dcgan-64.csv.gz", SEEDS),
        ("A quick generator on BUSI", "arms-projected-64.csv.gz", SEEDS[:1]),
    ):
        found = accuracies(ANSWERS / file)
        names = [arm for arm in dict.fromkeys(arm for arm, _, _ in found) if "@" not in arm]
        heading = ["arm", f"accuracy, seed {', '.join(seeds)}", "mean", "minus `real`, points"]
        heading += ["minus `duplicates`, points", "macro-AUC", "minus `real`"]
        parts.append(f"## {title}\n\n{answers(file)}")
        for share, shown in (("", "All real images"), ("@0.25", "A quarter of the real images")):
            real = changes(file, names, share)
            placebo = changes(file, ["duplicates", *(arm for arm in names if arm not in ("real", "duplicates"))], share)
            rows = []
            for arm in names:
                own = [found[arm + share, "sealed", seed] for seed in seeds]
                accuracy, area = real[arm][:2]
                row = [f"`{arm}`", ", ".join(f"{value:.3f}" for value in own), f"{statistics.fmean(own):.3f}"]
                row.append("-" if arm == "real" else points(accuracy["change"]))
                row.append("-" if arm in ("real", "duplicates") else points(placebo[arm][0]["change"]))
                row += [f"{area['value']['value']:.3f}", "-" if arm == "real" else change(area["change"])]
                rows.append(row)
            parts.append(f"**{shown}**\n\n{table(heading, rows)}")
    parts.append(one_against_rest())
    file = "leakage-dcgan-64.csv.gz"
    parts.append(
        f"## How much is leakage\n\n{answers(file)}\n```text\n{printed('leakage', '--from', ANSWERS / file)}```\n"
    )
    return "\n".join(parts)


def one_against_rest() -> str:
    """Malignant against the rest, real images and generated ones, and what no seed of the first answers rightly."""
    file = ANSWERS / "arms-dcgan-64.csv.gz"
    found = sonoforge("crossval", "--from", file)
    rows = []
    for arm in ("real", "gan"):
        own = found["arms"][arm]["one_against_rest"]["malignant"]
        at = [f"{interval(one['sensitivity'])} at {one['specificity']['value']:.3f}" for one in own["sensitivity_at"]]
        gains = zip(own["decision_curve"]["thresholds"], own["decision_curve"]["gain_low"], strict=True)
        rows.append([f"`{arm}`", interval(own["auc"]), *at, f"{next(where for where, gain in gains if gain > 0):.0%}"])
    heading = ["arm", "AUC", "sensitivity at a specificity of 0.9, reached", "of 0.95, reached"]
    heading.append("net benefit above acting on all (lower limit) from")
    right: dict[tuple[str, str], bool] = {}
    for row in read(file):
        if row["arm"] == "real":
            key = row["file"], row["group"]
            said = max(CLASSES, key=lambda name: float(row[f"p_{name}"]))
            right[key] = right.get(key, False) or said == row["label"]
    never = [key for key, ever in right.items() if not ever]
    groups = len({group for _, group in never}), len({group for _, group in right})
    return (
        f"## Malignant against the rest, seed 0\n\n{answers(file.name)}\n{table(heading, rows)}\n"
        f"Never answered rightly by `real`, seeds {', '.join(SEEDS)}: {len(never)} of {len(right)} images, in "
        f"{groups[0]} of {groups[1]} groups.\n"
    )


AVERAGED = {
    "the recipe on all three collections, seeds 0, 1, 2": [("sealed-collections.csv.gz", "real")],
    "BUSI alone, the same seeds": [("arms-dcgan-64.csv.gz", "real")],
    "both": [("sealed-collections.csv.gz", "real"), ("arms-dcgan-64.csv.gz", "real")],
    "BUSI alone, each class filled up with copies": [("arms-dcgan-64.csv.gz", "duplicates")],
}
CHANGED = {
    "The recipe, each row with one change": "recipe-parts.csv.gz",
    "The recipe before it, each row with one change": "ingredients.csv.gz",
}
FIRST_WEIGHTS = {"BUSI": "first-weights-busi.csv.gz", "BrEaST": "first-weights-breast.csv.gz"}
FIGURES = (
    *(("AUC malignant against benign", name) for name in COLLECTIONS),
    ("AUC normal against the rest", "BUSI"),
)


def decisions() -> str:
    """What the shipped bundle's record says of its decisions, and the networks' own labels beside them."""
    manifest = open_bundle().manifest
    left_out = [row for row in read(ANSWERS / "left-out.csv.gz") if row["arm"] == "real"]
    rows = []
    for name in COLLECTIONS:
        own, answers = manifest.raw["evaluation"]["decision"][name], of_collection(left_out, name)
        called = [(row["label"], max(CLASSES, key=lambda label: float(row[f"p_{label}"]))) for row in answers]
        found = [
            statistics.fmean(answer == label for truth, answer in called if truth == label)
            for label in CLASSES
            if label in own["sensitivity"]
        ]
        recalls = " / ".join(
            f"{100 * own['sensitivity'][label]['value']:.0f}" if label in own["sensitivity"] else "-"
            for label in CLASSES
        )
        covered = " / ".join(
            f"{100 * own['coverage'][label]['value']:.0f}" if label in own["coverage"] else "-" for label in CLASSES
        )
        rows.append(
            [
                name,
                own["images"],
                f"{statistics.fmean(found):.3f}",
                f"{own['balanced_accuracy']:.3f}",
                recalls,
                interval(own["accuracy_at_own_shares"]),
                f"{own['ece_at_own_shares']:.3f}",
                covered,
                f"{own['mean_set_size']:.2f}",
                f"{100 * own['single_class']:.0f} %",
            ]
        )
    heading = [
        "left out",
        "scans",
        "balanced accuracy, network's own labels",
        "balanced accuracy, default",
        "sensitivity N / B / M, %",
        "accuracy at its own shares",
        "ECE there",
        "coverage of sets N / B / M, %",
        "mean set",
        "one class",
    ]
    asked = [
        [question.name, f"{point.aim:.2f}", f"{point.sensitivity:.3f}", f"{point.specificity:.3f}"]
        for question in manifest.questions
        for point in question.points
    ]
    reference = ", ".join(f"{name} {share:.3f}" for name, share in manifest.reference.items())
    return "\n".join(
        [
            f"Model `{manifest.files[manifest.model].sha256[:16]}`. Class shares that its probabilities take for "
            f"granted: {reference}. What the figures mean: [answers](../../../runtime/docs/answers.md).\n",
            "## Each collection left out\n",
            "Nothing of a collection was used for its row but its class shares, where it says so.\n",
            table(heading, rows),
            "## The questions\n",
            "Thresholds chosen on the other collections, none counting more than 100 images; all images together.\n",
            table(["question", "asked at a sensitivity of", "sensitivity", "specificity"], asked),
        ]
    )


def adapt() -> str:
    """What labelled scans of a collection are worth to a network that has not seen it, and what none are."""
    collections = few_labels.left_out(ANSWERS / "left-out.csv.gz")
    parts = [
        answers("left-out.csv.gz"),
        f"Labelled scans drawn by patient, {few_labels.DRAWS} draws: mean ± standard deviation over draws, on the "
        "collection's other patients. Thresholds of the default were set on the other collections; questions are asked "
        f"at a sensitivity of {few_labels.AIM:g}, sets are to hold {1 - few_labels.ALPHA:.0%} of each class. What was "
        "chosen here: what `adapt` fits, and the ten positive scans that a bundle's own operating point counts for.\n",
    ]
    heading = ["labelled scans", "fitted", *few_labels.HEADING]
    parts += [f"## {own.name} left out\n\n{table(heading, few_labels.rows_of(own))}" for own in collections]
    rows = [row for own in collections for row in few_labels.estimates(own, CLASSES)]
    heading = ["left out", "class", "true share", "estimated without labels, 95 % by patient"]
    parts.append(f"## Shares estimated without labels\n\n{table(heading, rows)}")
    return "\n".join(parts)


def other_scanners() -> str:
    found = sonoforge("crossval", "--from", ANSWERS / "left-out.csv.gz")["arms"]["real"]["by_source"]
    sources = {row["name"]: row for row in found if row["kind"] == "collection"}
    alone = read(ANSWERS / "busi-alone-elsewhere.csv.gz")
    heading = ["left out", "AUC malignant / benign", "the same, trained on BUSI alone", "AUC normal / lesion"]
    heading += ["accuracy", "ECE, calibrated", "coverage of sets at 90 %"]
    rows = []
    for name in COLLECTIONS:
        own = sources[name]
        row = [name, interval(own["auc"]["malignant against benign"])]
        row.append("-" if name == "BUSI" else f"{malignant_auc(of_collection(alone, name)):.3f}")
        # The other collections have four healthy scans at most.
        row.append(interval(own["auc"]["normal against the rest"]) if name == "BUSI" else "-")
        rows.append([*row, *(f"{own[figure]['value']:.3f}" for figure in ("accuracy", "ece", "coverage"))])
    parts = [
        "What the figures mean, and what was chosen on which images: [notebook](../notebook/other-scanners.md).\n",
        "## Each collection left out\n",
        answers("left-out.csv.gz", "busi-alone-elsewhere.csv.gz"),
        table(heading, rows),
        "## Sealed folds\n",
        answers("sealed-collections.csv.gz", "sealed-busi-recipe.csv.gz", "arms-dcgan-64.csv.gz"),
        sealed_folds(),
        refitted(),
        "## Answers averaged, on BUSI\n",
        table(["answers averaged", "networks a scan", "accuracy", "macro-AUC"], map(averaged, AVERAGED)),
        *(f"## {title}\n\n{answers(file)}\n{changed(file)}" for title, file in CHANGED.items()),
        "## First weights of a small set\n",
        answers(*FIRST_WEIGHTS.values()),
        first_weights(),
        "## Disturbed scans\n",
        disturbed(),
    ]
    return "\n".join(parts)


def sealed_folds() -> str:
    all_three, busi_alone = "sealed-collections.csv.gz", "arms-dcgan-64.csv.gz"
    others = [over_seeds(all_three, name)[2] for name in COLLECTIONS[1:]]
    recipe = [f"{figure:.3f}" for figure in three_figures(sealed("sealed-busi-recipe.csv.gz", "0"))]
    rows = [
        ["nine tenths of all three, `--budget collections`", *over_seeds(all_three, "BUSI"), *others],
        ["nine tenths of BUSI, `--budget collections`, seed 0", *recipe, "-", "-"],
        ["nine tenths of BUSI, `--budget full`", *over_seeds(busi_alone, "BUSI"), "-", "-"],
    ]
    heading = ["trained on: mean (range) of seeds 0, 1, 2", "BUSI: accuracy", "macro-AUC"]
    return table([*heading, *(f"AUC malignant / benign: {name}" for name in COLLECTIONS)], rows)


def refitted() -> str:
    """Accuracy on BUSI once a logistic regression of the recipe's answers is fitted on the other nine folds."""
    accuracy = []
    for seed in SEEDS:
        rows = sealed("sealed-collections.csv.gz", seed)
        labels, values = arrays(rows)
        folds, inputs, found = np.array([row["fold"] for row in rows]), np.log(values.clip(1e-4)), np.empty(len(rows))
        for fold in np.unique(folds):
            fitted = LogisticRegression(C=10).fit(inputs[folds != fold], labels[folds != fold])
            found[folds == fold] = fitted.predict(inputs[folds == fold])
        accuracy.append((found == labels).mean())
    return (
        "The first row's answers on BUSI, fitted once more by a logistic regression on its nine other folds: accuracy "
        f"{np.mean(accuracy):.3f} (mean of the seeds).\n"
    )


def averaged(way: str) -> list[object]:
    """Figures of the mean of several networks' answers to each scan of BUSI."""
    by_scan: dict[str, list[list[float]]] = {}
    for file, arm in AVERAGED[way]:
        for row in (row for seed in SEEDS for row in sealed(file, seed, arm=arm)):
            scan = by_scan.setdefault(row["file"].removeprefix("BUSI/"), [])
            scan.append([float(row[f"p_{name}"]) for name in CLASSES])
    (networks,) = {len(own) for own in by_scan.values()}
    labels = np.array([CLASSES.index(scan.partition("/")[0]) for scan in by_scan])
    figures = accuracy_and_auc(labels, np.mean(list(by_scan.values()), axis=1))
    return [way, networks, *(f"{figure:.3f}" for figure in figures)]


def changed(file: str) -> str:
    names = list(dict.fromkeys(row["arm"] for row in read(ANSWERS / file)))
    names.sort(key=lambda arm: arm != "recipe")
    rows = []
    for arm, figures in changes(file, names).items():
        own = {(figure["figure"], figure["collection"]): figure for figure in figures}
        cells = (interval(own[key]["value"]) if arm == "recipe" else change(own[key]["change"]) for key in FIGURES)
        rows.append([f"`{arm}`", *cells])
    heading = ["arm", *(f"AUC malignant / benign: {name}" for name in COLLECTIONS)]
    return table([*heading, "AUC normal / the rest: BUSI"], rows)


def first_weights() -> str:
    shown = ("accuracy", "macro-AUC", "AUC malignant against benign")
    heading = ["fine-tuned on"]
    for figure in shown:
        heading += [f"{figure}: from ImageNet", "from the others' network", "change"]
    rows = []
    for name, file in FIRST_WEIGHTS.items():
        for size in sorted({int(row["arm"].partition("-")[2]) for row in read(ANSWERS / file)}):
            names = [f"imagenet-{size}", f"ultrasound-{size}"]
            before, after = (
                {own["figure"]: own for own in figures if not own["collection"]}
                for figures in changes(file, names).values()
            )
            row = [f"{size} of {name}"]
            for figure in shown:
                both = [f"{found[figure]['value']['value']:.3f}" for found in (before, after)]
                row += [*both, change(after[figure]["change"])]
            rows.append(row)
    return table(heading, rows)


def disturbed() -> str:
    """The figures of the shipped card."""
    found = open_bundle().manifest.raw["evaluation"]["disturbed"]
    own = (found[name] for name in COLLECTIONS)
    rows = [["as they are", *(f"{interval(one['auc'])}; {one['noticed']['value']:.0%}" for one in own)]]
    for kind, disturbance in DISTURBANCES.items():
        row = [f"{disturbance.title}: {', '.join(f'{step:g}' for step in disturbance.strengths)} {disturbance.unit}"]
        for name in COLLECTIONS:
            levels = [level for level in found[name]["disturbed"] if level["kind"] == kind]
            steps = ", ".join(f"{level['change']['value']:+.3f}" for level in levels)
            noticed = ", ".join(f"{100 * level['noticed']['value']:.0f}" for level in levels)
            row.append("{} [{low:+.3f}, {high:+.3f}]; {} %".format(steps, noticed, **levels[-1]["change"]))
        rows.append(row)
    return table(["disturbance: three strengths", *COLLECTIONS], rows)


def papers() -> str:
    thesis = "system-1-thesis.csv"
    found = sonoforge("crossval", "--from", ANSWERS / thesis)["arms"]["real"]
    by_seed = accuracies(ANSWERS / thesis)
    sensitivity = ", ".join(f"{found['sensitivity'][name]['value']:.2f}" for name in CLASSES)
    rows = [
        ["accuracy, seeds 0, 1, 2", ", ".join(f"{by_seed['real', 'thesis', seed]:.3f}" for seed in SEEDS)],
        ["mean", f"{statistics.fmean(by_seed.values()):.3f}"],
        ["accuracy, seed 0, by group", interval(found["accuracy"])],
        ["macro-AUC, seed 0", f"{found['macro_auc']['value']:.3f}"],
        ["sensitivity normal, benign, malignant, seed 0", sensitivity],
    ]
    parts = [
        "How it was run: [notebook](../notebook/papers.md); what each paper says: [guide](../papers.md).\n",
        f"## The thesis's plain training of System 1\n\n{answers(thesis)}\n{table(['figure', 'measured'], rows)}",
    ]
    comparators = {}
    for protocol in ("thesis", "sealed"):
        comparators |= accuracies(ANSWERS / f"comparators-{protocol}.csv.gz")
    rows = []
    for arm in dict.fromkeys(arm for arm, _, _ in comparators):
        row = [f"`{arm}`"]
        for protocol in ("thesis", "sealed"):
            own = [comparators[arm, protocol, seed] for seed in SEEDS]
            row += [", ".join(f"{value:.3f}" for value in own), f"{statistics.fmean(own):.3f}"]
        rows.append(row)
    kept = answers("comparators-thesis.csv.gz", "comparators-sealed.csv.gz")
    heading = ["arm", "plain folds, seeds 0, 1, 2", "mean", "sealed folds, seeds 0, 1, 2", "mean"]
    parts.append(f"## Comparators\n\n{kept}\n{table(heading, rows)}")
    parts.append("## StyleGAN2 and StyleGAN3\n")
    parts += [stylegans(data, file) for data, file in STYLEGANS.items()]
    names = {"dgan-wp-tl-wgangp": "WGAN-GP", "dgan-wp-tl-bce": "BCE"}
    forms = {"kid": (".3f", ".1f"), "fid": (".0f", ".2f"), "lpips_pairs": (".3f", ".2f"), "ms_ssim": (".3f", ".2f")}
    forms["laplacian_swd"] = (".0f", ".2f")
    rows = [
        [names[row["recipe"]], f"{float(row['perceptual_weight']):g}"]
        + [with_ratio(row, name, *form) for name, form in forms.items()]
        for row in read(TABLES / "loss-table-busi-64.csv")
        if row["steps"]
    ]
    heading = ["loss", "weight", "KID", "FID", "LPIPS of pairs", "MS-SSIM of pairs", "SWD x 1000"]
    parts.append(f"## Losses and perceptual weights\n\n{figures('loss-table-busi-64.csv')}\n{table(heading, rows)}")
    parts.append("## A classifier of mammograms\n")
    parts += [with_placebo(title, file, "malignant") for title, file in MAMMOGRAMS.items()]
    rows = [
        [row.network, row.fid, "-" if row.inception_score is None else row.inception_score, row.hours or "-"]
        for row in PAPERS["ga-gan"].rows
    ]
    heading = ["network", "FID", "Inception Score", "GPU hours"]
    parts.append(f"## GA-GAN against five others, as published\n\n{table(heading, rows)}")
    return "\n".join(parts)


MAMMOGRAMS = {"The published split": "mammograms-official.csv.gz", "Three sealed folds": "mammograms-sealed.csv.gz"}


def with_placebo(title: str, file: str, judged: str = "") -> str:
    """Real, generated and copied images in training, on the same test images; of one class where two are told apart."""
    arms = sonoforge("crossval", "--from", ANSWERS / file)["arms"]
    real, placebo = (changes(file, names) for names in (list(arms), ["duplicates-all", "gan-all"]))
    per_class, area = (("sensitivity", "specificity"), "AUC") if judged else ((), "macro-AUC")
    rows = []
    for arm, own in arms.items():
        row = [f"`{arm}`", interval(own["accuracy"]), interval(own["macro_auc"])]
        row += [f"{own[figure][judged]['value']:.3f}" for figure in per_class]
        row += ["-", "-"] if arm == "real" else [points(real[arm][0]["change"]), change(real[arm][1]["change"])]
        row.append(change(placebo[arm][1]["change"]) if arm == "gan-all" else "-")
        rows.append(row)
    heading = ["arm", "accuracy", area, *(f"{figure}, {judged}" for figure in per_class)]
    heading += ["accuracy minus `real`, points", f"{area} minus `real`", f"{area} minus `duplicates-all`"]
    tested = f"{arms['real']['images']} images of {arms['real']['groups']} groups are tested."
    return f"**{title}.** {tested}\n\n{answers(file)}\n{table(heading, rows)}"


STYLEGANS = {"BUSI": "stylegan-busi-64.csv", "CBIS-DDSM": "stylegan-cbis-64.csv"}


def stylegans(data: str, file: str) -> str:
    """Ours of a set above the paper's own rows of it, as printed."""
    names = {"stylegan2": "StyleGAN2", "stylegan3-t": "StyleGAN3-T"}
    rows = [
        [
            f"{names[row['recipe']]}, ours",
            f"{100 * float(row['milestone']):.0f} %, epoch {float(row['epoch']):.2g}",
            with_ratio(row, "fid", ".0f", ".1f"),
            with_ratio(row, "kid", ".3f", ".0f"),
            with_ratio(row, "laplacian_swd", ".0f", ".1f"),
            f"{float(row['seconds_per_kimg']):.0f}",
        ]
        for row in read(TABLES / file)
    ]
    claimed = [row for row in PAPERS["stylegan"].rows if row.data == data]
    for row in claimed:
        kid = f"{row.kid:.2f}" + ("" if row.kid_spread is None else f" ± {row.kid_spread:.2f}")
        swd = "-" if row.swd is None else f"{row.swd:.2f}"
        rows.append([f"{row.network}, claimed", f"epoch {row.epoch}", row.fid, kid, swd, row.seconds_per_kimg])
    heading = ["network", "when", "FID", "KID", "SWD x 1000", "s/kimg"]
    return f"**{data}**, beside the paper's {claimed[0].table}\n\n{figures(file)}\n{table(heading, rows)}"


def figures(*files: str) -> str:
    return (
        "All figures: "
        + ", ".join(f"[`{file}`]({file})" for file in files)
        + "; in parentheses the ratio to the floor\n"
    )


def race() -> str:
    parts = ["How it was run, and what it leaves open: [notebook](../notebook/race.md).\n"]
    for minutes, cores in ((30, 2), (4, 1), (2, 2)):
        rows = read(TABLES / f"minutes-{minutes}.csv")
        by_recipe: dict[str, list[Row]] = {}
        for row in rows:
            by_recipe.setdefault(row["recipe"], []).append(row)
        shares = sorted({float(row["milestone"]) for row in rows})
        lines = []
        for recipe, own in sorted(by_recipe.items(), key=lambda pair: float(pair[1][-1]["kid"])):
            kid = {float(row["milestone"]): f"{float(row['kid']):.3f}" for row in own}
            end = own[-1]
            ends = [f"{float(end['kid_ratio']):.1f}", f"{float(end['fid_ratio']):.2f}", f"{float(end['kimg']):.1f}"]
            lines.append([f"`{recipe}`", *(kid.get(share, "-") for share in shares), *ends])
        heading = ["recipe", *(f"KID after {minutes * share:g} min" for share in shares)]
        heading += ["KID ratio", "FID ratio", "thousand images shown"]
        of = "one core" if cores == 1 else "two cores"
        parts.append(f"## {minutes} minutes of {of}\n\n{figures(f'minutes-{minutes}.csv')}\n{table(heading, lines)}")
    return "\n".join(parts)


def cells() -> str:
    search = read(TABLES / "cytology-search.csv")
    rows = []
    for stage in dict.fromkeys(row["study"] for row in search):
        own = [row for row in search if row["study"] == stage]
        first = next(row for row in own if row["trial"] == "0")
        best = min((row for row in own if row["state"] == "complete"), key=lambda row: float(row["kid"]))
        kids = (f"{float(row['kid']):.0f}" for row in (first, best))
        rows.append([stage, len(own), *kids, f"`{best['code']}`"])
    given_up = sum(row["state"] == "pruned" for row in search)
    heading = ["stage", "trainings", "KID of the first code", "KID of the best", "its code"]
    parts = [
        "How it was run: [notebook](../notebook/cells.md).\n",
        f"## The search\n\nAll figures: [`cytology-search.csv`](cytology-search.csv)\n\n{table(heading, rows)}",
        f"{given_up} of the {len(search)} trainings were given up early.\n",
    ]
    six = [row for row in read(TABLES / "cytology-six-32.csv") if row["milestone"] == "1.0"]
    rows = [
        [
            f"`{row['recipe']}`",
            with_ratio(row, "kid", ".0f", ".1f"),
            with_ratio(row, "fid", ".0f", ".1f"),
            f"{float(row['diversity']):.2f}",
            row["conditioning"],
        ]
        for row in sorted(six, key=lambda row: float(row["kid"]))
    ]
    heading = ["recipe", "KID", "FID", "diversity", "told the class by"]
    parts.append(f"## Six recipes on the same images\n\n{figures('cytology-six-32.csv')}\n{table(heading, rows)}")
    parts.append(
        f"## A classifier with and without GA-GAN's images\n\n{with_placebo('Three sealed folds', 'cells.csv.gz')}"
    )
    return "\n".join(parts)


def segmentation() -> str:
    parts = ["How it was run: [notebook](../notebook/segmentation.md). Dice on real test patients, 95 % by patient.\n"]
    real = {
        one["name"]: one["rows"] for one in sonoforge("segment", "--from", ANSWERS / "segmentation-real.csv.gz")["sets"]
    }
    rows = []
    for name, (own,) in real.items():
        structures = own["structures"].items()
        single = [f"{structure} {part['dice']['value']:.3f}" for structure, part in structures if len(structures) > 1]
        rows.append([name, interval(own["dice"]), ", ".join(single) or "-"])
    kept = answers("segmentation-real.csv.gz")
    parts.append(f"## The U-Net on real images\n\n{kept}\n{table(['set', 'Dice', 'by structure'], rows)}")
    parts += six_gans("Six GANs on three sets", "segmentation-six")
    parts += six_gans("Six GANs on the liver", "segmentation-liver")
    parts.append("**The paper's table 4 of its liver, SLiver07**\n")
    rows = [[row.recipe or "real images", row.fid or "-", row.dice] for row in published_for("SLiver07")]
    parts.append(table(["trained on images of", "FID", "Dice"], rows))
    rows = []
    for name in ("ACDC", "SLiver07", "IDRiD"):
        claimed = [row for row in published_for(name) if row.fid is not None]
        found = correlate("fid", [row.fid or 0 for row in claimed], [row.dice for row in claimed])
        assert found is not None
        rows.append([name, f"{found['rho']:.2f}", f"{found['p_value']:.2f}"])
    parts.append("**The paper's own figures: rank correlation of FID with Dice**\n")
    parts.append(table(["set", "rho", "p"], rows))
    return "\n".join(parts)


def six_gans(title: str, file: str) -> list[str]:
    """What U-Nets reach on the sets of one run, and what the generators took."""
    found = {one["name"]: one["rows"] for one in sonoforge("segment", "--from", ANSWERS / f"{file}.csv.gz")["sets"]}
    kinds = [(row["arm"], row["recipe"].partition(":")[0]) for row in next(iter(found.values()))]
    by_set = {
        name: {(row["arm"], row["recipe"].partition(":")[0]): row for row in rows} for name, rows in found.items()
    }
    rows = [
        [arm, recipe or "none", *(interval(by_set[name][arm, recipe]["dice"]) for name in found)]
        for arm, recipe in kinds
    ]
    kept = answers(f"{file}.csv.gz")
    parts = [f"## {title}\n\n{kept}\n{table(['trained on', 'generator', *found], rows)}"]
    both = [recipe for arm, recipe in kinds if arm == "both"]
    rows = [[recipe, *(change(by_set[name]["both", recipe]["against_augmented"]) for name in found)] for recipe in both]
    parts.append(f"**`both` minus `augmented`**\n\n{table(['generator', *found], rows)}")
    costs = {
        (row["set"], row["recipe"].partition(":")[0]): row for row in read(TABLES / f"{file}.csv") if row["fid_ratio"]
    }
    rows = []
    for recipe in both:
        row = [recipe]
        for name in found:
            own = costs[name, recipe]
            row += [with_ratio(own, "fid", ".0f", ".1f"), with_ratio(own, "kid", ".2f", ".0f")]
            row.append(f"{float(own['seconds_per_epoch']):.1f}")
        memory = max(float(costs[name, recipe]["memory_gib"]) for name in found)
        rows.append([*row, f"{memory:.2f} GiB", f"{float(own['weights']) / 1e6:.1f} million"])
    heading = [f"{name}: {what}" for name in found for what in ("FID", "KID", "s an epoch")]
    heading = ["generator", *heading, "memory", "weights"]
    return [*parts, f"**Distances and costs**\n\n{figures(f'{file}.csv')}\n{table(heading, rows)}"]


PAGES: dict[str, Callable[[], str]] = {
    "adapt.md": adapt,
    "arms.md": arms,
    "decisions.md": decisions,
    "other-scanners.md": other_scanners,
    "papers.md": papers,
    "race.md": race,
    "cells.md": cells,
    "where-it-helps.md": where_it_helps.page,
    "segmentation.md": segmentation,
}


# The tables of the README: its first screen


OURS = (
    ("**real images (System 1)**, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "real", "sealed"),
    ("**real + generated (System 2)**, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "gan", "sealed"),
    ("placebo: real + the same once more, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "duplicates", "sealed"),
    (
        "System 1, the published protocol, ours",
        "plain 10-fold, 318 test images with a near-duplicate in training",
        "leakage-dcgan-64.csv.gz",
        "real",
        "plain",
    ),
    (
        "System 2, the published protocol, ours",
        "the same, generators saw the test images",
        "leakage-dcgan-64.csv.gz",
        "gan",
        "thesis",
    ),
    (
        "System 1, the thesis's [plain training](training/docs/papers.md), ours",
        "plain 10-fold",
        "system-1-thesis.csv",
        "real",
        "thesis",
    ),
)
CLAIMED = (
    (
        "System 1 (real images), S. H., MSc thesis, Middlesex University, 2024",
        "plain 10-fold",
        "0.934, implied 0.900",
        "-",
        "93 / 89 / 90",
        "96 / 95 / 95",
    ),
    (
        "System 2 (real + GAN), the same thesis",
        "plain 10-fold",
        "0.949, implied 0.955",
        "-",
        "96 / 96 / 94",
        "98 / 97 / 98",
    ),
)


def honest_table() -> str:
    rows = []
    for title, validation, file, arm, protocol in OURS:
        own = one_arm(file, arm, protocol)
        by_class = (
            " / ".join(f"{100 * own[name][label]['value']:.0f}" for label in CLASSES)
            for name in ("sensitivity", "specificity")
        )
        rows.append([title, validation, interval(own["accuracy"]), interval(own["macro_auc"]), *by_class])
    heading = ["what", "validation", "accuracy", "macro-AUC", "sensitivity N / B / M", "specificity N / B / M"]
    return table(heading, [*rows, *CLAIMED])


def one_arm(file: str, arm: str, protocol: str) -> Any:
    """Figures of one arm's answers with seed 0."""
    rows = [row for row in read(ANSWERS / file) if (row["arm"], row["protocol"], row["seed"]) == (arm, protocol, "0")]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.csv"
        with own.open("w", newline="", encoding="utf-8") as target:
            kept = csv.DictWriter(target, rows[0])
            kept.writeheader()
            kept.writerows(rows)
        return sonoforge("crossval", "--from", own)["arms"][arm]


def scanners_table() -> str:
    alone = read(ANSWERS / "busi-alone-elsewhere.csv.gz")
    left_out = [row for row in read(ANSWERS / "left-out.csv.gz") if row["arm"] == "real"]
    aucs = (f"{malignant_auc(of_collection(left_out, name)):.2f}" for name in COLLECTIONS)
    folds = (over_seeds("sealed-collections.csv.gz", name)[2] for name in COLLECTIONS)
    rows = [
        ["the shipped bundle's recipe", *aucs],
        ["the same, sealed folds of all three", *(f"{float(of.split()[0]):.2f}" for of in folds)],
        [
            "trained on BUSI alone",
            "-",
            *(f"{malignant_auc(of_collection(alone, name)):.2f}" for name in COLLECTIONS[1:]),
        ],
    ]
    return table(["networks", *COLLECTIONS], rows)


def shipped_decisions() -> str:
    """What the shipped bundle decides where it does not know the scanner, as its manifest records it."""
    measured = open_bundle().manifest.raw["evaluation"]["decision"]

    def row(what: str, of: Callable[[Any], str]) -> list[str]:
        return [what, *(of(measured[name]) for name in COLLECTIONS)]

    def called(own: Any) -> str:
        if "normal" not in own["sensitivity"]:
            return "-"
        return f"{1 - own['sensitivity']['normal']['value']:.0%}"

    def covered(own: Any) -> str:
        return ", ".join(f"{one[0].upper()} {found['value']:.0%}" for one, found in own["coverage"].items())

    rows = [
        row("mean sensitivity of its classes, by default", lambda own: f"{own['balanced_accuracy']:.2f}"),
        row("labels right, given its class shares", lambda own: f"{own['accuracy_at_own_shares']['value']:.2f}"),
        row("normal scans called a lesion", called),
        row("scans with one clear class", lambda own: f"{own['single_class']:.0%}"),
        row("sets that hold the class (90 % promised)", covered),
    ]
    return table(["the shipped bundle's recipe decides", *COLLECTIONS], rows)


README_TABLES = {"honest": honest_table, "scanners": scanners_table, "shipped": shipped_decisions}


def readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, make in README_TABLES.items():
        begin, end = f"<!-- measured: {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if not found:
            raise SystemExit(f"README.md: found no line {begin.strip()}")
        text = before + found + "\n" + make() + "\n" + end + rest.partition(end)[2]
    return text


def write_or_compare(check: bool) -> int:
    """Write every page, or print how those that are kept differ; return how many do."""
    made = {TABLES / name: make for name, make in PAGES.items()} | {ROOT / "README.md": readme}
    different = 0
    for path, make in made.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        text = make() if path.name == "README.md" else f"# {TITLES[path.name]}\n\n{NOTE}\n\n{make()}"
        if text == old:
            continue
        different += 1
        if check:
            sys.stdout.writelines(
                difflib.unified_diff(old.splitlines(True), text.splitlines(True), str(path), "made again")
            )
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return different


TITLES = {
    "adapt.md": "Measured: a few labelled scans of a new clinic",
    "arms.md": "Measured: arms and leakage",
    "decisions.md": "Measured: decisions on scanners that a network has not seen",
    "other-scanners.md": "Measured: scanners that a network has not seen",
    "papers.md": "Measured: the papers' tables",
    "race.md": "Measured: recipes after the same minutes",
    "cells.md": "Measured: GA-GAN on cells",
    "where-it-helps.md": "Measured: where generated images help",
    "segmentation.md": "Measured: segmentation with generated pairs",
}
NOTE = "Made by `python .ci/measured.py` from the kept answers; do not edit."

if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit(f"usage: {sys.argv[0]} [--check]")
    count = write_or_compare(check=sys.argv[1:] == ["--check"])
    if count and sys.argv[1:]:
        raise SystemExit(f"{count} pages differ from the kept answers: run python .ci/measured.py")
