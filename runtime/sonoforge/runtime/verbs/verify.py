"""``sonoforge verify``: is this bundle whole, and does it give the same answers on this machine?

Every file is compared with its SHA-256, then the golden inputs are computed here and compared with the outputs that
the exporter recorded; of a generator's bundle, golden images from their seeds, in each of its files that this machine
can run.  JSON: ``bundle``, ``ok``, ``problems`` (lines), ``files`` ({name: bytes}), ``golden`` ({"images", "tolerance",
"max_abs_difference": {output: value}, "labels_equal"}; of a generator {file: value} and no labels), ``formats``
({format: see `verify_formats`}; of a generator instead ``not_run``, {file: reason}), ``model``, ``provider``,
``versions``.

The files that are programs (TorchScript, ExecuTorch, TensorRT) can do on this machine whatever their maker wrote, such
as write files.  They are ``not run`` unless ``--trust`` says that the maker is trusted; ONNX and ORT files always are.

Exit code 0 when the bundle passes, 1 when it fails, 2 when there is no bundle to check.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.bundle.container import read_manifest, task_of
from sonoforge.runtime.bundle.reader import SHIPPED, BundleError, DamagedBundleError, open_bundle
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.verify_formats import compare_formats

EXAMPLES = """
sonoforge verify
sonoforge verify runs/00003-run-busi/bundle
sonoforge verify bundle.zip --json
sonoforge verify my-own-bundle --trust

exit code: 0 the bundle passes; 1 it fails; 2 there is no bundle to check
"""

# float32 sums in another order: 3e-6 between thread counts and optimisation levels on one x86 CPU (measured with
# MobileNetV2); 1e-3 leaves room for other processors and is far below what moves a probability's third digit.
TOLERANCE = 1e-3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge verify``."""

    bundle: str = argument("", help="folder or .zip of a bundle; without it, the one shipped")
    trust: bool = option(False, help="run its programs, too: TorchScript, ExecuTorch, TensorRT files of a known maker")


def main(config: Config) -> Outcome:
    """Check one bundle; see the top of this module for the result and the exit code."""
    if config.bundle and _is_generator(Path(config.bundle)):
        from sonoforge.runtime.inference.generator import verify_generator  # noqa: PLC0415 - for such a bundle only

        result, verb = verify_generator(config.bundle, config.trust), "sonoforge gan sample"
        if "model" in result:
            result["versions"] = _versions()
    else:
        result, verb = _verify_classifier(config.bundle, config.trust), "sonoforge classify IMAGE"
    _print(result)
    next_command = verb + (f" --bundle '{config.bundle}'" if config.bundle else "")
    return Outcome(result, next_command if result["ok"] else "", 0 if result["ok"] else 1)


def _is_generator(path: Path) -> bool:
    try:
        return task_of(read_manifest(path)) == "generation"
    except BundleError:  # whatever is wrong, the classifier's reader says it
        return False


def _verify_classifier(path: str, trust: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"bundle": path or str(SHIPPED), "ok": False, "problems": []}
    try:
        bundle = open_bundle(path or None)
        result["files"] = {name: len(bundle.read(name)) for name in bundle.manifest.files}
        classifier = Classifier(bundle)
        result["golden"] = compare_golden(classifier)
        result |= {"model": classifier.model, "provider": classifier.provider, "versions": _versions()}
        result["formats"] = compare_formats(bundle, trust)
    except DamagedBundleError as error:
        result["problems"].append(str(error))
    except BundleError as error:
        if "files" not in result:  # nothing there, or not a bundle at all
            raise
        result["problems"].append(str(error))
    else:
        result["problems"] = _judge(result["golden"])
        result["problems"] += [row["reason"] for row in result["formats"].values() if row["status"] == "failed"]
    result["ok"] = not result["problems"]
    return result


def compare_golden(classifier: Classifier) -> dict[str, Any]:
    """Compute the golden inputs here and compare.

    Returns:
        ``images`` (count), ``tolerance``, ``max_abs_difference`` ({output: value}) and ``labels_equal``.
    """
    golden = classifier.bundle.golden()
    outputs = classifier.predict(golden["pixels"])
    return {
        "images": len(golden["pixels"]),
        "tolerance": TOLERANCE,
        "max_abs_difference": {name: float(np.abs(outputs[name] - golden[name]).max()) for name in outputs},
        "labels_equal": bool((outputs["logits"].argmax(1) == golden["logits"].argmax(1)).all()),
    }


def _judge(golden: dict[str, Any]) -> list[str]:
    problems = [
        f"golden vectors: {name} differs by {difference:.2g}, expected at most {golden['tolerance']:g}"
        for name, difference in golden["max_abs_difference"].items()
        if not difference <= golden["tolerance"]
    ]
    if not golden["labels_equal"]:
        problems.append("golden vectors: a label differs")
    return problems


def _versions() -> dict[str, str]:
    import onnxruntime  # noqa: PLC0415 - after Classifier has switched its telemetry off
    import PIL  # noqa: PLC0415

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
    }


def _print(result: dict[str, Any]) -> None:
    log.info("bundle    %s", result["bundle"])
    if "model" in result:
        log.info("model     %s %s, sha256 %s", *(result["model"][key] for key in ("name", "version", "sha256")))
        log.info("files     %d, every size and SHA-256 as stated", len(result["files"]))
        golden = result["golden"]
        log.info("golden    %d images, tolerance %g", golden["images"], golden["tolerance"])
        for name, difference in golden["max_abs_difference"].items():
            log.info("          %-13s max. difference %.2g", name, difference)
        for name, row in result.get("formats", {}).items():
            figure = f"max. difference {row['max_abs_difference']:.2g}" if "max_abs_difference" in row else ""
            log.info("format    %-17s %-7s %s", name, row["status"], figure or row["reason"])
        for name, reason in result.get("not_run", {}).items():
            log.info("          %-13s not run: %s", name, reason)
        log.info("provider  %s", result["provider"])
        log.info("versions  %s", ", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    for problem in result["problems"]:
        log.error("problem   %s", problem)
    log.info("result    %s", "passed" if result["ok"] else "FAILED")
