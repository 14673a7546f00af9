"""`Classifier` against the same network computed in numpy, in threads and processes; it needs no torch."""

from __future__ import annotations

import json
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
from PIL import Image

import bundle_factory as factory
from processes import FORK
from sonoforge.runtime import Classifier, ImageError
from sonoforge.runtime.images import quality_metrics as image_quality


def save(path: Path, seed: int) -> Path:
    Image.fromarray(factory.scan(seed)).save(path)
    return path


def prepared(path: Path) -> np.ndarray:
    small = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(small)[None]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_predict_equals_numpy_for_any_batch(classifier: Classifier, count: int) -> None:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    expected, found = factory.forward(pixels), classifier.predict(pixels)
    assert list(found) == ["logits", "probabilities", "embedding", "cam"]
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == value.shape
        assert np.abs(found[name] - value).max() < 1e-4


@pytest.mark.parametrize("seed", [60, 61, 64])
def test_classify_tells_what_the_network_and_the_manifest_say(
    classifier: Classifier, tmp_path: Path, seed: int
) -> None:
    path = save(tmp_path / "a.png", seed)
    expected = factory.forward(prepared(path))
    answered = classifier.classify(path)
    result = answered.to_dict()
    assert list(result) == [
        *(
            "file",
            "ok",
            "verdict",
            "label",
            "probabilities",
            "set",
            "findings",
            "abstained",
            "trust",
            "trained_on",
            "quality",
        ),
        *("kind", "marks", "remarks", "model", "map", "crop", "ms"),
    ]
    assert result["crop"] is None
    assert result["ok"] is True
    assert result["file"] == str(path)
    found = np.array([result["probabilities"][name] for name in factory.CLASSES])
    equal = factory.equal_shares(prepared(path))[0]
    assert np.abs(found - equal).max() < 1e-5
    assert result["label"] == factory.CLASSES[int(equal.argmax())]
    assert result["set"] == [name for name, p in zip(factory.CLASSES, equal, strict=True) if p >= 0.2]
    lesion, malignant = equal[1] + equal[2], equal[2] / (equal[1] + equal[2])
    assert result["findings"] == {
        "lesion": {
            "probability": pytest.approx(lesion, abs=1e-5),
            "positive": lesion >= 0.3,
            "threshold": pytest.approx(0.3),
        },
        "malignant": {
            "probability": pytest.approx(malignant, abs=1e-4),
            "positive": malignant >= 0.3,
            "threshold": pytest.approx(0.3),
        },
    }
    assert list(result["quality"]) == [*image_quality.METRICS, "flags"]
    assert result["quality"]["resolution"] == 90
    assert set(result["trust"]) == {
        *("score", "in_distribution", "causes", "reasons", "distance", "neighbour_distance")
    }
    reference = np.load(classifier.bundle.path / "reference.npz")
    distance = np.linalg.norm((expected["embedding"][0] - reference["trust_mean"]) @ reference["trust_components"])
    assert result["trust"]["distance"] == pytest.approx(distance, rel=1e-3)
    assert set(result["ms"]) == {"decode", "preprocess", "infer", "total"}
    parts = [result["ms"][key] for key in ("decode", "preprocess", "infer")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= result["ms"]["total"]
    assert json.loads(json.dumps(result)) == result
    assert answered.size == (120, 90)
    assert answered.map == pytest.approx(expected["cam"][0, factory.CLASSES.index(answered.label)], abs=1e-4)
    assert answered.embedding == pytest.approx(expected["embedding"][0], abs=1e-4)


def test_class_thresholds_make_the_set(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    path = save(tmp_path / "a.png", 61)
    first = Classifier(folder).classify(path)
    other = next(name for name in factory.CLASSES if name != first.label)
    just = {name: value + 1e-9 for name, value in first.probabilities.items()}  # a hair too high
    just[other] = first.probabilities[other] - 1e-9
    factory.edit_manifest(folder, lambda m: m["conformal"].update(thresholds=just))
    found = Classifier(folder).classify(path)
    assert set(found.set) == {first.label, other}, "the label is in its set whatever its threshold"


@pytest.mark.parametrize("colour", [False, True])
def test_a_file_a_picture_and_an_array_get_the_same_answer(
    classifier: Classifier, tmp_path: Path, colour: bool
) -> None:
    pixels = factory.scan(3)
    if colour:
        pixels = np.stack([pixels, pixels // 2, pixels[::-1]], axis=2)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    expected = classifier.classify(path)
    for given in (str(path), pixels, np.asfortranarray(pixels), Image.open(path), Image.fromarray(pixels)):
        found = classifier.classify(given)
        assert found.file == (given if isinstance(given, str) else None)
        assert {**found.to_dict(), "file": 0, "ms": 0} == {**expected.to_dict(), "file": 0, "ms": 0}
        assert np.array_equal(found.map, expected.map)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (np.zeros((90, 120), np.float32), "unsupported", "array: float32 (90, 120) is not uint8"),
        (np.zeros((90, 120), np.uint16), "unsupported", "array: uint16 (90, 120) is not uint8"),
        (np.zeros((90, 120, 4), np.uint8), "unsupported", "array: uint8 (90, 120, 4) is not uint8"),
        (np.zeros((1, 90, 120), np.uint8), "unsupported", "array: uint8 (1, 90, 120) is not uint8"),
        (np.zeros((0, 120), np.uint8), "too_small", "array: 120x0 pixels"),
        (Image.new("F", (90, 120)), "unsupported", "image: F pixels"),
        (Image.new("L", (9, 120)), "too_small", "image: 9x120 pixels"),
    ],
)
def test_other_arrays_and_pictures_are_refused(
    classifier: Classifier, given: np.ndarray | Image.Image, code: str, message: str
) -> None:
    with pytest.raises(ImageError) as refusal:
        classifier.classify(given)
    assert refusal.value.code == code
    assert str(refusal.value).startswith(message)


def python(code: str, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def test_the_runtime_imports_nothing_but_numpy_onnxruntime_and_pillow(classifier: Classifier, tmp_path: Path) -> None:
    code = """
import contextlib, io, sys
before = set(sys.modules)
import sonoforge.runtime.cli.main as cli, sonoforge.runtime.verbs.classify, sonoforge.runtime.verbs.verify
bundle, image, table, folder = sys.argv[1:]
for line in (["classify", image, "--bundle", bundle, "--csv", table, "--json", "--quiet"],
             ["verify", bundle, "--json", "--quiet"],
             ["quality", folder, "--bundle", bundle, "--json", "--quiet"]):
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(line) == 0
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(" ".join(sorted(new - set(sys.stdlib_module_names) - {"__mp_main__"})))
"""
    image = [save(tmp_path / f"{seed}.png", seed) for seed in range(8)][1]
    found = python(code, *map(str, (classifier.bundle.path, image, tmp_path / "a.csv", tmp_path))).split()
    # numpy.random's compiled modules share one that is not on disk.
    third_party = {name for name in found if not name.startswith("_")} - {"cython_runtime"}
    assert third_party == {"sonoforge", "numpy", "onnxruntime", "PIL"}


def test_help_and_a_wrong_flag_wait_for_no_library() -> None:
    code = """
import contextlib, io, sys
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.errors import SonoforgeError
with contextlib.redirect_stdout(io.StringIO()) as out:
    cli._run(["--help"])
    for line in (["classify", "--help"], ["quality", "--help"], ["classify", "x", "--wrong"]):
        try:
            cli._run(line)
        except (SystemExit, SonoforgeError):
            pass
assert "--html PAGE" in out.getvalue()
print(sorted({"numpy", "onnxruntime", "PIL", "torch"} & set(sys.modules)))
"""
    assert python(code).strip() == "[]"


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
