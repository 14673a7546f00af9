"""Provide a bundle's network in torch, and its model's record, from a run or rebuilt from the bundle.

Any bundle can thus be exported to any format, and its card rewritten, without its run.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from sonoforge.export.formats.onnx_graph import LOOK, BundleGraph, folded, metadata_of, run_torch
from sonoforge.export.formats.table import EXACT
from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import ELSEWHERE, ModelRecord, lacking


def network_of(members: Sequence[Any], record: ModelRecord) -> BundleGraph:
    """Join trained networks into one, in evaluation mode."""
    return BundleGraph(members, record.temperature, record.shared_blocks, record.mirror, record.look).eval()


def read_network(bundle: Bundle[ClassifierManifest]) -> BundleGraph:
    """Rebuild the torch network behind a bundle's ``model.onnx``, on the CPU and in evaluation mode.

    The exporter names weights as torch does (``tails.0.1.conv.0.0.weight``), so the names show how many members there
    are and which blocks they share.  Batch normalisation is folded into the convolutions.  Raise `SonoforgeError` if
    the file is not ours, or if the network does not reproduce the bundle's golden vectors.
    """
    where = f"{bundle.path}: model.onnx"
    if name := bundle.manifest.raw["training"].get("backbone"):
        raise SonoforgeError(f"{where}: is {name}; only MobileNetV2 is rebuilt from a bundle: export its run folder")
    data = bundle.read("model.onnx")
    check_graph(data, where)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own
        raise SonoforgeError(f"{where}: not an ONNX file; export the bundle again") from error
    weights = _weights(model.graph, where)
    members = {name.split(".")[1] for name in weights if name.startswith("linears.")}
    shared = {name.split(".")[1] for name in weights if name.startswith("shared.")}
    if not members:
        raise _not_ours(where, "no layer named linears")
    nets = [mobilenet_v2(len(bundle.classes)) for _ in members]
    stated = metadata_of(model).get(LOOK)  # side in pixels of each of two passes; none for a single pass
    if stated is not None and not re.fullmatch(r"[1-9]\d{1,3}", stated):
        raise _not_ours(where, f"{LOOK} {stated!r:.40}")
    look = int(stated) if stated else None
    if look:
        for net in nets:
            net.outline = OutlineHead()
    # With mirroring, the image is concatenated with its mirror image.
    inputs = {value.name for value in model.graph.input}
    mirror = any(node.op_type == "Concat" for node in model.graph.node if inputs.intersection(node.input))
    graph = folded(BundleGraph(nets, bundle.manifest.temperature, len(shared), mirror, look))
    # The exporter leaves out a bias of zeros, which untrained blocks have.
    zeros = {name: torch.zeros_like(value) for name, value in graph.state_dict().items() if name.endswith(".bias")}
    try:
        graph.load_state_dict(zeros | weights)
    except RuntimeError as error:
        raise _not_ours(where, " ".join(str(error).split())[:200]) from error
    golden = bundle.golden()
    tolerance = EXACT.of_passes(look is not None)
    outputs = run_torch(graph, bundle.manifest.preprocessing.normalise(golden["pixels"]))
    for name, values in outputs.items():
        expected = golden[name]
        problem = "differ in shape"
        if values.shape == expected.shape:
            difference = float(np.abs(values - expected).max())
            largest = max(1.0, float(np.abs(expected).max()))
            if difference <= (tolerance.probability if name == "probabilities" else tolerance.relative * largest):
                continue
            problem = f"differ by {difference:.1e}"
        raise SonoforgeError(
            f"{where}: {name} of the network rebuilt from it {problem} from the golden vectors; export the bundle "
            "again from its run folder"
        )
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
                raise _not_ours(where, f"no float32 values of {name!r:.60} in the file")
            try:
                weights[f"{layer[1]}.{kind}"] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            except ValueError as error:
                raise _not_ours(where, f"too few or too many values of {name!r:.60}") from error
    return weights


def _not_ours(where: str, found: str) -> SonoforgeError:
    return SonoforgeError(f"{where}: has {found}, so it is not a MobileNetV2 that sonoforge exported")


def read_record(bundle: Bundle[ClassifierManifest], graph: BundleGraph) -> ModelRecord:
    """Return the record of a bundle's model from its manifest, which must have everything that the card needs."""
    manifest = bundle.manifest
    raw: Any = manifest.raw
    evaluation = raw["evaluation"]
    own: Any = {name: value for name, value in evaluation.items() if name not in ELSEWHERE}
    elsewhere: Any = {name: value for name, value in evaluation.items() if name in ELSEWHERE}
    trust: Any = {name: value for name, value in raw["trust"].items() if name != "method"}
    try:
        record = ModelRecord(
            **{name: raw[name] for name in ("name", "version", "decision", "conformal", "quality", "training")},
            classes=manifest.classes,
            shared_blocks=len(graph.shared),
            mirror=raw["training"]["mirror"],
            temperature=manifest.temperature,
            trust=trust,
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
            f"{bundle.path}: its manifest lacks {missing[0]}, which the card needs; export its run again"
        )
    return record
