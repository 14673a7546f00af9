"""Each claim of the five papers beside our line: the page `claims.md`, made from `claims.yaml` and the printed figures.

A rule of `claims.yaml` stands for the lines of ``tests/golden/papers/PAPER.csv`` whose table, row and column its
expressions match, or, with ``claim``, for a sentence of the paper that has no such line.  What it may say:

- ``where``, ``claim``, ``value``: place, sentence and value of a claim without a printed figure
- ``ours``: place of our value, see `places`; names in braces are the line's table, row, column, or parts of them
- ``test``: a test that holds it, below ``tests/``
- ``departs``, ``missing``: how or why; ``note``: what else is to be said
- ``quoted``: place of our quotation of a result, or ``page NAME`` for one in a page's text
- ``measured``, ``under``: place of what we measured, and the reduced conditions; ``unmeasured``: why nothing was

No verdict is typed: *same* is a value found equal, or a test.  A rule that claims too much or too little is refused.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import functools
import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from kept import ANSWERS, CLASSES, STUDIES, read, table

from sonoforge.models import ga_gan
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.classifier import settings as classifier
from sonoforge.training.data import splits
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.segmentation import options as segmentation
from sonoforge.training.settings.gan import COMPARED, SEARCHES, GanCompareConfig, GanSearchConfig
from sonoforge.training.statistics import published

CHECKOUT = STUDIES.parents[1]
TRAINING = CHECKOUT / "training" / "sonoforge" / "training"
GOLDEN = CHECKOUT / "tests" / "golden" / "papers"
RULES = Path(__file__).with_name("claims.yaml")
PAPERS = {
    "thesis": "S. H., MSc thesis, Middlesex University, 2024",
    "stylegan": "Ryspayeva, Salykova 2025: StyleGAN2 against StyleGAN3",
    "dgan-wp-tl": "Ryspayeva, Salykova 2025: loss functions of DGAN-WP-TL",
    "ga-gan": "Berezsky, Liashchynskyi 2024: GA-GAN",
    "six-gans": "Thakur, Thakur 2024: six GANs on three modalities",
}
NETWORKS = {"": "Real data", "dcgan": "DCGAN", "lsgan": "LSGAN", "wgan": "WGAN", "stylegan1": "StyleGAN"}
NETWORKS |= {"biggan": "BigGAN", "spade": "SPADE", "wgan-gp": "WGAN-GP", "bgan": "BGAN", "began": "BEGAN"}
NETWORKS |= {"ga-gan": "GA-GAN", "stylegan2": "StyleGAN2", "stylegan3-t": "StyleGAN3"}
VERDICTS = ("same", "departs", "missing", "quoted", "not quoted")  # the last two of results
PARTS = {"claim", "where", "value", "table", "row", "column", "ours", "test", "departs", "missing", "note"}
PARTS |= {"quoted", "measured", "under", "unmeasured"}


class Claim(NamedTuple):
    """A row of the page."""

    paper: str
    where: str
    what: str
    said: str
    ours: str
    verdict: str  # of `VERDICTS`
    more: str  # how it departs, why it is missing, what was measured
    measured: bool
    line: tuple[str, str, str] | None  # table, row and column of the printed figure


def of_thesis(rows: Iterable[published.PublishedRow]) -> dict[str, Any]:
    """The rows on BUSI by their short names, with the columns of the thesis's table 1."""
    found = {}
    for row in rows:
        own: dict[str, Any] = {"accuracy, test": 100 * row.accuracy, "validation": row.validation}
        own["accuracy, train"] = row.train_accuracy and 100 * row.train_accuracy
        for name, values in (("sensitivity", row.sensitivity), ("specificity", row.specificity)):
            own |= {f"{name}, {kind}": value for kind, value in zip(CLASSES, values or (), strict=False)}
        own["in text"] = dict(zip(CLASSES, row.specificity_in_text or (), strict=False))
        for column, answer in enumerate(CLASSES):
            own[f"predicted {answer}"] = {
                f"actual {kind}": line[column] for kind, line in zip(CLASSES, row.confusion or (), strict=False)
            }
        found[row.name.split(" (")[0]] = own
    return found


