"""Generators as ONNX files: any batch, psi and class as inputs, checked against torch before they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from generator_checkpoints import PLAIN, STYLED, image_side, small_checkpoint
from sonoforge.export.formats.executorch import fold, missing
from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.export.generators import graph as generator_graph
from sonoforge.export.generators.graph import export_generator, generator_inputs, load_contiguous, trace_generator
from sonoforge.models.stylegan.mapping import MappingNetwork
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.gan.generator import load_generator
from sonoforge.training.gan.networks import ARCHITECTURES

# Recipe, inputs, classes.
CASES = [("stylegan1", "z", 2), ("stylegan2", "z", 3), ("stylegan2", "w", 0), ("stylegan3-t", "z", 0)]
CASES += [("stylegan3-r", "w", 2), ("dcgan-thesis", "z", 0), ("dcgan", "z", 0), ("dcgan", "z", 3), ("began", "z", 2)]
CASES += [("progan", "z", 2)]


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path, Any]:
    recipe, inputs, classes = request.param
    folder = tmp_path_factory.mktemp(recipe)
    checkpoint = small_checkpoint(folder, recipe, classes)
    path = folder / "sub" / "generator.onnx"
    return request.param, checkpoint, path, export_generator(checkpoint, path, inputs)


def test_every_architecture_is_exported() -> None:
    assert {recipe[:9] if recipe in STYLED else recipe for recipe, _, _ in CASES} == set(ARCHITECTURES)


def test_the_file_answers_as_the_generator_does(exported: tuple[Any, Path, Path, Any]) -> None:
    (recipe, inputs, classes), checkpoint, path, record = exported
    styled, side = recipe in STYLED, image_side(recipe)
    assert record["max_abs"] <= record["tolerance"] == (1e-3 if styled else 1e-4)
    assert record["bytes"] == path.stat().st_size
    generator: Any = load_generator(checkpoint)
    session = _session(path)
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    expected = {"latents": 6} if inputs == "z" else {"styles": 8}
    assert {name: shape[-1] for name, shape in shapes.items() if name in expected} == expected
    assert ("labels" in shapes) == (inputs == "z" and classes > 0)
    assert ("psi" in shapes) == styled
    assert {name: ["N", *shape[1:]] if name != "psi" else shape for name, shape in shapes.items()} == record["inputs"]
    for count, psi in ((1, 0.0), (2, 1.0), (3, -1.0), (5, 0.4)):
        latents = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))
        labels = torch.arange(count) % classes if classes else None
        fed = {"psi": np.array([psi], np.float32)} if styled else {}
        with torch.no_grad():
            images = generator(latents, labels, **({"truncation_psi": psi} if styled else {}))
            if inputs == "w":
                fed["styles"] = generator.mapping(latents, labels).numpy()
            else:
                fed["latents"] = latents.numpy()
                if labels is not None:
                    fed["labels"] = labels.numpy()
        (found,) = session.run(["images"], fed)
        assert found.shape == (count, 1, side, side)
        np.testing.assert_allclose(found, images.numpy(), atol=1e-4)
        assert np.ptp(found) > 0.01, "flat images would prove nothing"
        assert count == 1 or psi == 0 or np.abs(found[0] - found[1]).max() > 0.01, "each latent has its own image"


def test_the_file_says_what_it_is_and_nothing_of_the_host(exported: tuple[Any, Path, Path, Any]) -> None:
    (recipe, _, classes), checkpoint, path, _ = exported
    content = path.read_bytes()
    for word in (b"site-packages", b"/sonoforge/", str(Path.cwd()).encode(), str(checkpoint.parent).encode(), b".py"):
        assert word not in content
    model = onnx.load_model_from_string(content)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["sonoforge.synthetic"] == "true" and about["sonoforge.recipe"] == recipe
    assert json.loads(about["sonoforge.classes"]) == ["a", "b", "c"][:classes]
    assert "not a medical device" in about["sonoforge.use"]
    assert not [other for other in path.parent.iterdir() if other != path], "no temporary file, no weights beside it"


@pytest.mark.parametrize("spoilt", ["other", "nan"])
def test_a_file_that_answers_otherwise_is_refused_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    checkpoint = small_checkpoint(tmp_path, "stylegan2", 0)

    def trace(graph: nn.Module, examples: dict[str, Tensor], *rest: Any, optimise: bool) -> bytes:
        """A model of the right shapes whose images are all one number."""
        del graph, rest, optimise
        fill = onnx.helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [float("nan") if spoilt == "nan" else 9.0])
        one = onnx.numpy_helper.from_array(np.array([1, 16, 16], np.int64), "one")
        graph_inputs = [
            onnx.helper.make_tensor_value_info("latents", onnx.TensorProto.FLOAT, ["N", 6]),
            onnx.helper.make_tensor_value_info("psi", onnx.TensorProto.FLOAT, [1]),
        ]
        nodes = [
            onnx.helper.make_node("Shape", ["latents"], ["count"], start=0, end=1),
            onnx.helper.make_node("Concat", ["count", "one"], ["shape"], axis=0),
            onnx.helper.make_node("ConstantOfShape", ["shape"], ["images"], value=fill),
        ]
        images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["N", 1, 16, 16])
        assert list(examples) == ["latents", "psi"]
        made = onnx.helper.make_graph(nodes, "g", graph_inputs, [images], [one])
        content: bytes = onnx.helper.make_model(
            made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8
        ).SerializeToString()
        return content

    monkeypatch.setattr(generator_graph, "trace", trace)
    path = tmp_path / "out" / "generator.onnx"
    path.parent.mkdir()
    path.write_bytes(b"an older file")
    with pytest.raises(GateError, match="onnxruntime and torch differ by") as error:
        export_generator(checkpoint, path)
    assert "\n" not in str(error.value)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("recipe", "inputs", "message"),
    [("dcgan", "w", "has no styles, expected one of StyleGAN"), ("stylegan2", "x", "expected z or w")],
)
def test_what_cannot_be_exported_is_said(tmp_path: Path, recipe: str, inputs: str, message: str) -> None:
    with pytest.raises(SonoforgeError, match=message):
        export_generator(small_checkpoint(tmp_path, recipe, 0), tmp_path / "x.onnx", inputs)
    with pytest.raises(SonoforgeError, match="is a folder"):
        export_generator(tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("recipe", [*PLAIN, *STYLED])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_traces_what_the_table_says(tmp_path: Path, recipe: str) -> None:
    generator = load_generator(small_checkpoint(tmp_path, recipe, 2))
    graph = trace_generator(generator).eval()
    examples = generator_inputs(generator, "z", 2, 0.7, 0)
    if recipe.startswith("stylegan3"):
        with pytest.raises(Exception, match="not supported in the JIT"):
            torch.jit.trace(graph, tuple(examples.values()))
        return
    traced = torch.jit.trace(graph, tuple(examples.values()))
    for count in (1, 5):
        others = tuple(generator_inputs(generator, "z", count, -0.5, 1).values())
        torch.testing.assert_close(traced(*others), graph(*others), rtol=0, atol=1e-6)


@pytest.mark.skipif(bool(missing()), reason="executorch is not installed: pip install 'sonoforge[mobile]'")
@pytest.mark.parametrize("recipe", ["progan", "stylegan1", "stylegan2"])
def test_folding_stores_the_weights_of_every_convolution(tmp_path: Path, recipe: str) -> None:
    generator = load_contiguous(small_checkpoint(tmp_path, recipe, 2))
    graph = trace_generator(generator).eval()
    examples = tuple(generator_inputs(generator, "z", 1, 0.7, 0).values())

    def computed(network: nn.Module) -> int:
        """Convolutions whose weights are not stored: XNNPACK does not take those."""
        nodes = torch.export.export(network, examples).graph.nodes
        weights = [node.args[1] for node in nodes if node.op == "call_function" and "conv" in str(node.target)]
        assert len(weights) > 3
        return sum(weight.op != "placeholder" for weight in weights)  # type: ignore[union-attr]

    folded = fold(graph, examples)
    assert computed(graph) > 0 and computed(folded) == 0
    others = tuple(generator_inputs(generator, "z", 1, -0.5, 1).values())
    with torch.no_grad():
        torch.testing.assert_close(folded(*others), graph(*others), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cutoff", [None, 2])
@pytest.mark.parametrize("psi", [1.0, 0.7, 0.0, -0.5])
def test_psi_may_be_a_tensor(psi: float, cutoff: int | None) -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(4, 0, 6, num_styles=5, layers=2)
    mapping.average.normal_()
    latents = torch.randn(3, 4)
    styles, mean = mapping(latents), mapping.average
    expected = torch.cat([mean + psi * (styles[:, :cutoff] - mean), styles[:, 5 if cutoff is None else cutoff :]], 1)
    for given in (psi, torch.tensor(psi), torch.tensor([psi])):
        torch.testing.assert_close(mapping(latents, None, given, cutoff), expected)
    if psi == 1:
        assert torch.equal(mapping(latents, None, torch.tensor(1.0), cutoff), styles)
    each = torch.tensor([1.0, psi, 0.0])[:, None, None]
    torch.testing.assert_close(mapping.truncate(styles, each)[1], mean + psi * (styles[1] - mean))
