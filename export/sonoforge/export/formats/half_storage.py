"""Weights that half precision holds exactly, stored in it: half the file, the same answers.

Unlike a file in 16 bits (`half_precision`), the network still computes in float32: onnxruntime widens the weights once,
when it loads the file.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

SMALLEST = 1024
"""Numbers of the smallest tensor that is stored so: nearly all weights, and none of the biases and running averages."""


@torch.no_grad()
def round_to_half(network: nn.Module) -> None:
    """Round the large weights of a network to half precision, in place; they stay float32.

    A tensor with a number that half precision cannot hold stays as it is.
    """
    for parameter in network.parameters():
        rounded = parameter.half().float()
        if parameter.numel() >= SMALLEST and rounded.isfinite().all():
            parameter.copy_(rounded)


def store_in_half(model: bytes) -> bytes:
    """Store the large weights of an ONNX file in half precision, where that changes none of them.

    Args:
        model: A float32 ONNX file.

    Returns:
        The file, with a cast behind each weight that is stored so; the same bytes where none can be.
    """
    copy = onnx.load_model_from_string(model)
    casts = []
    for tensor in copy.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < SMALLEST or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    if not casts:
        return model
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    stored: bytes = copy.SerializeToString()
    return stored
