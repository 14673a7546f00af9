"""``log.tracker``: a run in MLflow and in wandb's offline folder; nothing unless asked for; no training is lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_trainings import read_rows
from program import refused, sonoforge, succeed
from scans import write_set
from sonoforge.training import run_folder, tracking

GAN = (
    "gan train --data scans --class malignant --recipe dcgan --set gan.width=4 --size 32 --set gan.batch=4 --set "
    "gan.tick_steps=2"
)
GAN += " --set gan.metrics=kid --set gan.metric_features=pixels --device cpu --out runs"
COMPARISON = (
    "--data scans --arms real --folds 2 --set classifier.weights=none --set classifier.frozen_blocks=17 "
    "--set classifier.epochs=2 --set classifier.ensemble_size=1"
)
COMPARISON += " --set classifier.image_size=96 --device cpu --out runs"


class Server:
    """A local MLflow server, and what it says by its REST interface (not by the client that is tested)."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri, self._folder, self._port = f"http://127.0.0.1:{port}", folder, port
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/runs.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.txt").open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=10).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "server.txt").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.5)

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            self._process.wait(60)

    def ask(self, what: str, **values: Any) -> Any:
        data = json.dumps(values).encode() if values else None
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{what}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, folder: Path) -> dict[str, Any]:
        """The one run of the experiment ``sonoforge`` that is named as a run folder."""
        (experiment,) = [
            own["experiment_id"]
            for own in self.ask("experiments/search", max_results=10)["experiments"]
            if own["name"] == "sonoforge"
        ]
        found = self.ask("runs/search", experiment_ids=[experiment]).get("runs", [])
        (run,) = [own for own in found if own["info"]["run_name"] == folder.name]
        data = run["data"]
        return {
            "id": run["info"]["run_id"],
            "status": run["info"]["status"],
            **{
                part: {own["key"]: own["value"] for own in data.get(part, [])} for part in ("tags", "params", "metrics")
            },
        }

    def history(self, run: dict[str, Any], metric: str) -> list[tuple[int, float]]:
        rows = self.ask(f"metrics/get-history?run_id={run['id']}&metric_key={metric}")["metrics"]
        return [(int(row.get("step", 0)), row["value"]) for row in rows]

    @property
    def stored(self) -> list[Path]:
        return [path for path in (self._folder / "artifacts").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("mlflow.server", reason="the server is in mlflow, of the extra dev")
    started = Server(tmp_path_factory.mktemp("mlflow"))
    yield started
    started.stop()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_set(tmp_path / "scans", {"benign": 12, "malignant": 12})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def start(command: str, *more: object) -> Path:
    return Path(succeed(*command.split(), *more).json["run"])


def test_a_generators_run_is_found_in_mlflow_and_goes_on_there(place: Path, server: Server) -> None:
    folder = start(GAN, "--steps", "4", "--set", f"log.tracker=mlflow:{server.uri}")
    run = server.run(folder)
    assert run["status"] == "FINISHED"
    assert f"{run['id']}?workflowType=machine_learning" in (folder / "log.txt").read_text()
    assert run["params"].items() >= {"gan.recipe": "dcgan", "gan.steps": "4", "gan.width": "4", "gan.seed": "0"}.items()
    assert run["tags"].items() >= {"verb": "gan train", "data": "scans"}.items()
    assert run["tags"]["sonoforge"] in run_folder.package_versions(["sonoforge"]).values()
    rows = read_rows(folder)
    assert server.history(run, "kid") == [(row["step"], pytest.approx(row["kid"])) for row in rows]
    # A run that is made longer is the same run.
    assert start(f"{GAN} --resume", "--steps", "6", "--set", f"log.tracker=mlflow:{server.uri}") == folder
    longer = server.run(folder)
    assert (longer["id"], longer["status"], longer["tags"]["steps.continued"]) == (run["id"], "FINISHED", "6")
    assert [step for step, _ in server.history(longer, "diversity")] == [2, 4, 6]
    # Pictures are of generated images alone, and say so; no name of an image is anywhere.
    sheets = {path.name for path in server.stored if path.suffix == ".png"} - {"metrics.png"}
    assert len(sheets) == 3
    assert all("synthetic" in name for name in sheets)
    files = {path.name for path in (place / "scans").rglob("*.*")}
    assert not [name for name in files if name in json.dumps(longer)]
    assert str(place) not in json.dumps(longer)


def test_folds_and_a_classifiers_epochs_are_figures(place: Path, server: Server) -> None:
    folder = start(f"crossval {COMPARISON}", "--set", f"log.tracker=mlflow:{server.uri}", "--jobs", "1")
    run, results = server.run(folder), run_folder.read_results(folder)
    assert [step for step, _ in server.history(run, "real/fold_accuracy")] == [1, 2]
    assert run["metrics"]["real/accuracy"] == pytest.approx(results["arms"]["real"]["accuracy"]["value"])
    arguments = f"train {COMPARISON}".replace("--arms real --folds 2", "")
    folder = start(arguments, "--set", f"log.tracker=mlflow:{server.uri}")
    run, results = server.run(folder), run_folder.read_results(folder)
    history = [(row["epoch"], pytest.approx(row["loss"])) for row in results["history"]]
    assert server.history(run, "training/loss") == history
    assert run["metrics"]["held_out/macro_auc"] == pytest.approx(results["evaluation"]["macro_auc"]["value"])


@pytest.mark.slow
def test_the_bundle_of_a_run_is_an_artifact(place: Path, server: Server) -> None:
    arguments = f"run {COMPARISON} --jobs 1".replace(
        "--weights none --set classifier.frozen_blocks=17", "--weights shipped"
    )
    folder = start(arguments.replace("--image-size 96", ""), "--set", f"log.tracker=mlflow:{server.uri}")
    run = server.run(folder)
    sent = {path.name: path.read_bytes() for path in server.stored if {run["id"], "bundle"} <= set(path.parts)}
    assert sent == {path.name: path.read_bytes() for path in (folder / "bundle").iterdir()}
    assert run["tags"]["verb"] == "run"
    assert not [path for path in server.stored if run["id"] in path.parts and "bundle" not in path.parts]


def test_a_server_that_goes_away_takes_no_training_with_it(
    place: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(tracking._Guarded):
        def figures(self, step: int, values: Any) -> None:
            if step == 4:
                server.stop()
            super().figures(step, values)

    monkeypatch.setattr(tracking, "_Guarded", Stopping)
    try:
        done = sonoforge(*GAN.split(), "--steps", "8", "--set", f"log.tracker=mlflow:{server.uri}")
    finally:
        server.start()
    assert done.code == 0, done.err
    assert done.err.count("figures are no longer sent") == 1
    assert done.err.count("its copy of this run is incomplete; the run folder has all") == 1
    (folder,) = Path("runs").iterdir()
    assert [row["step"] for row in read_rows(folder)] == [2, 4, 6, 8]
    assert run_folder.is_finished(folder)


def test_a_server_that_is_not_there_is_refused_at_the_beginning(place: Path) -> None:
    pytest.importorskip("mlflow")
    line = refused(*GAN.split(), "--steps", "2", "--set", "log.tracker=mlflow:http://127.0.0.1:9")
    assert "--set log.tracker=mlflow:http://127.0.0.1:9: cannot be reached" in line
    assert "start it (mlflow server), or leave" in line
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("wandb:online", "wandb:offline"),
        ("mlflow", "expected mlflow:URI"),
        ("mlflow:http://me:secret@host", "MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_other_trackers_are_refused(named: str, line: str) -> None:
    said = refused("gan", "train", "--set", f"log.tracker={named}")
    assert line in said
    assert "secret" not in said


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for named in ("mlflow:http://localhost:5000", "wandb:offline"):
        assert f"pip install 'sonoforge[{named[: named.index(':')]}]'" in refused(
            "train", "--set", f"log.tracker={named}"
        )


def test_wandb_keeps_a_run_in_the_folder_offline(place: Path) -> None:
    pytest.importorskip("wandb")
    folder = start(GAN, "--steps", "4", "--set", "log.tracker=wandb:offline")
    (kept,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = kept.read_bytes()
    for wanted in (b"dcgan", b"gan train", b"synthetic_samples", b"diversity", folder.name.encode()):
        assert wanted in content
    for private in (f"{place}/scans".encode(), b"scan (1)", b"--data"):
        assert private not in content
    assert b"unnamed" in content, "the host"
    sheets = list(folder.glob("wandb/offline-run-*/files/media/images/*.png"))
    assert len(sheets) == 2
    assert all(path.name.startswith("synthetic_samples_") for path in sheets)
    assert start(f"{GAN} --resume", "--steps", "6", "--set", "log.tracker=wandb:offline") == folder
    assert len(list(folder.glob(f"wandb/offline-run-*/{kept.name}"))) == 2, "the same run, in two parts"


OFF = """
import sys
from program import sonoforge
assert sonoforge(*sys.argv[1:]).code == 0
print(sorted({name.partition(".")[0] for name in sys.modules} & {"mlflow", "wandb"}))
"""


def test_without_it_no_tracker_is_imported(place: Path) -> None:
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", OFF, *GAN.split(), "--steps", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.strip() == "[]", done.stderr
    (folder,) = Path("runs").iterdir()
    assert not (folder / "mlflow.json").exists()
