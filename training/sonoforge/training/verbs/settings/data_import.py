"""The settings of ``sonoforge data import``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option

# Of `known_sets.COLLECTIONS`, whose readers need more than the base install.
COLLECTION_NAMES = ("acdc", "cbis-ddsm", "herlev", "idrid", "mini-mias", "sliver07", "zenodo-7890874")

EXAMPLES = """
sonoforge data import mini-mias all-mias/ mias-films                        whole films, cropped to the breast
sonoforge data import mini-mias all-mias/ mias-regions --mode roi --masks   each abnormality, with its circle
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi          each abnormality, cut from its film
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi --resume
sonoforge data import cbis-ddsm CBIS-DDSM/ masses --kinds mass --splits train --pathologies malignant,benign
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis --framing film --longest 256      plain resize of whole films
sonoforge data import acdc ACDC/ acdc-slices                                cardiac MRI, a mask for each structure
sonoforge data import sliver07 SLiver07/ liver --window=-100,300            CT between these Hounsfield units
sonoforge data import herlev smear2005/ herlev                              cells of Pap smears, without padding
sonoforge data import zenodo-7890874 7890874/ cytology --longest 256        breast cytology
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data import``."""

    set: str = argument(help="which set: " + ", ".join(COLLECTION_NAMES), choices=COLLECTION_NAMES)
    folder: str = argument(help="folder with the unpacked set, see sonoforge data list")
    out: str = argument(help="folder to write, new or empty")
    mode: str = option("full", help="whole films, or each abnormality", choices=("full", "roi"))
    masks: bool = option(False, help="also write NAME_mask.png; pictures without a readable mask are left out")
    margin: float = option(1.5, help="side of a region over that of the abnormality", limits=(1, 10))
    longest: int = option(1024, help="side of the square pictures at most, pixels", limits=(64, 7000))
    framing: str = option(
        "breast",
        help="of whole films of cbis-ddsm: a square around the breast, or the whole film squeezed to a square of "
        "--longest pixels (plain resize)",
        choices=("breast", "film"),
    )
    kinds: tuple[str, ...] = option(
        (),
        help="of cbis-ddsm, comma-separated: mass, calcification (default: both)",
        choices=("mass", "calcification"),
        metavar="KIND,...",
    )
    pathologies: tuple[str, ...] = option(
        (),
        help="of cbis-ddsm, comma-separated: malignant, benign, benign-without-callback (default: all); training needs "
        "two classes in the folder, of which gan train takes one by --class-name",
        choices=("malignant", "benign", "benign-without-callback"),
        metavar="NAME,...",
    )
    splits: tuple[str, ...] = option(
        (),
        help="of acdc, cbis-ddsm and idrid, comma-separated: train, test, as its authors split it (default: both)",
        choices=("train", "test"),
        metavar="NAME,...",
    )
    outlined: bool = option(False, help="of acdc and sliver07: leave out slices in which nothing is outlined")
    window: str = option(
        "-160,240", help="of sliver07: Hounsfield units that become black and white", metavar="LOW,HIGH"
    )
    classes: str = option("4", help="of herlev: 4 classes, or its 7 grades", choices=("4", "7"))
    modality: str = option(
        "cytology",
        help="of zenodo-7890874",
        choices=("cytology", "histology", "immunohistochemistry"),
    )
    resume: bool = option(False, help="continue an import that was interrupted, with the same settings")
