"""The page as people use it: wrong files, a camera, many files, a new version, a keyboard, two fingers.

Most of these tests are slow; .ci/run runs them.
"""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import planted_marks as plant
from axe import WIDTHS, faults
from browser import served
from image_files import png_chunk
from page import READY, answered, give, opened
from program import succeed
from sonoforge.runtime.inference.verdict import UNUSABLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
BATCH = 200


def scans(folder: Path, count: int) -> list[Path]:
    """Write small simulated scans."""
    files = []
    for i in range(count):
        files.append(folder / f"{i}.png")
        Image.fromarray(plant.speckle(90 + i % 40, 120 + i % 50, seed=i)).save(files[-1])
    return files


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


@pytest.mark.slow
def test_wrong_files_get_a_plain_sentence_and_the_others_an_answer(app: Path, browser: Browser, tmp_path: Path) -> None:
    (good,) = scans(tmp_path, 1)
    frames = [Image.fromarray(plant.speckle(40, 50, seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    sof = b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 10_000, 10_000) + b"\x01\x01\x11\x00"
    bad = {
        "cut.png": (good.read_bytes()[:3000], "truncated"),
        "text.png": (b"no picture", "not_an_image"),
        "nothing.png": (b"", "empty"),
        "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated"),
        "huge.png": (png_header(10_000, 10_000), "too_large"),
        "huge.jpg": (sof, "too_large"),
        "huge.bmp": (b"BM" + bytes(12) + struct.pack("<Iii", 40, 10_000, -10_000) + bytes(40), "too_large"),
        "moving.gif": ((tmp_path / "moving.gif").read_bytes(), "animated"),
        "drawing.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        "letter.pdf": (b"%PDF-1.7\n", "not_an_image"),
        "study.dcm": (bytes(128) + b"DICM" + bytes(40), "not_an_image"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    with served(app) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        results = answered(page, [*(tmp_path / name for name in bad), good])
        said = dict(zip(bad, page.locator(".card.failed").all_text_contents(), strict=True))
        page.wait_for_selector(f"text=Done: 1 of {len(bad) + 1} answered.")
        page.evaluate(
            """() => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(200).fill(68, 128, 132)], "dropped.dcm"));
              document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
            }"""
        )
        page.wait_for_selector("text=dropped.dcm")
    assert {r["file"]: r["error"]["code"] for r in results if not r["ok"]} == {k: code for k, (_, code) in bad.items()}
    assert results[-1]["ok"]
    for name, word in {"huge.jpg": "10000x10000", "drawing.svg": "SVG", "study.dcm": "DICOM"}.items():
        assert word in said[name], said[name]
    for name, text in said.items():
        assert text.split()[:3] == [name, "No", "answer"], text
        assert re.search(r"\b(Save|Crop)\b", text), text  # what to do
        assert not re.search(r"undefined|null|Error|error ", text), text


def answered_already(page: Page) -> list[dict[str, dict[str, float]]]:
    """What the page has answered, from the JSON that it saves."""
    return answered(page, [])


@pytest.mark.slow
def test_a_batch_can_be_stopped_and_keeps_its_order(app: Path, browser: Browser, tmp_path: Path) -> None:
    files = scans(tmp_path, 40)
    with served(app) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        page.set_input_files("#files", [str(file) for file in files])
        page.wait_for_selector(".card >> nth=2", timeout=300_000)
        page.click("#stop")
        page.wait_for_selector("#work", state="hidden", timeout=300_000)
        names = page.locator(".card .file").all_text_contents()
        assert 3 <= len(names) < 40
        assert names == [file.name for file in files[: len(names)]]
        assert page.text_content("#state") == f"Stopped: {len(names)} of 40 answered."
        give(page, files[-2:])  # a later batch stands above
        given = ["38.png", "39.png", *names]
        assert page.locator(".card .file").all_text_contents() == given
        results = {result["file"]: result for result in answered_already(page)}
        page.click("#suspicious")
        ordered = page.locator(".card .file").all_text_contents()
        usable = [name for name in ordered if results[name]["verdict"] not in UNUSABLE]
        assert sorted(ordered) == sorted(given) and ordered[: len(usable)] == usable
        probabilities = [results[name]["probabilities"]["malignant"] for name in usable]
        assert probabilities == sorted(probabilities, reverse=True)
        assert page.text_content("#order") == ("Most likely malignant first; scans without a usable answer last.")
        page.click("#suspicious")
        assert page.locator(".card .file").all_text_contents() == given


@pytest.mark.slow
def test_a_new_version_is_offered_and_no_answer_is_lost_unasked(app: Path, browser: Browser, tmp_path: Path) -> None:
    site, (scan,) = tmp_path / "site", scans(tmp_path, 1)
    shutil.copytree(app, site)
    running = "fetch('app.json').then((answer) => answer.json()).then(({crop}) => crop)"
    with served(site) as address, browser.new_context() as context:
        page = opened(context.new_page(), address)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        opened(page, address)  # now by the service worker
        other = opened(context.new_page(), address)
        give(page, [scan])
        give(other, [scan])
        succeed("mobile", "build", "--out", tmp_path / "new", "--set", "model.crop=auto")
        shutil.rmtree(site)
        shutil.move(tmp_path / "new", site)
        page.evaluate("navigator.serviceWorker.getRegistration().then((own) => own.update()).then(() => true)")
        asked: list[str] = []
        page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        page.click(".update button >> nth=0", timeout=300_000)
        assert "page: 1." in asked[0]
        assert page.locator(".card").count() == 1
        assert page.evaluate(running) == "none"
        page.once("dialog", lambda dialog: dialog.accept())
        with page.expect_navigation():
            page.click(".update button >> nth=0")
        page.wait_for_selector(READY, timeout=300_000)
        assert page.evaluate(running) == "auto"
        # The other window keeps its answer until it is asked, too.
        assert "Another window" in (other.text_content(".update") or "")
        assert other.locator(".card").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_every_target_is_large_enough(
    app: Path, browser: Browser, tmp_path: Path, scheme: str
) -> None:
    files = scans(tmp_path, 1)
    (tmp_path / "text.png").write_bytes(b"no picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "noise.png")
    with served(app) as address, browser.new_context(**PHONE, color_scheme=scheme, reduced_motion="reduce") as context:
        page = opened(context.new_page(), address)
        give(page, [*files, tmp_path / "text.png", tmp_path / "noise.png"])
        page.evaluate("document.querySelectorAll('.more').forEach((one) => { one.open = true; })")
        for opener in (None, "#open-model", "#open-check", ".card .picture"):
            if opener:
                page.locator(opener).first.click()
                page.wait_for_selector("dialog[open]")
            assert faults(page) == []
            if opener:
                page.keyboard.press("Escape")
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, label.button, select, summary, input[type=range]")]
              .map((one) => [one.id || one.className || one.tagName, one.getBoundingClientRect()])
              .filter(([, {width, height}]) => width && (width < 44 || height < 43.5))
              .map(([name, {width, height}]) => `${name} ${width} x ${height}`)"""
        )
        assert small == []
        for language in ("kk", "hi", "en"):
            page.select_option("#language", language)
            page.wait_for_selector(f"html[lang={language}]")
            for wide in WIDTHS:
                page.set_viewport_size({"width": wide, "height": 844})
                assert page.evaluate("document.documentElement.scrollWidth") <= wide, language


@pytest.mark.slow
def test_two_hundred_files_are_answered_while_the_list_is_used(app: Path, browser: Browser, tmp_path: Path) -> None:
    files = scans(tmp_path, BATCH)
    with served(app) as address, browser.new_context(**PHONE) as context:
        page = opened(context.new_page(), address)
        page.set_input_files("#files", [str(file) for file in files])
        page.wait_for_selector(".card >> nth=5", timeout=300_000)
        longest = page.evaluate(
            """async () => {
              document.querySelector(".card summary").click();
              let longest = 0;
              for (let i = 0, last = performance.now(); i < 200; i++) {
                await new Promise(requestAnimationFrame);
                scrollTo(0, 40 * i);
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
              }
              return longest;
            }"""
        )
        page.wait_for_selector(f".card >> nth={BATCH - 1}", state="attached", timeout=300_000)
        page.wait_for_selector("#work", state="hidden")
        assert page.text_content("#state") == f"Done: {BATCH} of {BATCH} answered."
        assert page.locator(".card.failed").count() == 0
    print(f"longest frame while answering {longest:.0f} ms")
    assert longest < 1000
