"""Render a bundle's model card and its table of files; texts are in templates, tables in ``model-card.yaml``."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import jinja2

from sonoforge.export.bundle.folder import ManifestJson
from sonoforge.training.reports.blocks import environment
from sonoforge.training.reports.words import Words
from sonoforge.training.statistics.results import interval_text, share_text

FILES = "## Files"
WORDS = Words("model-card")


def table(key: str, rows: Iterable[object], /, **facts: object) -> str:
    """Return a table that ``model-card.yaml`` declares, in Markdown."""
    facts |= {"rows": rows, "share_text": share_text, "interval_text": interval_text}
    return WORDS.table(key, rows, **facts).in_markdown()


def replace_files(card: str, manifest: ManifestJson) -> str:
    """Return the card with its table of model files, from ``parity.formats``, before the last section.

    What was computed again, ``evaluation.checked``, is said before the first.
    """
    task, formats = manifest["task"], manifest["parity"]["formats"].values()
    images = dict.fromkeys(row["images"] for row in formats if "images" in row)
    checked_on = f" Checked on {'; '.join(images)}." if images else ""
    section = "\n\n".join([FILES, WORDS.plain(task) + checked_on, table("files", formats, task=task)]) + "\n"
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    kept = [section for section in sections if not section.startswith(FILES)]
    if checked := manifest.get("evaluation", {}).get("checked"):
        stated = " ".join(WORDS.plain("stated", **checked).split())
        kept[0] = re.sub(r"^\*\*Figures .*\n\n", "", kept[0], flags=re.MULTILINE) + f"{stated}\n\n"
    return "".join([*kept[:-1], section + "\n", kept[-1]])


def render(template: str, /, **facts: object) -> str:
    """Fill in a card's template beside this module; the lines of each paragraph are joined."""
    text = _environment().get_template(f"{template}.md.j2").render(facts)
    blocks = [block for block in re.split(r"\n\s*\n|\n(?=#)", text.strip()) if block.strip()]
    joined = [block if block[0] in "|-" else " ".join(block.split("\n")) for block in blocks]
    return "\n\n".join(re.sub(" {2,}", " ", block).strip() for block in joined) + "\n"


@functools.cache
def _environment() -> jinja2.Environment:
    own = environment().overlay(autoescape=False, loader=jinja2.FileSystemLoader(Path(__file__).parent))
    own.filters = own.filters | {
        "f": format,
        "share": share_text,
        "interval": interval_text,
        "counts": lambda counts: ", ".join(f"{name} {count}" for name, count in counts.items()),
    }
    return own
