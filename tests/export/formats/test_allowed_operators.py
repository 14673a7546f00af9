"""The runtime accepts the operators of the ONNX files that sonoforge writes, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from generator_checkpoints import CASES, SLOW_CASES, ExportedGenerator
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, check_graph, operators
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle

PREPROCESSING = open_bundle().manifest.preprocessing
SHIPPED_MODEL = (SHIPPED / "model.onnx").read_bytes()


def written(model: bytes, int8: bytes, single_look: bytes, made: Iterable[ExportedGenerator]) -> list[bytes]:
    """Files of all kinds: the classifier's, and those of generators."""
    files = [model, to_half(model), int8, with_preprocessing(model, PREPROCESSING), single_look]
    return files + [path.read_bytes() for export in made for path in sorted(export.bundle.glob("*.onnx"))]


@pytest.mark.slow
def test_the_list_is_what_exports_of_all_kinds_hold(
    generators: Callable[..., ExportedGenerator], shipped_int8: bytes, single_look: bytes
) -> None:
    made = [generators(recipe, classes, formats, masks) for recipe, classes, masks, formats in CASES + SLOW_CASES]
    files = written(SHIPPED_MODEL, shipped_int8, single_look, made)
    for content in files:
        check_graph(content, "model.onnx")
    assert frozenset().union(*map(operators, files)) == OPERATORS
