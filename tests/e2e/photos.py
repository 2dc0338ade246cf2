"""A small collection of real photos, cut from those that scikit-image and scikit-learn carry.

python -m tests.e2e.photos FOLDER    writes it, with manifest.csv and the query image
"""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from indexer.sources import Source

# By file, not by `skimage.data.NAME()`, which would download what is missing.
_PHOTOS = {
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
_KINDS = {"cat": "animal", "flower": "plant", "coffee": "thing", "rocket": "thing"}
# Left, top, right, bottom as fractions; the first is nearly all of the photo.
_CUTS = ((0, 0, 1, 0.95), (0.1, 0, 1, 1), (0, 0.05, 0.8, 0.9))
_QUERY = (0.15, 0.05, 0.95, 0.95)
_LONGER_SIDE = 320

QUERY = "query.jpg"


def photo(thing, cut):
    package, file = _PHOTOS[thing]
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    with Image.open(Path(spec.origin).parent / file) as opened:
        whole = opened.convert("RGB")
    (width, height), (x0, y0, x1, y1) = whole.size, cut
    part = whole.crop((int(x0 * width), int(y0 * height), int(x1 * width), int(y1 * height)))
    part.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    written = BytesIO()
    part.save(written, "JPEG", quality=92)
    return written.getvalue()


def query_photo():
    """The cat once more, cut as no image of the collection is."""
    return photo("cat", _QUERY)


def write_photos(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / QUERY).write_bytes(query_photo())
    return list(_written(folder))


def _written(folder):
    for thing in _PHOTOS:
        for number, cut in enumerate(_CUTS, start=1):
            name = f"{thing}-{number}"
            path = folder / f"{name}.jpg"
            path.write_bytes(photo(thing, cut))
            meta = {"kind": _KINDS.get(thing, "building"), "number": number}
            yield Source(name, str(path.absolute()), meta)


def _main(folder):
    sources = write_photos(folder)
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "kind", "number"])
        rows.writerows([s.id, s.uri, s.meta["kind"], s.meta["number"]] for s in sources)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
