"""Measure whether generated images are realistic, diverse or copied, by stated protocols, in one run folder."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.devices import find_device
from sonoforge.training.evaluation.lpips import VARIANTS, open_lpips
from sonoforge.training.evaluation.measure import (
    EvaluationProtocol,
    TestedCopies,
    find_tested_copies,
    measure_sets,
    protocol_id,
)
from sonoforge.training.evaluation.projections import Projection, pca_projection
from sonoforge.training.evaluation.spaces import Space, choose_space, open_spaces
from sonoforge.training.gan.checkpoint import describe, find_checkpoint
from sonoforge.training.gan.image_sets import check_named, is_run, read_held_out, read_image_sets
from sonoforge.training.gan.milestones import EvaluatedSets, measured_in, read_own_images, seen_by_discriminator
from sonoforge.training.reports import evaluation_pictures as pictures
from sonoforge.training.reports.evaluation import write_evaluation
from sonoforge.training.reports.verdicts import judge
from sonoforge.training.reports.words import plain, read_yaml
from sonoforge.training.settings.evaluation import EvaluateConfig
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)


TABLE = "metrics.csv"


def work(config: EvaluateConfig) -> run_folder.Written:
    """Measure, draw, and write the run folder: ``report.html``, `TABLE`, ``results.json`` and each picture.

    Raises:
        SonoforgeError: The sets cannot be read or compared, or nothing that was asked for can be measured.
    """
    _check(config)
    started = time.monotonic()
    device = str(find_device(config.device))
    spaces = open_spaces(config.features, config.weights, device) if config.features else []
    lpips = open_lpips(config.lpips, device) if config.lpips else None
    cache = config.storage.open()
    sets, run = _sets(config, cache), Path(config.fake or config.real)
    drawn_by = find_checkpoint(run, config.checkpoint) if is_run(run) else None  # which draws the images
    real, fake = sets.real, sets.fake
    if not spaces:
        space, weights = measured_in(drawn_by) if drawn_by else ("", "")
        if space:
            log.info("feature space: %s, that of the run; --features names another", space)
        else:
            space = choose_space(real.originals, config.real, "--features")
        config = dataclasses.replace(config, features=(space,), weights=weights)
        spaces = open_spaces(config.features, config.weights, device)
    evaluation = EvaluationProtocol(config.metrics, spaces, lpips, config.repeats, config.seed, cache)
    protocol = evaluation.describe(real, len(fake))
    matched: int = protocol["matched"]
    name = run_folder.slug("evaluate", Path(config.fake or config.real).resolve().name)
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=False)
    with run_folder.working_in(folder):
        run_folder.write_environment(folder, device, config.seed, real.fingerprint)
        groups, size = len(np.unique(real.groups)), "x".join(map(str, real.pixels.shape[1:]))
        log.info("%d real images in %d near-duplicate groups, %d generated, %s", len(real), groups, len(fake), size)
        log.info("each comparison, and each of real against real, takes %d images per set", matched)
        found = _measure(config, sets, evaluation)
        copies = found.tested.result if found.tested else None
        results: Record = {
            "real": {"source": real.source, "class": real.class_name, "images": len(real), "groups": groups},
            "fake": {
                "source": fake.source,
                "class": fake.class_name,
                "images": len(fake),
                "synthetic": bool(fake.synthetic),
                **({"generator_sha256": describe(drawn_by).files["average.safetensors"]} if drawn_by else {}),
            },
            "n": matched,
            "protocol": protocol,
            "protocol_id": protocol_id(protocol),
            "metrics": found.rows,
            "copies": copies,
            "pca": {name: getattr(found.pca, name) for name in ("protocol", "explained", "fakes_inside")},
            "not_measured": found.not_measured,
            "warnings": _cautions(config, spaces, drawn_by),
            "notice": NOTICE,
            "verdicts": judge(found.rows, copies, matched),
            "seconds": round(time.monotonic() - started, 1),
        }
        run_folder.write_table(folder / TABLE, list(found.rows[0]) if found.rows else ["name"], found.rows)
        drawn = pictures.draw_copies(found.tested, sets.trained.pixels, fake.pixels) if found.tested else {}
        drawn["pca"] = pictures.draw_projection(found.pca)
        drawn |= pictures.draw_sets((real.pixels, fake.pixels), found.rows, Path(fake.source))
        page = write_evaluation(folder, results, drawn)
        run_folder.write_results(folder, results)
        log.info("took %.0f s", results["seconds"])
    return run_folder.Written(folder, page, results)


class _Measured(NamedTuple):
    rows: list[Record]  # a figure each
    not_measured: list[Record]
    pca: Projection
    tested: TestedCopies | None


def _measure(config: EvaluateConfig, sets: EvaluatedSets, evaluation: EvaluationProtocol) -> _Measured:
    """Compute all figures; the copy test runs beside them, as several figures take one core."""
    aside = ThreadPoolExecutor(1)
    tested: TestedCopies | None = None
    try:
        with threadpool_limits(1):
            asked = (sets.trained, sets.fake, sets.held_out, config.seed)
            looking = aside.submit(find_tested_copies, *asked) if "copies" in config.metrics else None
            rows, not_measured = measure_sets(evaluation, sets.real, sets.fake)
            pca = pca_projection(sets.real.pixels, sets.fake.pixels)
            try:
                tested = looking.result() if looking else None
            except SonoforgeError as error:
                not_measured.append({"name": "Copy test", "why": str(error).removeprefix("copy test: ")})
    finally:
        aside.shutdown(wait=False, cancel_futures=True)
    if not rows and tested is None:
        why = not_measured[0]["why"]
        raise SonoforgeError(f"{sets.fake.source}: nothing that was asked for can be measured; {why}")
    return _Measured(rows, not_measured, pca, tested)


def _sets(config: EvaluateConfig, cache: Path | None) -> EvaluatedSets:
    """Read what to compare: a run's own images, or the given sets."""
    if not config.fake:
        return read_own_images(config, cache)
    real, fake = read_image_sets(config, cache)
    held_out = read_held_out(config.held_out, real, cache) if config.held_out else None
    return EvaluatedSets(real, real, held_out, fake)