@functools.cache
def of_gans() -> dict[str, Any]:
    """The papers' GANs by set and network, those as they train also by epoch; others' results by table and network."""
    found: dict[str, Any] = {}
    for name, paper in published.PAPERS.items():
        own = found[name] = collections.defaultdict(dict)
        for row in paper.rows:
            own[row.data][row.network + (f", epoch {row.epoch}" if row.epoch else "")] = row
            own[row.data].setdefault(row.network, row)
        for row in paper.others:
            own[row.table][row.network] = row
    return found


def of_segmentation() -> dict[str, Any]:
    """Table 4 of the six GANs by network, with its columns."""
    found: dict[str, Any] = collections.defaultdict(dict)
    for row in published.PUBLISHED_SEGMENTATION:
        found[NETWORKS[row.recipe]] |= {f"{what}, {row.data}": getattr(row, what) for what in ("fid", "dice")}
    return found


@functools.cache
def measured() -> dict[str, Any]:
    """What we measured, by kept file, then as the papers' tables have it."""
    found: dict[str, Any] = {}
    for file, data in (("stylegan-busi-64.csv", "BUSI"), ("stylegan-cbis-64.csv", "CBIS-DDSM")):
        for row in read(ANSWERS[file]):
            name = NETWORKS[row["recipe"]]
            own = {**row, "swd": row["laplacian_swd"]}
            found.setdefault(file, {})[f"{name}, epoch {float(row['milestone']) * 1000:.0f}"] = own
            found[file][f"{data}, {name}"] = own
    found["loss-table-busi-64.csv"] = {f"{row['recipe']} {row['perceptual_weight']}": row for row in losses()}
    file = "cytology-six-32.csv"
    found[file] = {NETWORKS[row["recipe"]]: row for row in read(ANSWERS[file]) if row["milestone"] == "1.0"}
    for file, arm in (("costs-six.csv", "generated"), ("costs-liver.csv", "both")):
        rows = [row for row in read(ANSWERS[file]) if row["source"] == "this run"]
        own = found[file] = collections.defaultdict(dict)
        for row in rows:
            if row["arm"] in ("real", arm):
                name = NETWORKS[row["recipe"].partition(":")[0]]
                own[name] |= {f"{what}, {row['set']}": row[what] for what in ("fid", "dice", "seconds_per_epoch")}
    folds = (
        "system-1-thesis.csv",
        "leakage-dcgan-64.csv.gz",
        "comparators-thesis.csv.gz",
        "comparators-segmented.csv.gz",
    )
    for file in folds:
        found[file] = {arm: by_class(file, arm) for arm in {row["arm"] for row in read(ANSWERS[file])}}
    return found


def losses() -> list[dict[str, str]]:
    return [row for row in read(ANSWERS["loss-table-busi-64.csv"]) if row["steps"]]


def by_class(file: str, arm: str) -> dict[str, float]:
    """Mean over the seeds, in plain folds where they are kept, of the columns of the thesis's table 1."""
    rows = [row for row in read(ANSWERS[file]) if row["arm"] == arm]
    protocols = {row["protocol"] for row in rows}
    protocol = max(protocols & {"plain", "thesis"} or protocols)  # without a generator these two are the same
    own = [row for row in rows if row["protocol"] == protocol]
    answers = [(row["label"], max(CLASSES, key=lambda name: float(row[f"p_{name}"]))) for row in own]
    found = {"accuracy, test": 100 * statistics.fmean(answer == label for label, answer in answers)}
    for kind in CLASSES:
        found[f"sensitivity, {kind}"] = statistics.fmean(answer == kind for label, answer in answers if label == kind)
        found[f"specificity, {kind}"] = statistics.fmean(answer != kind for label, answer in answers if label != kind)
    return found


