"""classify.py SCAN...: print each answer as one line of JSON, with Python's standard library alone."""

import json
import os
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

SERVER = os.environ.get("SONOFORGE", "http://localhost:8765")


def classify(scan: Path) -> dict:
    """Return the answer for a file; wait as told while the queue is full."""
    while True:
        try:
            return json.load(urlopen(f"{SERVER}/classify?{urlencode({'name': scan.name})}", scan.read_bytes()))  # noqa: S310
        except HTTPError as error:
            if not error.headers["Retry-After"]:
                return json.load(error)  # {"ok": false, "error": {"code", "message"}}
            time.sleep(int(error.headers["Retry-After"]))


for path in sys.argv[1:]:
    print(json.dumps(classify(Path(path))))
