"""The page of a reading sheet: it loads nothing, runs its own script alone, and is answered in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from axe import UNFOLD, WIDTHS, faults
from pages import Page
from readings import small_sheet, write_folder
from sonoforge.training.reader_study.scores import read_readers
from sonoforge.training.reader_study.sheet import Sheet
from sonoforge.training.reports.reading import PAGE

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

CLASSES = ("benign", "malignant")


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sheet, str]:
    """The page's file, the sheet and its commitment."""
    folder, made = tmp_path_factory.mktemp("sheets") / "sheet", small_sheet(3, CLASSES)
    return folder / PAGE, made, write_folder(folder, made)


def test_the_page_loads_nothing_and_allows_its_own_script_alone(sheet: tuple[Path, Sheet, str]) -> None:
    source = sheet[0].read_text()
    page = Page(source)
    (policy,) = (one["content"] for one in page.attributes("meta") if one.get("http-equiv"))
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    expected = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    assert policy == expected
    assert not {"src", "href"} & {name for tag, own in page.tags if tag != "a" for name in own}
    assert not any(name.startswith("on") for _, own in page.tags for name in own)
    assert "This page contains synthetic images." in page.text
    assert "Research use, not a medical device." in page.text
    data = json.loads(re.findall(r'id="sheet">(.*?)</script>', source, re.DOTALL)[0])
    assert set(data) == {"format", "commitment", "synthetic", "images"}
    assert len({len(one) for one in data["images"]}) == 1


# ---- in a browser


def begin(tab: Tab, path: Path) -> None:
    tab.goto(path.as_uri())
    tab.fill("#reader", "Reader 1")
    tab.fill("#experience", "sonographer, 3 years")
    tab.click("#about button.main")


@pytest.mark.slow
def test_a_reader_answers_by_keys_pointer_and_saves(
    sheet: tuple[Path, Sheet, str], browser: Browser, tmp_path: Path
) -> None:
    path, made, seal = sheet
    with browser.new_context(offline=True) as context:
        tab = context.new_page()
        errors: list[str] = []
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        begin(tab, path)
        for entry in made.key.entries[:-1]:
            assert tab.text_content("#number") == f"Image {entry.number} of 12"
            shown = tab.evaluate("document.getElementById('image').src.split(',')[1]")
            assert hashlib.sha256(base64.b64decode(shown)).hexdigest() == entry.picture
            tab.keyboard.press(entry.kind[0])
            tab.keyboard.press("4")
            tab.check(f"input[name=class][value={entry.class_name}]")
            if entry.number == 2:
                box = tab.locator("#image").bounding_box()
                assert box is not None
                tab.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
            if entry.number == 3:
                tab.click("text=Place the mark with the keyboard")
                tab.locator("#across").press("ArrowRight")
            if entry.number == 4:
                tab.wait_for_timeout(300)
            tab.locator("#number").focus()
            tab.keyboard.press("n")
        tab.click("#next")
        assert "11 of 12 images are answered. Left open: 12." in (tab.text_content("#done") or "")
        # A browser that was closed goes on where it was left.
        again = context.new_page()
        again.goto(path.as_uri())
        assert again.input_value("#reader") == "Reader 1"
        assert again.text_content("#about button.main") == "Continue"
        with tab.expect_download() as download:
            tab.click("#save")
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.name == f"answers-{seal[:8]}-Reader-1.json"
        assert json.loads(tab.input_value("#text"))["answers"] == json.loads(file.read_text())["answers"]
        assert errors == []
    (reader,) = read_readers([file], made.key, seal)
    assert (reader.name, reader.experience) == ("Reader 1", "sonographer, 3 years")
    assert {n: one.kind for n, one in reader.answers.items()} == {e.number: e.kind for e in made.key.entries[:-1]}
    assert {one.confidence for one in reader.answers.values()} == {4}
    assert all(one.class_name == made.key.entries[n - 1].class_name for n, one in reader.answers.items())
    assert reader.answers[2].mark == pytest.approx((0.25, 0.5), abs=0.01)
    assert reader.answers[3].mark == (0.51, 0.5)
    assert reader.answers[4].seconds >= 0.3
    # The file continues the reading in a browser that knows nothing of it.
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(path.as_uri())
        tab.set_input_files("#file", str(file))
        tab.wait_for_selector("text=Read: 11 of 12 images are answered.")
        tab.click("#about button.main")
        assert tab.text_content("#number") == "Image 12 of 12"


@pytest.mark.slow
def test_without_storage_the_page_works_and_warns(sheet: tuple[Path, Sheet, str], browser: Browser) -> None:
    with browser.new_context() as context:
        context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})")
        tab = context.new_page()
        begin(tab, sheet[0])
        tab.keyboard.press("r")
        tab.wait_for_selector("text=This browser keeps nothing: save before you close the page.")
        tab.uncheck("#keys")
        tab.keyboard.press("g")
        assert tab.is_checked("input[value=real]")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_at_any_width(
    sheet: tuple[Path, Sheet, str], browser: Browser, width: int, scheme: str
) -> None:
    viewport = {"width": width, "height": 844}
    with browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as context:
        tab = context.new_page()
        tab.goto(sheet[0].as_uri())

        def check() -> None:
            tab.evaluate(UNFOLD)
            assert faults(tab) == []
            small = tab.evaluate(
                """() => [...document.querySelectorAll("button, .choices label, summary, input[type=range]")]
                  .map((one) => [one.textContent, one.getBoundingClientRect()])
                  .filter(([, {width, height}]) => width && (width < 44 || height < 43.5)).map(([text]) => text)"""
            )
            assert small == []

        check()
        tab.fill("#reader", "R")
        tab.click("#about button.main")
        tab.keyboard.press("g")
        tab.locator("#stage").click()
        check()
        for _ in range(12):
            tab.click("#next")
        check()
