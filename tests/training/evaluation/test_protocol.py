"""The protocol of an evaluation: equal where figures may stand side by side, refused by name where not."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.image_set import Described, ImageSet
from sonoforge.training.evaluation.protocol import compare, make_protocol, protocol_id, read_result
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.run_folder import write_results


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


SETTINGS = {"neighbours": {"precision": 3}, "kid subsets": 100}


def _protocol(real: ImageSet | None = None, **changes: Any) -> dict[str, Any]:
    values = {
        "fakes": 8,
        "spaces": [open_space("pixels")],
        "settings": SETTINGS,
        "matched": 3,
        "repeats": 50,
        "seed": 0,
    }
    values |= changes
    draws = {name: values[name] for name in ("matched", "repeats", "seed")}
    return make_protocol(
        _real() if real is None else real, values["fakes"], values["spaces"], draws, values["settings"]
    )


def _result(protocol: dict[str, Any], source: str = "fakes", value: float = 1.0) -> dict[str, Any]:
    rows = [
        {"name": name, "space": space, "value": value} for name, space in (("kid", "a"), ("kid", "b"), ("fid", "a"))
    ]
    return {
        "fake": {"source": source, "images": 8},
        "protocol": protocol,
        "protocol_id": protocol_id(protocol),
        "metrics": rows,
    }


def _run(folder: Path, result: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    write_results(folder, result)
    return folder


def _one_line(call: Any, *arguments: Any) -> str:
    with pytest.raises(SonoforgeError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


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
        (lambda: _protocol(matched=2), "matched"),
        (lambda: _protocol(repeats=10), "repeats"),
        (lambda: _protocol(seed=1), "seed"),
        (lambda: _protocol(spaces=[open_space("bundle")]), "spaces 1, space"),
        (lambda: _protocol(spaces=[open_space("pixels"), open_space("bundle")]), "spaces 2"),
        (lambda: _protocol(settings={"neighbours": {"precision": 5}, "kid subsets": 100}), "neighbours, precision"),
        (lambda: _protocol(settings={"neighbours": {"precision": 3}}), "kid subsets"),
        (lambda: {**_protocol(), "versions": {**_protocol()["versions"], "sonoforge": "9"}}, "versions, sonoforge"),
    ],
)
def test_whatever_moves_a_figure_is_refused_by_its_name(changed: Any, item: str) -> None:
    first, second = _result(_protocol()), _result(changed())
    assert first["protocol_id"] != second["protocol_id"]
    message = _one_line(compare, [first | {"run": "a"}, first | {"run": "b"}, second | {"run": "c"}])
    assert f"compare: a and c differ in {item}: " in message
    assert "evaluate both alike" in message


def test_both_values_are_named_and_long_ones_cut() -> None:
    first, second = _result(_protocol()) | {"run": "a"}, _result(_protocol(repeats=10)) | {"run": "b"}
    assert "differ in repeats: 50 and 10; " in _one_line(compare, [first, second])
    absent = copy.deepcopy(first)
    del absent["protocol"]["kid subsets"]
    assert "differ in kid subsets: 100 and nothing; " in _one_line(compare, [first, absent])
    other = _result(_protocol(spaces=[open_space("pixels"), open_space("bundle")])) | {"run": "b"}
    assert len(_one_line(compare, [first, other])) < 300


def test_evaluations_of_one_protocol_stand_side_by_side(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name, _result(_protocol(), name, value)) for name, value in (("one", 1.5), ("two", 2.5))]
    rows = compare([read_result(runs[0]), read_result(runs[1] / "results.json")])
    assert [row["run"] for row in rows] == [str(runs[0]), str(runs[1] / "results.json")]
    assert [row["fake"]["source"] for row in rows] == ["one", "two"]
    assert [list(row["metrics"]) for row in rows] == [["kid in a", "kid in b", "fid"]] * 2
    assert [row["metrics"]["fid"]["value"] for row in rows] == [1.5, 2.5]


def test_what_no_evaluation_wrote_is_one_line(tmp_path: Path) -> None:
    assert "results.json: no such file; give a finished run folder" in _one_line(read_result, tmp_path)
    assert "no such file" in _one_line(read_result, tmp_path / "nowhere")
    file = tmp_path / "results.json"
    sound = _result(_protocol())
    for content, message in (
        (b"", "not readable JSON"),
        (b"\xff\xfe\x00", "not readable JSON"),
        (b"[" * 100_000, "not readable JSON"),
        (b"[]", "not results of sonoforge evaluate"),
        (b'{"protocol": [], "protocol_id": "", "metrics": []}', "not results of sonoforge evaluate"),
        (json.dumps({**sound, "metrics": [1]}).encode(), "not results of sonoforge evaluate"),
        (json.dumps({**sound, "fake": None}).encode(), "not results of sonoforge evaluate"),
        (json.dumps({**sound, "protocol": _protocol(seed=1)}).encode(), "does not match protocol_id"),
    ):
        file.write_bytes(content)
        assert message in _one_line(read_result, tmp_path)
