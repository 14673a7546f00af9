"""Which files of a bundle ``verify`` and ``bench`` run, and what becomes of wrong answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import bundle_factory as factory
from sonoforge.runtime.inference import runners
from sonoforge.runtime.verbs import bench, verify


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

    module = torch.jit.script(Writing(str(target)))
    data: bytes = module.save_to_buffer() if hasattr(module, "save_to_buffer") else module._c.save_to_buffer()
    return data


def test_programs_are_run_only_for_those_who_trust_their_maker(tmp_path: Path) -> None:
    target = tmp_path / "planted"
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.torchscript.pt", planted(target), "torchscript")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(), "onnx-int8", "int8")
    said = runners.NOT_TRUSTED
    assert "--trust" in said

    outcome = verify.main(verify.VerifyConfig(str(folder)))
    assert outcome.exit_code == 0
    assert outcome.result["formats"]["torchscript"] == {
        "file": "model.torchscript.pt",
        "status": "not run",
        "reason": said,
    }
    assert outcome.result["formats"]["onnx-int8"]["status"] == "passed"

    quick: dict[str, Any] = {"seconds": 0.02, "rounds": 1, "batches": (1,)}
    outcome = bench.main(bench.BenchConfig(str(folder), **quick))
    assert outcome.exit_code == 0
    statuses = {row["format"]: row["status"] for row in outcome.result["files"]}
    assert statuses == {"onnx": "measured", "torchscript": "not run", "onnx-int8": "measured"}
    outcome = bench.main(bench.BenchConfig(str(folder), formats=("torchscript",), **quick))
    assert outcome.exit_code == 1  # nothing could be measured
    assert outcome.result["files"][0]["reason"] == said
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


def test_a_crash_is_a_reason_without_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.ort", b"not a model", "ort")
    row = verify.main(verify.VerifyConfig(str(folder))).result["formats"]["ort"]
    assert row["status"] == "failed" and row["reason"].startswith("model.ort: not an ONNX file")
    assert "sonoforge-" not in row["reason"] and str(tmp_path) not in row["reason"]
    monkeypatch.setitem(runners.RUNNERS, "ort", "sonoforge.runtime.absent_program")
    row = verify.main(verify.VerifyConfig(str(folder))).result["formats"]["ort"]
    assert row["status"] == "not run" and "not installed" in row["reason"]
