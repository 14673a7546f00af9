"""Change JSON documents and texts at random, for tests of whatever may be in them; bytes: `file_structure`."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

ODD = st.sampled_from(
    [
        *(None, True, "", "\ud800", "a\nb", "x" * 100_000, 0, -1, 1.5, 10**400, -(10**30), 2**63, 1e308, [], {}, [[]]),
        *([1] * 1000, {"": 0}, {"a": {"b": 1}}, functools.reduce(lambda inner, _: [inner], range(200), [0])),
    ]
)
ODD_VALUES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), ODD, st.booleans()), min_size=1, max_size=3)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    keys = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    return [path, *(found for key in keys for found in places(document[key], (*path, key)))]


def altered(document: Any, changes: Iterable[tuple[float, Any, bool]]) -> Any:
    """Return a copy of a JSON document with odd values in some places, or without what was there."""
    document = copy.deepcopy(document)
    for place, value, removed in changes:
        found = places(document)[1:]
        if not found:
            break
        *parents, key = found[math.floor(place * len(found))]
        target = functools.reduce(lambda inner, step: inner[step], parents, document)
        if removed and isinstance(target, dict):
            del target[key]
        else:
            target[key] = copy.deepcopy(value)
    return document


WORDS = st.sampled_from(
    [
        *(
            "",
            "NA",
            "0",
            "0.0",
            "1e999",
            "-1",
            "nan",
            "inf",
            "9" * 5000,
            "²",
            "٣",
            "½",
            "\ud800",
            "\x00",
            "\r",
            "\n",
            '"',
        ),
        *("'", ",", ";", "\t", "=1+1", "..", "../../x.png", "/data/upload/1/0000feef-a.png", "a.png", "http://x/a.png"),
        *(
            "null",
            "yes",
            "~",
            "!!int x",
            "!!python/object:x",
            "&a [*a]",
            "*a",
            "{",
            "[",
            "- ",
            ": ",
            "#",
            "<<",
            "x" * 9000,
        ),
        *("\u202e", "\u200b", "ß", "ﬁ", "😀", "é", "e\u0301", "sep=;", "file", "label", "train", "0 0 0 0 0"),
    ]
)
SPELLINGS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), WORDS, st.sampled_from(("word", "before", "line", "twice"))),
    min_size=1,
    max_size=4,
)


def respelled(text: str, changes: Iterable[tuple[float, str, str]]) -> bytes:
    """Return a text with some of its words or lines changed, or lines doubled, as UTF-8."""
    for place, word, how in changes:
        mark = "\n" if how in ("line", "twice") else " " if " " in text and "," not in text else ","
        parts = text.replace("\n", f"{mark}\n{mark}").split(mark) if mark != "\n" else text.split("\n")
        at = math.floor(place * len(parts))
        parts[at] = {"word": word, "before": word + parts[at], "line": word, "twice": f"{parts[at]}\n{parts[at]}"}[how]
        text = mark.join(parts).replace(f"{mark}\n{mark}", "\n") if mark != "\n" else "\n".join(parts)
    return text.encode("utf-8", "surrogatepass")
