"""TorchScript files answer as onnxruntime does, are the same each time and hold nothing of the machine."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from corners import corners
from refusals import assert_cannot_load
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats import torchscript as torchscript_file
from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import EXACT
from sonoforge.models.dcgan import Generator
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.models.zoomed_pass import OutlineHead
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess
from traces import traces_of_this_machine

FORMATS = {
    "torchscript": ("model.torchscript.pt", torchscript_file.write_torchscript),
    "torchscript-lite": ("model.ptl", torchscript_file.write_lite),
}


@pytest.fixture(scope="module")
def source() -> Source:
    bundle = open_bundle()
    metadata = {"sonoforge.classes": json.dumps(bundle.classes), "sonoforge.preprocessing": json.dumps({"size": 224})}
    pixels = bundle.golden()["pixels"]
    return Source(read_network(bundle), bundle.read("model.onnx"), pixels, bundle.manifest.preprocessing, metadata)


@pytest.fixture(scope="module")
def files(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for name, write in FORMATS.values():
        (folder / name).write_bytes(write(source))
    return {name: folder / file for name, (file, _) in FORMATS.items()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [1, 3])
def test_any_batch_answers_as_onnxruntime(source: Source, files: dict[str, Path], name: str, count: int) -> None:
    side = source.preprocessing.size
    noise = np.random.default_rng(count).integers(0, 256, (5, side, side, 3)).astype(np.uint8)
    inputs = source.preprocessing.normalise(np.concatenate([source.calibration, noise])[-count:])
    session = onnxruntime.InferenceSession(source.onnx, providers=["CPUExecutionProvider"])
    expected = session.run(["logits", "probabilities", "embedding", "cam"], {"input": inputs})
    found = open_file(name, files[name])([inputs])
    assert np.abs(found[1] - expected[1]).max() < EXACT.of_passes(True).probability
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32 and ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < EXACT.of_passes(True).relative * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_network_gives_the_same_bytes(source: Source, files: dict[str, Path], name: str) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))  # torch numbers what it traces, one after another
    assert FORMATS[name][1](source) == files[name].read_bytes()


def _records(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_holds_no_trace_of_the_machine_that_made_it(files: dict[str, Path], name: str) -> None:
    for record, data in _records(files[name].read_bytes()).items():
        assert traces_of_this_machine(data) == [] and "debug_pkl" not in record, record


def test_torch_itself_would_write_the_paths() -> None:
    """What the test above looks for is there before it is taken out."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(OutlineHead(), torch.zeros(1, 96, 4, 4)), buffer)
    assert any(traces_of_this_machine(data) for data in _records(buffer.getvalue()).values())


def test_torch_reads_the_file_and_its_texts_without_sonoforge(source: Source, files: dict[str, Path]) -> None:
    texts = {"sonoforge.classes": "", "sonoforge.preprocessing": ""}
    network = torch.jit.load(str(files["torchscript"]), _extra_files=texts)
    inputs = torch.from_numpy(source.preprocessing.normalise(source.calibration[:1]))
    with torch.inference_mode():
        assert torch.equal(network(inputs)[1].argmax(1), source.graph(inputs)[1].argmax(1))
    assert json.loads(texts["sonoforge.classes"]) == list(open_bundle().classes)
    assert json.loads(texts["sonoforge.preprocessing"]) == {"size": 224}


def test_the_lite_file_is_run_by_the_lite_interpreter(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the full interpreter was asked"))
    torchscript_file.open_file(files["torchscript-lite"])
    assert "archive/bytecode.pkl" in _records(files["torchscript-lite"].read_bytes())


@pytest.mark.parametrize("name", corners(FORMATS, "torchscript"))
def test_a_process_of_its_own_gives_the_golden_answers(source: Source, files: dict[str, Path], name: str) -> None:
    golden = open_bundle().golden()
    found = run_in_subprocess(name, files[name], [source.preprocessing.normalise(golden["pixels"][:3])], batch=2)
    assert np.abs(found[1] - golden["probabilities"][:3]).max() < 1e-4


@pytest.mark.slow
def test_members_with_a_mirror_answer_in_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = mobilenet_v2(3)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.features[11:].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    graph = BundleGraph([first, second], 1.3, shared_blocks=11, mirror=True).eval()
    (tmp_path / "model.pt").write_bytes(torchscript_file.trace_file(graph, (torch.zeros(2, 3, 32, 32),)))
    (tmp_path / "model.ptl").write_bytes(torchscript_file.trace_file(graph, (torch.zeros(2, 3, 32, 32),), lite=True))
    for name in ("model.pt", "model.ptl"):
        answer = torchscript_file.open_file(tmp_path / name)
        for count in (1, 3):
            inputs = torch.randn(count, 3, 32, 32)
            with torch.inference_mode():
                expected = [output.numpy() for output in graph(inputs)]
            for ours, theirs in zip(answer([inputs.numpy()]), expected, strict=True):
                assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


def test_a_network_that_looks_twice_answers_and_stores_its_weights_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = mobilenet_v2(3)
    net.outline = OutlineHead()
    with torch.no_grad():
        net.outline.cells.bias.fill_(2.0)
    graph, inputs = BundleGraph([net], 1.3, look=64).eval(), torch.randn(3, 3, 128, 128)
    with torch.inference_mode():
        expected = [output.numpy() for output in graph(inputs)]
    for name in ("model.pt", "model.ptl"):
        data = torchscript_file.trace_file(graph, (torch.zeros(2, 3, 128, 128),), lite=name.endswith(".ptl"))
        (tmp_path / name).write_bytes(data)
        assert len(data) < 9.5e6
        for ours, theirs in zip(torchscript_file.open_file(tmp_path / name)([inputs.numpy()]), expected, strict=True):
            assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


def test_a_generator_can_be_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(image_size=32, channels=1, latent_size=8).eval()
    (tmp_path / "generator.pt").write_bytes(torchscript_file.trace_file(generator, (torch.zeros(2, 8),)))
    latents = torch.randn(2, 8)  # as many as traced with: this generator asks for its batch by len
    (images,) = torchscript_file.open_file(tmp_path / "generator.pt")([latents.numpy()])
    with torch.inference_mode():
        assert np.abs(images - generator(latents).numpy()).max() < 1e-5


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / FORMATS[name][0]
    path.write_bytes(data)
    assert_cannot_load(lambda: open_file(name, path), "torch", path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_file_is_refused(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = tmp_path / FORMATS[name][0]
    path.write_bytes(files[name].read_bytes()[:-100_000])
    with pytest.raises(SonoforgeError, match="torch cannot load it"):
        open_file(name, path)
