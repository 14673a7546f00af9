"""Fixtures of the tests of training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from once import made_once
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset


@pytest.fixture(scope="session")
def busi(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """BUSI at 64 pixels, decoded and searched for near-duplicates once for all test processes."""
    dataset = read_dataset(shared / "data" / "BUSI")
    folder = made_once(tmp_path_factory, "busi", lambda folder: open_cache(dataset, 64, folder).near_duplicates)
    return open_cache(dataset, 64, folder)


@pytest.fixture(scope="session")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tensors of a SqueezeNet with random weights, a feature network that needs no download."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """A server of the S3 protocol on this machine, with an empty bucket."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'sonoforge[remote]'")
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'sonoforge[dev]'")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'sonoforge[remote]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAKEY")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3")
        files.mkdir("bucket")
        yield files
    running.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any, str]:
    """A URL, its file system and its path there; each test has its own folder."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'sonoforge[remote]'")
    if request.param == "s3":
        return f"s3://bucket/{tmp_path.name}", request.getfixturevalue("s3"), f"bucket/{tmp_path.name}"
    return f"memory://{tmp_path.name}", fsspec.filesystem("memory"), f"/{tmp_path.name}"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training with `gan_trainings.SETTINGS`; not to be changed."""
    from gan_trainings import train

    folder = tmp_path_factory.mktemp("gan") / "finished"
    train(folder)
    return folder
