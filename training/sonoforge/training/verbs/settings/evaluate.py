"""The settings of ``sonoforge evaluate``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.evaluation.metric_names import METRICS

EXAMPLES = """
sonoforge evaluate runs/00000-gan-dcgan-thesis-busi-malignant     against what it held out; copies of what it saw
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant
sonoforge evaluate BUSI/ generated/ --class-name malignant --features inception,bundle
sonoforge evaluate training-scans/ generated.npz --held-out other-scans/ --features mobilenetv2-imagenet --weights FILE
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --lpips squeezenet1_1 --plots pca,tsne,umap
sonoforge evaluate --compare runs/00003-evaluate-dcgan,runs/00004-evaluate-wgan-gp
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --reading-sheet 30

REAL: phantom, a folder of images or of class folders, a .zip or an .npz.  FAKE: the same, or a run of gan train.
A run alone is measured against the images that it held out, and searched for copies of those it was trained on.
Figures of different protocols (network, numbers of images, size, seed, ...) are not comparable, and not compared.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge evaluate``."""

    real: str = argument("", help="real images: what the generator was trained on; or a run of gan train, alone")
    fake: str = argument("", help="generated images, or a run of sonoforge gan train")
    features: tuple[str, ...] = option(
        (),
        help="comma-separated feature spaces: inception, mobilenetv2-imagenet, squeezenet-imagenet, vgg16-imagenet, "
        "bundle (the shipped one, breast ultrasound), bundle:PATH, pixels (default: bundle where it knows this kind of "
        "image, else mobilenetv2-imagenet if it was downloaded before)",
        metavar="SPACE,...",
    )
    weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    metrics: tuple[str, ...] = option(METRICS, help="comma-separated", metavar="NAME,...")
    held_out: str = option("", help="real images that the generator never saw, for the copy test", metavar="REAL")
    lpips: str = option(
        "",
        help="network of LPIPS: a .safetensors file of SqueezeNet 1.1, VGG16 or AlexNet, or squeezenet1_1, vgg16 or "
        "alexnet to download it",
        metavar="NET",
    )
    lpips_heads: str = option("", help="LPIPS heads, .safetensors (default: torchmetrics' own)", metavar="FILE")
    class_name: str = option(
        "", help="class of the real images (default: the one that FAKE says it shows)", aliases=("class",)
    )
    image_size: int | None = option(
        None, help="side in pixels at which to compare (default: FAKE's)", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="1 to compare as grey", choices=("auto", "1", "3"))
    count: int | None = option(
        None, help="images to generate from a run (default: as many as REAL has)", limits=(2, None)
    )
    checkpoint: str = option("last", help="of a run: last, best, or a step number")
    repeats: int = option(
        100, help="number of random halves for floors and intervals; a tenth for slow metrics", limits=(5, None)
    )
    plots: tuple[str, ...] = option(("pca", "tsne"), help="comma-separated: pca, tsne, umap", metavar="NAME,...")
    compare: tuple[str, ...] = option((), help="compare earlier evaluations, side by side", metavar="RUN,RUN")
    reading_sheet: int | None = option(
        None,
        help="instead of measuring, write a blinded page of this many real and as many generated images of each class, "
        "for readers to tell apart; FAKE may name several sets, comma-separated",
        limits=(5, None),
        metavar="N",
    )
    reading_classes: tuple[str, ...] = option(
        (), help="let readers also say which of these classes each image shows", metavar="CLASS,..."
    )
    seed: int = option(0, help="seed of generated images, halves, subsets and projections", limits=(0, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
