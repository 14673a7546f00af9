"""Generators as ONNX files: any batch, psi and class as inputs, checked against torch before they are written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from corners import corners
from generator_checkpoints import CASES, PLAIN, SLOW_CASES, STYLED, ExportedGenerator, image_side, small_checkpoint
from sonoforge.export.formats.executorch import fold, missing
from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.export.formats.source import (
    generator_inputs,
    largest_difference,
    load_contiguous,
    trace_generator,
    unsuitable,
)
from sonoforge.models.flow import STEPS
from sonoforge.models.stylegan.generator import MappingNetwork
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.generator import GeneratedImages, load_generator
from sonoforge.training.gan.networks import ARCHITECTURES
from sonoforge.training.gan.start_from import read_starting_weights
from traces import traces_of_this_machine

_PARAMS = [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)]


@pytest.fixture(scope="module", params=_PARAMS, ids=lambda case: "-".join(map(str, case[:2])))
def exported(request: pytest.FixtureRequest, generators: Any) -> tuple[str, ExportedGenerator, bytes]:
    """Recipe, checkpoint and bundle, and the file."""
    recipe, classes, masks, formats = request.param
    made = generators(recipe, classes, formats, masks)
    return recipe, made, (made.bundle / "generator.onnx").read_bytes()


def test_every_architecture_is_exported() -> None:
    assert {recipe[:9] if recipe in STYLED else recipe.partition(":")[0] for recipe, *_ in CASES + SLOW_CASES} == set(
        ARCHITECTURES
    )


def test_the_file_answers_as_the_generator_does(exported: tuple[str, ExportedGenerator, bytes]) -> None:
    recipe, made, content = exported
    styled, side = recipe in STYLED, image_side(recipe)
    generator: Any = load_generator(made.checkpoint)
    classes, channels = generator.classes, 1 + made.manifest["image"]["masks"]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shapes = {entry.name: entry.shape[1:] for entry in session.get_inputs()}
    assert shapes == {
        "latents": [generator.latent_size],
        **({"psi": []} if styled else {}),
        **({"labels": []} if classes else {}),
    }
    for count, psi in ((1, 0.0), (2, 1.0), (3, -1.0), (5, 0.4)):
        latents = torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(count))
        labels = torch.arange(count) % classes if classes else None
        fed: dict[str, Any] = {"latents": latents.numpy(), **({"psi": np.array([psi], np.float32)} if styled else {})}
        if labels is not None:
            fed["labels"] = labels.numpy()
        with torch.no_grad():
            images = generator(latents, labels, **({"truncation_psi": psi} if styled else {}))
        (found,) = session.run(["images"], fed)
        assert found.shape == (count, channels, side, side)
        np.testing.assert_allclose(found, images.numpy(), atol=1e-4)
        assert np.ptp(found) > 0.01, "flat images would prove nothing"
        assert count == 1 or psi == 0 or np.abs(found[0] - found[1]).max() > 1e-3, "each latent has its own image"


def test_the_file_says_what_it_is_and_nothing_of_the_host(exported: tuple[str, ExportedGenerator, bytes]) -> None:
    recipe, made, content = exported
    assert traces_of_this_machine(content) == [] and str(made.bundle.parent).encode() not in content
    model = onnx.load_model_from_string(content)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["sonoforge.synthetic"] == "true" and about["sonoforge.recipe"] == recipe
    assert json.loads(about["sonoforge.classes"]) == made.manifest["classes"]
    assert "not a medical device" in about["sonoforge.use"]


def test_flow_matching_stores_each_weight_once_for_all_its_passes(generators: Any) -> None:
    made = generators("flow:latent", 2, ("onnx",), 1)
    model, network = onnx.load(made.bundle / "generator.onnx"), load_generator(made.checkpoint)
    stored = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    assert stored < 1.05 * sum(weight.numel() for weight in network.parameters())
    passes = sum("generator.last.bias" in node.input for node in model.graph.node)
    assert passes == STEPS == 20 and not any(node.op_type in ("Loop", "Scan", "If") for node in model.graph.node)
    assert "use the ONNX file" in unsuitable("executorch", network) and not unsuitable("torchscript", network)


def test_a_training_starts_from_a_bundle_with_all_weights_of_its_checkpoint(generators: Any) -> None:
    made = generators("flow:latent", 2, ("onnx",), 1)
    found, wanted = read_starting_weights(str(made.bundle)), load_generator(made.checkpoint).state_dict()
    assert found.architecture == "flow" and found.classes == ("a", "b") and found.masks == 1
    assert found.generator.keys() == wanted.keys()
    for name, value in wanted.items():  # rounded to half precision where the ONNX file lacks them
        torch.testing.assert_close(found.generator[name], value, rtol=1e-3, atol=1e-4)
    with pytest.raises(SonoforgeError, match="give its run folder instead"):
        read_starting_weights(str(generators("dcgan", 2, ("onnx",), 1).bundle))


def test_as_a_data_set_a_bundle_draws_what_its_checkpoint_draws(generators: Any) -> None:
    made = generators("dcgan", 2, ("onnx",), 1)
    ours, theirs = (GeneratedImages(place, 5, seed=3) for place in (made.checkpoint, made.bundle))
    assert ours.classes == theirs.classes and [label for _, label in theirs] == [0, 1, 0, 1, 0]
    assert np.abs(ours.pixels.astype(int) - theirs.pixels).max() <= 1 and np.ptp(ours.pixels) > 10


def test_not_a_number_is_no_agreement(generators: Any) -> None:
    generator = load_generator(generators("dcgan").checkpoint)
    assert np.isnan(largest_difference(generator, lambda fed: [np.full((len(fed[0]), 1, 32, 32), np.nan, np.float32)]))


@pytest.mark.parametrize("recipe", corners([*PLAIN, *STYLED], "dcgan", "spade", "stylegan2", "stylegan3-t"))
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_traces_what_the_table_says(tmp_path: Path, recipe: str) -> None:
    drawn_into = "maps" in PLAIN.get(recipe, {})
    generator = load_generator(small_checkpoint(tmp_path, recipe, 0 if drawn_into else 2, masks=2 * drawn_into))
    graph = trace_generator(generator).eval()
    examples = generator_inputs(generator, 2, 0.7, 0)
    if recipe.startswith("stylegan3"):
        with pytest.raises(Exception, match=r"not supported in the JIT|unordered_map::at"):
            torch.jit.trace(graph, tuple(examples.values()))
        return
    traced = torch.jit.trace(graph, tuple(examples.values()))
    for count in (1, 5):
        others = tuple(generator_inputs(generator, count, -0.5, 1).values())
        torch.testing.assert_close(traced(*others), graph(*others), rtol=0, atol=1e-6)


@pytest.mark.skipif(bool(missing()), reason="executorch is not installed: pip install 'sonoforge[mobile]'")
@pytest.mark.parametrize("recipe", corners(("stylegan1", "stylegan2"), "stylegan2"))
def test_folding_stores_the_weights_of_every_convolution(tmp_path: Path, recipe: str) -> None:
    generator = load_contiguous(small_checkpoint(tmp_path, recipe, 2))
    graph = trace_generator(generator).eval()
    examples = tuple(generator_inputs(generator, 1, 0.7, 0).values())

    def computed(network: nn.Module) -> int:
        """Convolutions whose weights are not stored: XNNPACK does not take those."""
        nodes = torch.export.export(network, examples).graph.nodes
        weights = [node.args[1] for node in nodes if node.op == "call_function" and "conv" in str(node.target)]
        assert len(weights) > 3
        return sum(weight.op != "placeholder" for weight in weights)  # type: ignore[union-attr]

    folded = fold(graph, examples)
    assert computed(graph) > 0 and computed(folded) == 0
    others = tuple(generator_inputs(generator, 1, -0.5, 1).values())
    with torch.no_grad():
        torch.testing.assert_close(folded(*others), graph(*others), rtol=0, atol=1e-5)


@pytest.mark.parametrize("psi", [1.0, 0.7, 0.0, -0.5])
def test_psi_may_be_a_tensor(psi: float) -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(4, 0, 6, num_styles=5, layers=2)
    mapping.average.normal_()
    latents = torch.randn(3, 4)
    styles, mean = mapping(latents), mapping.average
    for given in (psi, torch.tensor(psi), torch.tensor([psi])):
        torch.testing.assert_close(mapping(latents, None, given), mean + psi * (styles - mean))
    if psi == 1:
        assert torch.equal(mapping(latents, None, torch.tensor(1.0)), styles)
