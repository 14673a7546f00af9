"""The graphics processor is offered only where the build asked for it, and used only after it passed the self-test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

import bundle_factory as factory
from browser import needs_archive, served
from program import succeed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

READY = 'body[data-state="ready"]'


@pytest.mark.slow
def test_without_a_graphics_processor_the_page_says_so_and_answers_as_before(browser: Browser, tmp_path: Path) -> None:
    """Chromium as the tests start it offers none: the refusal is real."""
    needs_archive()
    succeed("mobile", "build", factory.write_bundle(tmp_path / "bundle"), "--webgpu", "--out", tmp_path / "app")
    Image.fromarray(factory.scan(1)).save(tmp_path / "scan.png")
    with served(tmp_path / "app") as address, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(address + "/")
        page.wait_for_selector(READY, timeout=300_000)
        page.click("#open-check")
        page.click("#use-gpu")
        page.wait_for_selector("text=The page answers as before", timeout=300_000)
        assert page.is_visible("#gpu-notice")
        page.keyboard.press("Escape")
        page.set_input_files("#files", str(tmp_path / "scan.png"))
        page.wait_for_selector("#answers .card", timeout=300_000)


@pytest.mark.slow
def test_a_graphics_processor_that_fails_the_self_test_is_not_used(browser: Browser, tmp_path: Path) -> None:
    """A stand-in for onnxruntime's WebGPU build, whose answers are of another network."""
    needs_archive()
    succeed("mobile", "build", factory.write_bundle(tmp_path / "bundle"), "--webgpu", "--out", tmp_path / "app")
    (tmp_path / "app" / "vendor" / "ort.webgpu.bundle.min.mjs").write_text(STAND_IN)
    script = tmp_path / "app" / "js" / "engine.js"
    script.write_text(
        "navigator.__defineGetter__('gpu', () => ({ requestAdapter: async () => ({}) }));\n" + script.read_text()
    )
    with served(tmp_path / "app") as address, browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.goto(address + "/")
        page.wait_for_selector(READY, timeout=300_000)
        page.click("#open-check")
        page.click("#use-gpu")
        page.wait_for_selector("text=The graphics processor failed the self-test", timeout=300_000)
        assert page.is_visible("#gpu-notice")


STAND_IN = """
import * as ort from "./ort.wasm.bundle.min.mjs";
export const env = { wasm: {} };
export const Tensor = class extends ort.Tensor {
  constructor(type, data, dims) { super(type, data.map((value) => value * 1.01), dims); }
};
export const InferenceSession = {
  create: (model, options) => ort.InferenceSession.create(model, { ...options, executionProviders: ["wasm"] }),
};
"""
