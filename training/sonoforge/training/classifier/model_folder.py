"""Write and read ``model/`` in a run folder: the files that training hands to export.

``model.safetensors`` (by the names that torchvision gives its tensors; further members in ``model-1.safetensors``, ...;
the heads of a second pass in `OUTLINES`), ``model.json`` (`ModelRecord`), ``arrays.npz`` (trust reference, real images
for the parity check, synthetic ones for the golden vectors), `SIGNATURES` (to recognise copies of the training images,
see `trained_on`), and a copy of the user's code if the network is defined there.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sonoforge.models import DEFAULT
from sonoforge.models.backbones import plain_names, plain_state
from sonoforge.models.mobilenetv2 import OutlineHead
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.files import checked_arrays, load_arrays, npz
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.errors import DAMAGED, SonoforgeError, refusing
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.training.classifier.backbone import Network
from sonoforge.training.statistics.results import Record

SIGNATURES = "image-signatures.npz"
OUTLINES = "outlines.safetensors"
HASH_PREFIX = 16
"""Number of hex digits that a bundle keeps of each training image's content hash."""


Origin = tuple[str, str, str]
"""Of a training image: the first `HASH_PREFIX` digits of its content hash, its class and its collection."""


_ORIGINS = {
    "labels": ArrayKind(np.uint8, (None,)),
    "collections": ArrayKind(np.uint8, (None,)),
    "hashes": ArrayKind(np.uint8, (None, HASH_PREFIX // 2)),
}


def read_origins(where: str, data: bytes, classes: Sequence[str], collections: Sequence[str]) -> list[Origin]:
    """Return the origin of each training image from the content of `SIGNATURES`; ``where`` is for messages."""
    with refusing(f"{where}: not the training images of this model", "take it from its source again"):
        stored = checked_arrays(load_arrays(where, data), where, _ORIGINS)
        hashes, labels, places = (stored[name] for name in ("hashes", "labels", "collections"))
        return [
            (bytes(row).hex(), classes[label], collections[place])
            for row, label, place in zip(hashes, labels, places, strict=True)
        ]


# What a model card needs of `ModelRecord.training` and `ModelRecord.evaluation`, see `statistics.tables.describe_arm`.
_TRAINING = (
    "data data_images simulated count class_counts groups given_groups added generator choice fingerprint arm title "
    "budget epochs frozen_blocks ensemble_size teachers settings collections mirror weights seed images"
)
_EVALUATION = (
    "near_duplicates generator_reads seed_accuracy protocol folds budget arm train_accuracy decision images groups "
    "confusion sensitivity specificity accuracy balanced_accuracy macro_f1 macro_auc fold_accuracy ece ece_calibrated "
    "brier brier_calibrated temperature conformal risk_coverage one_against_rest"
)
ELSEWHERE = ("left_out", "sealed", "teachers")
"""Figures of other runs given to ``export``: left-out collections, sealed folds, and their teachers."""


@dataclass(frozen=True)
class ModelRecord:
    """Everything that a bundle's manifest says about the model, as plain values."""

    name: str
    version: str
    classes: tuple[str, ...]  # class names in output order
    temperature: float  # calibration temperature, fitted on out-of-fold predictions
    decision: Record  # reference shares and operating points
    conformal: Record  # prediction sets at error rate ``alpha``: ``thresholds`` and ``measured_coverage`` by class
    trust: Record  # ``median`` and ``threshold`` of held-out distances; ``checks``: `TrustChecks` as JSON
    quality: Record  # ``low`` and ``high`` of each metric of the network's view; ``scan``: see `final_model.scan_bands`
    # What it was trained on, and how: members share ``frozen_blocks``, and with ``mirror`` see the mirror image, too.
    training: Record
    evaluation: Record  # figures on held-out images of models trained with the same settings
    intended_use: str
    crop: str = "none"  # row of `preprocessing.CROPS`
    image_size: int = IMAGENET.size  # side of the network's input, in pixels
    look: int | None = None  # side of each of two passes in pixels, see `models.mobilenetv2`; None: one pass
    elsewhere: Record = field(default_factory=dict)  # by `ELSEWHERE`; not in run folders

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the network's input."""
        return replace(IMAGENET, size=self.image_size, crop=self.crop)


class ModelArrays(NamedTuple):
    """The trust reference, as in ``reference.npz`` of a bundle, and images (N, S, S, 3) uint8, real and golden."""

    # `TrustReference` prefixed ``trust_``, `NeighbourReference` ``neighbour_``, `Sketches` ``trained_``
    reference: dict[str, NDArray[Any]]
    parity_pixels: NDArray[np.uint8]
    golden_pixels: NDArray[np.uint8]


def save_model(
    folder: Path, members: Sequence[Any], record: ModelRecord, arrays: ModelArrays, signatures: bytes
) -> None:
    """Write a trained model; ``model.json`` goes last and marks a complete folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, net in enumerate(members):
        state = {
            key: value.cpu().clone(memory_format=torch.contiguous_format) for key, value in plain_state(net).items()
        }
        atomic.write_bytes(_weights_file(folder, index), save(state))
    if record.look:
        heads = {str(index): net.outline.state_dict() for index, net in enumerate(members)}
        state = {f"{index}.{key}": value.cpu() for index, own in heads.items() for key, value in own.items()}
        atomic.write_bytes(folder / OUTLINES, save(state))
    images = {"parity_pixels": arrays.parity_pixels, "golden_pixels": arrays.golden_pixels}
    atomic.write_bytes(folder / "arrays.npz", npz({**images, **arrays.reference}))
    atomic.write_bytes(folder / SIGNATURES, signatures)
    atomic.write_json(folder / "model.json", asdict(record))


def check_model(folder: Path) -> None:
    """Refuse a folder that `save_model` did not write."""
    if not (folder / "model.json").is_file():
        raise SonoforgeError(f"{folder}: no model.json; give the model/ folder of a finished run or train")
    if not (folder / SIGNATURES).is_file():
        raise SonoforgeError(f"{folder}: no {SIGNATURES} beside model.json; train again")


def load_model(folder: Path) -> tuple[list[Any], ModelRecord, ModelArrays]:
    """Read `save_model`'s files back; the members are on the CPU in eval mode."""
    check_model(folder)
    with refusing(f"{folder}: not a complete model folder", kinds=(*DAMAGED, RuntimeError, SafetensorError)):
        values = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        record = ModelRecord(**{**values, "classes": tuple(values["classes"])})
        if missing := lacking(record):
            raise KeyError(f"model.json lacks {', '.join(missing)}; train again")
        with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
            stored = dict(archive)
        images = stored.pop("parity_pixels"), stored.pop("golden_pixels")
        states = _read_states(folder, record)
        network = Network(record.training.get("backbone", DEFAULT), record.image_size, folder)
        members = []
        for state in states:
            net = network.build(len(record.classes), 0).eval()
            names = plain_names(net)
            if record.look:
                net.outline = OutlineHead()
            net.load_state_dict({key: state[names.get(key, key)] for key in net.state_dict()})
            members.append(net)
    return members, record, ModelArrays(stored, *images)


def _weights_file(folder: Path, member: int) -> Path:
    return folder / f"model{f'-{member}' if member else ''}.safetensors"


def _read_states(folder: Path, record: ModelRecord) -> list[dict[str, Tensor]]:
    """Return each member's tensors by name."""
    states = [load(_weights_file(folder, index).read_bytes()) for index in range(record.training["ensemble_size"])]
    heads = load((folder / OUTLINES).read_bytes()) if record.look else {}
    for key, value in heads.items():
        index, _, name = key.partition(".")
        states[int(index)][f"outline.{name}"] = value
    return states


def lacking(record: ModelRecord) -> list[str]:
    """Return the names of values that a model card needs and a record lacks."""
    expected = {*_TRAINING.split(), *_EVALUATION.split()}
    return sorted(expected - {*record.training, *record.evaluation})
