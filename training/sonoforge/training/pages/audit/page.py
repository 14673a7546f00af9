"""The audit as a page: what the set holds, and every cluster of repeated scans side by side.

`audit_page_html` is a page of its own; `cluster_pictures_html` is the part that a report can embed.
All pictures are inside the page (base64 JPEG), so that one file can be sent to whoever knows the data.
"""

from __future__ import annotations

import base64
import io
from importlib import resources
from typing import Any

import jinja2
from PIL import Image

from sonoforge.training.data.cache import ImageCache

# Colour-blind safe (Okabe and Ito, 2008), dark enough for white text except where noted in the template.
_LABEL_COLOURS = ("#0072b2", "#2f7d4f", "#b5361c", "#7a4fa3", "#8a6d00", "#4d4d4d")
_PICTURE_HEIGHT = 150


def audit_page_html(audit: dict[str, Any], cache: ImageCache) -> str:
    """Render the whole audit as one self-contained HTML page.

    Args:
        audit: What `sonoforge.training.verbs.data_audit.audit` returned for the cache.
        cache: The images.
    """
    return _template("audit_page.html.j2").render(
        audit=audit,
        colours=_colours(audit),
        style=cluster_style(),
        clusters=cluster_pictures_html(audit, cache),
    )


def cluster_pictures_html(audit: dict[str, Any], cache: ImageCache, limit: int | None = None) -> str:
    """Render the clusters' pictures as an HTML fragment, mixed labels first.

    The fragment needs the rules of `cluster_style` once on the page.

    Args:
        audit: What `sonoforge.training.verbs.data_audit.audit` returned for the cache.
        cache: The images.
        limit: Show at most this many clusters; None shows all.
    """
    index = {item.path: i for i, item in enumerate(cache.dataset.items)}
    shown = audit["clusters"][:limit]
    cards = [_card(cluster, cache, index) for cluster in shown]
    return _template("audit_clusters.html.j2").render(
        mixed=[card for card in cards if card["mixed"]],
        alike=[card for card in cards if not card["mixed"]],
        hidden=len(audit["clusters"]) - len(shown),
        colours=_colours(audit),
    )


def cluster_style() -> str:
    """Return the CSS rules of `cluster_pictures_html`; all class names begin with ``cluster``."""
    return _text("audit_clusters.css")


def _card(cluster: dict[str, Any], cache: ImageCache, index: dict[str, int]) -> dict[str, Any]:
    pictures = [
        {
            "file": file.rsplit("/", 1)[-1],
            "label": label,
            "source": _picture(cache, index[file]),
            "size": "{} × {}".format(*cache.sizes[index[file]]),
        }
        for file, label in zip(cluster["files"], cluster["labels"], strict=True)
    ]
    correlations = [pair["correlation"] for pair in cluster["pairs"] if not pair["same_pixels"]]
    facts = []
    if cluster["same_pixels"]:
        facts.append("equal pixels")
    if correlations:
        low, high = min(correlations), max(correlations)
        facts.append(f"r = {low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"r = {low:.2f} to {high:.2f}")
    if any(pair["mirrored"] for pair in cluster["pairs"]):
        facts.append("mirrored")
    return {"pictures": pictures, "mixed": cluster["mixed"], "facts": " · ".join(facts)}


def _picture(cache: ImageCache, index: int) -> str:
    """One image in its own proportions, as a data URL."""
    width, height = (int(side) for side in cache.sizes[index])
    shape = (max(1, min(round(_PICTURE_HEIGHT * width / height), 3 * _PICTURE_HEIGHT)), _PICTURE_HEIGHT)
    picture = Image.fromarray(cache.images[index]).resize(shape, Image.Resampling.LANCZOS)
    if cache.modes[index] != "RGB":
        picture = picture.convert("L")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colours(audit: dict[str, Any]) -> dict[str, str]:
    return {name: _LABEL_COLOURS[i % len(_LABEL_COLOURS)] for i, name in enumerate(audit["classes"])}


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_text(name))


def _text(name: str) -> str:
    return resources.files("sonoforge.training.pages.audit").joinpath(name).read_text(encoding="utf-8")