def _check(config: EvaluateConfig) -> None:
    check_named(config)
    if not config.fake and config.held_out:
        raise SonoforgeError("--held-out is not for a run alone, which held out its own images; leave it out")
    for flag, given, name in (("--lpips", config.lpips, "lpips"), ("--held-out", config.held_out, "copies")):
        if given and name not in config.metrics:
            raise SonoforgeError(f"{flag}: requires {name} among --metrics; add it, or leave {flag} out")
    if config.weights and not config.features:
        raise SonoforgeError("weights: requires --features, the network that they belong to")
    if config.lpips and config.lpips not in VARIANTS and not Path(config.lpips).is_file():
        raise SonoforgeError(
            f"--lpips: no file {config.lpips}; give the .safetensors file of a network, or {', '.join(VARIANTS)} to "
            f"download it{did_you_mean(config.lpips, list(VARIANTS))}"
        )
    if config.reading_classes:
        raise SonoforgeError("reading_classes: requires --reading-sheet")


def _cautions(config: EvaluateConfig, spaces: Sequence[Space], drawn_by: Path | None) -> list[str]:
    """Say where figures flatter: real images or a generator that the network knows, or a checkpoint chosen by them."""
    said, seen = read_yaml("evaluation-verdicts")["cautions"], seen_by_discriminator(drawn_by) if drawn_by else ""
    known = [plain(said["known"], {"space": space}) for space in spaces if space.protocol.get("trained on")]
    flattered = [plain(said["seen"], {"seen": seen, "space": own}) for own in spaces if seen and seen in own.name]
    return [*known, *flattered, *([plain(said["chosen"], {})] if config.checkpoint == "best" else [])]
