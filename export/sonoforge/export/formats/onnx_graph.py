"""Export a network to one ONNX file: a classifier with the bundle's four outputs, or any other.

Derived files (onnxruntime's own ORT, and one that takes decoded images of any size) keep its answers, operator set and
metadata, and contain no host paths.
"""

import contextlib
import copy
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sonoforge.models.backbones import Whole
from sonoforge.models.mobilenetv2 import enlarge_maps, place_maps, run_twice
from sonoforge.runtime.bundle.classification import OUTPUTS
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, operators
from sonoforge.runtime.errors import GateError, SonoforgeError, reason, refusing
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.inference.onnx_session import load_session, session_options

Network = TypeVar("Network", bound=nn.Module)

OPSET = 18
LOOK = "sonoforge.look"  # metadata of a network with a zoomed second pass: the side of each pass in pixels
_SMALL = 4096  # values up to which `named` copies a stored input: biases and numbers, not weights


class BundleGraph(nn.Module):
    """Logits (N, C), calibrated probabilities (N, C), embedding (N, D), class-activation maps (N, C, h, w).

    The map of a class is the classifier's weight vector applied at every position of the last feature map
    (Zhou et al., CVPR 2016); pooling and a linear layer commute, so its mean plus the bias is exactly the logit.
    It is a separate convolution because some mobile back ends cannot run one whose weight is computed.

    With ``mirror``, embedding and maps are means over the image and its mirror image (its maps mirrored back); with
    ``look``, over the whole image and the window where the network sees a lesion, each at ``look`` pixels a side (the
    window's maps laid over the image); with several members, logits, embedding and maps are the members' means.
    Everything from the features to the logits is linear, so the maps stay exact.
    """

    def __init__(
        self,
        members: Sequence[Any],
        temperature: float,
        shared_blocks: int = 0,
        mirror: bool = False,
        look: int | None = None,
    ) -> None:
        super().__init__()
        self.shared = members[0].features[:shared_blocks]
        self.tails = nn.ModuleList(net.features[shared_blocks:] for net in members)
        self.outlines = nn.ModuleList(net.outline for net in members) if look else nn.ModuleList()
        self.linears = nn.ModuleList(net.classifier[1] for net in members)
        self.activations = nn.ModuleList()
        for net in members:
            linear = net.classifier[1]
            convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False)
            with torch.no_grad():
                convolution.weight.copy_(linear.weight[:, :, None, None])
            self.activations.append(convolution)
        self.temperature = temperature
        self.mirror = mirror
        self.look = look

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run on normalised images (N, 3, S, S)."""
        views = torch.cat([images, images.flip(3)]) if self.mirror else images
        logits, embeddings, cams = [], [], []
        every = self._run_twice(views) if self.look else self._run_once(views)
        for linear, (own_embedding, own_cam) in zip(self.linears, every, strict=True):
            embedding, cam = own_embedding, own_cam
            if self.mirror:
                straight, mirrored = cam.reshape(2, -1, *cam.shape[1:]).unbind(0)
                embedding = embedding.reshape(2, -1, embedding.shape[1]).mean(0)
                cam = (straight + mirrored.flip(3)) / 2
            logits.append(linear(embedding))
            embeddings.append(embedding)
            cams.append(cam)
        mean_logits = _mean(logits)
        return mean_logits, F.softmax(mean_logits / self.temperature, dim=1), _mean(embeddings), _mean(cams)

    def _run_once(self, views: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return every member's embeddings and activation maps."""
        shared = self.shared(views)
        every = [tail(shared) for tail in self.tails]
        return [(maps.mean((2, 3)), own(maps)) for maps, own in zip(every, self.activations, strict=True)]

    def _run_twice(self, views: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return each member's embeddings and activation maps over both passes."""
        found = []
        parts: list[list[Any]] = [list(part) for part in (self.tails, self.outlines, self.activations)]
        for tail, outline, activation in zip(*parts, strict=True):
            passes = run_twice([*self.shared, *tail], outline, views, self.look or 0)
            side = 2 * passes.first.shape[2]
            whole, close = (enlarge_maps(activation(maps), side) for maps in (passes.first, passes.second))
            window = place_maps(close, passes.window, side)
            found.append((passes.embedding, (whole + window) / 2))
        return found


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(0)


def run_torch(graph: nn.Module, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run a `BundleGraph` on normalised images (N, 3, S, S); return `OUTPUTS` by name."""
    with torch.inference_mode():
        outputs = graph.eval()(torch.from_numpy(inputs))
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}


def to_onnx(graph: nn.Module, side: int, metadata: Mapping[str, str]) -> bytes:
    """Export a `BundleGraph` on the CPU to one ONNX file with this input side and a free batch; see `trace`."""
    graph = folded(graph).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in graph.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 - the exporter takes a third longer to rewrite in place
    example = torch.zeros(2, 3, side, side)  # a batch of one would be traced as a constant
    batch = torch.export.Dim("batch", min=1, max=4096)
    model = trace(graph, {"input": example}, OUTPUTS, ({0: batch},), metadata)
    if unknown := sorted(operators(model) - OPERATORS):
        raise GateError(f"ONNX: a bundle may not hold {', '.join(unknown)}; build the network of other layers")
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress converters' messages about other back ends and torch's own deprecations."""
    level, handler = logging.root.manager.disable, logging.NullHandler()
    logging.disable(logging.WARNING)
    logging.root.addHandler(handler)  # else a warning to the root logger would install a screen handler for good
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.removeHandler(handler)
        logging.disable(level)


def folded(graph: Network) -> Network:
    """Return a copy with each batch norm folded into the convolution before it.

    The exporter does so too, except where a convolution runs twice.  Only MobileNetV2 is known to run its layers in the
    order of their definition, so others are left to the exporter.
    """
    graph = copy.deepcopy(graph).eval()
    others = [block for block in graph.modules() if isinstance(block, (fx.GraphModule, Whole))]
    left = {module for block in others for module in block.modules()}
    for parent in [module for module in graph.modules() if module not in left]:
        convolution: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and convolution is not None:
                setattr(parent, convolution[0], fuse_conv_bn_eval(convolution[1], child))
                setattr(parent, name, nn.Identity())
            convolution = (name, child) if isinstance(child, nn.Conv2d) else None
    return graph


def trace(
    graph: nn.Module,
    examples: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic_shapes: tuple[Mapping[int, Any], ...],
    metadata: Mapping[str, str],
    *,
    optimise: bool = True,
) -> bytes:
    """Export any network, in evaluation mode and on the CPU, to one self-contained ONNX file without host paths.

    ``examples`` maps names to inputs, in the order of ``graph.forward``; ``dynamic_shapes`` gives each one's free
    dimensions.  ``optimise`` lets the exporter simplify the graph.  It then treats numbers up to 1e-8 as 0, so networks
    that add such a small number before dividing need False.
    """
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # which a failure fills with the whole graph
            program = torch.onnx.export(
                graph,
                tuple(examples.values()),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes,
                external_data=False,
                optimize=optimise,
            )
    except torch.onnx.errors.OnnxExporterError as error:  # of own code
        raise GateError(f"ONNX: {reason(error.__cause__ or error)}; its steps must not depend on values") from error
    if program is None:
        raise GateError("the ONNX exporter returned nothing")
    model = program.model_proto
    # Stack traces, which hold host paths, and notes on shapes, which stop the quantiser.
    inner = model.graph
    for holder in (model, inner, *inner.input, *inner.output, *inner.value_info, *inner.initializer):
        del holder.metadata_props[:]
    del inner.value_info[:]
    del model.functions[:]
    return finish(model, metadata)


def repeat(
    step: bytes, last: bytes, counter: str, values: Sequence[float], start: str, metadata: Mapping[str, str]
) -> bytes:
    """Unroll a step, which maps its first input to its output of the same shape, with each weight stored once.

    A loop would be shorter, but no bundle may hold one, see `runtime.bundle.onnx_graph`.

    Args:
        step: An ONNX file from `trace`.
        last: The one that ends the whole, with one input, the step's output.
        counter: The step's input (1,) that differs from step to step.
        values: What the counter is in each.
        start: Name of the whole's first input: the step's, flat, (N, Z).
        metadata: Of the file.
    """
    model, ending = onnx.load_model_from_string(step), onnx.load_model_from_string(last).graph
    graph = model.graph
    nodes, (first, *others), (result,) = list(graph.node), list(graph.input), list(graph.output)
    shape = [dimension.dim_value for dimension in first.type.tensor_type.shape.dim][1:]
    rows = first.type.tensor_type.shape.dim[0].dim_param
    del graph.node[:], graph.input[:], graph.output[:]
    flat = helper.make_tensor_value_info(start, TensorProto.FLOAT, [rows, math.prod(shape)])
    graph.input.extend([flat, *[entry for entry in others if entry.name != counter]])
    graph.output.extend(ending.output)
    graph.node.append(helper.make_node("Reshape", [start, "shape"], [f"{result.name} 0"]))
    constants = {"shape": np.array([-1, *shape], np.int64)}

    def append(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
        for node in nodes:
            copied = graph.node.add()
            copied.CopyFrom(node)
            copied.name = ""  # of one step
            for names in (copied.input, copied.output):
                names[:] = [renamed.get(name, name) for name in names]

    for number, value in enumerate(values):
        constants[f"{counter} {number}"] = np.array([value], np.float32)
        own = {first.name: f"{result.name} {number}", counter: f"{counter} {number}"}
        append(nodes, own | {name: f"{name} {number + 1}" for node in nodes for name in node.output})
    ends = {own.name for own in ending.output}
    own = {name: name if name in ends else f"{name} last" for node in ending.node for name in node.output}
    own |= {tensor.name: f"{tensor.name} last" for tensor in ending.initializer if "." not in tensor.name}
    append(ending.node, own | {ending.input[0].name: f"{result.name} {len(values)}"})
    for tensor in ending.initializer:
        tensor.name = own.get(tensor.name, tensor.name)
    weights = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(tensor for tensor in ending.initializer if tensor.name not in weights)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return finish(model, metadata)


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return a file's metadata by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def finish(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Clean a model in place, check it and serialise it, the same bytes for the same model."""
    found = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if found != OPSET:
        raise GateError(f"ONNX: operator set {found} is not {OPSET}; use the torch versions of the tests")
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    model.doc_string = model.graph.doc_string = ""
    model.producer_name, model.producer_version = "sonoforge", ""
    onnx.helper.set_model_props(model, dict(metadata))
    kinds = onnx.checker.ValidationError, onnx.shape_inference.InferenceError
    with refusing("ONNX: the model is not valid", "report this", kinds, GateError):
        onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def named(data: bytes) -> onnx.ModelProto:
    """Read a file for a converter, giving each node a name and its own copy of small stored inputs.

    Converters choose nodes by name and name results after inputs, and a network with a second pass shares inputs.
    """
    model = onnx.load_model_from_string(data)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    small = {name for name, tensor in stored.items() if math.prod(tensor.dims) <= _SMALL}
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
        for place, name in enumerate(node.input):
            if name in small and name in taken:
                own = model.graph.initializer.add()
                own.CopyFrom(stored[name])
                own.name = node.input[place] = f"{name}_{index}_{place}"
            taken.add(name)
    return model


def answers_of(model: bytes, inputs: NDArray[np.float32], output: str) -> NDArray[np.float32]:
    """Run an ONNX file on images (N, 3, S, S), one at a time; return one of its outputs (N, ...)."""
    session = load_session(model, "the ONNX file")
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: image[None]})[0] for image in inputs])


