"""The network that a bundle holds, in torch, and the record of its model: of a run, or again from the bundle.

So any bundle can be written in any format, and its card anew, without its run.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from sonoforge.export.formats.onnx_graph import LOOK, BundleGraph, folded, metadata_of, run_torch
from sonoforge.export.gate.tolerance import EXACT
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.models.zoomed_pass import OutlineHead
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import ElsewhereRecord, ModelRecord, lacking

_ELSEWHERE = tuple(ElsewhereRecord.__annotations__)


def network_of(members: Sequence[Any], record: ModelRecord) -> BundleGraph:
    """Join trained networks (torchvision's ``MobileNetV2``) into the one that answers, in evaluation mode."""
    return BundleGraph(members, record.temperature, record.shared_blocks, record.mirror, record.look).eval()


def read_network(bundle: Bundle[ClassifierManifest]) -> BundleGraph:
    """Build the torch network whose export a bundle's ``model.onnx`` is.

    The exporter names weights as torch does (``tails.0.1.conv.0.0.weight``), so the names tell how many members
    there are and which blocks they share.  Batch normalisation is part of the convolutions' weights and biases.

    Returns:
        The network on the CPU, in evaluation mode; the bundle's temperature is inside.

    Raises:
        SonoforgeError: The file is not the export of a MobileNetV2 of ours, or the network does not give the bundle's
            golden vectors.
    """
    where = f"{bundle.path}: model.onnx"
    data = bundle.read("model.onnx")
    check_graph(data, where)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own
        raise SonoforgeError(f"{where}: found no ONNX file; export the bundle again") from error
    weights = _weights(model.graph, where)
    members = {name.split(".")[1] for name in weights if name.startswith("linears.")}
    shared = {name.split(".")[1] for name in weights if name.startswith("shared.")}
    if not members:
        raise _not_ours(where, "no layer named linears")
    nets = [mobilenet_v2(len(bundle.classes)) for _ in members]
    said = metadata_of(model).get(LOOK)  # the side of each of two passes in pixels; none where the network has one
    if said is not None and not re.fullmatch(r"[1-9]\d{1,3}", said):
        raise _not_ours(where, f"{LOOK} {said!r:.40}")
    look = int(said) if said else None
    if look:
        for net in nets:
            net.outline = OutlineHead()
    # The image is joined with another, which is its mirror image.
    inputs = {value.name for value in model.graph.input}
    mirror = any(node.op_type == "Concat" for node in model.graph.node if inputs.intersection(node.input))
    graph = folded(BundleGraph(nets, bundle.manifest.temperature, len(shared), mirror, look))
    # The exporter leaves out a bias of zeros, which untrained blocks have.
    zeros = {name: torch.zeros_like(value) for name, value in graph.state_dict().items() if name.endswith(".bias")}
    try:
        graph.load_state_dict(zeros | weights)
    except RuntimeError as error:
        raise _not_ours(where, " ".join(str(error).split())[:200]) from error
    _check(graph, bundle)
    return graph


def _weights(graph: onnx.GraphProto, where: str) -> dict[str, Tensor]:
    """Return every layer's weight and bias by torch's name."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        layer = re.fullmatch(r"(.+)\.weight", node.input[1])
        if layer is None:
            raise _not_ours(where, f"a layer with the weight {node.input[1]!r:.60}")
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
            tensor = stored.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                raise _not_ours(where, f"no float32 values of {name!r:.60} inside the file")
            try:
                weights[f"{layer[1]}.{kind}"] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            except ValueError as error:
                raise _not_ours(where, f"too few or too many values of {name!r:.60}") from error
    return weights


def _check(graph: BundleGraph, bundle: Bundle[ClassifierManifest]) -> None:
    """Refuse a network that does not answer as the bundle does."""
    golden = bundle.golden()
    tolerance = EXACT.of_passes(graph.look is not None)
    outputs = run_torch(graph, bundle.manifest.preprocessing.normalise(golden["pixels"]))
    for name, values in outputs.items():
        expected = golden[name]
        found = f"{values.shape[1:]} {name}"
        if values.shape == expected.shape:
            difference = float(np.abs(values - expected).max())
            largest = max(1.0, float(np.abs(expected).max()))
            if difference <= (tolerance.probability if name == "probabilities" else tolerance.relative * largest):
                continue
            found = f"{name} that differ by {difference:.1e}"
        raise SonoforgeError(
            f"{bundle.path}: model.onnx: the network built from it gives {found}, expected the golden vectors; "
            "export the bundle again from its run folder"
        )


def _not_ours(where: str, found: str) -> SonoforgeError:
    return SonoforgeError(f"{where}: found {found}, expected a MobileNetV2 that sonoforge exported")


def figures(record: ModelRecord) -> dict[str, object]:
    """Return what stands under ``evaluation`` in the manifest: the bundle's own figures and those of other runs."""
    return {**record.evaluation, **record.elsewhere}


def read_record(bundle: Bundle[ClassifierManifest], graph: BundleGraph) -> ModelRecord:
    """Return what the manifest says of the model that a bundle holds.

    Raises:
        SonoforgeError: Its maker left out what the card tells, which no answer needs.
    """
    manifest = bundle.manifest
    raw = manifest.raw
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
            decision=raw["decision"],
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
            f"{bundle.path}: found no {missing[0]} in its manifest, expected what the card tells; export its run again"
        )
    return record
