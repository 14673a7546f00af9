"""The columns of ``sonoforge classify --csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.cli.answer_files import CsvFormat
from sonoforge.runtime.csv_cells import defused
from sonoforge.runtime.images.quality_metrics import METRICS


def csv_format(classes: Sequence[str]) -> CsvFormat:
    """Return how an answer with these classes is written as a row.

    ``crop_box`` is what the network saw of the picture, or, of DICOM, of the ``dicom_region`` that the machine
    recorded: left, top, right and bottom in pixels, the last two exclusive.
    """
    answer = ("label", *(f"p_{name}" for name in classes), "set", "trust_score", "in_distribution", "trust_reasons")
    remarks = ("quality_flags", "marks", "dicom_region", "crop_box", "motion_per_frame", "motion_flags")
    return CsvFormat([*answer, *METRICS, *remarks, "copy_of", "seems_copy_of"], _cells)


def _cells(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of an answer by column; lists are joined by ``|``."""
    trust, quality = result["trust"], result["quality"]
    motion = result["clip"]["motion"] if "clip" in result else {"per_frame": None, "flags": []}
    return {
        "label": defused(result["label"]),
        **{f"p_{name}": repr(value) for name, value in result["probabilities"].items()},
        "set": defused("|".join(result["set"])),
        "trust_score": repr(trust["score"]),
        "in_distribution": str(trust["in_distribution"]).lower(),
        "trust_reasons": defused("|".join(trust["reasons"])),
        **{name: repr(value) for name, value in quality.items() if name != "flags"},
        "quality_flags": "|".join(quality["flags"]),
        "marks": result["marks"]["summary"],
        "dicom_region": _box(result.get("dicom", {}).get("region")),
        "crop_box": _box((result["crop"] or {}).get("box")),
        "motion_per_frame": "" if motion["per_frame"] is None else repr(motion["per_frame"]),
        "motion_flags": "|".join(motion["flags"]),
        **{name: defused(result[name] or "") for name in ("copy_of", "seems_copy_of")},
    }


def _box(edges: Sequence[int] | None) -> str:
    """Return ``left|top|right|bottom`` in pixels; empty for none."""
    return "|".join(map(str, edges or ()))
