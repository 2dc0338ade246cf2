"""The demo's images: the same each time, true boxes, no network, and only free photos."""

from __future__ import annotations

import csv
import socket

import numpy as np
import pytest
from PIL import Image

from camsearch import demo_sources
from camsearch.demo_images import CREDITS, MANIFEST, QUERIES, make_demo_images
from camsearch.demo_sources import CLUTTER, SCENES, PackagedPhoto, credits_note, photo_path
from descriptors.arrays import Size
from descriptors.errors import ArtifactError

pytestmark = pytest.mark.slow  # among the longest modules

_FEW = {"views": ("photo", "small", "hidden"), "distractors": 3}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("the demo's images must not ask the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def views(folder):
    return make_demo_images(folder, **_FEW)


def test_images_open_and_boxes_lie_inside(views):
    for view in views:
        with Image.open(view.path) as image:
            image.load()
            size = Size(*image.size)
        assert max(size) == 640
        assert (view.box is None) == (not view.scene)
        if view.box is not None:
            assert view.box == view.box.inside(size)


def test_only_a_part_of_the_frame_shows_the_thing(views):
    for view in views:
        if view.view == "small" and view.box is not None:
            area = (view.box.x1 - view.box.x0) * (view.box.y1 - view.box.y0)
            assert 0.03 < area / (640 * 480) < 0.25


def test_the_box_is_where_the_thing_is(tmp_path):
    """The dahlia is the only warm thing on its photo's green."""
    (dahlia,) = [
        view
        for view in make_demo_images(tmp_path, views=("photo",), distractors=0)
        if view.scene == "dahlia"
    ]
    assert dahlia.box is not None
    levels = np.asarray(Image.open(dahlia.path), dtype=int)[: int(dahlia.box.y1)]
    rows, columns = np.nonzero(levels[:, :, 0] - levels[:, :, 2] > 110)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.array(found) - dahlia.box.as_list()).max() < 25


@pytest.mark.slow
def test_same_seed_same_bytes(views, tmp_path):
    again = make_demo_images(tmp_path, views=("small",), distractors=1)
    known = {view.id: view for view in views}
    for view in again:
        assert view.path.read_bytes() == known[view.id].path.read_bytes()
        assert view.box == known[view.id].box
    other = make_demo_images(tmp_path, seed=8, views=("small",), distractors=0)[0]
    assert other.path.read_bytes() != known[other.id].path.read_bytes()


def test_queries_have_a_box_to_search_with(views):
    asked = [view for view in views if view.query_box is not None]
    assert [view.scene for view in asked] == list(QUERIES)
    assert all(view.query_box == view.box and view.view == "photo" for view in asked)


def test_the_manifest_names_every_image(views, folder):
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["id"], r["path"], r["scene"], r["view"]) for r in rows] == [
        (view.id, view.path.name, view.scene, view.view) for view in views
    ]


def test_every_photo_lies_in_its_package_and_is_credited(views, folder):
    assert views
    note = (folder / CREDITS).read_text(encoding="utf-8")
    assert note.strip() == credits_note()
    for photo in [s.photo for s in SCENES] + [m.photo for m in CLUTTER]:
        assert photo_path(photo).is_file()
        assert f"{photo.file} ({photo.credit}, {photo.licence})" in note


def test_a_photo_that_is_not_carried_is_named():
    with pytest.raises(ArtifactError, match=r"does not contain eagle\.png"):
        photo_path(PackagedPhoto("eagle.png", "CC0", "Dayane Machado"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(demo_sources, "find_spec", lambda _: None)
    with pytest.raises(ArtifactError, match="scikit-learn, which is not installed"):
        photo_path(PackagedPhoto("china.jpg", "CC BY 2.0", "danielbuechele", "sklearn"))
