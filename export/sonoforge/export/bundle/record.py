"""What a manifest says of a model, and the record read back from it, so that a card can be written anew."""

from __future__ import annotations

from typing import Any

from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import ElsewhereRecord, ModelRecord, lacking

_ELSEWHERE = tuple(ElsewhereRecord.__annotations__)


def figures(record: ModelRecord) -> dict[str, Any]:
    """Return what stands under ``evaluation`` in the manifest: the bundle's own figures and those of other runs."""
    return {**record.evaluation, **record.elsewhere}


def read_record(bundle: Bundle[ClassifierManifest], graph: BundleGraph) -> ModelRecord:
    """Return what the manifest says of the model that a bundle holds.

    Args:
        bundle: Of a classifier.
        graph: Its network, see `network.read_network`.

    Raises:
        SonoforgeError: An earlier version wrote the bundle, which did not record what the card tells now.
    """
    manifest = bundle.manifest
    raw: dict[str, Any] = manifest.raw
    trust: Any = {name: value for name, value in raw["trust"].items() if name != "method"}
    own: Any = {name: value for name, value in raw["evaluation"].items() if name not in _ELSEWHERE}
    elsewhere: Any = {name: value for name, value in raw["evaluation"].items() if name in _ELSEWHERE}
    try:
        record = ModelRecord(
            name=manifest.name,
            version=manifest.version,
            classes=manifest.classes,
            shared_blocks=len(graph.shared),
            mirror=raw["training"]["mirror"],
            temperature=manifest.temperature,
            conformal=raw["conformal"],
            trust=trust,
            quality=raw["quality"],
            training=raw["training"],
            evaluation=own,
            intended_use=raw["intended_use"],
            crop=manifest.preprocessing.crop,
            image_size=manifest.preprocessing.size,
            look=graph.look,
            elsewhere=elsewhere,
        )
        missing = lacking(record)
    except KeyError as error:
        missing = [str(error.args[0])]
    if missing:
        raise SonoforgeError(
            f"{bundle.path}: found no {missing[0]} in its manifest, expected what the card tells; an earlier version "
            "wrote it: export its run again"
        )
    return record
