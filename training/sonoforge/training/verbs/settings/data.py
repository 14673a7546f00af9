"""The settings of ``sonoforge data``: nothing here needs more than the base install."""

from dataclasses import dataclass
from typing import ClassVar

from sonoforge.runtime.cli.options import argument, group, option
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.data_option import data_option, groups_option
from sonoforge.training.data.readers import reader_names
from sonoforge.training.phantom import BALANCE, CLASSES, MARKED


@dataclass(frozen=True)
class DataListConfig:
    """Settings of ``data list``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data list                all known sets
sonoforge data list --name BUSI    one set
sonoforge data list --json         the same for a program
"""

    name: str = option("", help="show only this data set")


@dataclass(frozen=True)
class DataAuditConfig:
    """Settings of ``data audit``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data audit --data BUSI/                      counts, near-duplicates
sonoforge data audit --data BUSI/ --html audit.html    also with pictures
sonoforge data audit --data BUSI/ --against BrEaST/    also images in both
sonoforge data audit --data BUSI/ --plant 30           also which kinds of copies are found in these images
sonoforge data audit --data BUSI/ --json > audit.json  the same for a program
"""
    ESSENTIAL: ClassVar[str] = "data html against plant groups_from"

    data: tuple[str, ...] = data_option()
    groups_from: str = groups_option()
    html: str = option("", help="also write a self-contained page that shows the clusters", metavar="FILE")
    plant: int = option(
        0, help="plant this many copies of each kind and report how many are found (0: none)", limits=(0, 1000)
    )
    against: str = option("", help="folder of another collection: also find images that are in both", metavar="FOLDER")
    images: int = option(300, help="with --data phantom: number of images", limits=(30, None))
    seed: int = option(0, help="with --data phantom: random seed", limits=(0, None))
    storage: CacheSettings = group(CacheSettings(), title="decoded images")


@dataclass(frozen=True)
class DataPhantomConfig:
    """Settings of ``data phantom``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data phantom phantom-set
sonoforge data phantom phantom-set --images 1000 --seed 7 --size 256
sonoforge data phantom balanced-set --balance 1,1,1 --marks 0
"""
    ESSENTIAL: ClassVar[str] = "images seed size balance marks"

    out: str = argument(help="folder to write, new or empty")
    images: int = option(400, help="number of images", limits=(1, None))
    seed: int = option(0, help="random seed; the same seed gives the same pixels", limits=(0, None))
    size: int = option(256, help="height and width in pixels; images show 40 mm", limits=(64, 1024))
    balance: tuple[float, ...] = option(BALANCE, help="weights of " + ", ".join(CLASSES), limits=(0, None))
    marks: float = option(MARKED, help="share of images with burned-in calipers, ruler or text", limits=(0, 1))


@dataclass(frozen=True)
class DataCacheConfig:
    """Settings of ``data cache``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data cache            where decoded images are, and their size
sonoforge data cache --clear    remove them all, to be decoded again
"""

    cache: str = option("", help="the folder (default: $SONOFORGE_CACHE or ~/.cache/sonoforge)", metavar="FOLDER")
    clear: bool = option(False, help="delete everything in it")


@dataclass(frozen=True)
class DataImportConfig:
    """Settings of ``data import``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data import mini-mias all-mias/ mias-films    whole mammograms
sonoforge data import coco EXPORT.zip lesions --masks   classes and outlines
sonoforge data import frames SCANS/ slices              volumes, clips, films
sonoforge data import acdc ACDC/ acdc-slices            cardiac MRI and masks
sonoforge data import herlev smear2005/ herlev          cells of Pap smears
sonoforge data import mini-mias all-mias/ mias-regions --mode roi --masks   each abnormality, with its circle
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi          each abnormality, cut from its film
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi --resume
sonoforge data import cbis-ddsm CBIS-DDSM/ masses --kinds mass --splits train --pathologies malignant,benign
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis --framing film --longest 256      plain resize of whole films
sonoforge data import sliver07 SLiver07/ liver --window=-100,300            CT between these Hounsfield units
sonoforge data import zenodo-7890874 7890874/ cytology --longest 256        breast cytology
sonoforge data import yolo EXPORT/ lesions --mode roi  YOLO or Roboflow: each object, cut from its picture

Whole films are cropped to the breast; ACDC has a mask for each structure; cells of herlev are not padded.
"""
    ESSENTIAL: ClassVar[str] = "mode masks longest"

    set: str = argument(
        help="a set, or a kind of folder: " + ", ".join(reader_names()),
        choices=reader_names(),
    )
    folder: str = argument(help="folder or zip with it; see sonoforge data list")
    out: str = argument(help="folder to write, new or empty")
    pictures: ImportSettings = group(ImportSettings(), title="images")
    resume: bool = option(False, help="continue an import that was interrupted, with the same settings")


@dataclass(frozen=True)
class DataFetchConfig:
    """Settings of ``data fetch``."""

    EXAMPLES: ClassVar[str] = """
sonoforge data fetch s3://bucket/herlev-generated herlev-generated/
sonoforge data fetch s3://bucket/herlev herlev/ --size-limit 20
sonoforge data fetch https://archive/dicom-web/studies/1.2.840.1 study/
sonoforge data fetch 'https://archive/dicom-web/studies?StudyID=17' study/

gan sample --out s3://bucket/herlev-generated writes such a folder.  Again, only what is missing is copied.
Credentials are given as the file system's own tools take them, such as AWS_PROFILE, or for DICOMweb ~/.netrc; none
belong in the URL.
"""

    url: str = argument(help="folder at a URL, such as s3://bucket/folder, or a study in DICOMweb")
    out: str = argument(help="folder to copy into")
    size_limit: float = option(10.0, help="largest total size in GB", limits=(0.001, None))
