"""Put an evaluation's answers into words: pure functions of its figures, by the rules below.

A metric's matched value (mean and 95 % interval over the draws) *stands* to its floor (real against real) as:

- ``within``: the mean is within the floor's interval or on its good side, indistinguishable from real images;
- ``unclear``: the mean is on the bad side, but the matched interval reaches the floor's;
- ``outside``: the whole matched interval is on the bad side.

Realistic: KID decides, as the only common distance that is unbiased for few images.  Diverse: recall and coverage
decide; likeness of pairs is the second voice.  ``no`` if every deciding metric is
outside, ``yes`` if no metric is unclear or outside, otherwise ``partly``.  Copied: the copy test decides (p below 0.05:
``yes``; more than expected by chance: ``partly``), then data-copying in bulk (``partly``); ``no`` covers only the kinds
of copies that it finds when they are planted.  With fewer than `FEW` images, finding nothing means ``unknown``.
"""

import math
from collections.abc import Sequence

from sonoforge.training.copies.generated import HELD_OUT
from sonoforge.training.copies.planting import STANDS
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import MISSING, bracket, counted, figure, listed, p_value, share, times

QUESTIONS = {"realistic": "Is it realistic?", "diverse": "Is it diverse?", "copied": "Is it copied?"}
FEW = 50
"""Images per set; the 95 % interval for a share of 50 images is up to 28 points wide."""
COPYING_Z = -3.0
"""Limit of data-copying (Meehan 2020), a z-score; three, not two, because near-duplicates inflate it."""
DECIDING = {"realistic": ("kid",), "diverse": ("recall", "coverage")}
PAIRWISE = ("ms_ssim", "lpips_pairs")  # the second voice on diversity
_SIMILARITY = "ms_ssim"  # larger means more alike; of the other pairwise figures smaller does
_NO_BREAK = "\u00a0"


def stands(row: Record) -> str:
    """Return how a metric stands to real images: ``within``, ``unclear``, ``outside``, or ``""`` without a floor."""
    value, floor = (row["matched"], row["matched_low"], row["matched_high"]), (row["floor_low"], row["floor_high"])
    if not all(number is not None and math.isfinite(number) for number in (*value, *floor)):
        return ""
    bad = {"low": _exceeds(value[0], floor[1]), "high": _exceeds(floor[0], value[0])}
    clear = {"low": _exceeds(value[1], floor[1]), "high": _exceeds(floor[0], value[2])}
    if clear.get(row["better"], any(clear.values())):
        return "outside"
    return "unclear" if bad.get(row["better"], any(bad.values())) else "within"


