"""The recipes of ``export/docs/deployment.md``: each is run as it is printed, and answers as Python does."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import bundle_factory as factory
from browser import chromium, needs_archive, needs_browser, served
from places import CHECKOUT
from program import refused, succeed
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.export.formats.triton import write_repository
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.classifier import Classifier

PAGE = CHECKOUT / "export" / "docs" / "deployment.md"
RECIPES = PAGE.with_suffix("")


def test_the_page_names_every_recipe() -> None:
    linked = set(re.findall(r"\(deployment/([\w.]+)\)", PAGE.read_text(encoding="utf-8")))
    assert linked == {file.name for file in RECIPES.iterdir()} - {"probabilities.mjs"}  # of onnx.md


def same(found: dict[str, Any], expected: dict[str, Any], apart: float) -> None:
    """Compare an answer's decision with Python's."""
    assert found["label"] == expected["label"]
    assert sorted(found["set"]) == sorted(expected["set"])
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=apart)
    assert found["findings"].keys() == expected["findings"].keys()
    for name, finding in expected["findings"].items():
        assert found["findings"][name]["positive"] is finding["positive"]
        assert found["findings"][name]["probability"] == pytest.approx(finding["probability"], abs=apart)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Golden images and others of odd sizes, grey and in colour, as PGM and PPM."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    images = [*map(Image.fromarray, open_bundle().golden()["pixels"])]
    images += [
        Image.fromarray(factory.scan(seed, *size)) for seed, size in enumerate(((400, 300), (90, 700), (700, 90)))
    ]
    images += [Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8)) for side in ((16, 31), (300, 257))]
    files = [folder / f"{i}.{'pgm' if image.mode == 'L' else 'ppm'}" for i, image in enumerate(images)]
    for file, image in zip(files, images, strict=True):
        image.save(file)
    return files


# C++.


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled with ONNX Runtime's headers and linked with the library that Python has."""
    headers = Path(os.environ.get("SONOFORGE_ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime"))
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    json_library = Path("/usr/include/nlohmann/json.hpp")
    if shutil.which("g++") is None or not (headers / "onnxruntime_cxx_api.h").is_file() or not json_library.is_file():
        pytest.skip(
            "needs g++, nlohmann-json3-dev, and SONOFORGE_ONNXRUNTIME_INCLUDE=FOLDER with onnxruntime_cxx_api.h"
        )
    if library is None:
        pytest.skip("this onnxruntime holds no library to link with")
    folder = tmp_path_factory.mktemp("program")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(library)
    command = [
        "g++",
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        RECIPES / "classify.cpp",
        "-o",
        folder / "classify",
    ]
    command += ["-isystem", headers, "-L", folder, "-lonnxruntime", f"-Wl,-rpath,{folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "classify"


def test_the_cpp_program_answers_as_python_does(program: Path, scans: list[Path]) -> None:
    done = subprocess.run([program, SHIPPED, *scans], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classifier = Classifier()
    for line, file in zip(done.stdout.splitlines(), scans, strict=True):
        same(json.loads(line), classifier.classify(file).to_dict(), 1e-6)


@pytest.mark.parametrize(
    ("content", "says"), [(b"P3 1 1 255 0", "is not"), (b"P5 20 20 65535 ", "is not"), (b"P5 20 20 255 ab", "cut off")]
)
def test_the_cpp_program_refuses_what_it_cannot_read(program: Path, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "scan.pgm").write_bytes(content)
    done = subprocess.run([program, SHIPPED, tmp_path / "scan.pgm"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "") and says in done.stderr


def test_the_cpp_program_refuses_rules_that_it_lacks(program: Path, scans: list[Path], tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "bundle")
    factory.edit_manifest(folder, lambda manifest: manifest.update(site={"name": "clinic"}))
    done = subprocess.run([program, folder, scans[0]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "") and "site" in done.stderr


# Triton.


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network and the one that takes pixels, as Triton's models."""
    bundle = Path(shutil.copytree(SHIPPED, tmp_path_factory.mktemp("triton") / "bundle"))
    pixels = with_preprocessing((SHIPPED / "model.onnx").read_bytes(), open_bundle().manifest.preprocessing)
    factory.add_file(bundle, "model.uint8.onnx", pixels, "onnx-uint8")
    models = write_repository(bundle, bundle.with_name("models"))
    assert [model.name for model in models] == ["sonoforge", "sonoforge-uint8"]
    return bundle.with_name("models")


def check_model(folder: Path, kinds: dict[int, str]) -> Any:
    """Compare a configuration, read by Triton's own schema, with the ONNX file; return it."""
    from triton_stand_in import kind_of, read_config

    config, graph = read_config(folder), onnx.load(folder / "1" / "model.onnx").graph
    assert config.backend == "onnxruntime"
    for said, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [one.name for one in said] == [value.name for value in values]
        for one, value in zip(said, values, strict=True):
            tensor = value.type.tensor_type
            sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim]
            assert list(one.dims) == sides[1 if config.max_batch_size else 0 :]
            assert kind_of(one) == kinds[tensor.elem_type]
    return config


KINDS = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.INT64: "INT64"}


@pytest.mark.parametrize("name", ["sonoforge", "sonoforge-uint8"])
def test_triton_s_schema_accepts_the_configuration(repository: Path, name: str) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install '.[dev]'")
    config = check_model(repository / name, KINDS)
    assert config.max_batch_size > 1 and config.HasField("dynamic_batching")
    (labelled,) = [output for output in config.output if output.label_filename]
    lines = (repository / name / labelled.label_filename).read_text().splitlines()
    assert (labelled.name, tuple(lines)) == ("probabilities", open_bundle().classes)


@pytest.mark.parametrize(("recipe", "classes"), [("dcgan", 2), pytest.param("stylegan2", 0, marks=pytest.mark.slow)])
def test_a_generator_is_a_model_too(tmp_path: Path, generators: Any, recipe: str, classes: int) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install '.[dev]'")
    (model,) = write_repository(generators(recipe, classes).bundle, tmp_path)
    config = check_model(model, KINDS)
    assert bool(config.max_batch_size) is (recipe == "dcgan")  # psi is for the whole batch
    assert not (model / "labels.txt").exists()


def test_the_client_of_the_page_answers_as_the_classifier_does(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install '.[dev]'")
    from triton_stand_in import serving

    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    Image.fromarray(factory.scan(1, 400, 300)).save(tmp_path / "scan.png")
    monkeypatch.chdir(tmp_path)
    with serving(repository) as address:
        names: dict[str, Any] = {}
        exec(compile(code.replace("localhost:8001", address), "page", "exec"), names)
        found = ast.literal_eval(capsys.readouterr().out)
        expected = Classifier().classify("scan.png").to_dict()
        same(found, expected, 1e-6)
        assert found["trust"]["reasons"] == expected["trust"]["reasons"]
        batch = open_bundle().golden()["pixels"]
        assert names["OnTriton"](address).predict(batch)["logits"] == pytest.approx(
            Classifier().predict(batch)["logits"], abs=1e-4
        )
        with pytest.raises(SystemExit, match="is not the network"):
            names["OnTriton"](address, "sonoforge-uint8")


def test_pixels_need_no_preparation(repository: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install '.[dev]'")
    import tritonclient.grpc as client

    from triton_stand_in import serving

    image = Image.fromarray(factory.scan(1, 400, 300)).convert("RGB")
    pixels = np.asarray(image)[None]
    with serving(repository) as address:
        tensor = client.InferInput("pixels", pixels.shape, "UINT8").set_data_from_numpy(pixels)
        found = client.InferenceServerClient(address).infer("sonoforge-uint8", [tensor]).as_numpy("probabilities")
    resized = open_bundle().manifest.preprocessing.resize(image)
    assert np.abs(found - Classifier().predict(resized[None])["probabilities"]).max() < 0.02


def test_other_things_in_the_repository_stay(tmp_path: Path) -> None:
    (tmp_path / "sonoforge").mkdir()
    (tmp_path / "sonoforge" / "scans.csv").write_text("mine")
    for folder in (tmp_path, tmp_path / "sonoforge" / "scans.csv"):
        line = refused("export", "shipped", "--out", tmp_path / "out", "--set", f"export.triton={folder}")
        assert "config.pbtxt" in line and not (tmp_path / "out").exists()


# A page of one's own.


def test_the_page_of_one_s_own_answers_as_python_does(tmp_path: Path) -> None:
    needs_browser()
    needs_archive()
    app = tmp_path / "app"
    succeed("mobile", "build", "--out", app)
    for file in RECIPES.glob("own_page.*"):
        shutil.copy(file, app)
    files = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, file in enumerate(files):
        Image.fromarray(factory.scan(seed, 400, 300)).save(file)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with served(app) as address, chromium() as browser:
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}/own_page.html")
        page.wait_for_selector("#scan:enabled", timeout=120_000)
        for file in files:
            page.set_input_files("#scan", file)
            page.wait_for_selector("#answer:text-matches('reasons')", timeout=60_000)
            found = json.loads(page.text_content("#answer") or "")
            expected = Classifier().classify(file)
            same(found, expected.to_dict(), 1e-4)
            assert (found["verdict"], found["reasons"]) == (expected.verdict.state, list(expected.trust.reasons))
        page.set_input_files("#scan", tmp_path / "bad.png")
        page.wait_for_selector("#answer:text-matches('cannot be read|not an image|picture')", timeout=60_000)
        (app / "bundle" / "model.onnx").write_bytes(b"another")
        other = browser.new_page()
        other.goto(f"{address}/own_page.html")
        other.wait_for_selector("#answer:text-matches('model.onnx')", timeout=60_000)
        assert other.is_disabled("#scan")
        assert faults == []


# The change of a bundle.


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two good bundles, a damaged one, and a restart that serves ``current``."""
    if sys.platform != "linux" or shutil.which("curl") is None:
        pytest.skip("needs Linux and curl")
    for seed, name in enumerate(("old", "new", "damaged")):
        factory.write_bundle(tmp_path / name, seed)
    data = bytearray((tmp_path / "damaged" / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged" / "model.onnx").write_bytes(data)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("sonoforge")
    (tmp_path / "restart").write_text(
        "#!/bin/sh\n[ ! -f pid ] || kill $(cat pid)\n"
        "[ ! -f broken ] || { rm broken pid; exit 1; }\n"
        f"setsid {program} serve current --port {port} --set serve.page=false >log 2>&1 & echo $! >pid\n"
    )
    (tmp_path / "restart").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RESTART", "./restart")
    monkeypatch.setenv("URL", f"http://127.0.0.1:{port}/health")
    yield tmp_path
    if (tmp_path / "pid").is_file():
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


def switch(name: str) -> int:
    return subprocess.run(["sh", RECIPES / "switch_bundle.sh", name], capture_output=True, timeout=120).returncode


def hash_served(site: Path) -> str:
    done = subprocess.run(["curl", "-fsS", os.environ["URL"]], capture_output=True, text=True)
    return str(json.loads(done.stdout)["model"]["sha256"])


def test_a_bundle_is_changed_and_changed_back_and_a_damaged_one_never_serves(site: Path) -> None:
    hashes = {name: open_bundle(site / name).manifest.files["model.onnx"].sha256 for name in ("old", "new")}
    assert switch("damaged") == 1 and not (site / "current").is_symlink()
    for name in ("new", "old"):
        assert switch(name) == 0
        assert (site / "current").resolve() == site / name and hash_served(site) == hashes[name]
    assert switch("damaged") == 1 and switch("nowhere") == 1
    assert (site / "current").resolve() == site / "old" and hash_served(site) == hashes["old"]
    (site / "broken").touch()  # the service does not come up with the new bundle
    assert switch("new") == 1
    assert (site / "current").resolve() == site / "old" and hash_served(site) == hashes["old"]


def test_shellcheck_finds_nothing() -> None:
    scripts = [*RECIPES.glob("*.sh"), CHECKOUT / "tests" / "mobile" / "stand_in_images.sh"]
    done = subprocess.run([Path(sys.executable).with_name("shellcheck"), *scripts], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
