"""Declare the options of ``sonoforge data``; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, group, option, setting
from sonoforge.training.data.cache import CacheSettings
from sonoforge.training.data.collections.importing import ImportSettings
from sonoforge.training.data.data_option import data_option, groups_option, phantom_images
from sonoforge.training.data.readers import reader_names


@dataclass(frozen=True)
class DataListConfig:
    """Options of ``data list``."""

    name: str = option("", help="show only this data set")
    clear_cache: bool = option(False, help="empty the cache of decoded images")
    storage: CacheSettings = group(
        CacheSettings(), key="cache", title="the cache of decoded images", without=("limit",)
    )


@dataclass(frozen=True)
class DataAuditConfig:
    """Options of ``data audit``."""

    data: tuple[str, ...] = data_option()
    groups_from: str = groups_option()
    html: str = option("", help="also write a page that shows the clusters", metavar="FILE")
    against: str = option("", help="also find images that this folder has too", metavar="FOLDER")
    images: int = phantom_images(300)
    seed: int = setting(0, "phantom.seed", help="random seed of the simulated images", limits=(0, None))
    storage: CacheSettings = group(CacheSettings(), key="cache", title="the cache of decoded images")


URL, PHANTOM = "url", "phantom"


@dataclass(frozen=True)
class PhantomSettings:
    """The simulated set that ``data import phantom`` writes."""

    images: int = option(400, help="number of images", limits=(1, None))
    seed: int = option(0, help="random seed; the same seed gives the same pixels", limits=(0, None))
    size: int = option(256, help="height and width in pixels; images show 40 mm", limits=(64, 1024))


@dataclass(frozen=True)
class DataImportConfig:
    """Options of ``data import``."""

    set: str = argument(
        help="phantom, url, a set or a format; see sonoforge settings data import",
        choices=(PHANTOM, URL, *reader_names()),
    )
    paths: tuple[str, ...] = argument(help="its folder, .zip or URL, and the new folder; phantom: only the latter")
    pictures: ImportSettings = group(
        ImportSettings(), key="import", title="imported images", flags="mode multilabel masks longest"
    )
    resume: bool = option(False, help="continue an import that was interrupted")
    phantom: PhantomSettings = group(
        PhantomSettings(), key="phantom", title="simulated images", flags="images seed size"
    )
    size_limit: float = setting(10.0, "import.size_limit", help="url: largest total size in GB", limits=(0.001, None))
