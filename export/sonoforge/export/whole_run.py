"""Turn images into evidence, a verified bundle and a report: `prepare` opens and checks all, `work` does the rest."""

import dataclasses
import json

from sonoforge.export.bundle.classifier import bundle_from_run
from sonoforge.export.settings import RunConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, require
from sonoforge.runtime.inference import golden
from sonoforge.training import run_folder
from sonoforge.training.crossval.arms import final_name
from sonoforge.training.crossval.comparison import compare
from sonoforge.training.crossval.final_model import chapter, train_final_model
from sonoforge.training.data.audit import audit
from sonoforge.training.jobs import comparing
from sonoforge.training.reports.conclusions import doubts_about
from sonoforge.training.reports.run.page import write_report
from sonoforge.training.reports.run.whole_run import WholeRun, read_run


def prepare(config: RunConfig) -> comparing.Prepared:
    """Open the images, and check everything that the run needs, see `comparing.prepare`."""
    require("export to ONNX", "export", "onnxscript")
    final = final_name(config.final_arm, "--final-arm")
    return comparing.prepare(dataclasses.replace(config, final_arm=final), "run", final)


def work(config: RunConfig) -> WholeRun:
    """Audit, compare, train the final model, export, verify and report in the run folder; a finished run is read.

    Raise `GateError` if a training would see its test images, or the bundle does not answer as the network.
    """
    seconds = dict[str, float]()
    with chapter("data", seconds):
        comparison = prepare(config)
    cache, folder = comparison.cache, comparison.open_folder()
    with run_folder.working_in(folder):
        if run_folder.is_finished(folder):
            audited = json.loads((folder / run_folder.AUDIT).read_text(encoding="utf-8"))
            return read_run(folder, cache, audited, run_folder.read_results(folder))
        part = comparison.parts[""]
        with chapter("audit", seconds):
            audited = audit(cache)
            atomic.write_json(folder / run_folder.AUDIT, audited)
        with chapter("cross-validation", seconds):
            results = compare(folder, part)
        final, bundle = part.settings.final_arm or "", folder / "bundle"
        with chapter("final model", seconds):
            train_final_model(folder, part, results, final, config.name)
        with chapter("export and parity", seconds):
            bundle_from_run(folder, bundle)
            manifest, verified = open_bundle(bundle).manifest.raw, golden.verify(str(bundle))
            if not verified["ok"]:
                raise GateError(f"{bundle}: does not verify on this machine: {'; '.join(verified['problems'])}")
        results |= {
            "doubts": doubts_about(results),
            "parity": manifest["parity"]["formats"]["onnx"],
            "verify": verified,
            "bundle_files": manifest["files"],
            "final_arm": final,
            "seconds": seconds,
        }
        with chapter("report", seconds):
            run = read_run(folder, cache, audited, results)
            write_report(run)
        run_folder.write_results(folder, run.results)
    return run
