"""What every file derived from a bundle's ONNX file must keep: answers, operator set, metadata, no host paths."""

import math

import numpy as np
import onnx
from numpy.typing import NDArray

from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.runtime.errors import GateError, reason
from sonoforge.runtime.inference.onnx_session import load_session

_SMALL = 4096  # values up to which a stored input is copied: biases and numbers, not weights


def unshare_small(model: onnx.ModelProto) -> None:
    """Give each operator small stored inputs of its own, in place, as those of a network with a second pass are shared.

    Converters name what they make of an input after it, so that two operators that share one clash.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    small = {name for name, tensor in stored.items() if math.prod(tensor.dims) <= _SMALL}
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name in small and name in taken:
                copy = model.graph.initializer.add()
                copy.CopyFrom(stored[name])
                copy.name = node.input[place] = f"{name}_{index}_{place}"
            taken.add(name)


def finish(changed: onnx.ModelProto, original: onnx.ModelProto, notes: dict[str, str] | None = None) -> bytes:
    """Serialise a converted model, cleaned in place: the same bytes for the same model.

    It keeps the metadata of the original, and gets ``notes`` besides.

    Raises:
        GateError: The converter changed the operator set, or wrote a model that onnx's checker refuses.
    """
    found = {entry.domain: entry.version for entry in changed.opset_import}.get("")
    if found != OPSET:
        raise GateError(f"conversion: found operator set {found}, expected {OPSET}; export the ONNX file again")
    for node in changed.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    changed.doc_string = changed.graph.doc_string = ""
    changed.producer_name, changed.producer_version = "sonoforge", ""
    kept = {entry.key: entry.value for entry in original.metadata_props}
    onnx.helper.set_model_props(changed, {**kept, **(notes or {})})
    try:
        onnx.checker.check_model(changed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GateError(f"conversion: the changed ONNX model is not valid ({reason(error)}); report this") from error
    data: bytes = changed.SerializeToString(deterministic=True)
    return data


def answers_of(model: bytes, inputs: NDArray[np.float32], output: str) -> NDArray[np.float32]:
    """Run an ONNX file on images (N, 3, S, S), one at a time, and return one of its outputs (N, ...)."""
    session = load_session(model, "the ONNX file")
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: image[None]})[0] for image in inputs])
