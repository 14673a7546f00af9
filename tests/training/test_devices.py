"""A training is of one process, whatever surrounds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonoforge.training.devices import open_fabric


def test_a_job_of_slurm_is_not_taken_for_one_training_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """As the second of three tasks that ``srun`` started has it."""
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    open_fabric("cpu")
    for name, value in {"NTASKS": "3", "PROCID": "1", "LOCALID": "0", "NODEID": "1", "JOB_NAME": "crossval"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = open_fabric("cpu")
    fabric.launch()
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (1, 0, True)
    assert not [warning for warning in recwarn if "srun" in str(warning.message)]
