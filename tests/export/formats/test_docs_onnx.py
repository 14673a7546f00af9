"""The pages' code runs as it is printed, and answers as the bundle's own classifier does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import scan
from places import CHECKOUT
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.result import Result

PREPROCESSING = open_bundle().manifest.preprocessing

DOCS = CHECKOUT / "export" / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shipped_int8: bytes) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    model = (SHIPPED / "model.onnx").read_bytes()
    for name in ("model.onnx", "manifest.json"):
        shutil.copy(SHIPPED / name, place)
    (place / "model.fp16.onnx").write_bytes(to_half(model))
    (place / "model.int8.onnx").write_bytes(shipped_int8)
    (place / "model.uint8.onnx").write_bytes(with_preprocessing(model, PREPROCESSING))
    Image.fromarray(scan(1, 400, 300)).save(place / "scan.png")
    return place


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[float]:
    """What the network says of the scan, with nothing done to it."""
    pixels = PREPROCESSING.resize(Image.open(folder / "scan.png").convert("RGB"))
    said: list[float] = Classifier().predict(pixels[None])["probabilities"][0].tolist()
    return said


@pytest.fixture(scope="module")
def answer(folder: Path) -> Result:
    return Classifier().classify(folder / "scan.png")


CODE = [("onnx.md", index) for index in range(len(blocks("onnx.md", "python")))]


@pytest.mark.parametrize(("page", "index"), CODE)
def test_python_code_runs_as_printed(
    page: str, index: int, folder: Path, expected: list[float], answer: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    code = blocks(page, "python")[index]
    names: dict[str, Any] = {}
    exec(compile(code, f"{page} block {index}", "exec"), names)
    if "def answer" in code:
        return
    tolerance = 0.15 if "int8" in code else 5e-3 if "uint8" in code else 1e-4
    assert np.abs(names["probabilities"][0] - expected).max() <= tolerance
    if "equal" in names:
        assert np.abs(names["equal"] - list(answer.probabilities.values())).max() <= 2e-2


def test_the_page_s_lines_answer_as_the_classifier_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (code,) = [block for block in blocks("onnx.md", "python") if "def answer" in block]
    names: dict[str, Any] = {}
    exec(compile(code, "onnx.md", "exec"), names)
    shares = "normal=.6,benign=.3,malignant=.1"
    prevalence = {"normal": 0.6, "benign": 0.3, "malignant": 0.1}
    usual, told = Classifier(), Classifier(asked=AtClinic(shares, 0.8))
    for seed in range(4):
        pixels = scan(seed, 300, 200)
        raw = usual.predict(PREPROCESSING.resize(Image.fromarray(pixels).convert("RGB"))[None])["probabilities"][
            0
        ].tolist()
        for classifier, found in (
            (usual, names["answer"](raw)),
            (told, names["answer"](raw, prevalence, 0.8)),
        ):
            own = classifier.classify(Image.fromarray(pixels)).to_dict()
            assert found["probabilities"] == pytest.approx(own["probabilities"], abs=1e-6)
            assert (found["label"], found["set"]) == (own["label"], own["set"])
            for name, finding in own["findings"].items():
                assert found["findings"][name]["positive"] is finding["positive"]
                assert found["findings"][name]["probability"] == pytest.approx(finding["probability"], abs=1e-6)


def test_javascript_code_answers_as_python_does(folder: Path, answer: Result, tmp_path: Path) -> None:
    """In Node, with onnxruntime-web (``npm install onnxruntime-web``) in the folder that the variable names."""
    modules = os.environ.get("SONOFORGE_NODE_MODULES", "")
    if shutil.which("node") is None or not (Path(modules) / "onnxruntime-web").is_dir():
        pytest.skip("needs node, and SONOFORGE_NODE_MODULES=FOLDER/node_modules that has onnxruntime-web")
    (tmp_path / "node_modules").symlink_to(Path(modules).resolve())
    (tmp_path / "classify.mjs").write_text(blocks("onnx.md", "javascript")[0], encoding="utf-8")
    image = Image.open(folder / "scan.png").convert("RGBA")
    (tmp_path / "scan.rgba").write_bytes(image.tobytes())
    (tmp_path / "main.mjs").write_text(
        'import { readFileSync } from "node:fs"; import * as ort from "onnxruntime-web";\n'
        'import { classify, forEqualShares, load } from "./classify.mjs";\n'
        "ort.env.wasm.numThreads = 1;\n"
        f"const session = await load(readFileSync({json.dumps(str(folder / 'model.uint8.onnx'))}));\n"
        f'const answer = await classify(session, readFileSync("scan.rgba"), {image.width}, {image.height});\n'
        f"const manifest = JSON.parse(readFileSync({json.dumps(str(folder / 'manifest.json'))}, 'utf8'));\n"
        "console.log(JSON.stringify(forEqualShares(answer, manifest)));\n"
    )
    done = subprocess.run(["node", "main.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    assert np.abs(np.array(json.loads(done.stdout)) - list(answer.probabilities.values())).max() <= 2e-2
