"""Help, typos and settings of every verb need the base install alone, and name all that the verbs' tables hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sonoforge.runtime.cli.verbs import VERBS
from sonoforge.runtime.errors import install_extra

PROGRAM = """
import sys

class Absent:
    base = {"numpy", "onnxruntime", "PIL", "packaging", "pip", "pydicom", "sonoforge"}

    def find_spec(self, name, path=None, target=None):
        if "." not in name and name not in self.base and name not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from sonoforge.runtime.cli import main

for verb in main.verbs.VERBS:
    print(f"== {verb}")
    assert main.run(["help", *verb.split()]) == 0, verb
    assert main.run([*verb.split(), "--no-such-flag"]) == 2, verb
assert main.run(["crossval", "--dry-run"]) == 2  # the settings, and then what is missing
assert main.run(["crossval"]) == 2
heavy = {"torch", "scipy", "rich", "sklearn", "matplotlib", "cv2"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_every_verb_answers_help_and_typos_on_the_base_install() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = done.stdout.split("== ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(VERBS)
    for verb, part in zip(VERBS, parts, strict=True):
        assert f"usage: sonoforge {verb}" in part and f"  sonoforge {verb}" in part
    assert '"protocol": "sealed"' in parts[-1], "of the dry run"
    *typos, missing, again = done.stderr.splitlines()
    assert missing == again
    assert len(typos) == len(VERBS)
    assert all(
        f"sonoforge {verb}: unrecognized arguments: --no-such-flag" in line
        for verb, line in zip(VERBS, typos, strict=True)
    )
    assert missing.startswith("sonoforge: error: sonoforge crossval: ")
    assert missing.endswith(f"is not installed; run {install_extra('train')}")


def test_the_names_in_help_are_those_of_the_tables() -> None:
    pytest.importorskip("torch")
    from sonoforge.models.layers import ACTIVATIONS, NORMS
    from sonoforge.training.gan import options
    from sonoforge.training.gan.augmentations import AUGMENTATIONS
    from sonoforge.training.gan.losses import CONDITIONINGS, LOSSES

    assert tuple(LOSSES) == options.LOSS_NAMES
    assert tuple(AUGMENTATIONS) == options.AUGMENTATION_NAMES
    assert tuple(CONDITIONINGS) == options.CONDITIONING_NAMES
    assert tuple(ACTIVATIONS) == options.ACTIVATION_NAMES
    assert NORMS == options.NORM_NAMES
