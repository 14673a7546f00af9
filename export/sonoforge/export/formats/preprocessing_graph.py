"""A classifier file that takes decoded images of any size: it resizes and normalises them itself.

An app then needs no resizing of its own, which could differ.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sonoforge.export.formats.onnx_graph import finish, metadata_of
from sonoforge.export.formats.source import Source
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing

PIXELS = "pixels"
"""Name of the input: uint8 (batch, height, width, channels), the layout of decoders and cameras."""

# Pillow's filters of these names; its bicubic has a = -0.5 (Resample.c), where ONNX's default is -0.75.
_FILTERS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5},
}


def with_preprocessing(model: bytes, preprocessing: Preprocessing) -> bytes:
    """Prepend the preprocessing to a classifier, an ONNX file with one float32 input (batch, 3, S, S).

    The new input ``pixels`` is uint8 (batch, height, width, channels), of any size, with 1 channel (grey) or 3 (red,
    green, blue); any other number is an error at run time, so that alpha is never taken for a colour.  Grey is resized
    once for all three channels.  Outputs and metadata stay.

    Rows, then columns are resized, with rounding to 8 bits in between, as Pillow does: resizing both at once in float
    would differ from it by one level in a tenth of the pixels.  onnxruntime computes the filter's weights in float32
    and Pillow in float64, so one level of difference remains: in the 780 BUSI images, in 0.03 % of an image's pixels
    (median), 1.6 % at most.  Levels are then looked up in the table of `Preprocessing.normalise`, bit for bit.

    Raises:
        SonoforgeError: The file's input does not have the preprocessing's size.
        GateError: The changed model is not valid.
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


def write_uint8(source: Source) -> bytes:
    """Write ``model.uint8.onnx``; see `with_preprocessing`."""
    return with_preprocessing(source.onnx, source.preprocessing)
