"""Compare a month's scans, trust and answers with an earlier month's or with the bundle's own figures.

A month is a CSV of ``sonoforge classify`` or the log of ``sonoforge serve``; it needs neither images nor labels. The
bundle's own figures are of scans that their network had not seen, by collection, as its evaluation keeps them: a month
is unlike them where it is beyond all collections. Groups are drawn, not scans (Field & Welsh, JRSS B 69, 2007), and the
largest deviation of all figures together decides (Westfall & Young, Resampling-based multiple testing, 1993).
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.cli.answer_files import CsvFormat, cells_of
from sonoforge.runtime.csv_tables import number, one_spelling, parse_table, read_text
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.quality_metrics import Band
from sonoforge.runtime.inference.adaptation import Floats, Interval, Whole
from sonoforge.runtime.notice import NOTICE

ERROR, POWER = 0.05, 0.84
"""Share of months in which any figure is called changed though none is; standard errors that give 80 % power."""
WORTH, TOO_LARGE = 0.1, 0.2
"""Change of a share that is worth finding; and the one that must be found to speak of no change."""
LEAST_GROUPS, MOST_GROUPS = 5, 500  # more are joined
DRAWS = 2000
"""Bootstrap draws of whole groups behind an interval."""
RARE = 0.01
"""Share of training scans beyond either end of a quality band; the causes other than distance are about as rare."""
FIGURES: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Shares by part and name: of scans with a pattern in a column; ``rare`` ones were at most `RARE` before."""
_GROUPED = {"patient": "patients", "group": "groups", "day": "days", "series": "sweeps or single scans"}
_REMEDY = "give the CSV of sonoforge classify --csv, or the log of sonoforge serve --set serve.log=FILE"

Key = tuple[str, str]
"""A figure's part, ``scans``, ``trust`` or ``answers``, and its name."""
Before = dict[Key, list[tuple[float, Floats]]]
"""Each figure's value and its `DRAWS`: one pair of a month, of a bundle one for each collection."""

log = logging.getLogger(__name__)


class Month(NamedTuple):
    """The answers in one file, each picture once."""

    file: str
    values: dict[Key, Floats]  # (N,), nan where there is none
    groups: Whole  # (N,)
    origin: tuple[str, str]  # SHA-256 of the network, and settings; empty if the file does not say
    about: dict[str, Any]  # counts of answers, of scans without one, of those left out, and of groups
    pictures: set[tuple[str, ...]]


class Row(NamedTuple):
    """One figure, before and now."""

    part: str
    name: str
    before: tuple[float, float]  # equal, or the smallest and the largest collection's
    now: float
    change: Interval  # from before, or the nearest collection
    changed: bool  # beyond chance among all figures together, and beyond all collections


def drift(files: Sequence[str], path: str) -> dict[str, Any]:
    """Compare the last of one or two files with the first, or with the figures of a bundle.

    Return what ``sonoforge validate --answers --json`` prints, with a `Row` for each of ``figures``.
    """
    if len(files) > 2:
        raise SonoforgeError(f"--answers is given {len(files)} times; give an earlier month and a later one, or one")
    bundle = open_bundle(path or None)
    months = [read_month(file, bundle, alone=len(files) == 1) for file in files]
    now, earlier = months[-1], months[0] if len(files) > 1 else None
    if earlier and any(one and other and one != other for one, other in zip(earlier.origin, now.origin, strict=True)):
        both = [f"{month.file} with {' '.join(month.origin)[:300]}" for month in months]
        raise SonoforgeError(f"{', '.join(both)}: compare months of one network and the same settings")
    if earlier and (shared := len(earlier.pictures & now.pictures)):
        log.warning("%s: %d pictures are in %s, too: the months are not independent", now.file, shared, files[0])
    before = draws_of(earlier, 1) if earlier else own_figures(bundle.manifest)
    if not before:
        raise SonoforgeError(f"{bundle.path}: keeps no figures of unseen scans; give an earlier month's --answers, too")
    rows, shows = compare(now, before, bundle.manifest)
    changed = any(row.changed for row in rows)
    return {
        "verdict": "changed" if changed else "too few to tell" if shows > TOO_LARGE else "not shown to have changed",
        "file": now.file,
        "against": earlier.file if earlier else str(bundle.path),
        **now.about,
        "before": earlier.about if earlier else None,
        "shows": min(shows, 1.0),
        "needed": math.ceil(now.about["answered"] * (shows / WORTH) ** 2),
        "figures": rows,
        "without_reference": [
            key[1] for key in now.values if key not in before and key[1] not in bundle.manifest.quality
        ],
        "notice": NOTICE,
    }


