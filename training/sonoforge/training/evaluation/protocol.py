"""Record what an evaluation's figures depend on besides the generated images; only equal protocols are compared.

The number of images, the resize filter, the network and the real images move FID and similar metrics more than
generators differ (Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022;
Chong, Forsyth, "Effectively Unbiased FID and Inception Score and Where to Find Them", CVPR 2020).

A protocol is plain JSON; it holds only the number of generated images, and no free text such as paths.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.spaces import Space
from sonoforge.training.run_folder import RESULTS, package_versions

Protocol = dict[str, Any]

_PACKAGES = ("sonoforge", "numpy", "pillow", "torch", "onnxruntime")
_ID = 16  # hex digits: 64 bits
_SHOWN = 60  # characters of a value in a message


def make_protocol(
    real: ImageSet, fakes: int, spaces: Sequence[Space], draws: Mapping[str, int], settings: Mapping[str, Any]
) -> Protocol:
    """Collect everything the figures depend on.

    ``draws`` are ``matched`` (images per set), ``repeats`` (pairs of halves) and ``seed``; ``settings`` maps each
    metric's name to its settings.
    """
    side, channels = real.pixels.shape[2:]
    values = {  # most readable items first, as messages name the first difference
        "number of real images": len(real),
        "number of generated images": fakes,
        "image size": side,
        "channels": channels,
        "resize of real images": real.resize,
        **draws,
        "real images": real.fingerprint,
        "real groups": hashlib.sha256(real.groups.astype("<i8").tobytes()).hexdigest()[:_ID],
        "spaces": [dict(space.protocol) for space in spaces],
        **settings,
        # Without the part after a plus sign: CPU and GPU builds of torch are one version.
        "versions": {name: found.partition("+")[0] for name, found in package_versions(_PACKAGES).items()},
    }
    protocol: Protocol = plain(values)
    return protocol


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Return 16 hex digits that are equal for equal protocols."""
    return hashlib.sha256(json.dumps(plain(protocol), sort_keys=True).encode()).hexdigest()[:_ID]


def read_result(path: Path) -> dict[str, Any]:
    """Read the results of an evaluation from its run folder or the ``results.json`` in it; ``run`` is the path.

    Raises:
        SonoforgeError: The file is missing, not JSON, from another verb, or was changed.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SonoforgeError(
            f"{file}: no such file; give a finished run folder of sonoforge evaluate, or its {RESULTS}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        said = reason(error)
        raise SonoforgeError(f"{file}: not readable JSON ({said}); run sonoforge evaluate again") from error
    kinds = {"protocol": dict, "protocol_id": str, "fake": dict, "metrics": list}
    if (
        not isinstance(values, dict)
        or not all(isinstance(values.get(key), kind) for key, kind in kinds.items())
        or not all(isinstance(row, dict) and {"name", "space", "value"} <= set(row) for row in values["metrics"])
    ):
        raise SonoforgeError(
            f"{file}: not results of sonoforge evaluate, which have protocol, protocol_id and metrics; give its run"
        )
    if protocol_id(values["protocol"]) != values["protocol_id"]:
        raise SonoforgeError(f"{file}: protocol does not match protocol_id; run sonoforge evaluate again")
    return {**values, "run": str(path)}


def compare(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare evaluations of one protocol, at least two from `read_result`, side by side.

    For each: ``run``, ``fake`` (what was evaluated), and ``metrics``: the evaluation's row for each figure, by name,
    and by space if a name has several; None if it was not measured.

    Raises:
        SonoforgeError: There are fewer than two, or protocols differ; the message gives the first difference.
    """
    if len(results) < 2:
        raise SonoforgeError("compare: give at least two evaluations, RUN,RUN")
    first = results[0]
    for other in results[1:]:
        for item, here, there in _differences(first["protocol"], other["protocol"]):
            raise SonoforgeError(
                f"compare: {first['run']} and {other['run']} differ in {item}: {_shown(here)} and {_shown(there)}; "
                "evaluate both alike, then compare"
            )
    tables = [{(row["name"], row["space"]): row for row in result["metrics"]} for result in results]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    names = [name for name, _ in keys]
    titles = {key: key[0] if names.count(key[0]) == 1 else f"{key[0]} in {key[1]}" for key in keys}
    return [
        {"run": result["run"], "fake": result["fake"], "metrics": {titles[key]: table.get(key) for key in keys}}
        for result, table in zip(results, tables, strict=True)
    ]


_ABSENT = object()  # an item that one of two protocols lacks


def _differences(first: Any, second: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the items that differ, in the order of the first protocol, each with its two values."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            yield from _differences(
                first.get(key, _ABSENT), second.get(key, _ABSENT), f"{place}, {key}" if place else key
            )
    elif isinstance(first, list) and isinstance(second, list):
        for index, (here, there) in enumerate(itertools.zip_longest(first, second, fillvalue=_ABSENT), start=1):
            yield from _differences(here, there, f"{place} {index}")
    elif first != second:
        yield place, first, second


def _shown(value: Any) -> str:
    text = "nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
