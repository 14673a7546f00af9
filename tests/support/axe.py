"""What every page must hold in a browser, at any width: axe-core finds nothing, nothing is cut off, and it prints."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sonoforge.mobile.web_app import NpmPackage, read_files
from sonoforge.runtime.errors import SonoforgeError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    ("axe.min.js",),
)

WIDTHS = (320, 390, 768, 1280)
"""Pixels: the narrowest that WCAG 2.2 asks for (1.4.10), a phone, a tablet, a laptop."""

UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
_CUT = """() => {
  const named = (one) => one.ariaLabel || one.id || one.className || one.tagName;
  const wider = [document.documentElement, ...document.querySelectorAll(".scroll")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1);
  const outside = [...document.querySelectorAll("svg.chart")].filter((chart) => {
    const box = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("text")].some((one) => {
      const {left, right, top, bottom} = one.getBoundingClientRect();
      return left < box.left - 2 || right > box.right + 2 || top < box.top - 3 || bottom > box.bottom + 3;
    });
  });
  return [...wider.map((one) => `wider: ${named(one)}`), ...outside.map((one) => `text cut: ${named(one)}`)];
}"""


@functools.cache
def axe_script() -> str:
    """Return its script, for a page to run; skip where it cannot be had."""
    try:
        return read_files(_AXE)["axe.min.js"].decode()
    except SonoforgeError as error:
        pytest.skip(f"needs axe-core: {error}")


def faults(tab: Page) -> list[str]:
    """Return what axe-core finds in a page as it stands, and what is wider than the page or cut off in a chart."""
    if not tab.evaluate("'axe' in window"):
        tab.evaluate(axe_script())
    found = tab.evaluate("axe.run().then(({violations}) => violations)")
    accessible = [f"{one['id']}: {node['html'][:90]}" for one in found for node in one["nodes"]]
    return [*accessible, *tab.evaluate(_CUT)]


def faults_at_any_width(browser: Browser, path: Path) -> dict[str, list[str]]:
    """Open a page with all of it unfolded, at every width and in both looks; return its faults where it has any."""
    found = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme, offline=True) as context:
            tab = context.new_page()
            tab.goto(path.as_uri())
            tab.evaluate(UNFOLD)
            for width in WIDTHS:
                tab.set_viewport_size({"width": width, "height": 900})
                found[f"{scheme}, {width}"] = faults(tab)
    return {where: some for where, some in found.items() if some}


def printed_pages(browser: Browser, path: Path) -> int:
    """Print a page on A4, and return how many sheets it takes."""
    with browser.new_context(offline=True) as context:
        tab = context.new_page()
        tab.goto(path.as_uri())
        return len(re.findall(rb"/Type\s*/Page\b", tab.pdf(format="A4")))
