"""How the pictures of a published set are made, as options of ``data import``: no more than ``--help`` needs."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option


@dataclass(frozen=True)
class ImportSettings:
    """What a set may be asked for; each takes some of these, see `importing.Collection.takes`."""

    mode: str = option("full", help="full: whole pictures; roi: each object", choices=("full", "roi"))
    multilabel: bool = option(
        False,
        help="coco and yolo: pictures may have several classes; each is a question of its own\n"
        "it has a column of groups.csv, 1 where a picture has such an object: --data OUT:CLASS",
    )
    masks: bool = option(False, help="also write NAME_mask.png; images without a readable mask are left out")
    margin: float = option(1.5, help="side of a region, relative to that of the abnormality", limits=(1, 10))
    longest: int = option(1024, help="largest side of the square images in pixels", limits=(64, 7000))
    framing: str = option(
        "breast",
        help="whole films of cbis-ddsm: crop a square around the breast, or resize the whole film to a square "
        "of --longest pixels",
        choices=("breast", "film"),
    )
    kinds: tuple[str, ...] = option(
        (), help="cbis-ddsm: mass, calcification (default: both)", choices=("mass", "calcification"), metavar="KIND,..."
    )
    pathologies: tuple[str, ...] = option(
        (),
        help="cbis-ddsm: malignant, benign, benign-without-callback (default: all)\n"
        "training needs two classes in the folder; gan train picks one by --class",
        choices=("malignant", "benign", "benign-without-callback"),
        metavar="NAME,...",
    )
    splits: tuple[str, ...] = option(
        (),
        help="acdc, cbis-ddsm and idrid: train, test, as split by the authors (default: both)",
        choices=("train", "test"),
        metavar="NAME,...",
    )
    outlined: bool = option(False, help="of volumes: leave out slices without any segmented structure")
    window: tuple[float, ...] = option(
        (),
        help="frames and sliver07: voxels, as Hounsfield units, that become black and white (default: of sliver07 "
        "-160,240, else the 0.5th and the 99.5th percentile)",
        metavar="LOW,HIGH",
    )
    classes: str = option("4", help="herlev: 4 classes, or its 7 grades", choices=("4", "7"))
    modality: str = option(
        "cytology",
        help="zenodo-7890874: which kind of images",
        choices=("cytology", "histology", "immunohistochemistry"),
    )