def computed() -> dict[str, Any]:
    """What follows from the papers' own figures, from our recipes, and from what we measured."""
    gans, kept = of_gans(), measured()
    files = {"BUSI": "stylegan-busi-64.csv", "CBIS-DDSM": "stylegan-cbis-64.csv"}
    ends = [f"StyleGAN{number}, epoch 1000" for number in (2, 3)]
    styled: dict[str, Any] = {}
    for data, file in files.items():
        for name, rows in ((data, gans["stylegan"][data]), (f"our {data}", kept[file])):
            of = {what: [float(shown(field(rows[end], what))) for end in ends] for what in ("fid", "kid")}
            own = {f"{what}, % lower": round(100 * (1 - new / old)) for what, (old, new) in of.items()}
            styled[name] = {**own, "kid, times lower, more than": math.floor(of["kid"][0] / of["kid"][1])}
    strengths = {name: set(recipe.regularisers) for name, recipe in RECIPES.items()}
    styled["stylegan2 beside r1"] = sorted(strengths["stylegan2"] - {"r1"})
    styled["stylegan3-t has"] = sorted(strengths["stylegan3-t"])
    styled["epochs measured"] = [share * RECIPES["stylegan2"].budget.length for share in GanCompareConfig().milestones]
    weights = sorted({float(row["perceptual_weight"]) for row in losses()} - {0.0})
    lossy = {"has": sorted(strengths["dgan-wp-tl-wgangp"]), "weights tried": weights}
    lossy["metrics"] = [name for name in COMPARED if name in ("kid", "fid", "lpips", "ms-ssim")]
    found = {}
    for network in ga_gan.OPERATIONS:
        code = ga_gan.PUBLISHED[network]["found"]
        digits = [digit for group in code.edges for digit in group]
        found[network] = {"nodes": code.nodes, "attention": len(code.attention)}
        found[network] |= {"skips": digits.count(6), "zeros": digits.count(5)}
    operations = {name: list(own.values()) for name, own in ga_gan.OPERATIONS.items()}
    further = [name for name in operations["discriminator"] if name not in operations["generator"]]
    names = [NETWORKS[name.partition(":")[0]] for name in segmentation.SIX["full"]]
    busi, epochs = of_thesis(published.PUBLISHED), classifier.BUDGETS["thesis"].epochs
    accuracy = {name: busi[name]["accuracy, test"] for name in ("System 1", "System 2")}
    ours = {arm: kept["leakage-dcgan-64.csv.gz"][arm]["accuracy, test"] for arm in ("real", "gan")}
    return {
        "thesis": {
            "points": round(accuracy["System 2"] - accuracy["System 1"], 1),
            "our points": round(ours["gan"] - ours["real"], 1),
            "epochs": splits.FOLDS * epochs,
            "images": sum(published.BUSI_COUNTS),
        },
        "stylegan": styled,
        "dgan-wp-tl": lossy,
        "ga-gan": {
            **found,
            "generator operations": ", ".join(operations["generator"]),
            "discriminator operations": ", ".join(further),
        },
        "six-gans": {"wgan has": sorted(strengths["wgan"]), "networks at full": names},
    }


def field(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, Mapping) else getattr(row, name)


@functools.cache
def places() -> Mapping[str, Any]:
    """What a place may begin with; the rest are keys, fields or indices, with `/` between."""
    presets = {
        f"{name}:{preset}": dataclasses.replace(recipe, **changed.changes)
        for name, recipe in RECIPES.items()
        for preset, changed in recipe.presets.items()
    }
    return {
        "recipes.json": {**RECIPES, **presets},
        "budgets.json": classifier.BUDGETS,
        "budgets.json, generator": {name: row["generator"] for name, row in classifier.ROWS.items()},
        "comparators.json": json.loads((TRAINING / "comparators" / "comparators.json").read_text(encoding="utf-8")),
        "published_busi.json": of_thesis(published.PUBLISHED),
        "published_gans.json": {**of_gans(), "six-gans": of_segmentation()},
        "searches.json": SEARCHES,
        "published.py": {"GPU_GB": published.GPU_GB, "BUSI": dict(zip(CLASSES, published.BUSI_COUNTS, strict=True))},
        "splits.py": splits,
        "preprocessing.py": {"IMAGENET": IMAGENET},
        "ga_gan.py": ga_gan,
        "gan compare": GanCompareConfig(),
        "gan search": GanSearchConfig(),
        "segment": segmentation,
        "computed": computed(),
        **measured(),
    }