def draws_of(month: Month, seed: int) -> Before:
    """Return each figure's mean and its draws of whole groups."""
    generator, (_, groups) = np.random.default_rng(seed), np.unique(month.groups, return_inverse=True)
    blocks = generator.permutation(int(groups.max()) + 1)[groups] % MOST_GROUPS
    count = int(blocks.max()) + 1
    weights = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(float)
    every = np.stack([*month.values.values()], axis=1)
    parts = np.nan_to_num(every), ~np.isnan(every)
    sums, sizes = (np.stack([np.bincount(blocks, one, count) for one in part.T], axis=1) for part in parts)
    means, draws = sums.sum(axis=0) / sizes.sum(axis=0), (weights @ sums) / np.maximum(weights @ sizes, 1e-9)
    draws = means + math.sqrt(count / (count - 1)) * (draws - means)
    return {key: [(float(means[i]), draws[:, i])] for i, key in enumerate(month.values)}


def compare(now: Month, before: Before, manifest: ClassifierManifest) -> tuple[list[Row], float]:
    """Compare a month's figures with those before; return also the change of any share that most likely shows."""
    found = []
    for (part, name), [(value, draws)] in draws_of(now, 0).items():
        if not (there := before.get((part, name))) or {value, *(one for one, _ in there)} in ({0.0}, {1.0}):
            continue
        band = manifest.quality.get(name, Band(0, 1))
        nearest, old = min(there, key=lambda one: abs(one[0] - value))
        ends = min(one for one, _ in there), max(one for one, _ in there)
        change, drawn = value - nearest, draws - old
        error = max(float(drawn.std()), (band.high - band.low) / len(now.groups))  # shares of 0 and 1 are not exact
        low, high = np.quantile(drawn, (ERROR / 2, 1 - ERROR / 2)).tolist()
        found.append((Row(part, name, ends, value, Interval(change, low, high), False), error, drawn - change))
    if not found:
        raise SonoforgeError(f"{now.file}: has nothing that can be compared; give an earlier month's --answers, too")
    reach = float(np.quantile(np.max([np.abs(drawn) / error for _, error, drawn in found], axis=0), 1 - ERROR))
    reach *= 1 + (reach * reach + 1) / (4 * len(np.unique(now.groups)) - 4)  # Student's, for few groups
    rows = []
    for row, error, _ in found:
        inside = row.before[0] < row.before[1] and row.before[0] <= row.now <= row.before[1]
        rows.append(row._replace(changed=not inside and abs(row.change.value) > reach * error))
    spreads = [error for row, error, _ in found if row.name not in manifest.quality]
    return rows, (reach + POWER) * max(spreads, default=1.0)


# ---- one file


def read_month(file: str, bundle: Bundle[ClassifierManifest], alone: bool) -> Month:
    """Read the answers in a file, each picture once; if it is ``alone``, without scans that trained the network."""
    manifest, rows = bundle.manifest, _read_rows(Path(file), bundle.manifest)
    answered, failed = ([row for row in rows if (row["ok"].lower() == "true") == ok] for ok in (True, False))
    origins = Counter((row["model_sha256"], row["settings"]) for row in answered)
    if len(origins) > 1:
        shown = "; ".join(f"{count} with {model[:16]}, {said}" for (model, said), count in origins.most_common(3))
        raise SonoforgeError(f"{file}: holds answers of {len(origins)} networks or settings ({shown}); split it")
    origin = next(iter(origins), ("", ""))
    if answered and origin[0] not in {entry.sha256 for entry in manifest.files.values()}:
        raise SonoforgeError(
            f"{file}: answers are of network {origin[0][:16]}, not of {bundle.path}; give its --bundle"
        )
    settings = dict(part.split("=", 1) for part in origin[1].split("; ") if "=" in part)
    if settings.get("bundle", bundle.manifest_sha256[:16]) != bundle.manifest_sha256[:16]:
        log.warning("%s: was answered with another manifest of this network, whose limits may differ", file)
    keys = [*(f"p_{name}" for name in manifest.classes), "sharpness", "brightness"]
    pictures = {tuple(row.get(key, "") for key in keys): row for row in answered}
    kept = [row for row in pictures.values() if not (alone and row.get("trained_on", "").lower() == "true")]
    trained = len(pictures) - len(kept)
    if trained:
        log.warning("%s: %d scans trained the network, which knows them; left out", file, trained)
    every = [*kept, *failed]
    key = next((key for key in _GROUPED if every and key in every[0]), "series")
    cells = [row.get(key, "") for row in every]
    spelled = {} if key == "series" else one_spelling(cells, file)  # a sweep is named after its first file
    names = [spelled.get(cell, cell) or f"\0{place}" for place, cell in enumerate(cells)]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    if (count := len(set(names[: len(kept)]))) < LEAST_GROUPS:
        raise SonoforgeError(
            f"{file}: has {len(kept)} answers of {count} {_GROUPED[key]} to use; at least {LEAST_GROUPS} are needed"
        )
    with refusing(f"{file}: a column of numbers has others", _REMEDY):
        values = {key: np.append(own, [np.nan] * len(failed)) for key, own in values_of(kept, manifest, settings)}
    values["scans", "no answer"] = np.arange(len(every)) >= len(kept) * 1.0
    about = {"answered": len(kept), "unanswered": len(failed), "repeats": len(answered) - len(pictures)}
    about |= {"trained_on": trained, "groups": len(set(names))}
    return Month(file, values, groups, origin, {**about, "grouped_by": _GROUPED[key]}, {*pictures})


