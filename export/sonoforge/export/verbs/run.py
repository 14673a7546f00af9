"""``sonoforge run``: turn images into evidence, a verified bundle and a report with one command."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from sonoforge.export.bundle.classifier import bundle_from_run
from sonoforge.export.settings import RunConfig
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, steps
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import VerifyConfig
from sonoforge.runtime.verbs import verify
from sonoforge.training import run_folder
from sonoforge.training.crossval.arms import final_name
from sonoforge.training.crossval.final_model import chapter, train_run
from sonoforge.training.crossval.fold_task import check_finished, check_images
from sonoforge.training.crossval.settings import ComparisonSettings, resolve
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import load_images
from sonoforge.training.reports.run.page import REPORT, write_report
from sonoforge.training.reports.run.terminal import log_run
from sonoforge.training.reports.run.whole_run import WholeRun, read_run
from sonoforge.training.statistics.verdict import judge_guessing


def main(config: RunConfig) -> Outcome:
    """Do the whole job in one run folder; ``--resume`` keeps the finished parts of an interrupted run."""
    final = final_name(config.final_arm, "--final-arm")
    settings = replace(resolve(replace(config, final_arm=final)), final_arm=final)
    if final not in settings.arms:
        raise SonoforgeError(
            f"--final-arm: {final!r} must be one of --arms ({', '.join(settings.arms)}), so that its figures are known"
        )
    seconds: dict[str, float] = {}
    with chapter("data", seconds):
        cache = load_images(settings.source)
        settings = settings.for_images(cache)
    data = cache.dataset.name
    folder = run_folder.open_run(Path(config.out), f"run-{data}", settings.asked, resume=config.resume)
    with run_folder.working_in(folder):
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            check_finished(folder, settings, cache)
            results = run_folder.read_results(folder)
            run = read_run(folder, cache, json.loads((folder / run_folder.AUDIT).read_text(encoding="utf-8")), results)
        else:
            name = config.name or f"{settings.network.short}-{data.lower()}"
            run = _work(folder, cache, settings, name, seconds)
            run_folder.write_results(folder, run.results)
        log_run(run)
        say("report: %s", folder / REPORT)
        say("bundle: %s", folder / "bundle")
        say("%s", NOTICE)
    example = cache.dataset.file(cache.dataset.items[0].path)
    paths = {"run": str(folder), "report": str(folder / REPORT), "bundle": str(folder / "bundle")}
    guesses = judge_guessing(run.arms[run.results["final_arm"]])
    following = steps(
        f"open {folder / REPORT} in a browser",
        f"sonoforge compare {folder} --checklists",
        "" if guesses else f"sonoforge classify {shlex.quote(str(example))} --bundle {folder}",
    )
    return Outcome({**paths, **run.results}, following)


def _work(
    folder: Path, cache: ImageCache, settings: ComparisonSettings, name: str, seconds: dict[str, float]
) -> WholeRun:
    """Train, export and verify, and write the report."""
    audited, comparison = train_run(folder, cache, settings, name, seconds)
    with chapter("export and parity", seconds):
        bundle_from_run(folder, folder / "bundle")
        manifest = open_bundle(folder / "bundle").manifest.raw
        verified = verify.main(VerifyConfig(bundle=str(folder / "bundle"))).result
        if not verified["ok"]:
            raise GateError(f"{folder / 'bundle'}: does not verify on this machine: {'; '.join(verified['problems'])}")
    results = dict(
        **comparison,
        parity=manifest["parity"]["formats"]["onnx"],
        verify=verified,
        bundle_files=manifest["files"],
        final_arm=settings.final_arm or "",
        seconds=seconds,
    )
    with chapter("report", seconds):
        run = read_run(folder, cache, audited, results)
        write_report(run)
    return run