def _exceeds(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and first > second


def meaning(row: Record) -> str:
    """Say in one clause what a metric's value means."""
    state = stands(row)
    if not state:
        return "not compared with real images"
    if state == "within":
        return "as among real images"
    if row["better"] == "low":
        clause = "further apart than real images"
    elif row["better"] == "high":
        clause = "less than real images"
    elif row["name"] in PAIRWISE:
        clause = f"{'more' if _more_alike(row) else 'less'} alike than real images"
    else:
        clause = "above real images" if _exceeds(row["matched"], row["floor_high"]) else "below real images"
    return f"{clause}, clearly" if state == "outside" else f"{clause} on average; the intervals overlap"


def judge(metrics: Sequence[Record], copies: Record | None, n: int | None) -> dict[str, Record]:
    """Answer `QUESTIONS` by the rules above; ``n`` is the number of images per set."""
    return {"realistic": _realistic(metrics, n), "diverse": _diverse(metrics, n), "copied": _copied(copies)}


def warnings(metrics: Sequence[Record], copies: Record | None, n: int | None, given: Sequence[str] = ()) -> list[str]:
    """List the bad news that a reader must see first: the given warnings, collapse, copies, few images."""
    found = list(given)
    for row in metrics:
        value, real = row["matched"], row["floor"]
        if row["name"] != "lpips_pairs" or not stands(row) or value is None or real is None:
            continue
        if value < COLLAPSE_FRACTION * real:
            found.append(
                f"Collapsed: generated images differ from each other only {share(value / real, 0)} as much as real "
                f"images do ({row['title']})."
            )
    if copies and copies["p_value"] < LEVEL:
        found.append(
            f"Copies found: {copies['copies']} of {counted(copies['images'], 'generated image')} match a "
            "training image. Patients' images may be among them: do not share them as anonymous."
        )
    if n is not None and n < FEW:
        found.append(
            f"Few images: every comparison rests on {counted(n, 'image')} per set. A difference that is found still "
            "counts; one that is not found may exist."
        )
    return found


def _voices(metrics: Sequence[Record], names: tuple[str, ...]) -> list[Record]:
    return [row for row in metrics if row["name"] in names and stands(row)]


def _answer(deciding: Sequence[str], second: Sequence[str], n: int | None) -> str:
    if not deciding:
        return "unknown"
    if set(deciding) == {"outside"}:
        return "no"
    if {*deciding, *second} != {"within"}:
        return "partly"
    return "yes" if n is not None and n >= FEW else "unknown"


def _worst(rows: Sequence[Record]) -> Record:
    """Return the metric that is furthest on the bad side of its floor."""
    order = ("within", "unclear", "outside")
    return max(rows, key=lambda row: (order.index(stands(row)), row["ratio"] if row["ratio"] is not None else math.inf))


def full_name(row: Record) -> str:
    """Return a metric's title and feature space."""
    return f"{row['title']}, {row['space']}" if row["space"] else row["title"]


def _unmeasured(what: str) -> Record:
    return {
        "answer": "unknown",
        "headline": "Not measured",
        "text": f"{what} was not measured, or there were too few real images to split into halves.",
        "figure": what,
        "value": MISSING,
        "detail": "",
    }


def _realistic(metrics: Sequence[Record], n: int | None) -> Record:
    kids = _voices(metrics, DECIDING["realistic"])
    if not kids:
        return _unmeasured("KID against real images")
    answer = _answer([stands(row) for row in kids], [], n)
    headline = {
        "yes": f"Indistinguishable from real images by these measures, at {n} images per set",
        "no": "No: they can be told apart from real images",
        "partly": "In part: the measures disagree, or are not clear",
        "unknown": f"Unknown: no difference found, but with only {n} images per set",
    }[answer]
    sentences = []
    for row in kids:
        measured = f"{figure(row['matched'])} {bracket(figure(row['matched_low']), figure(row['matched_high']))}"
        distance = {"within": "no further", "unclear": "not clearly further", "outside": "further"}[stands(row)]
        sentences.append(
            f"In the features of {row['space'] or 'the images'}, {row['title']} is {measured}; two halves of the real "
            f"images score up to {figure(row['floor_high'])}. So generated images are {distance} from real ones than "
            "real ones from each other."
        )
    if answer != "no":
        sentences.append(
            "The networks that compare the images do not read anatomy: only a specialist can judge whether a generated "
            "image makes medical sense."
        )
    row = _worst(kids)
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": f"{full_name(row)}: the limit of real against real",
        "value": f"{times(row['ratio'])} times" if row["ratio"] is not None else figure(row["matched"]),
        "detail": f"up to 1 cannot be told apart; {row['title']} {figure(row['matched'])} against "
        f"{figure(row['floor_high'])}",
    }


def _diverse(metrics: Sequence[Record], n: int | None) -> Record:
    deciding, pairwise = _voices(metrics, DECIDING["diverse"]), _voices(metrics, PAIRWISE)
    if not deciding:
        return _unmeasured("Recall or coverage of the real images")
    alike = [row for row in pairwise if stands(row) != "within" and _more_alike(row)]
    states = [stands(row) if row in alike else "within" for row in pairwise]
    answer = _answer([stands(row) for row in deciding], states, n)
    headline = {
        "yes": f"As varied as real images by these measures, at {n} images per set",
        "no": "No: much of the real images' variety is missing",
        "partly": "In part: some of the real images' variety is missing, or not clearly present",
        "unknown": f"Unknown: nothing found missing, but with only {n} images per set",
    }[answer]
    sentences = [
        f"{full_name(row)}: {share(row['matched'], 0)} of real images have a generated one nearby; among real images "
        f"themselves it is {share(row['floor_low'], 0)} to {share(row['floor_high'], 0)}."
        for row in deciding
    ]
    if alike:
        sentences.append(f"Generated images are more alike than real ones ({listed([row['title'] for row in alike])}).")
    elif pairwise and answer in ("no", "partly"):
        sentences.append(
            "They are no more alike among themselves than real images, so they may lie beside the real ones rather "
            "than repeat each other."
        )
    row = _worst(deciding)
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": f"{full_name(row)}: share of real images that have a generated one nearby",
        "value": share(row["matched"], 0),
        "detail": f"95{_NO_BREAK}% interval {share(row['matched_low'], 0)} to {share(row['matched_high'], 0)}; among "
        f"real images {share(row['floor_low'], 0)} to {share(row['floor_high'], 0)}",
    }


