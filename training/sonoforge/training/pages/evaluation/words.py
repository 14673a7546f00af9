"""The answers of an evaluation in words: pure functions of its figures, with the rules in the open.

A metric *stands* to real images in one of three ways, by its matched value (mean and 95 % interval over the draws) and
its floor (the 95 % interval of real against real at the same number of images):

- ``within``: the mean is in the floor's interval or on its good side: not to be told from real images at this number;
- ``unclear``: the mean is on the bad side, but the matched interval reaches the floor's;
- ``outside``: the whole matched interval is on the bad side.

Realistic: the kernel distance (KID) decides, because alone among the usual distances it has no bias at small
numbers; a linear probe that tries to tell the sets apart is the second voice.  Diverse: recall and coverage decide;
similarity or distance between pairs of generated images is the second voice.  The answer is ``no`` where all that
decides is outside, ``yes`` where nothing of either voice is unclear or outside, else ``partly``.  Copied: the
copy test decides (p below 0.05: ``yes``), and data-copying in bulk is the second voice (``partly``).  With fewer than
`FEW` images finding nothing means little, and the answer is ``unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.pages.run.words import LEVEL, MISSING, counted, listed, p_value, share

FEW = 50
"""Images a side; the 95 % interval of a share of 50 images is up to 28 points wide."""
COPYING_Z = -3.0
"""Of data-copying (Meehan 2020), a z-score; three, not two, because near-duplicates inflate it."""
DECIDING = {"realistic": ("kid",), "diverse": ("recall", "coverage")}
SECOND = {"realistic": ("linear_probe",), "diverse": ("ms_ssim", "lpips_pairs")}
"""First letters of the names of the metrics that decide, and of those that are the second voice."""
_SIMILARITIES = ("ms_ssim",)  # larger means more alike; of the other pairwise figures smaller does
_BREAKLESS = "\u00a0"

Row = Mapping[str, Any]


def figure(value: float | None) -> str:
    """Print a number with three significant digits and a true minus: ``0.0312``, ``58.1``, ``1234``."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return "0" if value == 0 else text.replace("-", "\u2212")


def ends(low: float | None, high: float | None) -> str:
    """Print the ends of an interval, kept on one line: ``[0.027, 0.036]``."""
    return f"[{figure(low)},{_BREAKLESS}{figure(high)}]"


def times(ratio: float | None) -> str:
    """Print a ratio: ``1.35``, ``5.7``, ``120``."""
    if ratio is None or not math.isfinite(ratio):
        return MISSING
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def stands(row: Row) -> str:
    """Say how a metric stands to real images: ``within``, ``unclear``, ``outside``, or ``""`` where it has no floor."""
    names = ("matched", "matched_low", "matched_high", "floor_low", "floor_high")
    if any(row.get(name) is None or not math.isfinite(row[name]) for name in names):
        return ""
    above, below = row["matched"] > row["floor_high"], row["matched"] < row["floor_low"]
    clear_above, clear_below = row["matched_low"] > row["floor_high"], row["matched_high"] < row["floor_low"]
    bad = {"low": above, "high": below}.get(row["better"], above or below)
    clear = {"low": clear_above, "high": clear_below}.get(row["better"], clear_above or clear_below)
    return "outside" if clear else "unclear" if bad else "within"


def meaning(row: Row) -> str:
    """Say in one clause what a metric's value means."""
    state = stands(row)
    if not state:
        return "not compared with real images"
    if state == "within":
        return "as among real images"
    clause = {"low": "further than real images", "high": "less than real images"}.get(row["better"], "")
    if not clause:
        above = row["matched"] > row["floor_high"]
        clause = f"{'more' if above == _is_similarity(row) else 'less'} alike than real images"
        if not row["name"].startswith(SECOND["diverse"]):
            clause = "above real images" if above else "below real images"
    return f"{clause}, clearly" if state == "outside" else f"{clause} on average; the intervals overlap"


