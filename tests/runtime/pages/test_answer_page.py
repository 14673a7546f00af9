"""``sonoforge classify --html``: one self-contained page, the worst first, nothing of it run, nobody named on it."""

from __future__ import annotations

import base64
import errno
import hashlib
import html
import io
import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

import bundle_factory as factory
from axe import faults_at_any_width
from program import refused, sonoforge
from sonoforge.runtime import Classifier, explanations
from sonoforge.runtime.inference.decision import answers_in_words, figures_in_words, percent
from sonoforge.runtime.inference.verdict import UNUSABLE, verdict_of
from sonoforge.runtime.pages import answer_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "<script>alert(1)<_script>&\"'.png"


class Page(HTMLParser):
    """What a browser sees: texts, addresses, elements and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.files = [base64.b64decode(address.partition(",")[2]) for address in self.addresses]
        self.pictures = [Image.open(io.BytesIO(file)) for file in self.files]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        found = [value or "" for name, value in attrs if name in ("src", "href")]
        self.addresses += [address for address in found if not address.startswith("#")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = factory.write_scans(tmp_path / "scans", range(6))
    Image.fromarray(np.zeros((90, 120), np.uint8)).save(folder / "black.png")
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"  # ImageDescription
    Image.fromarray(factory.scan(7)).save(folder / "Jane Doe.jpg", exif=exif, comment=b"Jane Doe")
    (folder / HOSTILE).write_bytes(b"junk")
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
    assert not {"script", "link", "iframe", "object", "form"} & seen.tags
    assert "<script" not in text and "default-src 'none'" in text
    assert any(HOSTILE in words for words in seen.texts)
    assert sum("Research use, not a medical device." in words for words in seen.texts) == 2 + 9
    assert len(seen.pictures) == 2 * 8 and {max(picture.size) for picture in seen.pictures} == {120}
    cards = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(cards) == 9
    for card in cards:  # the map is folded, and so are figures that mean nothing
        outside = re.sub(r"<details>.*?</details>", "", card, flags=re.DOTALL)
        assert "evidence in colour" not in outside and "Research use, not a medical device." in outside
        assert ("Cannot be ruled out" in outside) == ('class="card no"' not in card)


def test_the_most_suspicious_comes_first_and_at_the_end_what_has_no_answer(bundle: Path, scans: Path) -> None:
    text, seen = page(bundle, scans)
    results = sonoforge("classify", scans, "--bundle", bundle, "--json").json["results"]
    answers = {Path(entry["file"]).name: entry for entry in results}
    listed = [words for words in seen.texts if words in answers]
    order, cards = listed[:9], listed[9:]
    assert sorted(order) == sorted(answers) and [name for name in order if name in cards] == cards
    usable = [name for name in order if verdict_of(answers[name]).state not in UNUSABLE]
    assert 0 < len(usable) < 8 and usable == order[: len(usable)]
    suspicion = [answers[name]["probabilities"]["malignant"] for name in usable]
    assert suspicion == sorted(suspicion, reverse=True)
    assert not answers[order[len(usable)]]["ok"]
    for name in usable:
        label = answers[name]["label"]
        assert f"{label} {100 * answers[name]['probabilities'][label]:.0f}\u00a0%" in seen.texts
    for state, count in Counter(verdict_of(entry).state for entry in answers.values()).items():
        assert f"<dt>{state}</dt><dd>{count}</dd>" in text
    assert str(scans) in text.partition("</p>")[0]  # said once


@pytest.mark.slow
def test_axe_finds_nothing_at_any_width(bundle: Path, scans: Path, browser: Browser) -> None:
    page(bundle, scans)
    assert faults_at_any_width(browser, scans.parent / "page.html") == {}


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_morning_s_scans_print_on_few_sheets_and_none_is_cut(
    bundle: Path, tmp_path: Path, browser: Browser, paper: str
) -> None:
    """Each card begins with its file's name and ends with the notice: on a sheet, one follows the other."""
    folder = factory.write_scans(tmp_path / "scans", range(31))
    names = [f"{number:02}-a_scan_of_{'the_left_breast_' * (number % 4)}.png" for number in range(34)]
    for number, name in enumerate(names):
        if number < 31:
            (folder / f"{number}.png").rename(folder / name)
    (folder / names[31]).write_bytes(b"junk")
    Image.fromarray(np.zeros((90, 120), np.uint8)).save(folder / names[32])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 80, 3), np.uint8)).save(folder / names[33])
    page(bundle, folder)
    with browser.new_context(offline=True) as context:
        tab = context.new_page()
        tab.goto((tmp_path / "page.html").as_uri())
        sheets = PdfReader(io.BytesIO(tab.pdf(format=paper))).pages
    words = ["".join(sheet.extract_text().split()) for sheet in sheets]
    assert len(words) <= 8 and min(map(len, words)) > 200
    seen, ends = Counter[str](), 0
    for sheet in words:
        inside = False
        for found in re.findall(r"\d\d-a_scan_of_\w*\.png|device\.Model", sheet):
            ends += found == "device.Model"
            seen[found] += 1
            if seen[found] == 1 and found != "device.Model":
                continue  # in the list
            if found == "device.Model" or not inside:  # an error names the file once more
                assert inside is (found == "device.Model"), sheet
                inside = found != "device.Model"
        assert not inside, sheet
    assert ends == len(names) and {seen[name] for name in names} <= {2, 3}


