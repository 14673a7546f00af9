"""The training loop on a network small enough to check by hand; it has MobileNetV2's two attributes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.fine_tuning import (
    Batch,
    TrainingInputs,
    class_weights,
    draw_by_frequency,
    feature_inputs,
    fit,
    pixel_inputs,
    taught_by,
)
from sonoforge.training.classifier.network import Watched, all_features, answer, bfloat16, measure
from sonoforge.training.classifier.settings import BUDGETS, ClassifierSettings

CPU = torch.device("cpu")


class SmallNet(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6()),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 3))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is their brightness pattern: easy, so that learning can be seen."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 3
    pixels = rng.integers(0, 80, (48, 32, 32, 3)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[label * 10 : label * 10 + 10] += 150
    return pixels, labels.astype(np.int64)


SETTINGS = ClassifierSettings(frozen_blocks=0, epochs=6, learning_rate=5e-2, batch=16, ema_decay=0.9)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_it_learns_and_reports_each_epoch(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    net = SmallNet()
    rows: list[dict[str, float]] = []
    settings = dataclasses.replace(SETTINGS, epochs=25)
    history = fit(net, pixel_inputs(pixels, labels, "flip", CPU), settings, 1, on_epoch=rows.append)
    assert rows == history and len(history) == 25
    assert history[-1]["loss"] < history[0]["loss"]
    assert (answer([net], (pixels,), 0, CPU).probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_a_run_killed_between_epochs_continues_to_the_same_weights(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    pixels, labels = data
    inputs = pixel_inputs(pixels, labels, "classical", CPU)
    whole = SmallNet()
    fit(whole, inputs, SETTINGS, 3)

    class KilledError(Exception):
        pass

    def kill(row: dict[str, float]) -> None:
        if row["epoch"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        fit(SmallNet(), inputs, SETTINGS, 3, checkpoint=tmp_path / "c.pt", on_epoch=kill)
    continued = SmallNet(seed=99)  # its own first weights must not matter
    history = fit(continued, inputs, SETTINGS, 3, checkpoint=tmp_path / "c.pt")
    assert len(history) == SETTINGS.epochs
    assert_equal(weights(continued), weights(whole))


def test_training_on_cached_maps_equals_training_through_the_frozen_blocks(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    settings = dataclasses.replace(SETTINGS, frozen_blocks=1, augmentation="none")
    cached, through = SmallNet(), SmallNet()
    maps = all_features(cached, pixels, settings, 0, CPU)
    fit(cached, feature_inputs(maps, labels), settings, 0)

    def run_every_time(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        rng.integers(0, 1, len(indices))  # the draw that the cache makes for its variant
        with torch.no_grad():
            images = pixel_inputs(pixels, labels, "none", CPU).batch(indices, np.random.default_rng(0)).inputs
            return Batch(through.features[:1](images))

    fit(through, TrainingInputs(run_every_time, labels), settings, 0)
    for key, value in weights(cached).items():
        assert torch.allclose(value.double(), through.state_dict()[key].double(), atol=1e-5), key
    assert torch.equal(cached.features[0][0].weight, SmallNet().features[0][0].weight)
    assert torch.equal(cached.features[0][1].running_mean, torch.zeros(8))


def test_averaging_is_the_warmed_up_moving_average(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    seen: list[dict[str, torch.Tensor]] = []
    net = SmallNet()
    start = weights(net)
    one_step_an_epoch = dataclasses.replace(SETTINGS, batch=len(labels))
    inputs = pixel_inputs(pixels, labels, "none", CPU)
    fit(net, inputs, one_step_an_epoch, 0, on_epoch=lambda _: seen.append(weights(net)))
    expected = start["classifier.1.weight"].double()
    for step, state in enumerate(seen, 1):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * state["classifier.1.weight"].double()
    assert torch.allclose(net.classifier[1].weight.double(), expected, atol=1e-5)


def test_class_weights_change_what_a_rare_class_counts() -> None:
    labels = np.array([0] * 30 + [1] * 10 + [2] * 5)
    found = class_weights(labels, 3, CPU)
    assert found.tolist() == pytest.approx([0.5, 1.5, 3.0])  # N / (C n_c), scikit-learn's "balanced"


def test_images_are_drawn_as_often_as_their_frequencies_say() -> None:
    frequencies = np.array([3.0, 1.5, 0.5, 0.0, 0.25, 0.75])
    draws = [draw_by_frequency(frequencies, np.random.default_rng(seed)) for seed in range(4000)]
    counts = np.stack([np.bincount(drawn, minlength=6) for drawn in draws])
    assert (counts.sum(axis=1) == 6).all()
    assert (counts >= np.floor(frequencies)).all() and (counts <= np.ceil(frequencies)).all()
    assert counts.mean(axis=0) == pytest.approx(frequencies, abs=0.04)
    assert len({tuple(drawn) for drawn in draws}) > 100  # the order is drawn, too


def test_what_is_not_drawn_is_not_learnt(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    shown: list[int] = []
    inputs = pixel_inputs(pixels, labels, "none", CPU)
    serve = inputs.batch

    def noted(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        shown.extend(indices.tolist())
        return serve(indices, rng)

    only_ones = np.where(labels == 1, 1.0, 0.0) / (labels == 1).mean()
    fit(SmallNet(), inputs._replace(batch=noted, frequencies=only_ones), SETTINGS, 0)
    assert set(labels[shown]) == {1}
    rest = inputs._replace(frequencies=np.arange(len(labels)) + 1.0).only(np.array([0, 3]))
    assert rest.frequencies is not None and rest.frequencies == pytest.approx([0.4, 1.6])


def test_how_often_windows_are_healthy_is_not_what_is_learnt_of_scans() -> None:
    """Images that say nothing but whether they are whole: most whole ones are ill, most crops healthy."""
    rng = np.random.default_rng(5)
    crops = np.arange(400) % 2 == 0
    labels = np.where(rng.random(400) < np.where(crops, 0.9, 0.2), 0, rng.integers(1, 3, 400))
    pixels = np.where(crops, 60, 190).astype(np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    inputs = pixel_inputs(pixels, labels, "none", CPU)
    serve = inputs.batch

    def kinds(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        return serve(indices, rng)._replace(crops=crops[indices])

    settings = dataclasses.replace(SETTINGS, epochs=12, label_smoothing=0.0, learning_rate=0.02, batch=40)
    net = SmallNet()
    fit(net, inputs._replace(batch=kinds, healthy=0, healthy_share=0.3), settings, 0)
    said = answer([net], (pixels[:2],), 0, CPU).probabilities[:, 0]
    assert said == pytest.approx([0.3, 0.3], abs=0.06)  # without the prior: 0.9 and 0.2


def test_an_image_counts_as_its_weight_says(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    inputs = pixel_inputs(pixels, labels, "none", CPU)
    plain, alike, right, wrong = SmallNet(), SmallNet(), SmallNet(), SmallNet()
    fit(plain, inputs, SETTINGS, 2)
    fit(alike, inputs._replace(weights=np.full(len(labels), 0.25)), SETTINGS, 2)
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(alike)[key], value, rtol=1e-3, atol=1e-4)
    each = np.where(np.arange(len(labels)) % 4 == 0, 0.0, 1.0)
    fit(right, inputs._replace(weights=each), SETTINGS, 2)
    fit(wrong, inputs._replace(weights=each, labels=np.where(each == 0, 2 - labels, labels)), SETTINGS, 2)
    assert_equal(weights(right), weights(wrong))
    assert not torch.equal(weights(right)["classifier.1.weight"], weights(plain)["classifier.1.weight"])


def test_the_thesis_budget_is_adam_on_plain_cross_entropy(data: tuple[np.ndarray, np.ndarray]) -> None:
    """Against the loop of a textbook: nothing that the thesis does not name moves a weight."""
    pixels, labels = data
    settings = dataclasses.replace(BUDGETS["thesis"], epochs=2, batch=16)
    net = SmallNet()
    history = fit(net, pixel_inputs(pixels, labels, settings.augmentation, CPU), settings, 5)
    assert {row["learning_rate"] for row in history} == {1e-3}
    plain = SmallNet()
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    images = torch.from_numpy(IMAGENET.normalise(pixels))
    plain.train()
    for epoch in range(2):
        order = np.random.default_rng(derive_seed(5, "order and augmentation", epoch)).permutation(48)
        torch.manual_seed(derive_seed(5, "dropout", epoch))
        for start in (0, 16, 32):
            chosen = order[start : start + 16]
            logits = plain.classifier(plain.features(images[chosen]).mean((2, 3)))
            loss = nn.CrossEntropyLoss()(logits, torch.from_numpy(labels[chosen]))
            adam.zero_grad()
            loss.backward()
            adam.step()
    for key, value in weights(net).items():
        # Biases that batch norm takes away again have no gradient but rounding errors, whose signs Adam follows.
        if key.endswith("weight") or key.startswith("classifier"):
            assert torch.allclose(value.double(), plain.state_dict()[key].double(), atol=2e-5), key


def test_looking_at_held_out_images_changes_no_weight(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    inputs, watched = pixel_inputs(pixels[12:], labels[12:], "flip", CPU), Watched((pixels[:12],), labels[:12])
    blind, looking = SmallNet(), SmallNet()
    fit(blind, inputs, SETTINGS, 3)
    seen = inputs._replace(measure=lambda net: measure(net, watched, 0, CPU))
    history = fit(looking, seen, SETTINGS, 3)
    assert_equal(weights(blind), weights(looking))
    # The last row is of the network that is returned, whose weights are averages.
    with torch.no_grad():
        logits = looking.classifier(looking.features(torch.from_numpy(IMAGENET.normalise(pixels[:12]))).mean((2, 3)))
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(labels[:12]))
    assert history[-1]["test_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert history[-1]["test_accuracy"] == (logits.argmax(1).numpy() == labels[:12]).mean()
    assert [row["test_loss"] for row in history] != [history[-1]["test_loss"]] * SETTINGS.epochs


def test_a_student_learns_its_teachers_mean_answer(data: tuple[np.ndarray, np.ndarray]) -> None:
    """On labels that are wrong, so that only the teachers can have taught it."""
    pixels, labels = data
    settings = dataclasses.replace(SETTINGS, epochs=25)
    inputs = pixel_inputs(pixels, labels, "flip", CPU)
    teachers = [SmallNet(1), SmallNet(2)]
    for seed, teacher in enumerate(teachers):
        fit(teacher, inputs, settings, seed)
    expected = answer(teachers, (pixels,), 0, CPU).probabilities
    wrong = dataclasses.replace(settings, label_smoothing=0.0)
    student, untaught = SmallNet(3), SmallNet(3)
    misled = pixel_inputs(pixels, (labels + 1) % 3, "flip", CPU)
    fit(student, taught_by(misled, teachers, wrong), wrong, 9)
    fit(untaught, misled, wrong, 9)
    apart = [
        float(np.abs(answer([net], (pixels,), 0, CPU).probabilities - expected).mean()) for net in (student, untaught)
    ]
    assert apart[0] < 0.1 < apart[1]
    assert (answer([student], (pixels,), 0, CPU).probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_what_teachers_answer_is_the_softmax_of_their_mean_logits(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    teachers = [SmallNet(1), SmallNet(2)]
    view = taught_by(pixel_inputs(pixels, labels, "none", CPU), teachers, SETTINGS).batch(
        np.arange(8), np.random.default_rng(0)
    )
    assert view.answers is not None
    again = pixel_inputs(pixels, labels, "clinic", CPU)
    changed = taught_by(again, teachers, SETTINGS).only(np.arange(8))
    served, plain = (one.batch(np.arange(8), np.random.default_rng(0)) for one in (changed, again.only(np.arange(8))))
    assert served.answers is not None and not torch.equal(served.inputs, plain.inputs)  # the taught see more changes
    logits = torch.stack([teacher.classifier(teacher.features(served.inputs).mean((2, 3))) for teacher in teachers])
    torch.testing.assert_close(served.answers, logits.mean(0).softmax(1).detach())
    assert np.allclose(view.answers.numpy(), answer(teachers, (pixels[:8],), 0, CPU).probabilities, atol=1e-6)


def test_only_depthwise_convolutions_with_a_stride_stay_in_float32_on_a_cpu() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
    )
    inputs, kinds = torch.randn(2, 4, 16, 16), []
    for layer in net:
        layer.register_forward_hook(lambda _layer, _inputs, output: kinds.append(output.dtype))
    exact = net(inputs)
    with bfloat16(net, CPU, enabled=True):
        near = net(inputs)
    assert kinds == [torch.float32] * 3 + [torch.bfloat16, torch.bfloat16, torch.float32]
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05)
    near.sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype is torch.float32 for weight in net.parameters())
    assert not any("forward" in vars(layer) for layer in net)
    with bfloat16(net, CPU, enabled=False):
        assert net(inputs.detach()).dtype is torch.float32