def judge(results: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Answer the three questions by the rules on top of this file.

    Args:
        results: With ``metrics``, ``n`` and ``copies`` as `pages.evaluation.page.write_page` takes them.

    Returns:
        For ``realistic``, ``diverse`` and ``copied``: ``answer`` (``yes``, ``no``, ``partly`` or ``unknown``),
        ``headline``, ``text``, and the deciding figure as ``figure`` (what), ``value`` and ``detail``.
    """
    metrics, n = results["metrics"], results.get("n")
    return {
        "realistic": _realistic(metrics, n),
        "diverse": _diverse(metrics, n),
        "copied": _copied(results.get("copies")),
    }


def warnings(results: Mapping[str, Any]) -> list[str]:
    """List the bad news that a reader must meet first: the caller's own, collapse, copies, few images."""
    found = [str(words) for words in results.get("warnings", [])]
    for row in results["metrics"]:
        if not row["name"].startswith("lpips_pairs") or not stands(row):
            continue
        if row["matched"] < COLLAPSE_FRACTION * row["floor"]:
            found.append(
                f"Collapsed: generated images differ from each other by only {share(row['matched'] / row['floor'], 0)} "
                f"of what real images do ({row['title']})."
            )
    copies = results.get("copies")
    if copies and copies["p_value"] < LEVEL:
        found.append(
            f"Copies found: {_flagged(copies)} of {counted(copies['images'], 'generated image')} lie closer to a "
            "training image than the test allows. Images of patients may be among them: do not pass them on as "
            "anonymous."
        )
    n = results.get("n")
    if n is not None and n < FEW:
        found.append(
            f"Few images: every comparison rests on {counted(n, 'image')} a side. A difference that shows with so few "
            "counts; one that does not show may still be there."
        )
    return found


def _is_similarity(row: Row) -> bool:
    return bool(row["name"].startswith(_SIMILARITIES))


def _voices(metrics: Sequence[Row], names: tuple[str, ...]) -> list[Row]:
    return [row for row in metrics if row["name"].startswith(names) and stands(row)]


def _answer(deciding: Sequence[str], second: Sequence[str], n: int | None) -> str:
    if not deciding:
        return "unknown"
    if set(deciding) == {"outside"}:
        return "no"
    if {*deciding, *second} != {"within"}:
        return "partly"
    return "yes" if n is not None and n >= FEW else "unknown"


def _worst(rows: Sequence[Row]) -> Row:
    """The metric that is furthest on the bad side of its floor."""
    order = ("within", "unclear", "outside")
    return max(rows, key=lambda row: (order.index(stands(row)), row["ratio"] if row["ratio"] is not None else math.inf))


def _named(row: Row) -> str:
    return f"{row['title']}, {row['space']}" if row["space"] else str(row["title"])


def _unmeasured(what: str) -> dict[str, str]:
    text = f"{what} was not measured, or there were too few images to split the real ones into halves."
    return {
        "answer": "unknown",
        "headline": "Not measured",
        "text": text,
        "figure": what,
        "value": MISSING,
        "detail": "",
    }


def _realistic(metrics: Sequence[Row], n: int | None) -> dict[str, str]:
    kids, probes = (_voices(metrics, names["realistic"]) for names in (DECIDING, SECOND))
    if not kids:
        return _unmeasured("KID against real images")
    answer = _answer([stands(row) for row in kids], [stands(row) for row in probes], n)
    headline = {
        "yes": f"Not to be told from real images by these measures, at {n} images a side",
        "no": "No: they can be told from real images",
        "partly": "In part: the measures do not agree, or not clearly",
        "unknown": f"Cannot be said: nothing found, but with only {n} images a side",
    }[answer]
    sentences = []
    for row in kids:
        measured = f"{row['title']} {figure(row['matched'])} {ends(row['matched_low'], row['matched_high'])}"
        limit = f"two halves of the real images score up to {figure(row['floor_high'])}"
        where = {"within": "no further from real images than these from each other", "unclear": "not clearly further"}
        sentences.append(
            f"In the features of {row['space'] or 'the images'}: {measured}; {limit}: "
            f"{where.get(stands(row), 'further from real images than these are from each other')}."
        )
    if probes:
        row = _worst(probes)
        sentences.append(
            f"A simple classifier that tries to tell generated from real images reaches an AUC of "
            f"{figure(row['matched'])} (0.5 is guessing, 1 is never wrong); between two halves of real images up to "
            f"{figure(row['floor_high'])}."
        )
    if answer != "no":
        sentences.append(
            "The networks that compare the images do not read anatomy: whether a generated image makes medical sense "
            "is for a specialist to say."
        )
    row = _worst(kids)
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": f"{_named(row)}: as far as real images lie from each other at most",
        "value": f"{times(row['ratio'])} times" if row["ratio"] is not None else figure(row["matched"]),
        "detail": f"up to 1 cannot be told apart; {row['title']} {figure(row['matched'])} against "
        f"{figure(row['floor_high'])}",
    }


