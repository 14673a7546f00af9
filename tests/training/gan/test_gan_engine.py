"""The GAN loop: it learns, resumes exactly, keeps its folder in order, and reports when it fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from gan_trainings import SETTINGS, StopAt, assert_same_tensors, draw_discs, read_rows, read_tensors, train
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.data.pixels import prepare_images, to_tensor, to_unit
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine as gan_engine
from sonoforge.training.gan import generator as gan_generator
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.state import build_state
from sonoforge.training.gan.training import Training, prepare
from sonoforge.training.gan.training_set import make_training_set

RATE, BETAS = 0.001, (0.5, 0.999)  # of the thesis's Adam


def test_a_short_training_moves_the_samples_towards_the_images(tmp_path: Path) -> None:
    train(tmp_path, draw_discs(64), steps=120, batch=16, tick_steps=20, learning_rate=0.001)
    rows = read_rows(tmp_path)
    assert rows[-1]["distance"] < 0.5 * rows[0]["distance"]
    assert rows[-1]["diversity"] > COLLAPSE_FRACTION


def test_the_folder_holds_what_the_architecture_promises(finished: Path) -> None:
    rows = read_rows(finished)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["images"] == 48
    assert rows[-1]["epoch"] == pytest.approx(4.8)
    grids = sorted(path.name for path in (finished / "samples").iterdir())
    assert grids == ["latest.png", "real.png", *(f"step-{step:08d}.png" for step in (3, 6, 9, 12))]
    assert Image.open(finished / "samples" / grids[-1]).size == (8 * 32, 8 * 32)
    results = json.loads((finished / "results.json").read_text())
    assert (finished / results["checkpoint"]).is_dir()
    # The last two and the best are kept.
    steps = {gan_checkpoint.describe(path).step for path in (finished / "checkpoints").iterdir()}
    diverse = [row for row in rows if row["diversity"] >= 0.5]
    assert steps == {9, 12, *(row["step"] for row in sorted(diverse, key=lambda row: row["distance"])[:1])}


def test_tensorboard_shows_the_statistics_and_the_grids(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    rows = read_rows(finished)
    for name in ("discriminator_loss", "generator_gradient", "diversity", "seconds_per_kimg"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["step"], pytest.approx(row[name], rel=1e-5)) for row in rows]
    assert [image.step for image in events.Images("samples")] == [3, 6, 9, 12]


def test_a_resumed_training_equals_an_uninterrupted_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 7, with its last checkpoint at step 6, and rows of no worth after it."""
    calls = 0
    real = gan_engine.update_average

    def interrupt(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gan_engine, "update_average", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    monkeypatch.setattr(gan_engine, "update_average", real)
    with (tmp_path / "stats.jsonl").open("a") as stream:
        stream.write('{"step": 9, "collapsed": true}\n{"step": 1')
    torch.manual_seed(99)  # the global random state must not matter
    last = train(tmp_path, resume=True)
    assert_same_tensors(last, finished / "checkpoints" / last.name)
    for name in ("real.png", "step-00000012.png"):
        assert (tmp_path / "samples" / name).read_bytes() == (finished / "samples" / name).read_bytes()
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]


def test_a_finished_training_is_returned_at_once_and_never_mixed_with_another(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(SonoforgeError, match="unfinished training; resume it"):
        train(tmp_path / "run")
    monkeypatch.setattr(gan_engine, "build_state", lambda *_: pytest.fail("trained again"))
    assert train(finished).name == "step-00000012"
    with pytest.raises(SonoforgeError, match=r"other settings .*seed was 5, is 6"):
        train(finished, seed=6, resume=True)
    with pytest.raises(SonoforgeError, match="other images"):
        train(finished, draw_discs(seed=1), resume=True)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_goes_on(tmp_path: Path) -> None:
    newest = train(tmp_path, stop=StopAt(6))
    path = newest / "discriminator.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SonoforgeError, match=r"damaged.*remove .*step-00000006 to continue from the previous one"):
        train(tmp_path, resume=True)
    shutil.rmtree(newest)
    assert train(tmp_path, resume=True).name == "step-00000012"


def test_numbers_that_are_not_finite_stop_the_training_at_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = gan_engine.draw_real

    def poison(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        images, labels = real(*arguments)
        number = arguments[1]
        return images * (float("nan") if number >= 4 else 1.0), labels

    monkeypatch.setattr(gan_engine, "draw_real", poison)
    with pytest.raises(GateError, match=r"loss not finite by step 6.*last good checkpoint is .*step-00000003.*lower"):
        train(tmp_path)
    kept = gan_checkpoint.list_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in kept] == ["step-00000003"]
    assert all(bool(value.isfinite().all()) for value in read_tensors(kept[0]).values())
    assert not (tmp_path / "results.json").exists()
    assert "not finite" in caplog.text


@pytest.mark.parametrize(
    ("good_ticks", "message"),
    [(0, "collapse at step 3: .*was never higher"), (2, "collapse at step 9: .*lower learning")],
)
def test_collapse_is_warned_of_and_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    good_ticks: int,
    message: str,
) -> None:
    """After some good ticks, the generator ignores its latent and makes one image only."""
    images = to_unit(to_tensor(prepare_images(draw_discs(64), 32, 1)))
    made = 0

    def collapsing(network: torch.nn.Module, latents: torch.Tensor, labels: None) -> torch.Tensor:
        nonlocal made
        tick, first = divmod(made, 64)
        made += len(latents)
        good = images[first : first + len(latents)]
        return good if tick < good_ticks else images[:1].expand(len(latents), -1, -1, -1)

    monkeypatch.setattr(gan_generator, "generate", collapsing)
    with caplog.at_level(logging.WARNING):
        train(tmp_path)
    rows = read_rows(tmp_path)
    assert [row["collapsed"] for row in rows] == [False] * good_ticks + [True] * (4 - good_ticks)
    assert all(row["diversity"] == 0 for row in rows[good_ticks:])
    assert all(row["diversity"] == pytest.approx(1, abs=0.3) for row in rows[:good_ticks])
    assert json.loads((tmp_path / "results.json").read_text())["ticks_collapsed"] == 4 - good_ticks
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1  # once, not at every tick
    assert re.search(message, warnings[0])


