"""The functions behind the verbs, called as a notebook calls them: without a command line, with values as answers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge.runtime import Classifier, Generator, installation
from sonoforge.runtime.bundle.reader import SHIPPED_GENERATOR, open_bundle
from sonoforge.runtime.inference.golden import verify
from sonoforge.runtime.jobs.adapting import adapt
from sonoforge.runtime.jobs.benchmark import measure_bundle
from sonoforge.runtime.jobs.classifying import classify
from sonoforge.runtime.jobs.measuring import measure_files
from sonoforge.runtime.jobs.sampling import sample_bundle
from sonoforge.runtime.settings import AdaptConfig, BenchConfig, ClassifyConfig, GanSampleConfig, QualityConfig


@pytest.fixture(autouse=True)
def no_command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> object:
    """Nobody has asked for text: nothing is printed."""
    monkeypatch.setattr(logging.getLogger("sonoforge"), "handlers", [logging.NullHandler()])
    yield
    assert capfd.readouterr().out == ""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_scans(tmp_path_factory.mktemp("scans"), range(4))


def test_many_files_are_answered_and_measured_as_each_alone(scans: Path) -> None:
    alone = Classifier()
    answers, complete = classify(ClassifyConfig(paths=(str(scans),)))
    measured = measure_files(QualityConfig(paths=(str(scans),)))
    assert complete and answers["summary"]["ok"] == measured["summary"]["ok"] == 4
    for answer, figures in zip(answers["results"], measured["results"], strict=True):
        expected = alone.classify(answer["file"])
        assert answer["probabilities"] == expected.probabilities
        assert figures["quality"] == expected.quality.to_dict() and figures["file"] == answer["file"]


def test_a_bundle_is_verified_and_timed(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    assert verify(str(folder))["ok"]
    (row,) = measure_bundle(BenchConfig(str(folder), batches=(1,), seconds=0.02, rounds=1))["files"]
    assert row["status"] == "measured" and row["labels_equal"] == len(open_bundle(folder).golden()["logits"])
    (folder / "model.onnx").write_bytes(b"x" * (folder / "model.onnx").stat().st_size)
    assert not verify(str(folder))["ok"]
    assert set(installation.examine()["base"]) >= {"numpy", "onnxruntime"}


def test_generated_images_of_all_classes_are_the_generators(tmp_path: Path) -> None:
    written = sample_bundle(GanSampleConfig(bundle="shipped", class_name="all", count=2, out=str(tmp_path / "g")))
    generator = Generator(SHIPPED_GENERATOR)
    assert [origin["class"] for _, origin in written] == list(generator.manifest.classes)
    for target, origin in written:
        pixels = generator.generate(2, class_name=origin["class"])
        for entry in json.loads((Path(target) / "manifest.json").read_text())["images"]:
            kept = Image.open(Path(target) / entry["file"])
            assert kept.tobytes() == pixels[entry["index"], ..., 0].tobytes()


def test_a_clinics_scans_give_a_site_bundle(tmp_path: Path) -> None:
    data, classes = tmp_path / "ours", open_bundle().classes
    for number in range(12):
        own = data / classes[number % 2]
        own.mkdir(parents=True, exist_ok=True)
        (own / f"{number}.png").write_bytes(
            (factory.write_scans(tmp_path / "s", [number]) / f"{number}.png").read_bytes()
        )
    answers, _ = adapt(AdaptConfig(data=str(data), out=str(tmp_path / "site")))
    assert answers["scans"] == {classes[0]: 6, classes[1]: 6, classes[2]: 0}
    assert (answers["verdict"] == "worse") == (not (tmp_path / "site").exists())
