"""StyleGAN2 against the official implementation's recorded numbers, and slow second implementations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sonoforge.models.stylegan.mapping import MappingNetwork
from sonoforge.models.stylegan.official import discriminator_from_official, generator_from_official

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is missing")
FAMILY = ["stylegan2_cond", "stylegan2_uncond", "stylegan3_t", "stylegan3_r"]


def _golden(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    about = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return about, {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


@needs_golden
@pytest.mark.parametrize("name", FAMILY)
def test_the_mapping_equals_the_official_one(name: str) -> None:
    about, record = _golden(name)
    options = about["G_kwargs"]
    mapping = MappingNetwork(
        options["z_dim"],
        options["c_dim"],
        options["w_dim"],
        about["num_ws"],
        layers=options["mapping_kwargs"]["num_layers"],
    )
    state = {"average": record["G/mapping.w_avg"]}
    for part in ("weight", "bias"):
        for index in range(len(mapping.layers)):
            state[f"layers.{index}.{part}"] = record[f"G/mapping.fc{index}.{part}"]
        if options["c_dim"]:
            state[f"embedding.{part}"] = record[f"G/mapping.embed.{part}"]
    mapping.load_state_dict(state)
    labels = record["in/c"]
    with torch.no_grad():
        for key, truncation in (("ws", ()), ("ws_psi07", (0.7,)), ("ws_psi05_cutoff3", (0.5, 3))):
            torch.testing.assert_close(
                mapping(record["in/z"], labels, *truncation), record[f"out/{key}"], atol=1e-5, rtol=0
            )
        if options["c_dim"]:
            torch.testing.assert_close(mapping(record["in/z"], labels.argmax(1)), record["out/ws"], atol=1e-5, rtol=0)
        mapping(record["in/z_ema"], record["in/c_ema"], update_average=True)
    torch.testing.assert_close(mapping.average, record["out/ema/mapping.w_avg"], atol=1e-5, rtol=0)


def _part(record: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    return {key[2:]: value for key, value in record.items() if key.startswith(f"{network}/")}


def _close(found: Tensor, expected: Tensor, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


@needs_golden
@pytest.mark.parametrize("name", FAMILY[:2])
def test_images_equal_the_official_ones(name: str) -> None:
    _, record = _golden(name)
    generator = generator_from_official(_part(record, "G"))
    z, c = record["in/z"], record["in/c"]
    with torch.no_grad():
        _close(generator(z, c), record["out/img"])
        _close(generator(z, c, truncation_psi=0.7), record["out/img_psi07"])
        few = len(record["out/img_nonoise"])
        _close(generator.synthesis(record["out/ws"][:few], noise="none"), record["out/img_nonoise"])
        cutoff = int(record["out/mix_cutoff"])
        mixed = torch.cat([record["out/ws"][:, :cutoff], record["out/ws"].flip(0)[:, cutoff:]], 1)
        few = len(record["out/img_mix"])
        _close(generator.synthesis(mixed[:few]), record["out/img_mix"])


@needs_golden
@pytest.mark.parametrize("name", FAMILY)
def test_scores_equal_the_official_ones(name: str) -> None:
    _, record = _golden(name)
    discriminator = discriminator_from_official(_part(record, "D"))
    c = record["in/c"]
    with torch.no_grad():
        for images, logits in (("img", "logits"), ("img_psi07", "logits_psi07")):
            score, class_logits = discriminator(record[f"out/{images}"], c)
            _close(score, record[f"out/{logits}"][:, 0])
            assert class_logits is None
        if "out/logits_img_shifted_c" in record:
            score, _ = discriminator(record["out/img"], c.argmax(1).roll(1))
            _close(score, record["out/logits_img_shifted_c"][:, 0])
