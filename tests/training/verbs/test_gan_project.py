"""``sonoforge gan show --project``: drawings are found again, copies are near, what was never seen is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import mse_loss

from gan_trainings import draw_discs
from generator_checkpoints import small_checkpoint
from program import refused, sonoforge, succeed
from sonoforge.training.data.pixels import to_tensor, to_unit
from sonoforge.training.evaluation.image_set import HeldOut, ImageSet
from sonoforge.training.gan.checkpoint import describe, find_checkpoint, save_checkpoint
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.latent_space import projection
from sonoforge.training.gan.latent_space.path_length import PIXEL_DISTANCE
from sonoforge.training.gan.milestones import EvaluatedSets
from sonoforge.training.verbs import gan_project

SIDE = 32


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests measure pixels, whatever torch has downloaded on this machine."""
    monkeypatch.setattr(gan_project, "is_downloaded", lambda name: False)


@pytest.fixture(scope="module")
def memorising(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A generator that draws four images and nothing else, by the signs of the latent's first two numbers; these."""
    run = tmp_path_factory.mktemp("memorising")
    small_checkpoint(run, "dcgan", 0, side=SIDE)
    checkpoint = find_checkpoint(run)
    images = draw_discs(4, SIDE, seed=1)
    targets = to_unit(to_tensor(images))
    generator = load_generator(checkpoint).requires_grad_(True)
    chance = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(generator.parameters(), 0.01)
    for _ in range(250):
        latents = torch.randn(16, 6, generator=chance)
        meant = (latents[:, 0] > 0).long() + 2 * (latents[:, 1] > 0).long()
        optimiser.zero_grad()
        mse_loss(generator(latents, None), targets[meant]).backward()
        optimiser.step()
    save_checkpoint(run / "checkpoints", describe(checkpoint), {"average": generator.state_dict()})
    return run, images


def _write(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels[..., 0]).save(path)
    return path


def _seen(pixels: np.ndarray) -> np.ndarray:
    """What a training sees of a file of these pixels, by way of the image cache: (S, S) float."""
    seen = Image.fromarray(pixels[..., 0]).resize((224, 224), Image.Resampling.BILINEAR)
    return np.asarray(seen.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(float)


def _project(run: Path, scan: Path, *options: object) -> dict[str, Any]:
    result: dict[str, Any] = succeed("gan", "show", run, "--project", scan, "--device", "cpu", *options).json
    return result


@pytest.mark.parametrize("recipe", ["dcgan", "stylegan2", "stylegan3-t"])
def test_a_drawing_is_found_again_and_noise_is_not(tmp_path: Path, recipe: str) -> None:
    small_checkpoint(tmp_path, recipe, 2 if recipe == "dcgan" else 0, side=SIDE)
    generator = load_generator(tmp_path)
    labels = [0, 1] if recipe == "dcgan" else [None]
    drawings = sample(generator, 2, 99, labels[-1])
    noise = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 1)).astype(np.uint8)
    images = to_unit(to_tensor(np.concatenate([drawings[:1], noise])))
    space = projection.open_space(generator, labels, 0)
    again, other = projection.project(space, images, PIXEL_DISTANCE, 0)
    between = float(np.square((drawings[0].astype(float) - drawings[1]) / 127.5).mean())
    assert again.distance < 0.02 * between, "rounding to 8 bits alone is left"
    assert again.label == labels[-1], "in the class that it was drawn in"
    assert other.distance > 10 * again.distance
    found = ((again.image.clamp(-1, 1) - images[0]) ** 2).mean()
    assert float(found) == pytest.approx(again.distance, abs=1e-6), "of the very drawing that is returned"


def test_the_search_stays_where_latents_are_drawn_from(tmp_path: Path) -> None:
    small_checkpoint(tmp_path, "dcgan", 0, side=SIDE)
    space = projection.open_space(load_generator(tmp_path), [None], 0)
    lengths = space.keep(torch.randn(5, 6) * torch.tensor([1e-3, 1, 2, 10, 1e3])[:, None]).norm(dim=1)
    drawn = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    shortest, longest = drawn.quantile(0.001), drawn.quantile(0.999)
    assert lengths.min() == pytest.approx(float(shortest), rel=0.1)
    assert lengths.max() == pytest.approx(float(longest), rel=0.1)


