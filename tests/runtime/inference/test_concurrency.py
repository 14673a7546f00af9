"""One classifier in many threads, and classifiers in many processes: the same answers as alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from processes import FORK
from sonoforge.runtime.inference.classifier import Classifier

posix = pytest.mark.skipif(os.name != "posix", reason="signals and fork are POSIX")
SCANS = [factory.scan(number) for number in range(24)]

Answers = list[tuple[dict[str, float], float, bytes]]


def answers(classifier: Classifier, scans: list[Any]) -> Answers:
    results = [classifier.classify(scan) for scan in scans]
    return [(result.probabilities, result.trust.score, result.map.tobytes()) for result in results]


@pytest.fixture(scope="module")
def alone(bundle: Path) -> Answers:
    return answers(Classifier(bundle), SCANS)


def test_eight_threads_share_one_classifier(bundle: Path, alone: Answers) -> None:
    classifier, ready = Classifier(bundle), threading.Barrier(8)

    def work(first: int) -> Answers:
        ready.wait()
        return answers(classifier, SCANS[first:] + SCANS[:first])

    with ThreadPoolExecutor(8) as pool:
        for first, found in enumerate(pool.map(work, range(8))):
            assert found == alone[first:] + alone[:first]


def _answer_shipped(queue: Queue[Any], classifier: Classifier | None) -> None:
    queue.put(answers(classifier or Classifier(), SCANS[:2]))


@pytest.mark.parametrize("how", ["spawn", "fork", "fork with an open classifier"])
def test_processes(how: str) -> None:
    if how != "spawn" and os.name != "posix":
        pytest.skip("fork is POSIX")
    mine = Classifier()
    context: Any = FORK if how.startswith("fork") else multiprocessing.get_context("spawn")
    queue = context.Queue()
    given = mine if how.endswith("classifier") else None
    children = [context.Process(target=_answer_shipped, args=(queue, given), daemon=True) for _ in range(2)]
    for child in children:
        child.start()
    found = [queue.get(timeout=300) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert found == [answers(mine, SCANS[:2])] * 2


HANGS = """
import os, sys, time
from sonoforge.runtime.cli import main
sys.executable = sys.argv[1]
sys.exit(main.run(["classify", sys.argv[2], "--bundle", sys.argv[3], "--quiet"]))
"""


@posix
def test_ctrl_c_while_a_model_is_tried_ends_it_at_once(bundle: Path, tmp_path: Path) -> None:
    script, note = tmp_path / "python", tmp_path / "child"
    # It has read the whole model before it says so: from then on the program waits for nothing but its answer.
    script.write_text(f"#!/bin/sh\ncat > /dev/null\necho $$ > {note}.tmp; mv {note}.tmp {note}\nexec sleep 600\n")
    script.chmod(0o755)
    from PIL import Image

    Image.fromarray(SCANS[0]).save(tmp_path / "scan.png")
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(script), str(tmp_path / "scan.png"), str(bundle)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not note.exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines() == [said.strip()] and "interrupted" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@posix
def test_ctrl_c_in_the_middle_of_classifying_from_python_leaves_the_classifier_usable(
    bundle: Path, alone: Answers
) -> None:
    classifier = Classifier(bundle)
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            classifier.classify(SCANS[0])
    assert answers(classifier, SCANS) == alone
    assert np.isfinite(classifier.predict(np.zeros((1, factory.SIZE, factory.SIZE, 3), np.uint8))["cam"]).all()
