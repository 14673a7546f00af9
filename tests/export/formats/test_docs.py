"""The pages about exported files: their code runs as it is printed, and answers as the bundle itself does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bundle_factory as factory
import tensorrt_stand_in
from generator_checkpoints import small_checkpoint
from places import CHECKOUT
from sonoforge.export.formats import executorch
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.export.formats.source import unsuitable
from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.result import Result
from sonoforge.training.gan.generator import load_generator

PREPROCESSING = open_bundle().manifest.preprocessing
DOCS = CHECKOUT / "export" / "docs"
GENERATORS = (DOCS / "generators.md").read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a block of a page, and return the names that it leaves."""
    found = {} if names is None else names
    exec(compile(code, "page", "exec"), found)
    return found


# A classifier's files.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shipped_int8: bytes) -> Path:
    """The shipped bundle with an ONNX file of each kind, and a scan."""
    place = Path(shutil.copytree(SHIPPED, tmp_path_factory.mktemp("shipped") / "bundle"))
    model = (SHIPPED / "model.onnx").read_bytes()
    own = {"fp16": to_half(model), "int8": shipped_int8, "uint8": with_preprocessing(model, PREPROCESSING)}
    for name, data in own.items():
        factory.add_file(place, f"model.{name}.onnx", data)
    Image.fromarray(factory.scan(1, 400, 300)).save(place / "scan.png")
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