class _Adam:
    """Kingma and Ba 2015, algorithm 1, of one network."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.moments = [(torch.zeros_like(own), torch.zeros_like(own)) for own in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...]) -> None:
        self.steps += 1
        for own, (first, second), gradient in zip(self.parameters, self.moments, gradients, strict=True):
            first.mul_(BETAS[0]).add_((1 - BETAS[0]) * gradient)
            second.mul_(BETAS[1]).add_((1 - BETAS[1]) * gradient.square())
            corrected = (second / (1 - BETAS[1] ** self.steps)).sqrt() + 1e-8
            own.sub_(RATE * (first / (1 - BETAS[0] ** self.steps)) / corrected)


def _train_by_hand(training: Training, *, together: bool) -> list[Tensor]:
    """Train two steps as figure 7 of the thesis has them, or with the discriminator first; return the weights."""
    state = build_state(training)
    real, generator, discriminator = gan_engine.prepare_data(state, training), state.generator, state.discriminator
    adams = {network: _Adam(network) for network in (generator, discriminator)}
    for step in range(2):
        batch = gan_engine.draw_batch(state, real, step)  # the same images and latents as in the training
        fake = generator(batch.latents)
        judged = [discriminator(images)[0].sigmoid() for images in (batch.real, fake)]
        ones, zeros = torch.ones(len(fake)), torch.zeros(len(fake))
        loss = binary_cross_entropy(judged[0], ones) + binary_cross_entropy(judged[1], zeros)
        gradients = {discriminator: torch.autograd.grad(loss, adams[discriminator].parameters, retain_graph=True)}
        if not together:
            adams[discriminator].step(gradients.pop(discriminator))
            judged[1] = discriminator(fake)[0].sigmoid()
        loss = binary_cross_entropy(judged[1], ones)
        gradients[generator] = torch.autograd.grad(loss, adams[generator].parameters)
        for network, own in gradients.items():
            adams[network].step(own)
    return [weight.detach() for weight in (*generator.parameters(), *discriminator.parameters())]


@pytest.mark.parametrize("together", [True, False], ids=["figure 7", "discriminator first"])
def test_two_steps_of_the_thesis_by_hand(together: bool) -> None:
    settings = dataclasses.replace(SETTINGS, recipe="dcgan-thesis", width=None, image_size=16, steps=2, tick_steps=1)
    settings = dataclasses.replace(settings, simultaneous=None if together else False)
    training = prepare(settings, make_training_set(draw_discs(8), None, ("malignant",), 16, "1"), "cpu")
    state = build_state(training)
    real = gan_engine.prepare_data(state, training)
    first = [weight.detach().clone() for weight in (*state.generator.parameters(), *state.discriminator.parameters())]
    for step in range(2):
        gan_engine.train_step(state, training, real, step)
    trained = [weight.detach() for weight in (*state.generator.parameters(), *state.discriminator.parameters())]

    def distance(others: list[Tensor]) -> float:
        """Of the two updates, relative to their length; Adam enlarges rounding where a gradient is almost 0."""
        apart, length = (
            sum(float((a - b).double().square().sum()) for a, b in zip(trained, own, strict=True))
            for own in (others, first)
        )
        return (apart / length) ** 0.5

    right, wrong = (distance(_train_by_hand(training, together=own)) for own in (together, not together))
    print(f"{right:.2g} {wrong:.2g}")
    assert right < 0.01 < 0.1 < wrong
    # No paper's average: samples are drawn from the generator of the last step.
    drawn, last = state.average.state_dict(), state.generator.state_dict()
    assert all(torch.equal(drawn[name], last[name]) for name in last)


def test_networks_that_step_together_refuse_steps_between() -> None:
    for regularisers in ("r1=10:16", "weight-clipping"):
        settings = dataclasses.replace(SETTINGS, recipe="dcgan-thesis", width=None, regularisers=regularisers)
        with pytest.raises(SonoforgeError, match=r"simultaneous.*steps of its own"):
            compose(settings)
    assert compose(dataclasses.replace(settings, regularisers="r1=10")).simultaneous
