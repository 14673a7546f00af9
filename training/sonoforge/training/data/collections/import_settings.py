"""How the images of an imported set are made: the options ``import.*``; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option


@dataclass(frozen=True)
class ImportSettings:
    """Options of an import; each set takes some of them, see `importing.Collection.takes`."""

    mode: str = option("full", help="full: whole images; roi: each object", choices=("full", "roi"))
    multilabel: bool = option(
        False,
        help="coco, yolo: an image may have several classes\n"
        "each class is a question of its own, with a column of groups.csv: --data OUT:CLASS",
    )
    masks: bool = option(False, help="also write NAME_mask.png\nimages without a readable mask are left out")
    margin: float = option(1.5, help="side of a region, relative to the abnormality's", limits=(1, 10))
    longest: int = option(1024, help="largest side of the square images, in pixels", limits=(64, 7000))
    framing: str = option(
        "breast",
        help="whole films of cbis-ddsm: crop a square around the breast, or resize the whole film to a square",
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
        help="acdc, cbis-ddsm, idrid: train or test, as split by the authors (default: both)",
        choices=("train", "test"),
        metavar="NAME,...",
    )
    outlined: bool = option(False, help="volumes: skip slices without any segmented structure")
    window: tuple[float, ...] = option(
        (),
        help="frames, sliver07: values, such as Hounsfield units, that become black and white (default: -160,240 for "
        "sliver07, else the 0.5th and 99.5th percentiles)",
        metavar="LOW,HIGH",
    )
    classes: str = option("4", help="herlev: 4 classes or 7 grades", choices=("4", "7"))
    modality: str = option(
        "cytology",
        help="zenodo-7890874: kind of images",
        choices=("cytology", "histology", "immunohistochemistry"),
    )
