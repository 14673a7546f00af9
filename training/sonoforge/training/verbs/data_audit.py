"""``sonoforge data audit``: examine a data set before anything is trained on it."""

import shlex
from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.audit import audit
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.reports.audit import audit_page, log_audit
from sonoforge.training.settings.data import DataAuditConfig


def main(config: DataAuditConfig) -> Outcome:
    """Audit a data set and return the result of `audit`."""
    if config.html and Path(config.html).is_dir():
        raise SonoforgeError(f"--html: {config.html} is a folder; give a file name such as audit.html")
    source = ImageSource(config.data, config.images, config.seed, config.storage.open(), fewest_classes=1)
    source = source._replace(groups_from=config.groups_from)
    cache = load_images(source)
    other = load_images(source._replace(data=(config.against,), groups_from="")) if config.against else None
    result = audit(cache, other)
    log_audit(result)
    if config.html:
        audit_page(result, cache).write(Path(config.html))
        say("pictures of the clusters: %s", config.html)
    groups = f" --groups-from {shlex.quote(config.groups_from)}" if config.groups_from else ""
    return Outcome({**result}, f"sonoforge crossval {data_flags(config.data)}{groups}")
