"""``report.html`` of an evaluation: is it realistic, is it diverse, is it copied; one self-contained file.

The page prints the results it is given and computes no figure of its own.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from sonoforge.runtime import atomic
from sonoforge.training.copies.generated import HELD_OUT
from sonoforge.training.evaluation.results import EvaluationResults
from sonoforge.training.pages.charts import png_bytes, svg
from sonoforge.training.pages.embedding import Picture, embed
from sonoforge.training.pages.evaluation import answers
from sonoforge.training.pages.shell import write_page

REPORT = "report.html"
ALTS = {
    "samples": "Rows of real images above rows of generated, synthetic images",
    "ratios": "Each metric of generated against real images, in multiples of the limit of real against real; the table "
    "below has the figures",
    "spectrum": "Mean spectrum of real and of generated images, from coarse to fine details, with the band that holds "
    "90 % of real images; the table above has the distances",
    "scores": "Histograms of the score of the best match with a training image, of generated and of real images, with "
    "the threshold",
    "distances": "Histograms of the distance to the closest training image, of generated and of real images",
    "nearest": "Generated images, each beside its closest training images",
    "pca": "Real and generated images on the first two principal components of the real images' pixels",
    "tsne": "t-SNE map of real and generated images",
    "umap": "UMAP map of real and generated images",
    "curves": "Curves of the generator's training by step",
}
"""The pictures a page can show, and how a screen reader describes each."""
ABOUT = "synthetic images shown; research use, not a medical device"
_SHEETS = ("samples", "nearest")  # of images; all others are charts
_SIDE = 1600  # pixels of a sheet, at most: as JPEG, the page stays below 10 MB
_LEVELS = {"yes": "yes", "no": "no", "partly": "open", "unknown": "open"}
_NAMES = 40  # flagged files listed; the rest is counted


def write_evaluation(folder: Path, results: EvaluationResults, figures: Mapping[str, Figure]) -> Path:
    """Write ``FOLDER/report.html`` and return its path, and each picture as a PNG file beside it.

    Raises:
        ValueError: A picture of another name.
    """
    unknown = set(figures) - set(ALTS)
    if unknown:
        raise ValueError(f"figures: found {sorted(unknown)}, expected any of {list(ALTS)}")
    pictures: dict[str, Picture | Markup] = {}
    for name, figure in figures.items():
        content = png_bytes(figure, ABOUT)
        atomic.write_bytes(folder / f"{name}.png", content)
        if name in _SHEETS:
            with Image.open(io.BytesIO(content)) as image:
                pictures[name] = embed(image, _SIDE, ALTS[name])
        else:
            pictures[name] = svg(figure, ALTS[name])
    return write_page(folder / REPORT, "evaluation/page.html.j2", _context(results, pictures))


def _context(results: EvaluationResults, pictures: Mapping[str, Picture | Markup]) -> dict[str, Any]:
    metrics, copies, n = results["metrics"], results["copies"], results["n"]
    flagged = copies["flagged"] if copies else []
    return {
        "real": results["real"],
        "fake": results["fake"],
        "n": n,
        "warnings": answers.warnings(metrics, copies, n, results["warnings"]),
        "answers": [
            (title, results["verdicts"][name], _level(name, results["verdicts"][name]["answer"]))
            for name, title in answers.QUESTIONS.items()
        ],
        "rows": {
            title: [row for row in metrics if row["question"] == name] for name, title in answers.QUESTIONS.items()
        },
        "stands": answers.stands,
        "meaning": answers.meaning,
        "not_measured": results["not_measured"],
        "copies": copies,
        "held_out": copies is not None and copies["calibration"] == HELD_OUT,
        "flagged": flagged[:_NAMES],
        "unlisted": len(flagged[_NAMES:]),
        "projections": results["projections"],
        "has_maps": bool(results["projections"]),
        "protocol": {name: _setting(value) for name, value in results["protocol"].items()},
        "protocol_id": results["protocol_id"],
        "seconds": results["seconds"],
        "pictures": pictures,
    }


def _level(question: str, answer: str) -> str:
    """Return the colour of an answer: a copy found is bad news, a realistic image good."""
    level = _LEVELS[answer]
    return {"yes": "no", "no": "yes"}.get(level, level) if question == "copied" else level


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(atomic.plain(value), ensure_ascii=False)