def to_ort(model: bytes) -> bytes:
    """Convert an ONNX file to onnxruntime's format, optimised for any processor.

    As in onnxruntime's own converter, weights are not laid out for x86, because that file would not run on a phone. On
    x86 this file is therefore slower than the ONNX file.  Two conversions answer the same but differ in their bytes.
    """
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        target = Path(folder) / "model.ort"
        options = session_options(threads=1)
        options.optimized_model_filepath = str(target)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.save_model_format", "ORT")
        # onnxruntime raises a family of its own that has no common base
        with refusing("model.ort: onnxruntime cannot write it", "check the ONNX file", kinds=Exception, kind=GateError):
            onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
            )
        return target.read_bytes()


PIXELS = "pixels"  # name of the input: uint8 (batch, height, width, channels), the layout of decoders and cameras

# Pillow's filters of these names; its bicubic has a = -0.5 (Resample.c), where ONNX's default is -0.75.
_FILTERS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5},
}


def with_preprocessing(model: bytes, preprocessing: Preprocessing) -> bytes:
    """Prepend the preprocessing to a classifier, an ONNX file with one float32 input (batch, 3, S, S).

    An app then needs no resizing of its own, which could differ.  The new input ``pixels`` is uint8 (batch, height,
    width, channels), of any size, with 1 channel (grey) or 3 (red, green, blue); any other number is an error at run
    time, so alpha is never mistaken for a colour.  Grey is resized once for all three channels.  Outputs and metadata
    are kept.

    Rows, then columns are resized, with rounding to 8 bits in between, as Pillow does: resizing both at once in float
    would differ from it by one level in a tenth of the pixels.  onnxruntime computes the filter's weights in float32
    and Pillow in float64, so one level of difference remains: in the 780 BUSI images, in 0.03 % of an image's pixels
    (median), 1.6 % at most.  Levels are then looked up in the table of `Preprocessing.normalise`, bit for bit.
    """
    changed = onnx.load_model_from_string(model)
    graph = changed.graph
    (name,) = (item.name for item in graph.input)
    shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    if shape[1:] != [3, preprocessing.size, preprocessing.size]:
        raise SonoforgeError(f"input {name} is {shape[1:]}, not {[3, preprocessing.size, preprocessing.size]}")
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    constants: dict[str, NDArray[Any]] = {
        "preprocessing.side": np.array([preprocessing.size], np.int64),
        "preprocessing.table": preprocessing.normalise(levels).reshape(3 * 256),
        "preprocessing.rows": np.array([0, 256, 512], np.int32).reshape(1, 3, 1, 1),
    }
    resize = {
        **_FILTERS[preprocessing.resample],
        "antialias": 1,
        "exclude_outside": 1,  # without it, weights beyond the border would darken the edges
        "coordinate_transformation_mode": "half_pixel",
    }
    size = ["", "", "preprocessing.side"]
    # Channels stay last until the image is small: one transpose of few values, and onnxruntime's optimiser breaks a
    # transpose followed by Resize with axes (seen in 1.31).
    nodes = [
        helper.make_node("Resize", [PIXELS, *size], ["preprocessing.narrow"], axes=[2], **resize),
        helper.make_node("Resize", ["preprocessing.narrow", *size], ["preprocessing.small"], axes=[1], **resize),
        helper.make_node("Transpose", ["preprocessing.small"], ["preprocessing.planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["preprocessing.planes"], ["preprocessing.levels"], to=TensorProto.INT32),
        # Broadcasting copies a grey level to the three rows of the table.
        helper.make_node("Add", ["preprocessing.levels", "preprocessing.rows"], ["preprocessing.index"]),
        helper.make_node("Gather", ["preprocessing.table", "preprocessing.index"], [name]),
    ]
    behind = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *behind])
    dimensions = ["batch", "height", "width", "channels"]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, dimensions))
    graph.initializer.extend(numpy_helper.from_array(values, key) for key, values in constants.items())
    return finish(changed, metadata_of(changed))
