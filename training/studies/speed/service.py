"""``sonoforge serve`` under load: what clients wait for, what watching it costs, and whether its memory grows.

    python training/studies/speed/service.py FOLDER [--posts 2000] [--clients 16] [--queue 32]

Clients in this process post the folder's scans to a server in a process of its own, each over one connection without a
pause; one that gets 429 or 503 waits as ``Retry-After`` says.  Prints JSON: answers by their last status, retries,
seconds from a scan's first sending to its answer (median, 95 %, largest), scans a second, and these as a ratio to
`answer_file` in two threads of this process, without a network; the server's memory after each quarter of the posts;
the count of ``/metrics``; and milliseconds of a scrape, by the clock, under load and at rest, beside those of
``/healthz``, which show what any request costs here.  ``sonoforge serve`` answers two scans at a time, and here the
clients need the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime import Classifier
from sonoforge.runtime.images.inputs import expand
from sonoforge.runtime.inference.clips import answer_file

MOST_SCANS = 200
SETTLED = 0.1  # share of the posts after which memory is first looked at
AT_REST = 30  # scrapes


class Posted(NamedTuple):
    """What became of one scan."""

    status: int
    seconds: float
    retries: int


@contextlib.contextmanager
def serving(queue: int, log: Path) -> Iterator[int]:
    """Run the server; yields its port, and checks at the end that it exits with 0."""
    settings = ["--set", "serve.page=false", "--set", f"serve.queue={queue}", "--set", f"serve.log={log}"]
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "serve", "--port", "0", *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            (port,) = re.findall(r"http://localhost:(\d+)/", server.stdout.readline())
            yield int(port)
        finally:
            server.terminate()
        assert server.wait(60) == 0


def post(connection: http.client.HTTPConnection, data: bytes) -> Posted:
    """Send a scan until it is answered."""
    started = time.perf_counter()
    for retries in itertools.count():
        connection.request("POST", "/classify", data)
        answer = connection.getresponse()
        answer.read()
        wait = answer.headers["Retry-After"]
        if wait is None:
            return Posted(answer.status, time.perf_counter() - started, retries)
        time.sleep(int(wait))
    raise AssertionError


def get(connection: http.client.HTTPConnection, address: str) -> tuple[str, float]:
    """Return what an address says, and the milliseconds that it took."""
    started = time.perf_counter()
    connection.request("GET", address)
    text = connection.getresponse().read().decode()
    return text, 1e3 * (time.perf_counter() - started)


def figure(text: str, name: str) -> float:
    """Return a figure of ``/metrics``."""
    return float(re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[0])


def load(port: int, scans: list[bytes], posts: int, clients: int) -> dict[str, Any]:
    """Post the scans in turn, and watch the server meanwhile."""
    numbers, posted, busy = itertools.count(), list[Posted](), threading.Event()
    memory: dict[int, float] = {}
    marks = [math.ceil(posts * share) for share in (SETTLED, 0.25, 0.5, 0.75)]

    def client(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while (number := next(numbers)) < posts:
            posted.append(post(connection, scans[number % len(scans)]))

    watcher = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    spent: dict[str, list[float]] = {"/metrics": [], "/healthz": []}

    def watch() -> None:
        while not busy.wait(0.2):
            for address, times in spent.items():
                text, took = get(watcher, address)
                times.append(took)
                if address == "/metrics" and marks and len(posted) >= marks[0]:
                    marks.pop(0)
                    memory[len(posted)] = round(figure(text, "process_resident_memory_bytes") / 1e6, 1)

    observer = threading.Thread(target=watch)
    observer.start()
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    wall = time.perf_counter() - started
    busy.set()
    observer.join()
    text = get(watcher, "/metrics")[0]
    memory[posts] = round(figure(text, "process_resident_memory_bytes") / 1e6, 1)
    rest = {address: [get(watcher, address)[1] for _ in range(AT_REST)] for address in spent}
    seconds = sorted(each.seconds for each in posted)
    return {
        "answers": dict(Counter(each.status for each in posted)),
        "counted by /metrics": int(
            figure(text, 'sonoforge_requests_total{path="/classify",method="POST",status="200"}')
        ),
        "retries": sum(each.retries for each in posted),
        "seconds": {
            "median": statistics.median(seconds),
            "95 %": seconds[math.ceil(0.95 * len(seconds)) - 1],
            "largest": seconds[-1],
        },
        "scans_per_s": len(posted) / wall,
        "memory_MB": memory,
        "ms": {
            f"{address}, {when}": {"median": statistics.median(times), "largest": max(times)}
            for when, by_address in (("under load", spent), ("at rest", rest))
            for address, times in by_address.items()
            if times
        },
    }


def without_network(scans: list[bytes]) -> float:
    """Return scans a second of two threads here."""
    classifier = Classifier()
    ask: Callable[[bytes], object] = lambda data: answer_file(classifier, "scan", data)  # noqa: E731
    ask(scans[0])
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, scans))
    return len(scans) / (time.perf_counter() - started)


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    for name, default in (("posts", 2000), ("clients", 16), ("queue", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    found = expand([given.folder], True)
    if found.failures:
        parser.error(f"{given.folder}: found no folder with images, expected scans in it or in its subfolders")
    files = found.files[:: max(1, len(found.files) // MOST_SCANS)][:MOST_SCANS]
    scans = [Path(file).read_bytes() for file in files]
    bare = without_network(scans)
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        with serving(given.queue, log) as port:
            result = load(port, scans, given.posts, given.clients)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    answered = sum("answer" in line for line in lines)
    ratio = {"without network": bare, "ratio": result["scans_per_s"] / bare}
    print(json.dumps({**vars(given), **result, **ratio, "answers in the log": answered}, indent=2))


if __name__ == "__main__":
    main()
