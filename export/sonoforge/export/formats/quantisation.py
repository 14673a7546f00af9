"""Write a classifier in 8 bits: a third of the size and half the time; the most sensitive layers stay in float32."""

import contextlib
import io
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from sonoforge.export.formats.onnx_graph import LOOK, answers_of, finish, metadata_of, named, quiet
from sonoforge.export.formats.source import Source
from sonoforge.runtime.errors import GateError

# First convolutions that stay in float32, with one pass and with two.  With 5, 15, 18, 21, 24 and 27, the shipped model
# (two passes) moves the worst of 128 calibration images by 0.21, 0.14, 0.12, 0.14, 0.11 and 0.16.
_FIRST = (5, 24)
_RANKING_IMAGES = 8  # to rank layers on: few are enough


@dataclass(frozen=True)
class Criterion:
    """How close a quantised model must be to its float32 original."""

    probability_shift: float = 0.15  # largest change of any probability of a calibration image
    mixture_shift: float = 0.25  # largest change of any probability of the mean of two calibration images
    agreement: float = 0.985  # smallest share of calibration images with the same label
    size: float = 0.36  # largest file, as a share of the original: 0.36 is 3.2 MB of the shipped model's 8.9


# Where a network is unsure where to look, rounding moves its window, and a few images are far off: files of the shipped
# model that move 128 calibration images by .11 to .14 moved the worst of 1000 by .10 to .15.
_TWO_PASSES = Criterion(probability_shift=0.12, mixture_shift=0.15)


@dataclass(frozen=True)
class Quantised:
    """A quantised ONNX file, and how far it is from the original on the calibration images; see `Criterion`."""

    data: bytes
    kept_in_float: list[str]  # names of convolutions
    probability_shift: float
    mixture_shift: float
    agreement: float

    def meets(self, criterion: Criterion) -> bool:
        """Whether its answers are close enough."""
        shifts = self.probability_shift <= criterion.probability_shift and self.mixture_shift <= criterion.mixture_shift
        return shifts and self.agreement >= criterion.agreement


def to_int8(model: bytes, inputs: NDArray[np.float32], criterion: Criterion = Criterion()) -> Quantised:
    """Quantise a classifier's convolutions: activations uint8, weights int8 with a scale for each output channel.

    Activations range from their smallest to their largest value on the calibration images.  Probabilities are compared
    on these and on mixtures (each image's mean with the next): a network is so sure of its training images that they
    hide the effect on others.

    The first convolutions, the activation maps and everything after the last feature map stay in float32: they are
    small and suffer most.  If that misses the criterion, the other convolutions are ranked by how quantising each alone
    changes the logits, and the worst 1, 2, 4, ... also stay in float32, until it is met; otherwise raise `GateError`.

    ``inputs`` are preprocessed calibration images (N, 3, S, S), about 128 of the training set.  The same arguments give
    the same bytes on one kind of processor.
    """
    original = named(model)
    features, kept = _feature_convolutions(original), _always_kept(original)
    mixtures = ((inputs + np.roll(inputs, 1, axis=0)) / 2).astype(np.float32)
    exact = [(images, answers_of(model, images, "probabilities")) for images in (inputs, mixtures)]
    logits = answers_of(model, inputs, "logits")
    largest = criterion.size * len(model)
    ranked: list[str] = []
    more = 0
    while True:
        result = _attempt(original, {*kept, *ranked[:more]}, exact, logits)
        left = len(set(features).difference(result.kept_in_float))
        if left and len(result.data) <= largest and result.meets(criterion):
            return result
        if not left or len(result.data) > largest:
            raise GateError(
                f"int8: with {left} convolutions in 8 bits, probabilities move by {result.probability_shift:.3f} "
                f"(allowed {criterion.probability_shift}), on mixtures by {result.mixture_shift:.3f} "
                f"({criterion.mixture_shift}), {result.agreement:.1%} of labels agree ({criterion.agreement:.1%}), "
                f"in {len(result.data)} bytes ({largest:.0f}); use fp16, or other calibration images"
            )
        ranked = ranked or _ranked(original, inputs[:_RANKING_IMAGES], [name for name in features if name not in kept])
        more = max(1, 2 * more)


