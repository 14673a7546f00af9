"""Which file of a bundle answers, and on which of onnxruntime's providers: as asked for, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import bundle_factory as factory
from program import Finished, refused, sonoforge
from sonoforge.runtime import Classifier
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.onnx_session import load_session

SEED = 1  # weights of the second file, so that its answers tell that it was asked


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(SEED), "onnx-int8", "int8")
    factory.add_file(folder, "model.pte", b"a program", "executorch")
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    Image.fromarray(factory.scan(5)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def classify(bundle: Path, scan: Path, *arguments: object) -> Finished:
    return sonoforge("classify", scan, "--bundle", bundle, "--json", *arguments)


def test_the_file_that_was_asked_for_answers(bundle: Path, scan: Path, tmp_path: Path) -> None:
    small = Image.open(scan).resize((factory.SIZE, factory.SIZE), Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(small)[None, :, :, None], 3, axis=3)
    for seed, flags, name in (
        (0, (), "model.onnx"),
        (SEED, ("--set", "model.file=model.int8.onnx"), "model.int8.onnx"),
    ):
        answer = classify(bundle, scan, *flags).json
        expected = factory.equal_shares(pixels, seed)[0]
        found = [answer["results"][0]["probabilities"][label] for label in factory.CLASSES]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        sha256 = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        assert answer["model"]["sha256"] == answer["results"][0]["model"]["sha256"] == sha256
        assert answer["provider"] == "CPUExecutionProvider"
    table = tmp_path / "a.csv"
    assert classify(bundle, scan, "--csv", table).code == 0
    other = ("--set", "model.file=model.int8.onnx", "--csv", table, "--resume")
    assert "made with file=model.onnx and not file=model.int8.onnx" in refused(
        "classify", scan, "--bundle", bundle, *other
    )


def test_a_file_that_resizes_and_normalises_itself_gives_the_same_answer(scan: Path, tmp_path: Path) -> None:
    graphs = pytest.importorskip("sonoforge.export.formats.onnx_graph")
    folder = factory.write_bundle(tmp_path / "b")
    classifier = Classifier(folder)
    own = graphs.with_preprocessing(factory.model_bytes(), classifier.bundle.manifest.preprocessing)
    factory.add_file(folder, "model.uint8.onnx", own, "onnx-uint8")
    expected, found = classifier.classify(scan), Classifier(folder, file="model.uint8.onnx").classify(scan)
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert found.trust.score == pytest.approx(expected.trust.score, abs=1e-5)


def test_probabilities_of_16_bits_may_be_rounded_and_others_not(bundle: Path, scan: Path, tmp_path: Path) -> None:
    rounded = factory.model_bytes(temperature=factory.TEMPERATURE * 1.002)  # off by 1e-4 to 1e-3
    for precision in ("fp32", "fp16"):
        folder = factory.write_bundle(tmp_path / precision)
        factory.add_file(folder, "model.other.onnx", rounded, f"onnx-{precision}", precision)
        classifier = Classifier(folder, file="model.other.onnx")
        if precision == "fp16":
            classifier.classify(scan)
        else:
            with pytest.raises(SonoforgeError, match="are not softmax"):
                classifier.classify(scan)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model.pte", "of format executorch"),
        ("MODEL_CARD.md", "not a model file"),
        ("model.int.onnx", "is not in"),
        ("../model.onnx", "is not in"),
    ],
)
def test_what_onnxruntime_does_not_run_is_refused(bundle: Path, scan: Path, name: str, found: str) -> None:
    line = refused("classify", scan, "--bundle", bundle, "--set", f"model.file={name}")
    assert f"--set model.file: {name!r}" in line and found in line
    assert "model.onnx, model.int8.onnx" in line


def test_a_provider_that_is_not_offered_is_refused_with_those_that_are(bundle: Path, scan: Path) -> None:
    for name in ("cpu", "MadeUpExecutionProvider"):
        line = refused("classify", scan, "--bundle", bundle, "--set", f"model.provider={name}")
        assert "--set model.provider: " in line and f"{name!r}" in line
        assert ", ".join(onnxruntime.get_available_providers()) in line


def test_openvinos_provider_alone_can_be_told_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def session(content: bytes, options: Any, providers: Any, enable_fallback: int) -> Any:
        given.append((providers, options.get_session_config_entry("session.disable_cpu_ep_fallback")))
        return SimpleNamespace(
            get_inputs=list,
            get_outputs=list,
            get_providers=lambda: [providers[0][0], "CPUExecutionProvider"],
            get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={}),
        )

    name = "OpenVINOExecutionProvider"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [name, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    load_session(b"", "model.onnx", provider=f"{name}:GPU")
    load_session(b"", "model.onnx", provider=name)
    asked = {"device_type": "GPU", "precision": "ACCURACY"}  # as onnxruntime's page on this provider has them
    assert given == [([(name, asked)], "1"), ([(name, {})], "1")]
    for wrong in ("CPUExecutionProvider:GPU", "MadeUp:GPU"):
        with pytest.raises(SonoforgeError, match=f"'{wrong}'.* {name}"):
            load_session(b"", "model.onnx", provider=wrong)


def test_a_provider_that_cannot_run_the_file_leaves_nothing_to_the_cpu(bundle: Path, scan: Path) -> None:
    offered = set(onnxruntime.get_available_providers())
    if "AzureExecutionProvider" not in offered:
        pytest.skip("no provider here that is offered and runs no network")
    line = refused("classify", scan, "--bundle", bundle, "--set", "model.provider=AzureExecutionProvider")
    assert "cannot run all of it on AzureExecutionProvider" in line
