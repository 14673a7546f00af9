"""``sonoforge export``: turn a run folder's model into a bundle of files that all give its answers."""

from typing import Any

from sonoforge.export import jobs
from sonoforge.export.settings import ExportConfig
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, steps


def main(config: ExportConfig) -> Outcome:
    """Export the model of a run folder, a bundle or a generator; print what is in the bundle and what was left out."""
    exported = jobs.export_run(config)
    folder, manifest = exported.folder, exported.manifest
    result: dict[str, Any] = {"bundle": str(folder), "parity": manifest.raw["parity"], "formats": exported.rows}
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    say("%s: %d files, %.1f MB (research use, not a medical device)", folder, len(manifest.files), size)
    for doubt in exported.doubts():
        say("%s", doubt)
    if exported.zip:
        result["zip"] = str(exported.zip)
        say("%s: the same as one file", exported.zip)
    if exported.triton:
        result["triton"] = [str(model) for model in exported.triton]
        say("%s: for Triton", ", ".join(result["triton"]))
    if unchecked := exported.formats("not checked"):
        say("in the bundle, but this machine cannot check: %s", ", ".join(unchecked))
    if failed := exported.formats("failed"):
        say("failed the gate and left out: %s", ", ".join(failed))
        return Outcome(result, "", 1)
    if manifest.task == "generation":
        return Outcome(result, f"sonoforge gan sample --bundle {folder}")
    compared = f"sonoforge bench {folder} --trust" if len(exported.rows) > 1 else ""
    return Outcome(result, steps(f"sonoforge classify IMAGES --bundle {folder}", compared))


def check(config: ExportConfig) -> str:
    """Check the run and the packages of the formats, and return what would be written."""
    plan = jobs.check(config)
    return f"to write: {plan.folder}, of {plan.checkpoint or plan.source}, with {', '.join(config.formats)}"