def test_the_same_answer_reads_alike_on_the_page_in_the_terminal_and_in_the_picture(
    bundle: Path, tmp_path: Path
) -> None:
    folder = factory.write_scans(tmp_path / "scans", range(12))
    text, entries = page_of(bundle, folder, tmp_path)
    printed = sonoforge("classify", folder, "--bundle", bundle).out
    classifier, open_answers = Classifier(bundle), 0
    for entry in entries:
        name, judged = Path(entry["file"]).name, verdict_of(entry)
        (row,) = re.findall(rf"<tr><th[^>]*><a[^>]*>{name}</a>.*?</tr>", text)
        cells = [html.unescape(cell).replace("\u00a0", " ") for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        (card,) = re.findall(rf'<article[^>]*><h3>[^<]*</h3><p class="file">{name}</p>.*?</article>', text)
        said = html.unescape(re.sub("<[^>]*>", "", card)).replace("\u00a0", " ")
        lines = printed[printed.index(f"\n{name} ") + 1 :].splitlines()
        caption = explanations.caption(classifier.classify(entry["file"]))
        assert judged.heading in lines[0] and judged.heading in said and caption[0].startswith(judged.heading)
        if judged.state in UNUSABLE:
            assert cells[0] == judged.heading and set(cells[1:]) == {""} and "%" not in lines[0]
            continue
        open_answers += len(entry["set"]) > 1
        asked = answers_in_words(entry["findings"])
        best = max(entry["probabilities"], key=entry["probabilities"].get)
        share = f"{best} {percent(entry['probabilities'][best])}"
        assert cells[0] == judged.heading.partition(":")[0]
        assert cells[1].lower() == " or ".join(entry["set"]) and cells[2:] == [*asked.values(), share]
        assert lines[0].endswith(share) and lines[1].split("; ") == [
            f"    lesion: {asked['lesion']}",
            *[f"malignant: {asked['malignant']}"],
        ]
        for title, words in figures_in_words(entry).items():
            assert f"{title}: {words}" in said and f"{title}: {words}" in caption
    assert open_answers


def page_of(bundle: Path, folder: Path, place: Path) -> tuple[str, list[dict[str, Any]]]:
    done = sonoforge("classify", folder, "--bundle", bundle, "--html", place / "page.html", "--json")
    return (place / "page.html").read_text(encoding="utf-8"), done.json["results"]


def test_a_page_without_an_answer_says_so_and_has_no_empty_part(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"junk")
    done = sonoforge("classify", tmp_path, "--bundle", bundle, "--html", tmp_path / "page.html")
    assert "next:" not in done.err and "most probable" not in done.out
    none = answer_page.AnswerPage(str(tmp_path / "none.html"), Classifier(bundle), anonymous=False)
    none.write({"files": 0, "ok": 0, "trained_on": None})
    for name, title in (("page", "No answer for 2 files"), ("none", "No answer for 0 files")):
        text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert f"<h1>{title}</h1>" in text and "<table" not in text
        assert not re.findall(r"<(h\d|p|dl|div|section)[^>]*>\s*</\1>", text)
        assert text.count("<article") == text.count("No answer</h3>")
        assert "ruled out" not in text.partition("</style>")[2]


def test_anonymous_pages_show_no_name_and_no_pixel_of_a_scan(bundle: Path, scans: Path) -> None:
    text, seen = page(bundle, scans, "--anonymous")
    assert not [name for name in ("Jane", "alert", str(scans), "black.png") if name in text]
    assert b"Jane" not in b"".join(seen.files) and len(seen.pictures) == 8
    assert any(hashlib.sha256((scans / "0.png").read_bytes()).hexdigest()[:16] in words for words in seen.texts)
    named, shown = page(bundle, scans)
    assert b"Jane Doe" not in b"".join(shown.files) and "Jane Doe.jpg" in named
    # Speckle makes neighbours differ; a map over even grey is smooth.
    assert max(map(roughness, seen.pictures)) < max(map(roughness, shown.pictures)) / 3


def roughness(picture: Image.Image) -> float:
    return float(np.abs(np.diff(np.asarray(picture.convert("L"), np.int16), axis=1)).mean())


def test_of_many_answers_the_worst_have_pictures_and_the_others_are_listed(
    bundle: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_page, "MOST_PICTURES", 3)
    text, seen = page(bundle, scans)
    assert len(seen.pictures) == 2 * 3
    assert "The list has 6 answers more." in seen.texts
    assert len(re.findall("<article", text)) == 3


def test_what_cannot_be_is_refused_before_anything_is_answered(bundle: Path, scans: Path) -> None:
    flags = ("--bundle", bundle, "--html")
    assert "is a folder" in refused("classify", scans, *flags, scans)
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
