"""The protocol of an evaluation: equal where figures may stand side by side."""

from __future__ import annotations

import dataclasses
import functools
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sonoforge.training.evaluation.image_set import Described, ImageSet
from sonoforge.training.evaluation.measure import EvaluationProtocol, protocol_id
from sonoforge.training.evaluation.spaces import open_space


@functools.cache  # with its search for near-duplicates
def _real(seed: int = 0, count: int = 6, source: str = "real", side: int = 16) -> ImageSet:
    rng = np.random.default_rng(seed)
    return ImageSet(
        source=source,
        pixels=rng.integers(0, 256, (count, side, side, 1), dtype=np.uint8),
        described=tuple(
            Described(str(index), str(index), rng.integers(0, 256, (64, 64), dtype=np.uint8), (side, side), None)
            for index in range(count)
        ),
        class_name="benign",
        synthetic=None,
        resize="none",
    )


def _protocol(real: ImageSet | None = None, fakes: int = 8, **changes: Any) -> dict[str, Any]:
    given = {"metrics": (), "spaces": [open_space("pixels")], "lpips": None, "repeats": 50, "seed": 0, **changes}
    return EvaluationProtocol(**given, cache_folder=None).describe(_real() if real is None else real, fakes)


def test_a_protocol_survives_json_and_depends_on_content_not_on_names() -> None:
    protocol = _protocol()
    assert json.loads(json.dumps(protocol)) == protocol
    assert protocol_id(protocol) == protocol_id(dict(reversed(protocol.items())))
    assert protocol_id(protocol) == protocol_id(_protocol(_real(source="another/path")))
    assert "real" not in json.dumps(protocol["spaces"])
    assert len(protocol_id(protocol)) == 16


def _tied() -> ImageSet:
    real = _real()
    first, second, *others = real.described
    tied = (first._replace(group="p"), second._replace(group="p"), *others)
    return dataclasses.replace(real, described=tied)


@pytest.mark.parametrize(
    ("changed", "item"),
    [
        (lambda: _protocol(_real(seed=1)), "real images"),
        (lambda: _protocol(_real(count=7)), "number of real images"),
        (lambda: _protocol(_tied()), "real groups"),
        (lambda: _protocol(fakes=9), "number of generated images"),
        (lambda: _protocol(repeats=10), "repeats"),
        (lambda: _protocol(seed=1), "seed"),
        (lambda: _protocol(spaces=[open_space("bundle")]), "spaces"),
        (lambda: _protocol(spaces=[open_space("pixels"), open_space("bundle")]), "spaces"),
        (lambda: _protocol(lpips=SimpleNamespace(name="another network")), "LPIPS"),
        (lambda: {**_protocol(), "versions": {**_protocol()["versions"], "sonoforge": "9"}}, "versions"),
    ],
)
def test_whatever_moves_a_figure_is_part_of_its_protocol(changed: Any, item: str) -> None:
    first, second = _protocol(), changed()
    assert protocol_id(first) != protocol_id(second)
    assert next(name for name in first if first[name] != second.get(name)) == item
