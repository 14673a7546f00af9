"""Write the pages of ``classify --html`` and ``quality --html``, and the style and small pictures of every report."""

import base64
from pathlib import Path

from PIL import Image

from sonoforge.runtime.images.plain_image import encoded

STYLE = Path(__file__).with_name("style.css")
_QUALITY = 82


def data_url(picture: Image.Image, kind: str) -> str:
    """Encode a picture as ``jpeg`` or ``png``, and return it as an address."""
    content = encoded(picture, kind, quality=_QUALITY, optimize=True)  # PNG is lossless, and has no quality
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