def find(place: str) -> Any:
    """Return what lies at a place, such as ``recipes.json/ga-gan/budget/batch``."""
    start = max((name for name in places() if place.startswith(f"{name}/")), key=len, default="")
    found: Any = places().get(start)
    for key in place.removeprefix(f"{start}/").split("/"):
        try:
            found = (
                found[key] if isinstance(found, Mapping) else found[int(key)] if key.isdigit() else getattr(found, key)
            )
        except (KeyError, IndexError, AttributeError, TypeError):
            raise SystemExit(f"claims.yaml: nothing lies at {place}: no {key}") from None
    return found


def shown(value: Any) -> str:
    """Print a value as the page does."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(own)}" if own not in ("", None) else name for name, own in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def equal(said: Any, ours: Any) -> bool:
    """Whether a printed value and ours are the same: numbers as numbers, lists entry by entry, words as words."""
    words, own = shown(said).split(), shown(ours).split()
    try:
        return len(words) == len(own) and all(abs(float(a) - float(b)) <= 1e-9 for a, b in zip(words, own, strict=True))
    except ValueError:
        return words == own


def printed_figures() -> dict[str, dict[tuple[str, str, str], str]]:
    """The figures of each paper by table, row and column."""
    found: dict[str, dict[tuple[str, str, str], str]] = {}
    for name in PAPERS:
        with (GOLDEN / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        found[name] = {(line["table"], line["row"], line["column"]): line["value"] for line in lines}
        assert len(found[name]) == len(lines), f"{name}: a figure twice"
    return found


def instances(paper: str, rule: Mapping[str, Any], figures: Mapping[tuple[str, str, str], str]) -> Iterator[Claim]:
    """Return the claims that a rule stands for."""
    if unknown := set(rule) - PARTS:
        raise SystemExit(f"claims.yaml: {paper}: {rule}: unknown {', '.join(sorted(unknown))}")
    if "claim" in rule:
        where = f"section {rule['where']}" if rule["where"][0].isdigit() else rule["where"]
        said = shown(rule.get("value", ""))
        yield claim_of(rule, {}, Claim(paper, where, rule["claim"], said, "", "", "", False, None))
        return
    expressions = [re.compile(str(rule.get(part, ".*"))) for part in ("table", "row", "column")]
    found = 0
    for line, said in figures.items():
        matches = [expression.fullmatch(part) for expression, part in zip(expressions, line, strict=True)]
        if not all(matches):
            continue
        found += 1
        names = dict(zip(("table", "row", "column"), line, strict=True))
        names |= {name: value for match in matches if match for name, value in match.groupdict().items()}
        where = f"table {line[0]}" if line[0][0].isdigit() else line[0]
        what = ", ".join(part for part in line[1:] if part)
        yield claim_of(rule, names, Claim(paper, where, what, said, "", "", "", False, line))
    if not found:
        raise SystemExit(f"claims.yaml: {paper}: no printed figure is as {rule}")


def source(place: str) -> str:
    """Link the kept file that a place lies in, if it does."""
    file = place.partition("/")[0]
    return f" ([`{file}`](../{ANSWERS[file].relative_to(STUDIES).as_posix()}))" if file in ANSWERS else ""


def claim_of(rule: Mapping[str, Any], names: Mapping[str, str], claim: Claim) -> Claim:
    """Fill in our line and the verdict."""
    said = rule.get("value", claim.said)

    def texts(part: str) -> list[str]:
        given = rule.get(part, [])
        return [text.format(**names) for text in ([given] if isinstance(given, str) else given)]

    def refuse(why: str) -> None:
        raise SystemExit(f"claims.yaml: {claim.paper}, {claim.where}, {claim.what} ({claim.said}): {why}")

    tests, lines, right = texts("test"), [], []
    for place in texts("quoted") + texts("ours"):
        if place.startswith("page "):
            name = place.removeprefix("page ")
            text = re.sub(r"(?<![\d.])0\.", ".", (CHECKOUT / name).read_text(encoding="utf-8"))
            right.append(bool(re.search(rf"(?<![\w.]){re.escape(str(said).lstrip('0'))}(?!\w|\.\d)", text)))
            lines.append(f"[{Path(name).name}]({'../' * 3}{name})")
        else:
            own = find(place)
            right.append(equal(said, own))
            lines.append(f"`{place}`" + ("" if right[-1] and claim.said else f": {shown(own)}"))
    more = [*texts("departs"), *texts("missing")]
    if "quoted" in rule:
        verdict = "quoted" if right else "not quoted"
        if not all(right):
            refuse(f"{' and '.join(lines)} has another value")
        if ("measured" in rule) == ("unmeasured" in rule):
            refuse("either measured or unmeasured has to be said")
        found = [f"{float(find(place)):.4g}{source(place)}" for place in texts("measured")]
        under = texts("under" if found else "unmeasured")[0]
        more.append(f"measured: {', '.join(found)}, {under}" if found else f"not measured: {under}")
    elif "missing" in rule:
        verdict = "missing"
    elif "departs" in rule:
        verdict = "departs"
        if right and all(right) and claim.said != "":
            refuse(f"does not depart: {' and '.join(lines)} is the same")
    else:
        verdict = "same"
        if not all(right):
            refuse(f"departs, and how is not said: {' and '.join(lines)}")
        if not right and not tests:
            refuse("nothing shows that it is so: name a place of the same value, or a test")
    lines += [f"`{test}`" for test in tests]
    return claim._replace(
        ours="; ".join(lines) or "-", verdict=verdict, more="; ".join(more + texts("note")), measured="measured" in rule
    )


@functools.cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the rules; each printed figure belongs to one rule."""
    rules, printed, found = yaml.safe_load(RULES.read_text(encoding="utf-8")), printed_figures(), []
    for paper, figures in printed.items():
        own = [claim for rule in rules[paper] for claim in instances(paper, rule, figures)]
        counts = collections.Counter(claim.line for claim in own if claim.line)
        wrong = [line for line in figures if counts[line] != 1]
        if wrong:
            raise SystemExit(
                f"claims.yaml: {paper}: {wrong[0]} has {counts[wrong[0]]} rules, not one ({len(wrong)} such)"
            )
        found += own
    return tuple(found)


def page() -> str:
    """Counts of each paper, then every claim."""
    rows = []
    for name in (*PAPERS, ""):
        own = [claim for claim in claims() if name in ("", claim.paper)]
        counts = collections.Counter(claim.verdict for claim in own)
        title = f"[{PAPERS[name]}](#{name})" if name else "**all**"
        seen = sum(claim.measured for claim in own)
        rows.append([title, len(own), *(counts[verdict] for verdict in VERDICTS), seen])
    heading = ["paper", "claims", *VERDICTS, "results measured here, in small"]
    parts = [table(heading, rows)]
    heading = ["where", "claim", "it says", "our line", "verdict", "how, why, what was measured"]
    for name, title in PAPERS.items():
        rows = [
            [
                cell.replace("|", r"\|") or "-"
                for cell in (own.where, own.what, own.said, own.ours, own.verdict, own.more)
            ]
            for own in claims()
            if own.paper == name
        ]
        parts.append(f'<a id="{name}"></a>\n\n## {title}\n\n{table(heading, rows)}')
    return "\n".join(parts)


TABLES = {"claims": page}