def test_a_copied_scan_is_nearer_than_unseen_ones(
    memorising: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, images = memorising
    unseen = draw_discs(41, SIDE, seed=7)

    def own_images(*_: object) -> EvaluatedSets:
        held_out = ImageSet("unseen", unseen[1:], (), "", False, "none")
        groups = np.arange(40)
        return EvaluatedSets(held_out, held_out, HeldOut(held_out, groups, groups + 40), held_out)

    monkeypatch.setattr(gan_project, "read_own_images", own_images)
    monkeypatch.setattr(projection, "STEPS", 60)
    options = ["--set", "show.samples=40", "--count", 4]
    copied = _project(run, _write(tmp_path / "copied.png", images[2]), *options)
    assert copied["farther_than"] == 0 and copied["p_as_near"] == pytest.approx(1 / 41)
    assert "as a memorised one would be (p = 0.024)" in copied["answer"]
    assert copied["answer"].endswith("Research use, not a medical device.")
    references = (run / "projections" / "references.json").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("what was found before is not looked for again")

    fresh = _project(run, _write(tmp_path / "fresh.png", unseen[0]), *options)
    assert (run / "projections" / "references.json").read_bytes() == references
    assert fresh["held_out_scans"] == copied["held_out_scans"] and len(fresh["held_out_scans"]) == 40
    assert fresh["p_as_near"] > 0.025 and "memorised" not in fresh["answer"]
    assert fresh["distance"] > 5 * copied["distance"] and not fresh["within_own"]


def test_what_is_written_says_what_it_shows(memorising: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    run, images = memorising
    scan, out = _write(tmp_path / "scan.png", images[0]), tmp_path / "out"
    options = ["--count", 2, "--out", out, "--device", "cpu"]
    done = sonoforge("gan", "show", run, "--project", scan, *options)
    assert done.code == 0, done.err
    assert "distances are of PIXELS" in done.err and "copying is not tested" in done.err
    assert {path.name for path in out.iterdir()} == {"projection.png", "drawing.png", "results.json"}
    result = json.loads((out / "results.json").read_text())
    assert result["answer"] in done.out and "not a medical device" in done.out
    assert result["farther_than"] is None and result["held_out_scans"] == []
    with Image.open(out / "drawing.png") as drawing:
        assert drawing.text["sonoforge:synthetic"] == "true"  # type: ignore[attr-defined]
        error = np.square((np.asarray(drawing).astype(float) - _seen(images[0])) / 127.5).mean()
    assert error == pytest.approx(result["distance"], rel=0.02)
    with Image.open(out / "projection.png") as picture:
        assert "A real scan" in picture.text["Description"]  # type: ignore[attr-defined]
        assert "shows no patient" not in picture.text["Description"]  # type: ignore[attr-defined]
    assert _project(run, scan, *options) == result, "the same by the same seed"
    other = _write(tmp_path / "other.png", images[1])
    assert "another scan" in refused("gan", "show", run, "--project", other, *options)


def test_lpips_is_minimised_where_its_network_is_given(tmp_path: Path, squeezenet_file: Path) -> None:
    small_checkpoint(tmp_path / "run", "dcgan", 0, side=SIDE)
    succeed(
        "gan", "sample", tmp_path / "run", "--count", 1, "--seed", 5, "--device", "cpu", "--out", tmp_path / "drawn"
    )
    (scan,) = (tmp_path / "drawn").glob("*.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "STEPS", 150)
        found = _project(tmp_path / "run", scan, "--lpips", squeezenet_file, "--count", 2)
    assert found["protocol"]["distance"].startswith("LPIPS 0.1") and "LPIPS" in found["answer"]
    assert found["distance"] < 0.2 * found["own_drawings"]["apart"]


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("dcgan", ["--what", "path"], "--what cannot be combined with --project"),
        ("spade", [], "--project: this generator draws into label maps"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path: Path, recipe: str, options: list[str], message: str) -> None:
    small_checkpoint(tmp_path / "run", recipe, 0, masks=2 if recipe == "spade" else 0)
    scan = _write(tmp_path / "scan.png", draw_discs(1, 64)[0])
    assert message in refused("gan", "show", tmp_path / "run", "--project", scan, "--device", "cpu", *options)
    assert not (tmp_path / "run" / "projections").exists()
