"""From Python the same is done as by the commands, and every part fits scikit-learn, PyTorch and pandas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import check_cv, cross_val_score
from torch.utils.data import DataLoader

from program import succeed, words
from small_run import TINY, SmallRun
from sonoforge import api
from sonoforge.runtime.errors import SonoforgeError

GAN = {key: value for key, value in TINY.items() if key.startswith("gan.")} | {"gan.metrics": "none"}


@pytest.fixture(scope="module")
def data() -> api.Images:
    return api.load_images(images=60)


@pytest.fixture(scope="module")
def result(data: api.Images, tmp_path_factory: pytest.TempPathFactory) -> api.Comparison:
    """The arms of `small_run`, compared from Python."""
    return api.compare(data, folds=3, settings={**TINY, "out": str(tmp_path_factory.mktemp("api"))})


def test_images_are_what_lies_in_the_folder(data: api.Images) -> None:
    root = data.cache.dataset.root
    counted = {folder.name: len(list(folder.glob("*).png"))) for folder in root.iterdir() if folder.is_dir()}
    assert data.counts == counted
    assert len(data) == 60 == len(data.frame())
    assert all(name in repr(data) for name in (*data.classes, "60", f"{len(set(data.groups.tolist()))} groups"))
    assert data.audit()["images"] == 60
    assert "<iframe" in data.audit()._repr_html_()


def test_a_plain_loop_with_two_workers_sees_every_image_once(data: api.Images) -> None:
    parts = list(DataLoader(data, batch_size=16, num_workers=2))
    images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # torchvision's, of ImageNet
    expected = ((data.pixels / 255 - mean) / deviation).transpose(0, 3, 1, 2)
    assert np.abs(images.numpy() - expected).max() < 1e-5
    assert labels.tolist() == data.labels.tolist()


def test_sealed_folds_serve_scikit_learn(data: api.Images, result: api.Comparison) -> None:
    folds = api.sealed_folds(data, k=3)
    assert check_cv(folds).get_n_splits() == 3
    shares = cross_val_score(DummyClassifier(), np.zeros((60, 1)), data.labels, cv=folds)
    largest = data.labels == np.bincount(data.labels).argmax()
    assert shares.tolist() == [largest[test].mean() for _, test in folds.split()]
    for train, test in folds.split():
        assert not {*data.groups[train]} & {*data.groups[test]}
    dealt = result.predictions.query("arm == 'real'").set_index("file").fold
    assert all({dealt[data.files[i]] for i in test} == {fold} for fold, (_, test) in enumerate(folds.split()))
    with pytest.raises(SonoforgeError, match="has 59 rows"):
        cross_val_score(DummyClassifier(), np.zeros((59, 1)), data.labels[:59], cv=folds, error_score="raise")


def test_a_comparison_is_the_commands(result: api.Comparison, small_run: SmallRun, data: api.Images) -> None:
    for name in ("predictions.csv", "splits.json"):
        assert (result.folder / name).read_bytes() == (small_run.folder / name).read_bytes()
    figures = json.loads((small_run.folder / "results.json").read_text(encoding="utf-8"))["arms"]
    assert result.table.loc["gan", "accuracy"] == figures["gan"]["accuracy"]["value"]
    assert len(result.predictions) == 2 * len(data)
    verdict = result.verdict
    assert verdict is not None
    assert verdict.headline in (small_run.folder / "report.html").read_text(encoding="utf-8")
    assert str(verdict.headline) in result._repr_html_()


def test_figures_follow_from_answers_alone(result: api.Comparison) -> None:
    rows = result.predictions
    own = rows[rows.arm == "real"]
    answered = own[[f"p_{name}" for name in ("normal", "benign", "malignant")]].idxmax(axis=1).str[2:]
    accuracy = (answered == own.label).mean()
    for answers in (rows, result.folder / "predictions.csv"):
        assert api.figures(answers)["arms"]["real"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_an_arm_becomes_a_bundle_whose_answers_need_no_torch(result: api.Comparison, data: api.Images) -> None:
    bundle = api.export(result, arm="real")
    answer = api.Classifier(bundle).classify(data.pixels[0])
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert tuple(answer.probabilities) == data.classes
    assert api.export(bundle, bundle.parent / "again") == bundle.parent / "again"
    assert api.load_network(result.folder)(data[0][0][None]).shape == (1, 3)
    with pytest.raises(SonoforgeError, match="arm: missing; give one of real, gan"):
        api.export(result)


def test_a_generator_is_the_commands(tmp_path: Path, data: api.Images) -> None:
    settings = {**GAN, "device": "cpu", "out": str(tmp_path / "python")}
    made = api.train_gan(data, class_name="benign", settings=settings)
    given = [f"--set=gan.{name}" for name in ("width=4", "batch=4", "metrics=none")]
    line = words("gan train --class benign --recipe dcgan --size 32 --steps 6 --device cpu --set phantom.images=60")
    run = succeed(*line, *given, "--out", tmp_path / "command").json
    weights = [folder / "average.safetensors" for folder in (made.checkpoint, Path(run["checkpoint"])) if folder]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert (made._repr_png_() or b"")[1:4] == b"PNG"
    assert api.train_gan(data, class_name="benign", resume=True, settings=settings).folder == made.folder


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gan.stepz": 3}, "unknown setting 'gan.stepz' (did you mean gan.steps?)"),
        ({"gan.steps": 0}, "must be at least 1"),
        ({"gan.class_name": "malignnt"}, "did you mean malignant?"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(data: api.Images, settings: dict[str, object], said: str) -> None:
    with pytest.raises(SonoforgeError) as error:
        api.train_gan(data, "dcgan", settings=settings)
    assert said in str(error.value)


@pytest.mark.slow
def test_cells_of_three_classes_go_the_same_way(shared: Path, tmp_path: Path) -> None:
    for name in ("normal", "light_moderate_dysplastic", "severe_dysplastic"):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for file in sorted((shared / "data" / "Herlev" / name).glob("*.jpg"))[:100]:
            (tmp_path / "cells" / name / file.name).write_bytes(file.read_bytes())
    data = api.load_images(tmp_path / "cells")
    assert list(data.counts.values()) == [100, 100, 100]
    out = {"out": str(tmp_path / "runs")}
    gan = api.train_gan(data, class_name="normal", settings={**GAN, **out})
    weights = {"classifier.weights": str(shared / "weights" / "mobilenet_v2_imagenet_fp16.safetensors")}
    result = api.compare(data, folds=2, settings={**TINY, **weights, **out})
    answer = api.Classifier(api.export(result, arm="gan")).classify(data.pixels[0])
    assert gan.finished
    assert set(answer.probabilities) == set(data.classes)
    assert result.table.loc["real", "accuracy"] > 0.5
