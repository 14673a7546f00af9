"""Tables of networks on scanners that they have not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from kept import (
    ANSWERS,
    CLASSES,
    COLLECTIONS,
    FIRST,
    SEEDS,
    Row,
    accuracy_and_auc,
    answers,
    arrays,
    change,
    changes,
    interval,
    malignant_auc,
    of_collection,
    one_arm,
    over_seeds,
    read,
    sealed,
    seeds_of,
    table,
    three_figures,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sonoforge.runtime.bundle.reader import open_bundle

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
    *(("AUC malignant against benign", name) for name in FIRST),
    ("AUC normal against the rest", "BUSI"),
)


LESION = (("sensitivity", 1), ("specificity", 1), ("calm", 1), ("cleared", 0))
"""Figures of the question of a lesion, and decimals of their percentage."""


LABELS = [
    *("left out", "scans", "malignant: sensitivity", "specificity", "sensitivity N / B / M, %", "lesions found"),
    *("healthy cleared", "lesions called normal alone", "healthy called normal alone"),
]
SETS = [
    *(
        "left out",
        "hold the class",
        "N / B / M, %",
        "one class",
        "mean size",
        "accuracy at its own shares",
        "ECE there",
    ),
]


def decisions() -> str:
    """What the shipped bundle's record says of its decisions about each collection left out."""
    manifest = open_bundle().manifest
    shares = ("sensitivity", "specificity", "coverage")
    decided, covered = [], []
    for name in COLLECTIONS:
        own = manifest.raw["evaluation"]["decision"][name]
        malignant, lesion = ([f"{own[side]['malignant']['value']:.2f}" for side in shares[:2]], own["lesion"])
        by_class = {
            side: " / ".join(
                f"{100 * own[side][label]['value']:.0f}" if label in own[side] else "-" for label in CLASSES
            )
            for side in shares
        }
        asked = [f"{lesion[side]:.{digits}%}" if side in lesion else "-" for side, digits in LESION]
        decided.append([name, own["images"], *malignant, by_class["sensitivity"], *asked])
        covered.append(
            [
                name,
                f"{own['covered']['value']:.1%}",
                by_class["coverage"],
                f"{own['single_class']:.0%}",
                f"{own['mean_set_size']:.2f}",
                interval(own["accuracy_at_own_shares"]),
                f"{own['ece_at_own_shares']:.3f}",
            ]
        )
    points = [
        [question.name, f"{point.aim:g}", f"{point.sensitivity:.3f}", f"{point.specificity:.3f}"]
        for question in manifest.questions
        for point in question.points
    ]
    default, reference = (
        ", ".join(f"{name} {share:.3f}" for name, share in own.items())
        for own in (manifest.default, manifest.reference)
    )
    model = manifest.files[manifest.model].sha256[:16]
    return f"""Model `{model}`. Class shares of its default: {default}; those that its probabilities take for granted:
{reference}. What the figures mean: [answers](../../../runtime/docs/answers.md).

## Labels and the question of a lesion

One network for each collection left out, seed 0. Every threshold and share comes from the other collections.

{table(LABELS, decided)}
## Sets

{table(SETS, covered)}
## The questions

All images together, each with the thresholds of the other collections. Of a lesion, the strictest collection sets them,
with a quarter of the misses allowed (half lost BrEaST's sensitivity of .95).

{table(["question", "asked at a sensitivity of", "sensitivity", "specificity"], points)}"""


