"""The settings of ``sonoforge gan train``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings

EXAMPLES = """
sonoforge gan train --data BUSI --class-name malignant          the thesis' budget: hours on a CPU
sonoforge gan train --data BUSI --class-name normal --recipe wgan-gp --image-size 64 --epochs 200
sonoforge gan train --class-name benign --recipe dcgan --kimg 20 --augmentation ada    on the built-in phantom set
sonoforge gan train --recipe lsgan --conditioning projection    all classes in one generator
sonoforge gan train --data BUSI --class-name malignant --recipe dgan-wp-tl-wgangp --features vgg16
sonoforge gan train --data BUSI --class-name malignant --metrics kid,fid --metric-features inception --every 5
sonoforge gan train --recipe stylegan3-t --data BUSI --class malignant --size 512    hours on a GPU
sonoforge gan train --recipe stylegan2 --data BUSI --class malignant --start-from runs/00001-gan-stylegan2-busi-benign
sonoforge gan train --recipe stylegan2 --data BUSI --start-from ffhq.safetensors --freeze-discriminator 4 --class normal
sonoforge gan train --data BUSI --class malignant --recipe projected --preset small-data --features f.safetensors \
    --minutes 30                                                as far as half an hour goes, whatever the machine
sonoforge gan train --data BUSI --class-name malignant --resume  continue where a stopped run was
torchrun --nproc-per-node 4 -m sonoforge.runtime.cli.main gan train --data BUSI --class-name malignant

Ctrl-C, or SIGTERM, closes the current tick, saves, and ends with exit code 0; a second one stops at once.
With OMP_NUM_THREADS=1 in the environment, a resumed training on a CPU ends with the very weights of an uninterrupted
one.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan train``; what is left out is as the recipe has it."""

    data: tuple[str, ...] = data_option()
    gan: GanSettings = group(GanSettings(metrics=("kid",)), title="the training")
    minutes: float | None = option(
        None,
        help="train for about so long, schedules and growing included: a short training before tells the pace; with "
        "--epochs, --steps or --kimg: stop and save after so long, --resume goes on",
        limits=(0.001, None),
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest run with the same settings, if there is one")
