"""Tables of the papers' experiments, repeated in small."""

from __future__ import annotations

import statistics

from kept import (
    ANSWERS,
    CLASSES,
    SEEDS,
    accuracies,
    answers,
    changes,
    figures,
    interval,
    links,
    points,
    read,
    sonoforge,
    table,
    with_placebo,
    with_ratio,
)

from sonoforge.training.comparators import COMPARATORS
from sonoforge.training.statistics.published import PAPERS


def papers() -> str:
    thesis = "system-1-thesis.csv"
    found = sonoforge("crossval", "--from", ANSWERS[thesis])["arms"]["real"]
    by_seed = accuracies(ANSWERS[thesis])
    sensitivity = ", ".join(f"{found['sensitivity'][name]['value']:.2f}" for name in CLASSES)
    rows = [
        ["accuracy, seeds 0, 1, 2", ", ".join(f"{by_seed['real', 'thesis', seed]:.3f}" for seed in SEEDS)],
        ["mean", f"{statistics.fmean(by_seed.values()):.3f}"],
        ["accuracy, seed 0, by group", interval(found["accuracy"])],
        ["macro-AUC, seed 0", f"{found['macro_auc']['value']:.3f}"],
        ["sensitivity normal, benign, malignant, seed 0", sensitivity],
    ]
    parts = [
        f"## The thesis's plain training of System 1\n\n{answers(thesis)}\n{table(['figure', 'measured'], rows)}",
    ]
    parts.append(thesis_generators())
    comparators = {}
    for protocol in ("thesis", "sealed"):
        comparators |= accuracies(ANSWERS[f"comparators-{protocol}.csv.gz"])
    rows = []
    for arm in dict.fromkeys(arm for arm, _, _ in comparators):
        row = [f"`{arm}`: {COMPARATORS[arm].title}"]
        for protocol in ("thesis", "sealed"):
            own = [comparators[arm, protocol, seed] for seed in SEEDS]
            row += [", ".join(f"{value:.3f}" for value in own), f"{statistics.fmean(own):.3f}"]
        rows.append(row)
    kept = answers("comparators-thesis.csv.gz", "comparators-sealed.csv.gz")
    heading = ["arm", "plain folds, seeds 0, 1, 2", "mean", "sealed folds, seeds 0, 1, 2", "mean"]
    parts.append(f"## Comparators\n\n{kept}\n{table(heading, rows)}\n{segmented('comparators-segmented.csv.gz')}")
    parts.append("## StyleGAN2 and StyleGAN3\n")
    parts += [stylegans(data, file) for data, file in STYLEGANS.items()]
    names = {"dgan-wp-tl-wgangp": "WGAN-GP", "dgan-wp-tl-bce": "BCE"}
    forms = {"kid": (".3f", ".1f"), "fid": (".0f", ".2f"), "lpips_pairs": (".3f", ".2f"), "ms_ssim": (".3f", ".2f")}
    forms["laplacian_swd"] = (".0f", ".2f")
    rows = [
        [names[row["recipe"]], f"{float(row['perceptual_weight']):g}"]
        + [with_ratio(row, name, *form) for name, form in forms.items()]
        for row in read(ANSWERS["loss-table-busi-64.csv"])
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
    unmeasured = "its set, Zenodo 7890874, was not available: no figure of ours"
    parts.append(f"## GA-GAN against five others, as published ({unmeasured})\n\n{table(heading, rows)}")
    return "\n".join(parts)


def segmented(file: str) -> str:
    """The part of EDLCDS-BCDC whose weights are at hand, without and with its segmentation, on the same images."""
    arms, folds = sonoforge("crossval", "--from", ANSWERS[file])["arms"], {row["fold"] for row in read(ANSWERS[file])}
    rows = []
    for arm, own in arms.items():
        gained = [points(own_change["change"]) for own_change in changes(file, list(arms))[arm][:1]] if rows else ["-"]
        each = [f"{own['sensitivity'][name]['value']:.2f}" for name in CLASSES]
        rows.append(
            [
                f"`{arm}`: {COMPARATORS[arm].title}",
                interval(own["accuracy"]),
                interval(own["macro_auc"]),
                ", ".join(each),
                *gained,
            ]
        )
    tested = f"{own['images']} images of {own['groups']} groups, in {len(folds)} sealed folds."
    heading = ["arm", "accuracy", "macro-AUC", f"sensitivity {', '.join(CLASSES)}", "points gained"]
    title = "**EDLCDS-BCDC's segmentation, of its networks SqueezeNet alone.**"
    return f"{title} {tested}\n\n{answers(file)}\n{table(heading, rows)}"


def thesis_generators() -> str:
    """The figures of each class over its epochs."""
    kept = read(ANSWERS["thesis-generators-224.csv"])
    told = ("kid", "fid", "diversity", "discriminator_loss", "generator_loss")
    rows = [[f"{row['class']}, epoch {row['epoch']} of {row['of']}", *(row[name] for name in told)] for row in kept]
    heading = ["generator", "KID", "FID", "diversity", "loss of the discriminator", "of the generator"]
    figures = f"All figures: {links(['thesis-generators-224.csv'])}"
    return f"## The thesis's generators, 224 pixels\n\n{figures}\n\n{table(heading, rows)}"


MAMMOGRAMS = {"The published split": "mammograms-official.csv.gz", "Three sealed folds": "mammograms-sealed.csv.gz"}


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
        for row in read(ANSWERS[file])
    ]
    claimed = [row for row in PAPERS["stylegan"].rows if row.data == data]
    for row in claimed:
        kid = f"{row.kid:.2f}" + ("" if row.kid_spread is None else f" ± {row.kid_spread:.2f}")
        swd = "-" if row.swd is None else f"{row.swd:.2f}"
        rows.append([f"{row.network}, claimed", f"epoch {row.epoch}", row.fid, kid, swd, row.seconds_per_kimg])
    heading = ["network", "when", "FID", "KID", "SWD x 1000", "s/kimg"]
    return f"**{data}**, beside the paper's {claimed[0].table}\n\n{figures(file)}\n{table(heading, rows)}"


TABLES = {"papers": papers}
