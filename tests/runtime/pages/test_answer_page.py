"""``sonoforge classify --html``: one self-contained page, the worst first, nothing of it run, nobody named on it."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from program import refused, sonoforge
from sonoforge.runtime.pages import answer_page

HOSTILE = "<script>alert(1)</script>&\"'.png"


class Page(HTMLParser):
    """What a browser sees: texts, addresses and elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    @property
    def pictures(self) -> list[Image.Image]:
        return [Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) for address in self.addresses]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(factory.scan(i)).save(folder / f"{i}.png")
    Image.fromarray(np.zeros((90, 120), np.uint8)).save(folder / "black.png")
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"  # ImageDescription
    Image.fromarray(factory.scan(7)).save(folder / "Jane Doe.jpg", exif=exif, comment=b"Jane Doe")
    (folder / HOSTILE.replace("/", "_")).write_bytes(b"junk")
    return folder


def page(bundle: Path, scans: Path, *flags: object) -> tuple[str, Page]:
    target = scans.parent / "page.html"
    done = sonoforge("classify", scans, "--bundle", bundle, "--html", target, *flags)
    assert done.code == 2, done.err  # of the file that is no image
    text = target.read_text(encoding="utf-8")
    return text, Page(text)


def test_it_loads_and_runs_nothing_and_escapes_every_name(bundle: Path, scans: Path) -> None:
    text, seen = page(bundle, scans)
    assert all(address.startswith("data:image/jpeg;base64,") for address in seen.addresses)
    assert not {"script", "link", "iframe", "object", "form", "b"} - {"b"} & seen.tags
    assert "<script" not in text and "default-src 'none'" in text
    assert any(HOSTILE.replace("/", "_") in words for words in seen.texts)
    assert sum("Research use, not a medical device." in words for words in seen.texts) == 2
    assert len(seen.pictures) == 2 * 8
    assert {max(picture.size) for picture in seen.pictures} == {120}


def test_the_worst_comes_first(bundle: Path, scans: Path) -> None:
    _, seen = page(bundle, scans)
    answers = {
        entry["file"]: entry for entry in sonoforge("classify", scans, "--bundle", bundle, "--json").json["results"]
    }
    order = [words for words in seen.texts if words in answers]
    ranks = [answer_page.verdict(answers[file]).rank for file in order]
    assert len(order) == 9 and ranks == sorted(ranks) and ranks[0] == 0 < ranks[-1]
    assert not answers[order[1]]["trust"]["in_distribution"] and order[1].endswith("black.png")
    for file in order[1:]:
        assert any(words.startswith("like the training") for words in seen.texts) or file
        assert f"{100 * answers[file]['probabilities'][answers[file]['label']]:.0f} %" in seen.texts


@pytest.mark.parametrize(
    ("entry", "rank", "heading"),
    [
        ({"ok": False}, 0, "No answer"),
        ({"ok": True, "label": "uncertain", "trust": {}, "set": ["a"]}, 1, "Uncertain: no answer"),
        (
            {"ok": True, "label": "a", "trust": {"in_distribution": False}, "set": ["a"]},
            1,
            "Do not use: unlike the training images",
        ),
        ({"ok": True, "label": "a", "trust": {"in_distribution": True}, "set": ["a", "b"]}, 2, "Open: a or b"),
        (
            {
                "ok": True,
                "label": "a",
                "trust": {"in_distribution": True},
                "set": ["a"],
                "quality": {"flags": ["dark"]},
            },
            3,
            "a, from a poor image",
        ),
        (
            {"ok": True, "label": "a", "trust": {"in_distribution": True}, "set": ["a"], "quality": {"flags": []}},
            4,
            "a",
        ),
    ],
)
def test_how_an_answer_is_to_be_taken(entry: dict[str, object], rank: int, heading: str) -> None:
    found = answer_page.verdict(entry)
    assert (found.rank, found.heading) == (rank, heading)


def test_anonymous_pages_show_no_name_and_no_pixel_of_a_scan(bundle: Path, scans: Path) -> None:
    text, seen = page(bundle, scans, "--anonymous")
    assert not [name for name in ("Jane", "alert", str(scans), "black.png") if name in text]
    content = b"".join(base64.b64decode(address.partition(",")[2]) for address in seen.addresses)
    assert b"Jane" not in content and len(seen.pictures) == 8
    assert any(hashlib.sha256((scans / "0.png").read_bytes()).hexdigest()[:16] in words for words in seen.texts)
    # Speckle would make neighbours differ; a map over even grey is smooth.
    roughness = [
        float(np.abs(np.diff(np.asarray(picture.convert("L"), np.int16), axis=1)).mean()) for picture in seen.pictures
    ]
    named, shown = page(bundle, scans)
    assert b"Jane Doe" not in b"".join(base64.b64decode(address.partition(",")[2]) for address in shown.addresses)
    assert "Jane Doe.jpg" in named
    speckled = float(np.abs(np.diff(np.asarray(shown.pictures[-2].convert("L"), np.int16), axis=1)).mean())
    assert max(roughness) < speckled / 3


def test_of_many_answers_the_worst_have_pictures_and_the_others_are_listed(
    bundle: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_page, "MOST_PICTURES", 3)
    text, seen = page(bundle, scans)
    assert len(seen.pictures) == 2 * 2  # the worst of the three is no image
    assert "6 further answers" in seen.texts
    assert len(re.findall("<article", text)) == 3


def test_what_cannot_be_is_refused_before_anything_is_answered(bundle: Path, scans: Path) -> None:
    flags = ("--bundle", bundle, "--html")
    assert "cannot be written" in refused("classify", scans, *flags, scans)
    table = ("--csv", scans.parent / "a.csv")
    assert "--resume leaves out the others" in refused("classify", scans, *flags, scans / "x.html", *table, "--resume")


def test_a_page_that_cannot_be_written_whole_is_not_there(
    bundle: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        done = sonoforge("classify", scans, "--bundle", bundle, "--html", tmp_path / "page.html")
    assert done.code == 2 and "page.html: cannot be written (No space left on device)" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]
