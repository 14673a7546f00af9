"""The documentation as a site: it builds, every link in it leads somewhere, and it needs no network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from axe import WIDTHS, faults
from browser import chromium, needs_browser, served
from places import CHECKOUT

pytestmark = pytest.mark.slow


class Page:
    """What a page links to, what it loads, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        tags = [
            (tag, dict(re.findall(r"""\s([\w-]+)=["']?([^"'\s>]*)""", rest)))
            for tag, rest in re.findall(r"<(\w+)(\s[^>]*)>", path.read_text(encoding="utf-8"))
        ]
        self.anchors = {given[name] for _, given in tags for name in ("id", "name") if name in given}
        self.links = {unescape(given.get("href", "")) for tag, given in tags if tag == "a"}
        kinds = ("stylesheet", "icon", None)
        self.loaded = {
            given.get("src") or given.get("href", "") for tag, given in tags if tag != "a" and given.get("rel") in kinds
        }


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", CHECKOUT / ".ci" / "mkdocs.yml", "-d", folder]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = built(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def _broken(pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links | page.loaded:
            if re.match(r"[a-z]+:", link) or not link:
                continue
            target, _, anchor = unquote(link).partition("#")
            file = (path.parent / target).resolve() if target else path
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
                yield f"{path.name}: {link}"


def test_every_link_and_picture_is_there(pages: dict[Path, Page]) -> None:
    assert not sorted(_broken(pages))


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    loaded = {url for page in pages.values() for url in page.loaded}
    assert not [url for url in loaded if re.match(r"(https?:)?//", url)]


def test_every_page_is_in_it(site: Path) -> None:
    missing = [
        page
        for page in CHECKOUT.glob("*/docs/**/*.md")
        if not (site / page.relative_to(CHECKOUT).with_suffix(".html")).is_file()
    ]
    assert not missing


def test_search_finds_a_page_where_the_site_is_opened_as_files(site: Path) -> None:
    needs_browser()
    with chromium() as browser:
        tab = browser.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((site / "index.html").as_uri())
        tab.keyboard.press("/")
        tab.keyboard.type("near-duplicates")
        tab.wait_for_selector(".md-search-result__item a", timeout=30_000)
        assert "duplicates" in tab.locator(".md-search-result__item").first.inner_text().lower()
        assert {url.split(":")[0] for url in asked} <= {"file", "data", "about"}


def test_axe_finds_nothing_serious(site: Path) -> None:
    """In both looks, on a phone and a laptop; the theme gives two of its boxes one name, which is not serious."""
    needs_browser()
    found = {}
    with chromium() as browser, served(site) as address:
        for scheme in ("light", "dark"):
            with browser.new_context(color_scheme=scheme) as context:
                tab = context.new_page()
                for page in (
                    "index.html",
                    "mobile/docs/guide-scans-to-answers.html",
                    "training/docs/near-duplicates.html",
                ):
                    for width in (WIDTHS[0], WIDTHS[-1]):
                        tab.set_viewport_size({"width": width, "height": 900})
                        tab.goto(f"{address}/{page}")
                        faulty = [fault for fault in faults(tab) if not fault.startswith("landmark-unique")]
                        found[f"{page}, {scheme}, {width}"] = faulty
    assert {where: some for where, some in found.items() if some} == {}