def _read_rows(path: Path, manifest: ClassifierManifest) -> list[dict[str, str]]:
    """Return the rows of a table or log, of requests only those with a picture; leave out a last line cut off."""
    text = read_text(path, _REMEDY)
    is_log, data = text.lstrip().startswith("{"), text.encode()
    end = (data.rfind(b"\n") + 1 if is_log else CsvFormat.whole(data)) or len(data)
    if data[end:].strip():
        log.warning("%s: its last line is cut off, and left out", path)
        text = data[:end].decode()
    if is_log:
        return [row for line, written in enumerate(text.split("\n"), 1) for row in _requested(written, path, line)]
    needed = [*("ok", "label", "trust_score", "model_sha256", "settings"), *(f"p_{name}" for name in manifest.classes)]
    needed += [own["column"] for figures in FIGURES.values() for own in figures.values()]
    needed += [question.name for question in manifest.questions]
    return [*parse_table(text, path, needed, _REMEDY).rows]


def _requested(written: str, path: Path, line: int) -> Iterator[dict[str, str]]:
    with refusing(f"{path}: line {line}: is not of such a log", _REMEDY):
        record = json.loads(written or "{}")
        if answer := record.get("answer"):
            cells = cells_of({"copy_of": "", "seems_copy_of": "", "series": "", **answer})
            sha256 = answer["model"]["sha256"]
            yield {**cells, "ok": "true", "day": record["time"][:10], "model_sha256": sha256, "settings": ""}
        elif record.get("status") == 422:  # a picture that cannot be used
            yield {"ok": "false", "day": record["time"][:10]}


def values_of(
    rows: list[dict[str, str]], manifest: ClassifierManifest, settings: Mapping[str, str]
) -> Iterator[tuple[Key, Floats]]:
    """Yield what is compared of each answered scan, from the cells of its row."""

    def numbers(column: str) -> Floats:
        return np.array([number(row[column]) for row in rows])

    for name, band in manifest.quality.items():
        if name in rows[0]:  # clipped, as a few extreme scans would decide a mean
            width = band.high - band.low
            yield ("scans", name), np.clip(numbers(name), band.low - width, band.high + width)
    for part, figures in FIGURES.items():
        for name, own in figures.items():
            found = re.compile(own["pattern"]).search
            yield (part, name), np.array([float(found(row[own["column"]]) is not None) for row in rows])
    yield ("trust", "trust score"), numbers("trust_score")
    probabilities = np.stack([numbers(f"p_{name}") for name in manifest.classes], axis=1)
    if "prevalence" in settings:  # as at the bundle's own shares
        here = np.array([number(part) for part in settings["prevalence"].split(":")])
        probabilities *= np.array([manifest.default[name] for name in manifest.classes]) / here
    for i, name in enumerate(manifest.classes):
        yield ("answers", f"label {name}"), (probabilities.argmax(axis=1) == i).astype(float)
    for name in (question.name for question in manifest.questions):
        yield ("answers", f"{name}? yes"), np.array([float(row[name].lower() == "yes") for row in rows])


# ---- the bundle


def own_figures(manifest: ClassifierManifest) -> Before:
    """Return what a bundle keeps of scans that its network had not seen; none of a bundle that lacks it.

    A collection counts as many scans as it has patients. Another's bundle may hold anything in these records.
    """
    found: Before = {}
    generator = np.random.default_rng(1)

    def add(part: str, name: str, value: float, patients: int) -> None:
        draws = generator.binomial(patients, value, DRAWS) / patients
        found.setdefault((part, name), []).append((value, draws))

    with suppress(KeyError, TypeError, AttributeError, ValueError, ArithmeticError):
        record = manifest.raw["evaluation"]
        sources = {row["name"]: row["groups"] for row in record.get("by_source", ()) if row["kind"] == "collection"}
        for name, own in record["decision"].items():
            patients = sources.get(name, record["groups"])
            for label in manifest.classes:
                add("answers", f"label {label}", own["called"][label], patients)
            if not manifest.site:  # whose sets and limits of trust are others
                add("answers", "one class left", own["single_class"], patients)
        for row in record["flags"] if not manifest.site else ():
            if row["flag"] in FIGURES["trust"]:
                for name, share in row["by_collection"].items():
                    add("trust", row["flag"], share["value"], sources.get(name, record["groups"]))
        for part, figures in FIGURES.items():
            for name in (name for name, own in figures.items() if "rare" in own):
                add(part, name, 0.0, record["groups"])
                add(part, name, RARE, record["groups"])
    return found
