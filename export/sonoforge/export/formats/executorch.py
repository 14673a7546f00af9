"""ExecuTorch files (``.pte``), PyTorch's programs for phones, on XNNPACK's CPU kernels: float32 and int8.

A file takes one image at a time: a batch of 8 was slower for each image than 8 runs (4.1 against 3.3 ms on one x86
core), and needs eight times the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.export.formats.onnx_graph import folded, metadata_of, quiet
from sonoforge.runtime.errors import GateError, SonoforgeError, not_installed, refusing

if TYPE_CHECKING:
    from sonoforge.export.formats.source import GeneratorSource, Source
    from sonoforge.runtime.inference.runners import Answer

# The first five blocks and the last layers stay in float32: probabilities of the shipped model move by at most 0.089,
# 0.172 if only the stem does.  So do the outline and operations outside any layer, which choose where to zoom in.
LEFT = re.compile(r"(shared|tails\.\d+)\.[0-4](\.|@|$)|linears|activations|outlines|^$")
# A network with a second pass needs eight blocks: with five, the worst of 1000 images moved by 0.202, with eight by
# 0.068, at 2.84 and 2.95 MB.
_LEFT_TWICE = re.compile(LEFT.pattern.replace("[0-4]", "[0-7]"))

# The layers that XNNPACK runs in a network with a second pass: given all, ExecuTorch 1.5.1 puts both passes into one
# part, which then waits for what lies between them.
_LAYERS = frozenset((
    *("ConvolutionConfig", "HardtanhConfig", "ClampConfig", "AddConfig", "ReLUConfig"),
    *("QuantizedPerTensorConfig", "DeQuantizedPerTensorConfig", "QuantizeAffineConfig", "DeQuantizeAffineConfig"),
))  # fmt: skip


def missing() -> str:
    """Return what to install before a file can be written or run; empty if nothing is missing."""
    return not_installed("mobile", "executorch", "torchao")


def write_executorch(source: Source | GeneratorSource) -> bytes:
    """Write a network in float32, for one image (1, 3, S, S) or one latent; see `lower`."""
    graph = fold(source.graph, source.example(1)) if source.stem == "generator" else source.graph
    return lower(graph, source)


def write_executorch_int8(source: Source) -> bytes:
    """Write a classifier in int8, from one float32 image (1, 3, S, S) to the four outputs.

    Weights have one scale for each channel, activations one for each tensor, from histograms over the calibration
    images (Jacob et al., CVPR 2018, on int8 arithmetic).
    """
    if not len(source.calibration):
        raise SonoforgeError("executorch-int8: there are no calibration images; use 16 or more of the training set")
    batches = (
        (torch.from_numpy(source.preprocessing.normalise(source.calibration[index : index + 1])),)
        for index in range(len(source.calibration))
    )
    graph = folded(source.graph) if source.has_second_pass else source.graph  # torchao folds a layer's first run alone
    quantised = quantise(graph, batches, _LEFT_TWICE if source.has_second_pass else LEFT)
    return lower(quantised, source)


@quiet()
def lower(module: nn.Module, source: Source | GeneratorSource) -> bytes:
    """Lower a source's network, in evaluation mode on the CPU, to an ExecuTorch program; return the file's bytes.

    It takes one row.  XNNPACK runs the layers that it supports, but see `_LAYERS`.  For each text in the ONNX file the
    program has a method that returns it.
    """
    from executorch.backends.xnnpack.partition.config import (  # noqa: PLC0415 - optional, and slow
        ALL_PARTITIONER_CONFIGS,
    )
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # noqa: PLC0415 - optional, and slow
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # noqa: PLC0415

    only = _LAYERS if source.has_second_pass else ()
    configs = [config for config in ALL_PARTITIONER_CONFIGS if config.__name__ in only]
    texts = metadata_of(onnx.load_model_from_string(source.onnx))
    # the compiler's passes raise whatever they meet
    with refusing("executorch: cannot lower this network", "use the format onnx", kinds=Exception, kind=GateError):
        program = to_edge_transform_and_lower(
            torch.export.export(module, source.example(1)),
            partitioner=[XnnpackPartitioner(configs=configs or None)],
            constant_methods=texts or None,
        ).to_executorch()
    return bytes(program.buffer)


@quiet()
def fold(module: nn.Module, examples: tuple[Tensor, ...]) -> nn.Module:
    """Return a network with its constants folded, such as StyleGAN's scaled weights; see `lower` for the arguments.

    XNNPACK only runs convolutions whose weights are stored, not computed: one image of ProGAN at 64 x 64 took 35 s on
    one x86 core; folded, 0.13 s.  Do not fold a network from `quantise`: its weights would become float32.
    """
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass  # noqa: PLC0415 - optional, and slow

    folded: nn.Module = constant_prop_pass(torch.export.export(module, examples)).module()
    return folded


@quiet()
def quantise(module: nn.Module, batches: Iterable[tuple[Tensor, ...]], left: re.Pattern[str]) -> nn.Module:
    """Return a network that computes in int8 as XNNPACK does, except in layers whose names match ``left``.

    ``module`` is in evaluation mode, on the CPU; ``batches`` are one or more calibration inputs of the same shape.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (  # noqa: PLC0415 - optional, and slow
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: PLC0415

    def quantised(node: torch.fx.Node) -> bool:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        return not stack or left.search(stack[-1][0]) is None

    quantiser = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantiser.set_filter_function(quantised)
    every = iter(batches)
    first = next(every)
    with torch.no_grad():
        exported = torch.export.export(module, first).module()
        _unshare_weights(exported)
        prepared = prepare_pt2e(exported, quantiser)
        prepared(*first)
        for inputs in every:
            prepared(*inputs)
        converted: nn.Module = convert_pt2e(prepared)
    return converted


def _unshare_weights(exported: torch.fx.GraphModule) -> None:
    """Give each run of a layer its own weights, in place: torchao would quantise only the first run.

    The file still stores equal int8 weights once.
    """
    for node in list(exported.graph.nodes):
        if node.op != "get_attr" or len(node.users) < 2:
            continue
        for number, user in enumerate(list(node.users)[1:]):
            name = f"{node.name}_{number}"
            exported.register_parameter(name, nn.Parameter(exported.get_parameter(node.target).detach().clone()))
            with exported.graph.inserting_before(user):
                own = exported.graph.get_attr(name)
            own.meta = dict(node.meta)
            user.replace_input_with(node, own)
    exported.recompile()


@quiet()
def open_file(path: Path, threads: int = 1) -> Answer:
    """Load a ``.pte`` program for one row, or raise `SonoforgeError`; ``threads`` applies to the whole process."""
    from executorch.extension.pybindings import portable_lib  # noqa: PLC0415 - optional, and slow
    from executorch.runtime import Runtime  # noqa: PLC0415

    if portable_lib._threadpool_get_thread_count() != threads:
        portable_lib._unsafe_reset_threadpool(threads)
    with refusing(f"{path}: ExecuTorch cannot load it", "write it again", kinds=(RuntimeError, OSError)):
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        # ExecuTorch ignores strides: a transposed view would give another answer.
        tensors = [torch.tensor(np.ascontiguousarray(values)) for values in inputs]
        rows = max(len(tensor) for tensor in tensors)
        answers: list[list[Tensor]] = []
        for row in range(rows):
            alone = [tensor if len(tensor) == 1 else tensor[row : row + 1] for tensor in tensors]
            answers.append([output.clone() for output in method.execute(alone)])
        return [torch.cat(outputs).numpy() for outputs in zip(*answers, strict=True)]

    return answer