def _diverse(metrics: Sequence[Row], n: int | None) -> dict[str, str]:
    deciding, pairwise = (_voices(metrics, names["diverse"]) for names in (DECIDING, SECOND))
    if not deciding:
        return _unmeasured("Recall or coverage of the real images")
    alike = [row for row in pairwise if _alike(row)]
    states = [stands(row) if row in alike else "within" for row in pairwise]
    answer = _answer([stands(row) for row in deciding], states, n)
    headline = {
        "yes": f"As varied as real images by these measures, at {n} images a side",
        "no": "No: much of the real images' variety is missing",
        "partly": "In part: some of the real images' variety is missing, or not clearly there",
        "unknown": f"Cannot be said: nothing found missing, but with only {n} images a side",
    }[answer]
    sentences = [
        f"{_named(row)}: {share(row['matched'], 0)} of real images have a generated one near, where real images "
        f"themselves reach {share(row['floor_low'], 0)} to {share(row['floor_high'], 0)}."
        for row in deciding
    ]
    if alike:
        sentences.append(f"Generated images are more alike than real ones ({listed([row['title'] for row in alike])}).")
    elif pairwise and answer in ("no", "partly"):
        sentences.append(
            "Among themselves they are no more alike than real images, so they may rather lie beside the real ones "
            "than repeat each other."
        )
    row = _worst(deciding)
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": f"{_named(row)}: share of real images that have a generated one near",
        "value": share(row["matched"], 0),
        "detail": f"95{_BREAKLESS}% interval {share(row['matched_low'], 0)} to {share(row['matched_high'], 0)}; real "
        f"images reach {share(row['floor_low'], 0)} to {share(row['floor_high'], 0)}",
    }


def _alike(row: Row) -> bool:
    """Whether generated images are more alike than real ones by this pairwise figure."""
    above = row["matched"] > row["floor_high"]
    return stands(row) != "within" and above == _is_similarity(row)


def _flagged(copies: Row) -> int:
    count: int = round(copies["share"] * copies["images"])
    return count


def _copied(copies: Row | None) -> dict[str, str]:
    if copies is None:
        return _unmeasured("Distance to the training images")
    images, flagged = copies["images"], _flagged(copies)
    z = copies.get("data_copying_z")
    in_bulk = z is not None and z < COPYING_Z
    if copies["p_value"] < LEVEL:
        answer, headline = "yes", f"Yes: {flagged} of {images} generated images are too close to a training image"
    elif in_bulk:
        answer, headline = (
            "partly",
            "In part: no image stands out, but as a whole they lie too close to training images",
        )
    elif images < FEW:
        answer, headline = "unknown", f"Cannot be said: no copies found, but among only {counted(images, 'image')}"
    else:
        answer, headline = "no", f"No sign of copies beyond chance among {counted(images, 'generated image')}"
    source = "training images measured against other groups (no held-out images were given)"
    if copies["calibration"].startswith("held-out"):
        source = "real images that were not trained on"
    sentences = [
        f"{share(copies['share'])} of the generated images lie closer to a training image than the threshold; of "
        f"{source} about {share(copies['false_alarm'])} do (p {p_value(copies['p_value'])})."
    ]
    if copies.get("memorised") is not None and answer == "yes":
        sentences.append(f"Beyond what chance explains: {share(copies['memorised'])}.")
    if z is not None:
        side = "closer to the training images than" if in_bulk else "no closer to the training images than"
        sentences.append(f"As a whole they lie {side} real images do (data-copying z {figure(z)}).")
    if answer != "yes":
        sentences.append(f"A share of up to {share(copies['high'])} cannot be ruled out with so many images.")
    sentences.append("The test sees whole images, mirrored ones too; it does not see copied parts.")
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": "Generated images closer to a training image than the threshold",
        "value": share(copies["share"]),
        "detail": f"{flagged} of {images}; 95{_BREAKLESS}% interval {share(copies['low'])} to {share(copies['high'])}; "
        f"real images: about {share(copies['false_alarm'])}",
    }
