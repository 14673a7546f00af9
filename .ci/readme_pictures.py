"""Takes the README's pictures anew: the verdict of a run, and an answer as a phone shows it.

    python .ci/readme_pictures.py runs/00000-run-phantom-240-0-be1db757

needs the run folder of the README's first command, and Chromium.  What the pages are made from is noted in each
picture, so that a test tells when they have aged.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from browser import chromium
from places import CHECKOUT
from program import sonoforge
from sonoforge.runtime.pages import STYLE, answer_page, cards
from sonoforge.training import reports
from sonoforge.training.phantom.dataset import CLASSES, generate_phantom
from sonoforge.training.reports.run import page as report

PICTURES = {"report.png": (1100, "body"), "answer.png": (390, "article")}
"""Of ``.pictures``: width of the window, and what it shows."""
_NOTED = "pages"


def digest() -> str:
    """Hash of the style sheet, the templates, and the modules that say what stands on both pages."""
    templates = sorted(Path(reports.__path__[0]).glob("templates/*.j2"))
    sources = [STYLE, *(Path(str(module.__file__)) for module in (answer_page, cards, report)), *templates]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def noted(name: str) -> str:
    """Return the `digest` of when a picture was taken."""
    with Image.open(CHECKOUT / ".pictures" / name) as picture:
        return str(picture.info.get(_NOTED))


def take(run: Path) -> None:
    """Take both pictures."""
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        scan, answer = Path(temporary) / "scan.png", Path(temporary) / "answer.html"
        drawn = generate_phantom(CLASSES.index("malignant"), 0, seed=11)[0]
        Image.fromarray(drawn.pixels).save(scan)
        assert sonoforge("classify", scan, "--bundle", run, "--html", answer).code == 0
        for (name, (width, part)), shown in zip(PICTURES.items(), (run / "report.html", answer), strict=True):
            tab = browser.new_page(viewport={"width": width, "height": 1000})
            tab.goto(shown.as_uri())
            note = PngInfo()
            note.add_text(_NOTED, digest())
            taken = Image.open(io.BytesIO(tab.locator(part).first.screenshot())).convert(
                "P", palette=Image.Palette.ADAPTIVE
            )
            taken.save(CHECKOUT / ".pictures" / name, optimize=True, pnginfo=note)


if __name__ == "__main__":
    take(Path(sys.argv[1]).resolve())
