"""Which files of a bundle answer, on which provider, which ones ``verify`` and ``bench`` run, and wrong answers."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import bundle_factory as factory
from program import refused, succeed
from sonoforge.runtime import Classifier
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference import runners
from sonoforge.runtime.verbs import bench, verify

SEED = 1  # weights of the second file, so that its answers tell that it was asked


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(SEED), "onnx-int8", "int8")
    factory.add_file(folder, "model.pte", b"a program", "executorch")
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return factory.write_scans(tmp_path / "scans", [5]) / "5.png"


def test_the_file_that_was_asked_for_answers(bundle: Path, scan: Path) -> None:
    small = Image.open(scan).resize((factory.SIZE, factory.SIZE), Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(small)[None, :, :, None], 3, axis=3)
    for seed, flags, name in (
        (0, (), "model.onnx"),
        (SEED, ("--set", "model.file=model.int8.onnx"), "model.int8.onnx"),
    ):
        answer = succeed("classify", scan, "--bundle", bundle, *flags).json
        (result,) = answer["results"]
        found = [result["probabilities"][label] for label in factory.CLASSES]
        np.testing.assert_allclose(found, factory.equal_shares(pixels, seed)[0], atol=1e-5)
        sha256 = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        assert answer["model"]["sha256"] == result["model"]["sha256"] == sha256
        assert answer["provider"] == "CPUExecutionProvider"


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


def planted(target: Path) -> bytes:
    """A TorchScript file that writes another file when it answers."""
    torch = pytest.importorskip("torch")

    class Writing(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, target: str) -> None:
            super().__init__()
            self.target = target

        def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            torch.save(images, self.target)
            return images

    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(Writing(str(target))), stream)
    return stream.getvalue()


def test_programs_are_run_only_for_those_who_trust_their_maker(tmp_path: Path) -> None:
    target = tmp_path / "planted"
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.torchscript.pt", planted(target), "torchscript")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(), "onnx-int8", "int8")
    said, quick = runners.NOT_TRUSTED, {"seconds": 0.02, "rounds": 1, "batches": (1,)}
    assert "--trust" in said
    outcome = verify.main(verify.VerifyConfig(str(folder)))
    row = {"file": "model.torchscript.pt", "status": "not run", "reason": said}
    assert outcome.exit_code == 0 and outcome.result["formats"]["torchscript"] == row
    assert outcome.result["formats"]["onnx-int8"]["status"] == "passed"
    outcome = bench.main(bench.BenchConfig(str(folder), **quick))
    statuses = {row["format"]: row["status"] for row in outcome.result["files"]}
    assert outcome.exit_code == 0
    assert statuses == {"onnx": "measured", "torchscript": "not run", "onnx-int8": "measured"}
    outcome = bench.main(bench.BenchConfig(str(folder), formats=("torchscript",), **quick))
    assert outcome.exit_code == 1 and outcome.result["files"][0]["reason"] == said  # nothing could be measured
    assert not target.exists()
    outcome = verify.main(verify.VerifyConfig(str(folder), trust=True))
    assert outcome.result["formats"]["torchscript"]["status"] == "failed"  # it ran: its answers are no classifier's
    assert target.exists()


def with_outputs(*names: str) -> bytes:
    model = onnx.load_model_from_string(factory.model_bytes())
    kept = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(kept[name] for name in names)
    return model.SerializeToString()


def not_numbers() -> bytes:
    model = onnx.load_model_from_string(factory.model_bytes())
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "head_bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "head_bias"))
    return model.SerializeToString()


def texts() -> bytes:
    model = onnx.load_model_from_string(factory.model_bytes())
    model.graph.node[-2].output[0] = "numbers"
    model.graph.node.append(helper.make_node("Cast", ["numbers"], ["probabilities"], to=TensorProto.STRING))
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.STRING
    return model.SerializeToString()


WRONG = {
    "one output": (lambda: with_outputs("logits"), r"model.ort.onnx: .*\[\(4, 3\)\]"),
    "another order": (
        lambda: with_outputs("cam", "logits", "probabilities", "embedding"),
        "model.ort.onnx: its outputs have the shapes",
    ),
    "not a number": (not_numbers, "model.ort.onnx: its outputs .* not finite numbers"),
    "texts": (texts, "model.ort.onnx: its outputs .* not finite numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_answers_of_another_kind_fail_with_their_reason(case: str, tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    make, reason = WRONG[case]
    factory.add_file(folder, "model.ort.onnx", make(), "onnx-fp16", "fp16")
    outcome = verify.main(verify.VerifyConfig(str(folder)))
    assert outcome.exit_code == 1
    (problem,) = outcome.result["problems"]
    assert re.search(reason, problem)
    assert str(tmp_path) not in problem
