"""A stand-in for Triton: its own gRPC service definition, its own configuration format, onnxruntime behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

KINDS = {"FP32": np.float32, "UINT8": np.uint8, "INT64": np.int64}


def read_config(model: Path) -> Any:
    """Read a model's configuration; raises where a field or value is none of Triton's."""
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def kind_of(value: Any) -> str:
    """Triton's name of the type of an input or output."""
    return str(model_config_pb2.DataType.Name(value.data_type).removeprefix("TYPE_"))


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 - Triton's name
        return service_pb2.ModelConfigResponse(config=read_config(self.repository / request.name))

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self.repository / request.model_name
        config = read_config(model)
        given = {}
        for wanted, tensor, raw in zip(config.input, request.inputs, request.raw_input_contents, strict=True):
            batch, *sides = tensor.shape
            assert (tensor.name, tensor.datatype) == (wanted.name, kind_of(wanted))
            assert batch <= config.max_batch_size and len(sides) == len(wanted.dims)
            assert all(side == dim or dim == -1 for side, dim in zip(sides, wanted.dims, strict=True))
            given[tensor.name] = np.frombuffer(raw, KINDS[tensor.datatype]).reshape(batch, *sides)
        names = [output.name for output in config.output]
        session = onnxruntime.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        for output, values in zip(config.output, session.run(names, given), strict=True):
            answer.outputs.add(name=output.name, datatype=kind_of(output), shape=values.shape)
            answer.raw_output_contents.append(values.tobytes())
        return answer


@contextlib.contextmanager
def serving(repository: Path) -> Iterator[str]:
    """Serve a model repository; yields the address."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])  # as Triton's own
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(repository), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
