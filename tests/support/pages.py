"""Reads a page as strictly as a browser does not, and checks what every page must hold."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link", "wbr"}
LOADING = {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source"}


class Page(HTMLParser):
    """A page: tags must balance; keeps tags, tables by caption, and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()
        if tag == "table":
            self.tables[self._caption.strip()] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        return plain("".join(self.words))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, begin: str) -> list[list[str]]:
        """The table whose caption begins so, cells with plain spaces."""
        found = [rows for caption, rows in self.tables.items() if caption.startswith(begin)]
        assert len(found) == 1, f"{len(found)} tables begin with {begin!r}: {list(self.tables)}"
        return [[plain(cell) for cell in row] for row in found[0]]


def plain(text: str) -> str:
    """The text with single, breaking spaces."""
    return re.sub(r"\s+", " ", text).strip()


def check_page(page: Page) -> None:
    """It loads nothing, runs nothing, can be read aloud, and has light, dark and printed looks."""
    tags = [tag for tag, _ in page.tags]
    assert not LOADING & set(tags)
    for tag, attributes in page.tags:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        for link in ("href", "xlink:href"):
            assert attributes.get(link, "#").startswith(("#", "data:image/png", "report/"))
        assert not {"srcset", "action", "background", "poster"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in ("row", "col", "colgroup", "rowgroup")
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])
    assert "@import" not in page.source
    assert "http" not in page.source.replace("http-equiv", "")
    assert set(re.findall(r"url\((.)", page.source)) <= {"#"}
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.attributes("a") if "download" not in a} <= set(ids)
    assert tags.count("table") == tags.count("caption") == len(page.tables)
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for words in ("prefers-color-scheme: dark", "@media print", 'lang="en"', 'name="viewport"', "not a medical device"):
        assert words in page.source
