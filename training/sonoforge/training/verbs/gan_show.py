"""``sonoforge gan show``: show what a trained generator has learned, in pictures."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import write_bytes, write_json
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import NOTICE
from sonoforge.runtime.inference.generator import find_label
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.checkpoint import describe_origin
from sonoforge.training.gan.generator import load_generator
from sonoforge.training.gan.looks import LOOKS, NOTE, Subject, not_applicable
from sonoforge.training.verbs.settings.gan import GanShowConfig

RECORD = "looks.json"

log = logging.getLogger(__name__)


def main(config: GanShowConfig) -> Outcome:
    """Draw the requested looks, or all that apply, and write ``looks.json``."""
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    label = find_label(config.class_name, about.classes, about.class_name)
    class_name = about.class_name if label is None else about.classes[label]
    origin = describe_origin(checkpoint, config.seed, class_name)
    folder = Path(config.out) if config.out else checkpoint.parent.parent / "looks"
    entries = _open_folder(folder, origin)
    generator = load_generator(checkpoint, config.device)
    reasons = not_applicable(generator)
    for name in config.what:
        if name in reasons:
            raise SonoforgeError(f"--what {name}: {reasons[name]}")
    subject = Subject(generator, label, about.image_channels, config.count, config.seed, origin)
    wanted = config.what or tuple(LOOKS)
    for name in wanted:
        if name in reasons:
            say("%s: %s", name, reasons[name])
    names = [name for name in wanted if name not in reasons]
    for number, name in enumerate(names, start=1):
        log.info("looking at %s (%d of %d)", name, number, len(names))
        look = LOOKS[name](subject)
        for file, content in look.files.items():
            write_bytes(folder / file, content)
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in look.files.items()}
        entries[name] = {"files": hashes, **look.entry}
        say("%s: %s", name, ", ".join(str(folder / file) for file in hashes))
    result = {**origin, "notice": NOTICE, "use": NOTE, "looks": entries, "not_applicable": reasons}
    write_json(folder / RECORD, result)
    say("what they show: %s", folder / RECORD)
    return Outcome(result)


def _open_folder(folder: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of earlier looks at the same images; remove looks at others."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        before = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        looks: dict[str, Any] = before["looks"]
        files = [file for look in looks.values() for file in look["files"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise SonoforgeError(f"{folder}: already holds other files; choose another --out") from None
    if all(before.get(key) == value for key, value in origin.items()):
        return looks
    for file in files:
        (folder / Path(file).name).unlink(missing_ok=True)
    return {}
