"""Write a bundle's ONNX files as a model repository of NVIDIA's Triton Inference Server, for its ONNX Runtime backend.

A model is ``NAME/config.pbtxt``, ``NAME/1/model.onnx`` and, of a classifier, ``NAME/labels.txt``.  The configuration
names no model, so its folder may be renamed; it says the SHA-256 of the ONNX file, by which clients recognise it.
"""

from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.onnx_session import load_session

_TYPES = {"tensor(float)": "FP32", "tensor(uint8)": "UINT8", "tensor(int64)": "INT64"}
_MOST = 32  # images that Triton joins
_CONFIG = "config.pbtxt"


def check_repository(folder: Path) -> None:
    """Refuse to write models where something other than models is."""
    for path in (*folder.glob("sonoforge*"), *[folder] * folder.is_file()):
        if not (path / _CONFIG).is_file():
            raise SonoforgeError(f"{path}: is not a model of Triton, whose folder has {_CONFIG}; choose another folder")


def write_repository(bundle: Path, folder: Path) -> list[Path]:
    """Write each ONNX file of a bundle as a model, in place of an earlier one of its name; return their folders."""
    opened, models = open_bundle(bundle, Manifest), []
    classes = opened.manifest.classes if isinstance(opened.manifest, ClassifierManifest) else ()
    for file, entry in opened.manifest.files.items():
        if entry.format.startswith("onnx"):
            data = opened.read(file)
            config = _config(load_session(data, f"{bundle}: {file}"), entry.sha256)
            models.append(folder / entry.format.replace("onnx", "sonoforge", 1))
            with atomic.replacing_folder(models[-1]) as fresh:
                atomic.write_bytes(fresh / "1" / "model.onnx", data)
                (fresh / _CONFIG).write_text(config, encoding="utf-8")
                if classes:
                    (fresh / "labels.txt").write_text("\n".join([*classes, ""]), encoding="utf-8")
    return models


def _config(session: Any, sha256: str) -> str:
    """Return the configuration, as text of the protocol buffer ``ModelConfig``."""
    batched = all(isinstance(value.shape[0], str) for value in session.get_inputs())  # psi of a generator is not
    lines = ["# Research use, not a medical device.", 'backend: "onnxruntime"', f"max_batch_size: {_MOST * batched}"]
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for value in values:
            sides = [side if isinstance(side, int) else -1 for side in value.shape[batched:]]
            labels = ' label_filename: "labels.txt"' * (value.name == "probabilities")
            about = f'name: "{value.name}" data_type: TYPE_{_TYPES[value.type]} dims: {sides}{labels}'
            lines.append(f"{kind} {{ {about} }}")
    lines.append(f'parameters {{ key: "sonoforge.sha256" value {{ string_value: "{sha256}" }} }}')
    return "\n".join([*lines, *["dynamic_batching { }"] * batched, ""])