def _attempt(
    original: onnx.ModelProto,
    kept: Collection[str],
    exact: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    logits: NDArray[np.float32],
) -> Quantised:
    """Quantise all but the kept layers, correct the biases and compare.

    ``exact`` are images and mixtures, each with its float32 probabilities; ``logits`` the images' in float32.

    Rounding shifts the mean of a layer's values (Nagel et al., Data-free quantization through weight equalization and
    bias correction, ICCV 2019); here the mean change of the logits is subtracted from the last layers' biases.
    """
    inputs = exact[0][0]
    names = [node.name for node in original.graph.node if node.name in kept]
    note = {
        "bias": "corrected by the logits' mean change",
        "activations": "uint8",
        "weights": "int8 by channel",
        "ranges": "min-max",
        "float32": names,
        "images": len(inputs),
    }
    quantised = _quantise(original, inputs, kept)
    change = (answers_of(quantised.SerializeToString(), inputs, "logits") - logits).mean(axis=0)
    last = [node for node in quantised.graph.node if node.op_type == "Gemm" and node.input[1].startswith("linears.")]
    biases = {node.input[2] for node in last if len(node.input) > 2}
    for tensor in quantised.graph.initializer:
        if tensor.name in biases:
            values = onnx.numpy_helper.to_array(tensor) - change
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    data = finish(quantised, {**metadata_of(original), "sonoforge.quantisation": json.dumps(note)})
    found = [answers_of(data, images, "probabilities") for images, _ in exact]
    shifts = [float(np.abs(after - before).max()) for after, (_, before) in zip(found, exact, strict=True)]
    agreement = float((found[0].argmax(1) == exact[0][1].argmax(1)).mean())
    return Quantised(data, names, probability_shift=shifts[0], mixture_shift=shifts[1], agreement=agreement)


def write_int8(source: Source) -> bytes:
    """Write ``model.int8.onnx`` from the calibration images; see `to_int8`."""
    criterion = _TWO_PASSES if source.has_second_pass else Criterion()
    return to_int8(source.onnx, source.preprocessing.normalise(source.calibration), criterion).data


def _feature_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return, in order, the convolutions that the logits depend on, without the activation maps' convolutions."""
    needed, names = {"logits"}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            if node.op_type == "Conv":
                names.append(node.name)
    return names[::-1]


def _always_kept(model: onnx.ModelProto) -> set[str]:
    features = _feature_convolutions(model)
    convolutions = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    first = min(_FIRST[LOOK in metadata_of(model)], len(features) // 2)
    weights = {convolutions[name].input[1] for name in features[:first]}
    # Their second runs in a network with a second pass, and the layers that choose its window, stay in float32, too.
    kept = {
        name for name, node in convolutions.items() if node.input[1] in weights or node.input[1].startswith("outlines.")
    }
    return kept.union(convolutions.keys() - set(features))


def _ranked(model: onnx.ModelProto, inputs: NDArray[np.float32], names: list[str]) -> list[str]:
    """Sort convolutions by the mean change of the logits when each alone is quantised, largest first."""
    exact = answers_of(model.SerializeToString(), inputs, "logits")
    everything = {node.name for node in model.graph.node if node.op_type == "Conv"}
    effects = {}
    for name in names:
        alone = _quantise(model, inputs, everything - {name})
        effects[name] = float(np.abs(answers_of(alone.SerializeToString(), inputs, "logits") - exact).mean())
    return sorted(names, key=lambda name: -effects[name])


def _shift_shared(model: onnx.ModelProto) -> None:
    """Store int8 weights that run twice as uint8 with a zero point of 128, in place: the same weights.

    With 8-bit sums that do not overflow (``session.x64quantprecision``), onnxruntime does this itself, but fails at
    the second operator that reads them.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {node.output[0]: node.input for node in model.graph.node if node.op_type == "DequantizeLinear"}
    readers = Counter(
        made[node.input[1]][0] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in made
    )
    for weight, _, zero in made.values():
        if readers[weight] < 2 or stored[weight].data_type != onnx.TensorProto.INT8:
            continue
        for name in (weight, zero):
            values = onnx.numpy_helper.to_array(stored[name]).astype(np.int16) + 128
            stored[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.uint8), name))


def _drop_zero_points(model: onnx.ModelProto) -> None:
    """Remove the zero points of int32 biases, in place: they are 0 by definition, and take 4 bytes a channel."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    dropped = set()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 3:  # values, scale, zero point
            zero = stored.get(node.input[2])
            if zero is not None and zero.data_type == onnx.TensorProto.INT32:
                dropped.add(node.input.pop())
    kept = [tensor for name, tensor in stored.items() if name not in dropped]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _quantise(
    model: onnx.ModelProto,
    inputs: NDArray[np.float32],
    kept: Collection[str],
) -> onnx.ModelProto:
    """Insert quantisation and its inverse around all convolutions except the kept ones."""
    # Imported here, because it takes a second.
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.rest, None)
            return None if image is None else {model.graph.input[0].name: image[None]}

    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the quantiser changes what it gets
    # The quantiser prints advice, and logs to the root logger.
    output = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder, quiet(), output:
        target = Path(folder) / "model.onnx"
        quantize_static(
            copy,
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            # Clip and Relu are absorbed into the range of their activation.
            op_types_to_quantize=["Conv", "Clip", "Relu"],
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_providers=["CPUExecutionProvider"],
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "QuantizeBias": True},
        )
        changed = onnx.load_model(str(target))
    _shift_shared(changed)
    _drop_zero_points(changed)
    return changed
