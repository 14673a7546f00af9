"""The runtime accepts the operators of the ONNX files that sonoforge writes, and no others."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from exported_generators import CASES, ExportedGenerator
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import to_onnx
from sonoforge.export.formats.preprocessing_graph import with_preprocessing
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, check_graph, operators
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle

PREPROCESSING = open_bundle().manifest.preprocessing


def test_the_list_is_what_exports_of_all_kinds_hold(
    generators: Callable[..., ExportedGenerator], shipped_int8: bytes
) -> None:
    model = (SHIPPED / "model.onnx").read_bytes()
    once = read_network(open_bundle())
    once.look, once.outlines = None, nn.ModuleList()
    files = [model, to_half(model), shipped_int8, with_preprocessing(model, PREPROCESSING), to_onnx(once, 96, {})]
    for recipe, classes, masks, formats in CASES:
        made = generators(recipe, classes, formats, masks)
        files += [path.read_bytes() for path in sorted(made.bundle.glob("*.onnx"))]
    for content in files:
        check_graph(content, "model.onnx")
    assert frozenset().union(*map(operators, files)) == OPERATORS
