"""``report.html`` of an evaluation: is it realistic, is it diverse, is it copied; one self-contained file.

The page prints the results it is given and computes no figure of its own.  It loads nothing: styles and pictures are
inside.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from sonoforge.runtime import atomic
from sonoforge.training.pages.embedded_images import Picture, embed
from sonoforge.training.pages.evaluation import words
from sonoforge.training.pages.evaluation.glossary import GLOSSARY
from sonoforge.training.pages.run import words as report_words

log = logging.getLogger(__name__)

REPORT = "report.html"
QUESTIONS = {"realistic": "Is it realistic?", "diverse": "Is it diverse?", "copied": "Is it copied?"}
ALTS = {
    "samples": "Rows of real images above rows of generated, synthetic images",
    "ratios": "Each metric of generated against real images, in multiples of the limit of real against real; the table "
    "below has the figures",
    "distances": "Histograms of the distance to the closest training image, of generated and of real images, with the "
    "threshold",
    "nearest": "Generated images, each beside its closest training images",
    "pca": "Real and generated images on the first two principal components of the real images' pixels",
    "tsne": "t-SNE map of real and generated images",
    "umap": "UMAP map of real and generated images",
    "curves": "Curves of the generator's training by step",
}
"""The pictures a page can show, and what a screen reader says of each."""
_BETTER = {"low": "low", "high": "high", "near": "near"}
_LEVELS = {"yes": "yes", "no": "no", "partly": "open", "unknown": "open"}
_PLAIN_PNG = (
    400_000  # bytes; larger pictures are photographs, which JPEG holds in a fraction: the page stays below 10 MB
)
_SIDE = 1600  # pixels of such a picture
_NAMES = 40  # flagged files listed; the rest is counted


def write_page(folder: Path, results: Mapping[str, Any], images: Mapping[str, bytes]) -> Path:
    """Write ``FOLDER/report.html``.

    Args:
        folder: Where results and pictures lie.
        results: What was measured, in plain JSON values:

            - ``real``: ``source``, ``class``, ``images``, ``groups``; ``fake``: ``source``, ``class``, ``images``,
              ``synthetic`` (whether its files say that they are);
            - ``n``: images a side of matched values and floors, or None;
            - ``metrics``: rows of ``name``, ``title``, ``space``, ``better`` (``low``, ``high`` or ``near``),
              ``question`` (a key of `QUESTIONS`), ``value``, ``standard_error``, ``matched``, ``matched_low``,
              ``matched_high``, ``floor``, ``floor_low``, ``floor_high``, ``ratio`` (each a number or None), ``note``;
            - ``copies``: None, or ``calibration`` (``held-out ...``, or what else the threshold is from),
              ``threshold``, ``share``, ``low``, ``high``, ``false_alarm``, ``memorised``, ``p_value``,
              ``data_copying_z`` (or None), ``images`` and ``flagged`` (names);
            - ``protocol``: every setting by name; ``protocol_id``: its digest;
            - optional: ``warnings`` (sentences shown first), ``not_measured`` (rows of ``name``, ``why``),
              ``projections`` (by method: figures by name), ``verdicts`` (else `words.judge`), ``seconds``.
        images: PNG files by the names in `ALTS`; any may be missing.

    Returns:
        The page.

    Raises:
        ValueError: A picture of another name.
    """
    page = render(build_context(results, images))
    path = folder / REPORT
    atomic.write_text(path, page)
    log.info("report: %s of one self-contained page", report_words.size(len(page.encode("utf-8", "backslashreplace"))))
    return path


def build_context(results: Mapping[str, Any], images: Mapping[str, bytes]) -> dict[str, Any]:
    """Collect what the page shows; see `write_page` for the arguments."""
    unknown = set(images) - set(ALTS)
    if unknown:
        raise ValueError(f"pictures: found {sorted(unknown)}, expected some of {list(ALTS)}")
    verdicts = results.get("verdicts") or words.judge(results)
    copies = results.get("copies")
    flagged = copies["flagged"] if copies else []
    return {
        "style": Markup(_file("run", "style.css") + _file("evaluation", "answers.css")),  # noqa: S704 - our own files
        "real": results["real"],
        "fake": results["fake"],
        "n": results.get("n"),
        "warnings": words.warnings(results),
        "answers": [(title, verdicts[name], _level(name, verdicts[name])) for name, title in QUESTIONS.items()],
        "rows": {
            title: [row for row in results["metrics"] if row["question"] == name] for name, title in QUESTIONS.items()
        },
        "better": _BETTER,
        "not_measured": results.get("not_measured", []),
        "copies": copies,
        "flagged": flagged[:_NAMES],
        "unlisted": len(flagged[_NAMES:]),
        "projections": results.get("projections") or {},
        "protocol": {name: _setting(value) for name, value in results["protocol"].items()},
        "protocol_id": results["protocol_id"],
        "seconds": results.get("seconds"),
        "pictures": {name: _picture(data, ALTS[name]) for name, data in images.items()},
        "glossary": GLOSSARY,
    }


def render(context: Mapping[str, Any]) -> str:
    """Render the page; everything that is not marked as safe is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _file("evaluation", name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": words.figure, "times": words.times, "meaning": words.meaning}
    environment.filters |= {"stands": words.stands, "share": report_words.share, "p_value": report_words.p_value}
    environment.filters |= {"duration": report_words.duration}
    environment.globals |= {"counted": report_words.counted, "ends": words.ends}
    return environment.get_template("page.html.j2").render(context)


def _file(package: str, name: str) -> str:
    return (
        resources.files(f"sonoforge.training.pages.{package}").joinpath("templates", name).read_text(encoding="utf-8")
    )


def _level(question: str, verdict: Mapping[str, str]) -> str:
    """The colour of an answer: a copy found is bad news, a realistic image good."""
    level = _LEVELS[verdict["answer"]]
    return {"yes": "no", "no": "yes"}.get(level, level) if question == "copied" else level


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(atomic.plain(value), ensure_ascii=False)


def _picture(data: bytes, alt: str) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        if len(data) > _PLAIN_PNG:
            return embed(image, _SIDE, alt)
        width, height = image.size
    return Picture(f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}", width, height, alt)