def _more_alike(row: Record) -> bool:
    """Whether generated images differ less than real ones, if this pairwise figure is outside its floor."""
    return _exceeds(row["matched"], row["floor_high"]) is (row["name"] == _SIMILARITY)


def _copied(copies: Record | None) -> Record:
    if copies is None:
        return _unmeasured("Whether training images were copied")
    images, flagged, z = copies["images"], copies["copies"], copies["data_copying_z"]
    in_bulk = z is not None and z < COPYING_Z
    held = [row["kind"] for row in copies["recall"] if row["holds"]]
    missed = [row["kind"] for row in copies["recall"] if not row["holds"]]
    answer, headline = _copy_headline(copies, held, missed, in_bulk=in_bulk)
    source = "training images matched with other groups (no held-out images were given)"
    if copies["calibration"] == HELD_OUT:
        source = "real images that were not trained on"
    sentences = [
        f"{share(copies['share'])} of the generated images match a training image above the threshold; of "
        f"{source}, at most about {share(copies['false_alarm'])} do (p {p_value(copies['p_value'])})."
    ]
    if answer == "yes":
        sentences.append(f"Beyond what chance explains: {share(copies['memorised'])}.")
    if z is not None:
        side = "closer to the training images than" if in_bulk else "no closer to the training images than"
        sentences.append(f"As a whole they are {side} real images are (data-copying z {figure(z)}).")
    if answer != "yes":
        sentences.append(f"With this number of images, a share of up to {share(copies['high'])} cannot be ruled out.")
    found, planted = (sum(row[name] for row in copies["recall"]) for name in ("found", "planted"))
    if planted:
        sentences.append(f"Of all planted copies, the test finds {found} of {planted}.")
    if held:
        sentences.append(
            f"The answer holds for {listed(held, len(held))}: at least {share(STANDS, 0)} of such copies, made of the "
            "training images at this size, were found."
        )
    if missed:
        failed = [f"{row['kind']} ({row['found']} of {row['planted']})" for row in copies["recall"] if not row["holds"]]
        sentences.append(f"Other copies may go unnoticed: {listed(failed, len(failed))} were found.")
    return {
        "answer": answer,
        "headline": headline,
        "text": " ".join(sentences),
        "figure": "Generated images that match a training image above the threshold",
        "value": share(copies["share"]),
        "detail": f"{flagged} of {images}; 95{_NO_BREAK}% interval {share(copies['low'])} to {share(copies['high'])}; "
        f"real images: at most about {share(copies['false_alarm'])}",
    }


def _copy_headline(copies: Record, held: list[str], missed: list[str], *, in_bulk: bool) -> tuple[str, str]:
    images, flagged = copies["images"], copies["copies"]
    if copies["p_value"] < LEVEL:
        return "yes", f"Yes: {flagged} of {images} generated images match a training image"
    if copies["memorised"] > 0:
        return (
            "partly",
            f"Perhaps: {flagged} of {images} generated images match a training image; chance may explain it",
        )
    if in_bulk:
        return "partly", "In part: no image stands out, but as a whole they are too close to training images"
    if images < FEW:
        return "unknown", f"Unknown: no copies found, but among only {counted(images, 'image')}"
    if not held:
        return "unknown", "Unknown: the test does not find copies of such images"
    headline = f"No sign of copies beyond chance among {counted(images, 'generated image')}"
    if missed:
        headline += f"; unknown for {len(missed)} of {len(held) + len(missed)} kinds of copies"
    return "no", headline