@pytest.mark.parametrize("index", range(len(blocks("onnx.md"))))
def test_python_code_runs_as_printed(
    index: int, folder: Path, expected: list[float], answer: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names = run(code := blocks("onnx.md")[index])
    if "answer" not in names:
        tolerance = 0.15 if "int8" in code else 5e-3 if "uint8" in code else 1e-4
        assert np.abs(names["probabilities"][0] - expected).max() <= tolerance
    if "here" in names:
        assert np.abs(names["here"] - list(answer.probabilities.values())).max() <= 2e-2


def test_the_page_s_lines_answer_as_the_classifier_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (code,) = [block for block in blocks("onnx.md") if "def answer" in block]
    answer, prevalence = run(code)["answer"], {"normal": 0.6, "benign": 0.3, "malignant": 0.1}
    usual, told = Classifier(), Classifier(asked=AtClinic("normal=.6,benign=.3,malignant=.1", 0.8))
    for seed in range(4):
        image = Image.fromarray(factory.scan(seed, 300, 200))
        raw = usual.predict(PREPROCESSING.resize(image.convert("RGB"))[None])["probabilities"][0].tolist()
        for classifier, found in ((usual, answer(raw)), (told, answer(raw, prevalence, 0.8))):
            own = classifier.classify(image).to_dict()
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
    shutil.copy(DOCS / "deployment" / "probabilities.mjs", tmp_path)
    image = Image.open(folder / "scan.png").convert("RGBA")
    (tmp_path / "scan.rgba").write_bytes(image.tobytes())
    (tmp_path / "main.mjs").write_text(
        'import { readFileSync } from "node:fs"; import * as ort from "onnxruntime-web";\n'
        'import { classify, forDefaultShares, load } from "./probabilities.mjs";\n'
        "ort.env.wasm.numThreads = 1;\n"
        f"const session = await load(readFileSync({json.dumps(str(folder / 'model.uint8.onnx'))}));\n"
        f'const answer = await classify(session, readFileSync("scan.rgba"), {image.width}, {image.height});\n'
        f"const manifest = JSON.parse(readFileSync({json.dumps(str(folder / 'manifest.json'))}, 'utf8'));\n"
        "console.log(JSON.stringify(forDefaultShares(answer, manifest)));\n"
    )
    done = subprocess.run(["node", "main.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    assert np.abs(np.array(json.loads(done.stdout)) - list(answer.probabilities.values())).max() <= 2e-2


@pytest.mark.parametrize("page", ["torchscript", pytest.param("executorch", marks=pytest.mark.slow)])
def test_examples_of_torch_s_own_formats_agree(
    page: str,
    folder: Path,
    written: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without sonoforge and with it, the most probable class is the same."""
    if page == "executorch" and executorch.missing():
        pytest.skip(executorch.missing())
    for name in (page, *(["torchscript-lite"] if page == "torchscript" else [])):
        factory.add_file(folder, written(name).name, written(name).read_bytes())
    monkeypatch.chdir(folder)
    inputs, answer = (next(own for own in blocks("onnx.md") if word in own) for word in ("model.int8", "def answer"))
    names = run(blocks(f"{page}.md")[0], run(inputs))
    label = run(answer)["answer"](names["probabilities"][0].tolist())["label"]
    with_it = blocks("executorch.md")[1]
    if page == "torchscript":
        with_it = with_it.replace('"executorch"', '"torchscript-lite"').replace("model.pte", "model.ptl")
    run(with_it)
    assert capsys.readouterr().out.strip() == label


@pytest.mark.skipif(not find_spec("openvino"), reason="openvino is not installed")
def test_the_example_of_openvino_answers_as_the_bundle_does(
    folder: Path, expected: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks("formats.md")
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # would report the import
    run(example)
    assert np.abs(np.array(json.loads(capsys.readouterr().out)) - expected).max() < 1e-4


# An engine, on a stand-in where the page asks for a GPU.

ENGINE = dict(zip(("build", "check", "run", "alone"), blocks("tensorrt.md"), strict=True))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with the engine of its patch network, as working folder."""
    folder = factory.write_bundle(tmp_path / "bundle")
    tensorrt_stand_in.written(folder)
    Image.fromarray(factory.scan(1)).save(folder / "scan.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_the_page_builds_an_engine_that_passes_its_check(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (engine / "model.engine").unlink()
    version = run(ENGINE["build"])["record"]["version"]
    assert "1.7.1.116" in ENGINE["check"]
    run(ENGINE["check"].replace("1.7.1.116", version))
    assert capsys.readouterr().out == "fp32 model.onnx\n"


def test_the_page_runs_an_engine(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_stand_in.install(monkeypatch, engine / "model.onnx")
    said, answer = run(ENGINE["run"])["said"], Classifier(engine).classify(engine / "scan.png")
    assert said.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert (said.label, said.set) == (answer.label, answer.set)


def test_the_page_runs_an_engine_without_sonoforge(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_stand_in.install(monkeypatch, engine / "model.onnx")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    done: list[str] = []
    waits = {"wait_stream": lambda other: done.append("wait"), "synchronize": lambda: done.append("synchronise")}
    stream = SimpleNamespace(cuda_stream=tensorrt_stand_in.STREAM, **waits)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    code, side = ENGINE["alone"], factory.SIZE
    assert 'device = "cuda"' in code and "256, 256" in code
    tensors = run(code.replace('device = "cuda"', 'device = "cpu"').replace("256, 256", f"{side}, {side}"))["tensors"]
    grey = 255 * np.broadcast_to(factory.PREPROCESSING["mean"], (1, side, side, 3))  # what normalises to zeros
    np.testing.assert_allclose(tensors["probabilities"].numpy(), factory.forward(grey)["probabilities"], atol=1e-5)
    assert done == ["wait", "synchronise"]


# Generators.


@pytest.mark.parametrize(
    ("recipe", "classes"), [("dcgan", 0), ("began", 2), pytest.param("stylegan2", 2, marks=pytest.mark.slow)]
)
def test_the_python_of_the_page_makes_the_same_images(
    generators: Any, monkeypatch: pytest.MonkeyPatch, recipe: str, classes: int
) -> None:
    monkeypatch.chdir(generators(recipe, classes).bundle)
    names = run(blocks("generators.md")[0])
    expected = Generator(".").generate(4, 3, "a" if classes else "").astype(int)
    assert np.abs(names["pixels"].transpose(0, 2, 3, 1) - expected).max() <= 1


def test_the_short_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generators: Any) -> None:
    factory.zip_bundle(generators("dcgan").bundle, tmp_path / "generator.zip")
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("generators.md", "py")
    assert run(source)["images"].shape == (16, 32, 32, 1)


@pytest.mark.skipif(bool(executorch.missing()), reason="executorch is not installed: pip install 'sonoforge[mobile]'")
@pytest.mark.slow
def test_executorch_of_the_page_makes_the_same_images(monkeypatch: pytest.MonkeyPatch, generators: Any) -> None:
    monkeypatch.chdir(generators("dcgan", 2, ("onnx", "executorch")).bundle)
    first, second = blocks("generators.md")
    names = run(second, run(first))
    np.testing.assert_allclose(np.stack(names["again"]), names["images"], atol=1e-4)
    assert np.ptp(names["images"]) > 0.1, "flat images would prove nothing"


def test_the_page_names_every_format_and_file() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| `(generator[a-z0-9.]*)` \|", GENERATORS, re.MULTILINE))
    assert rows == {name: f"generator{form.suffix}" for name, form in FORMATS.items() if form.generators}


@pytest.mark.parametrize("recipe", ["dcgan", "dcgan-thesis", "began", "stylegan1", "stylegan2", "stylegan3-t"])
def test_the_table_says_what_each_generator_can_have(tmp_path: Path, recipe: str) -> None:
    generator = load_generator(small_checkpoint(tmp_path, recipe, 0))
    column = 3 if recipe[:8] != "stylegan" else 5 if recipe[8] == "3" else 4
    for line in re.findall(r"^\| `[a-z0-9-]+` \| `generator.*", GENERATORS, re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[column].startswith("no") == bool(unsuitable(cells[0].strip("`"), generator)), line
