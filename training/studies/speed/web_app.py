"""How long the web app takes: from a cold start without a network to its first answer, and for each image after.

    python training/studies/speed/web_app.py APP [--scans FOLDER] [--starts 3] [--batch 30] [--json FILE]

APP is a folder of `sonoforge mobile build`.  It is opened once with a network, so that the service worker keeps it;
then, in a new process of the browser each time, with the server gone and the network off, the page is opened and given
one scan.  A second figure comes from the second of two batches of scans in one page.  A third is of a slow phone as
Lighthouse has it (1.6 Mbit/s, 150 ms to the server, the page's own thread four times slower, its workers as they are):
from asking for the page until it is painted and takes scans, and on a later visit until it answers.  Prints the wall
clock and, because other programs may be running, the CPU time of the browser's processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from browser import CHROMIUM, FLAGS, chromium, served


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("app", type=Path)
    parser.add_argument("--scans", type=Path, help="folder of scans; simulated ones without it")
    parser.add_argument("--batch", type=int, default=30, help="scans in a batch")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scans = _scans(given.scans, given.batch)
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        with served(given.app) as address:
            _open(profile, address, offline=False, act=lambda page: page.evaluate(_KEPT))
            starts = []
        for _ in range(given.starts):
            starts.append(_open(profile, address, offline=True, act=lambda page: _first_answer(page, scans[0])))
        warm = _open(profile, address, offline=True, act=lambda page: _warm(page, scans))
        with served(given.app) as address:
            phone = _slow_phone(address)
    result = {"cold": starts, "warm": warm, "slow phone": phone}
    for key in starts[0]:
        values = [start[key] for start in starts]
        print(f"{key:28} {statistics.median(values):8.0f}   ({', '.join(f'{value:.0f}' for value in values)})")
    for key, value in (warm | phone).items():
        print(f"{key:28} {value:8.1f}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


_KEPT = """async () => {
  await navigator.serviceWorker.ready;
  while (!navigator.serviceWorker.controller) await new Promise((resolve) => setTimeout(resolve, 50));
}"""


def _open(profile: Path, address: str, *, offline: bool, act: Any) -> Any:
    """Start a browser of its own with a kept profile, open the page and do something."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=list(FLAGS), offline=offline
        )
        try:
            page = context.pages[0]
            before = _cpu()
            started = time.perf_counter()
            page.goto(address + "/")
            page.wait_for_selector('body[data-state="ready"]', timeout=300_000)
            ready = time.perf_counter()
            found = act(page)
            if isinstance(found, dict) and "first" in found:
                first = found.pop("first")
                found = {
                    "page asked for to ready ms": 1e3 * (ready - started),
                    "page asked for to answer ms": 1e3 * (first - started),
                    "CPU of the browser ms": 1e3 * (_cpu() - before),
                    **found,
                }
            return found
        finally:
            context.close()


def _first_answer(page: Any, scan: Path) -> dict[str, float]:
    page.set_input_files("#files", str(scan))
    page.wait_for_selector("#answers .card", timeout=300_000)
    first = time.perf_counter()
    page.click("#open-check")
    with page.expect_download() as saved:
        page.click("#save-check")
    times = json.loads(Path(saved.value.path()).read_text())["start"]
    return {"first": first, **{f"  {name} ms": value for name, value in times.items()}}


def _warm(page: Any, scans: list[Path]) -> dict[str, float]:
    """The median of each part, and how long a batch takes for each of its images."""
    _batch(page, scans, 0)
    cpu, started = _cpu(), time.perf_counter()
    _batch(page, scans, len(scans))
    took = {"batch ms an image": time.perf_counter() - started, "batch CPU ms an image": _cpu() - cpu}
    with page.expect_download() as saved:
        page.click("#save-json")
    results = json.loads(Path(saved.value.path()).read_text())["results"][len(scans) :]
    parts = {f"warm {part} ms": statistics.median(r["ms"][part] for r in results) for part in results[0]["ms"]}
    return parts | {name: 1e3 * seconds / len(scans) for name, seconds in took.items()}


_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def _slow_phone(address: str) -> dict[str, float]:
    """Milliseconds on a throttled phone."""
    with chromium() as browser, browser.new_context(viewport={"width": 390, "height": 844}) as context:
        found = {}
        for visit in ("first", "later"):
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            line = {"latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
            session.send("Network.emulateNetworkConditions", {"offline": False, **line})
            session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
            asked = time.perf_counter()
            page.goto(address + "/", wait_until="commit")
            page.wait_for_selector("#state:not(:empty)")  # its scripts run: scans that are chosen now are queued
            usable = time.perf_counter()
            found[f"slow phone, {visit} visit: painted ms"] = page.evaluate(_PAINTED)
            found[f"slow phone, {visit} visit: takes scans ms"] = 1e3 * (usable - asked)
            if visit == "later":
                page.wait_for_selector('body[data-state="ready"]', timeout=300_000)
                found["slow phone, later visit: answers ms"] = 1e3 * (time.perf_counter() - asked)
            else:  # the rest of the app, at full speed
                session.send(
                    "Network.emulateNetworkConditions", {"offline": False, **dict.fromkeys(line, -1), "latency": 0}
                )
                page.wait_for_selector('body[data-state="ready"]', timeout=300_000)
            page.close()
    return found


def _batch(page: Any, scans: list[Path], before: int) -> None:
    page.set_input_files("#files", [str(scan) for scan in scans])
    after = before + len(scans)
    while page.locator("#answers .card").count() < after:  # the page's own policy allows no other way of asking
        page.wait_for_timeout(100)


def _cpu() -> float:
    """CPU seconds of all programs that this one has started, from Linux's table of processes."""
    parents, seconds = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            parents[int(file.parent.name)] = int(fields[1])
            seconds[int(file.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    ours = {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= found
    return sum(seconds[pid] for pid in ours - {os.getpid()})


def _scans(folder: Path | None, count: int) -> list[Path]:
    if folder:
        found = sorted(path for path in folder.rglob("*.png") if "_mask" not in path.name)
        return found[:: max(1, len(found) // count)][:count]
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        path = Path(tempfile.mkdtemp()) / f"{i}.png"
        Image.fromarray(rng.rayleigh(60, (470, 560)).clip(0, 255).astype(np.uint8)).save(path)
        made.append(path)
    return made


if __name__ == "__main__":
    sys.exit(main())
