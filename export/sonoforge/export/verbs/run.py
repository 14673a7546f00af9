"""``sonoforge run``: images to evidence, to a verified bundle, to a report, in one command."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.export.bundle.classifier import bundle_from_run
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.verbs import verify
from sonoforge.training import run_folder
from sonoforge.training.classifier.final_model import record_model, train_final
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.pages.run.page import write_report
from sonoforge.training.statistics.predictions import read_predictions
from sonoforge.training.statistics.published import PUBLISHED
from sonoforge.training.verbs import crossval
from sonoforge.training.verbs.data_audit import audit

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge run                                          the whole way on simulated ultrasound, in minutes
sonoforge run --data BUSI/                             10 sealed folds of both arms, then a bundle and a report
sonoforge run --data BUSI/ --budget paper --protocol thesis --device cuda
sonoforge run --data BUSI/ --resume                    continue a run that was interrupted
"""


@dataclass(frozen=True)
class Config(crossval.Config):
    """Settings of ``run``: those of ``crossval``, and the final model."""

    final_arm: str = option("real", help="arm of the final model, trained on all images")
    name: str = option("", help="name of the model in the bundle (default: the data set's)")


def check_final_arm(config: Config) -> None:
    """Refuse a final model of which nothing would be known.

    Raises:
        SonoforgeError: ``final_arm`` is not among the arms.
    """
    if config.final_arm not in config.arms:
        raise SonoforgeError(
            f"--final-arm: found {config.final_arm!r}, expected one of --arms ({', '.join(config.arms)}), "
            "so that its sealed figures are known"
        )


@contextmanager
def _chapter(title: str, seconds: dict[str, float]) -> Iterator[None]:
    log.info("== %s", title)
    started = time.perf_counter()
    yield
    seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - started


def main(config: Config) -> Outcome:
    """Do the main job in one run folder; finished parts of an interrupted run are kept with ``--resume``."""
    check_final_arm(config)
    config = crossval.resolve_defaults(config)
    setting = crossval.resolve_setting(config)
    seconds: dict[str, float] = {}
    with _chapter("data", seconds):
        source = crossval.image_source(config)
        cache = load_images(source)
    folder = run_folder.open_run(
        Path(config.out), f"run-{cache.dataset.name}", dataclasses.asdict(config), resume=config.resume
    )
    with run_folder.log_to(folder):
        if run_folder.is_finished(folder):
            results = run_folder.read_results(folder)
        else:
            results = _work(folder, config, setting, source, cache, seconds)
        crossval.log_table(results)
        log.info("report: %s", folder / "report.html")
        log.info("bundle: %s   (research use, not a medical device)", folder / "bundle")
    example = cache.dataset.root / cache.dataset.items[0].path
    result = {"run": str(folder), "report": str(folder / "report.html"), "bundle": str(folder / "bundle"), **results}
    return Outcome(result, f"sonoforge classify '{example}' --bundle {folder / 'bundle'}")


def _work(
    folder: Path,
    config: Config,
    setting: crossval.Setting,
    source: ImageSource,
    cache: ImageCache,
    seconds: dict[str, float],
) -> dict[str, Any]:
    with _chapter("audit", seconds):
        audited = audit(cache)
        atomic.write_json(folder / "audit.json", audited)
    with _chapter("cross-validation", seconds):
        results, backbone, plans = crossval.compare_arms(folder, config, setting, source, cache)
    with _chapter("final model", seconds):
        everything = np.arange(len(cache.dataset.items))
        if not (folder / "model" / "model.json").is_file():
            trained = train_final(folder / "final", cache, everything, config.final_arm, setting, backbone, config.seed)
            predictions, _ = read_predictions(folder / "predictions.csv")
            held_out = next(p for p in predictions if p.arm == config.final_arm and p.seed == config.seed)
            distances = np.array(results["arms"][config.final_arm]["distances"])
            name = config.name or f"mobilenetv2-{cache.dataset.name.lower()}"
            model = folder / "model"
            record_model(model, trained, cache, everything, plans[0], held_out, distances, results, name)
    with _chapter("export and parity", seconds):
        bundle_from_run(folder, folder / "bundle")
        manifest = open_bundle(folder / "bundle").manifest.raw
        verified = verify.main(verify.Config(bundle=str(folder / "bundle"))).result
        if not verified["ok"]:
            raise GateError(f"{folder / 'bundle'}: does not verify on this machine: {'; '.join(verified['problems'])}")
    results |= {
        "parity": manifest["parity"],
        "verify": verified,
        "bundle_files": manifest["files"],
        "final_arm": config.final_arm,
        "published": [row._asdict() for row in PUBLISHED],
        "seconds": seconds,
    }
    with _chapter("report", seconds):
        write_report(folder, cache, audited, results)
    run_folder.write_results(folder, results)
    return results