def other_scanners() -> str:
    found = one_arm("left-out.csv.gz", "real", "leave-one-collection-out")["by_source"]
    sources = {row["name"]: row for row in found if row["kind"] == "collection"}
    alone = read(ANSWERS["busi-alone-elsewhere.csv.gz"])
    heading = [
        "left out",
        "AUC malignant / benign (seed 0)",
        "mean (range) of seeds 0, 1, 2",
        "trained on BUSI alone (seed 0)",
        "AUC normal / lesion (seed 0)",
        "mean (range) of seeds 0, 1, 2",
    ]
    heading += ["accuracy (seed 0)", "ECE, calibrated (seed 0)", "coverage of sets at 90 % (seed 0)"]
    rows = []
    for name in COLLECTIONS:
        own = sources[name]
        row = [name, interval(own["auc"]["malignant against benign"]), of_seeds(name, malignant_auc)]
        elsewhere = of_collection(alone, name)
        row.append(f"{malignant_auc(elsewhere):.3f}" if elsewhere else "-")
        # The other collections have four healthy scans at most.
        if name == "BUSI":
            row += [interval(own["auc"]["normal against the rest"]), of_seeds(name, normal_auc)]
        else:
            row += ["-", "-"]
        rows.append([*row, *(f"{own[figure]['value']:.3f}" for figure in ("accuracy", "ece", "coverage"))])
    parts = [
        "## Each collection left out\n",
        answers("left-out.csv.gz", "busi-alone-elsewhere.csv.gz"),
        table(heading, rows),
        "## Sealed folds\n",
        answers("sealed-four.csv.gz", "sealed-collections.csv.gz", "sealed-busi-recipe.csv.gz", "arms-dcgan-64.csv.gz"),
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


def of_seeds(name: str, figure: Callable[[Sequence[Row]], float]) -> str:
    """Mean and range of a figure of a collection left out, over the kept seeds."""
    rows = of_collection(read(ANSWERS["left-out.csv.gz"]), name)
    values = [figure([row for row in rows if row["seed"] == seed]) for seed in sorted({row["seed"] for row in rows})]
    return f"**{np.mean(values):.3f}** ({min(values):.3f} to {max(values):.3f})"


def normal_auc(rows: Sequence[Row]) -> float:
    """AUC of normal against the rest, by scikit-learn."""
    return float(roc_auc_score([row["label"] == "normal" for row in rows], [float(row["p_normal"]) for row in rows]))


def sealed_folds() -> str:
    all_three, busi_alone = "sealed-collections.csv.gz", "arms-dcgan-64.csv.gz"
    four = [three_figures(sealed("sealed-four.csv.gz", "0", name)) for name in COLLECTIONS]
    others = [over_seeds(all_three, name)[2] for name in FIRST[1:]]
    recipe = [f"{figure:.3f}" for figure in three_figures(sealed("sealed-busi-recipe.csv.gz", "0"))]
    own = [f"{figure:.3f}" for figure in (*four[0], *(figures[2] for figures in four[1:]))]
    rows = [
        ["nine tenths of all four, `--budget collections`, seed 0", *own],
        ["nine tenths of the first three, the recipe before", *over_seeds(all_three, "BUSI"), *others, "-"],
        ["nine tenths of BUSI, the recipe before, seed 0", *recipe, "-", "-", "-"],
        ["nine tenths of BUSI, `--budget full`", *over_seeds(busi_alone, "BUSI"), "-", "-", "-"],
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
        "The second row's answers on BUSI, fitted once more by a logistic regression on its nine other folds: accuracy "
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
    names = list(dict.fromkeys(row["arm"] for row in read(ANSWERS[file])))
    names.sort(key=lambda arm: arm != "recipe")
    rows = []
    for arm, figures in changes(file, names).items():
        own = {(figure["figure"], figure["collection"]): figure for figure in figures}
        cells = (interval(own[key]["value"]) if arm == "recipe" else change(own[key]["change"]) for key in FIGURES)
        rows.append([f"`{arm}`", *cells])
    heading = [f"arm{seeds_of(file)}", *(f"AUC malignant / benign: {name}" for name in FIRST)]
    return table([*heading, "AUC normal / the rest: BUSI"], rows)


def first_weights() -> str:
    shown = ("accuracy", "macro-AUC", "AUC malignant against benign")
    heading = ["fine-tuned on (mean of seeds 0, 1, 2)"]
    for figure in shown:
        heading += [f"{figure}: from ImageNet", "from the others' network", "change"]
    rows = []
    for name, file in FIRST_WEIGHTS.items():
        for size in sorted({int(row["arm"].partition("-")[2]) for row in read(ANSWERS[file])}):
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


DISTURBANCES = {  # title and unit of each row of robustness.py
    "shadow": ("shadow", "dB"),
    "gain-down": ("less gain", "dB"),
    "gain-up": ("more gain", "dB"),
    "attenuation": ("gain lost with depth", "dB at the bottom"),
    "depth": ("more depth in the picture", "times"),
    "haze": ("haze", "of full white at the skin"),
    "blur": ("blur", "of the width"),
    "jpeg": ("JPEG", "quality"),
    "crop": ("crop", "of height and width"),
    "speckle": ("coarser speckle", "dB"),
}


def disturbed() -> str:
    """Figures that ``robustness.py`` found."""
    found = json.loads(ANSWERS["disturbed.json"].read_text())
    own = (found[name] for name in COLLECTIONS)
    rows = [["as they are", *(f"{interval(one['auc'])}; {one['noticed']['value']:.0%}" for one in own)]]
    for kind, (title, unit) in DISTURBANCES.items():
        strengths = [f"{row['strength']:g}" for row in found["BUSI"]["disturbed"] if row["kind"] == kind]
        row = [f"{title}: {', '.join(strengths)} {unit}"]
        for name in COLLECTIONS:
            levels = [level for level in found[name]["disturbed"] if level["kind"] == kind]
            steps = ", ".join(f"{level['change']['value']:+.3f}" for level in levels)
            noticed = ", ".join(f"{100 * level['noticed']['value']:.0f}" for level in levels)
            row.append("{} [{low:+.3f}, {high:+.3f}]; {} %".format(steps, noticed, **levels[-1]["change"]))
        rows.append(row)
    return table(["disturbance: three strengths (seed 0)", *COLLECTIONS], rows)


def scanners_table() -> str:
    alone = read(ANSWERS["busi-alone-elsewhere.csv.gz"])
    aucs = (of_seeds(name, malignant_auc) for name in COLLECTIONS)
    folds = (malignant_auc(sealed("sealed-four.csv.gz", "0", name)) for name in COLLECTIONS)
    rows = [
        ["the shipped bundle's recipe, the collection left out: mean (range) of seeds 0, 1, 2", *aucs],
        ["the same, not distilled, in sealed folds of all four (seed 0)", *(f"{of:.2f}" for of in folds)],
        [
            "trained on BUSI alone (one network)",
            "-",
            *(f"{malignant_auc(of_collection(alone, name)):.2f}" for name in FIRST[1:]),
            "-",
        ],
    ]
    return table(["networks", *COLLECTIONS], rows)


TABLES = {"scanners": scanners_table, "other-scanners": other_scanners, "decisions": decisions}
