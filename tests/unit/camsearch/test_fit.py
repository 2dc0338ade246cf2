"""`camsearch fit` with learned classes, from images to a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from camsearch.library import ImageLibrary
from descriptors.whitening import Whitening
from tests.support.images import encoded, shapes


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.jpg").write_bytes(encoded(shapes(96, 64, seed=i), "JPEG", quality=95))
    return folder


@pytest.fixture
def options(tiny):
    """Those of the method, without a whitening."""
    at = tiny.options.index("--whitening")
    return [*tiny.options[:at], *tiny.options[at + 2 :]]


@pytest.fixture
def fitted(camsearch, photos, options, tmp_path):
    out = tmp_path / "my.safetensors"
    said = camsearch("fit", photos, "--out", out, "--learned", 5, *options)
    assert said.status == 0, said.err
    assert "Whitening and 5 classes of 6 images written to" in said.err
    return out


def test_learned_classes_go_from_images_to_the_report(camsearch, photos, options, fitted, tmp_path):
    gallery, page = tmp_path / "g", tmp_path / "page.html"
    indexed = camsearch("index", photos, "-g", gallery, *options, "--whitening", fitted)
    assert indexed.status == 0, indexed.err
    with ImageLibrary.open(gallery) as library:
        assert len(library.method.encoder.weight) == 5
        [document] = library.gallery.get([str(photos / "1.jpg")]).values()
        assert all(one.name.startswith("learned ") for one in document.classes)
    said = camsearch("search", photos / "1.jpg", "-g", gallery, "--report", page, "--rerank", 5)
    assert said.status == 0, said.err
    assert "learned " in page.read_text()
    assert '<img src="data:image/jpeg;base64,' in page.read_text()


def test_names_change_what_is_shown_but_no_vector(camsearch, fitted, tmp_path):
    before, names = Whitening.load(fitted), tmp_path / "names.txt"
    names.write_text("wheel\n\nsky\nsnow\ngrass\n", "utf-8")
    said = camsearch("fit", "--out", fitted, "--class-names", names)
    assert said.status == 0, said.err
    after = Whitening.load(fitted)
    assert after.digest() == before.digest()
    assert after.classes is not None
    assert after.classes.shown_names == ("wheel", "learned 1", "sky", "snow", "grass")
    assert load_file(fitted)["classes.patches"].any()


def test_a_gallery_of_other_classes_is_never_mixed_in(camsearch, photos, options, fitted, tmp_path):
    gallery, other = tmp_path / "g", tmp_path / "other.safetensors"
    indexed = camsearch("index", photos, "-g", gallery, *options, "--whitening", fitted)
    assert indexed.status == 0, indexed.err
    assert camsearch("fit", photos, "--out", other, "--learned", 4, *options).status == 0
    said = camsearch("index", photos, "-g", gallery, *options, "--whitening", other)
    assert said.status == 1
    assert "was made by another method" in " ".join(said.err.split())
    assert "index into another folder" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--classes-from", "labels", "--learned", "5"], "--learned has no effect"),
        (["--learned", "5000"], "too few to learn 5000 classes"),
        (["--class-names", "/no/such/file"], "cannot be read"),
    ],
)
def test_refused(camsearch, photos, options, tmp_path, words, why):
    said = camsearch("fit", photos, "--out", tmp_path / "w.safetensors", *words, *options)
    assert said.status == 1
    assert why in " ".join(said.err.split())


def test_naming_needs_learned_classes_and_as_many_names(camsearch, fitted, tiny, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\n", "utf-8")
    said = camsearch("fit", "--out", fitted, "--class-names", names)
    assert "2 names for 5 learned classes" in " ".join(said.err.split())
    labels = Path(tiny.options[tiny.options.index("--whitening") + 1])
    copied = tmp_path / "labels.safetensors"
    Whitening.load(labels).save(copied)
    said = camsearch("fit", "--out", copied, "--class-names", names)
    assert "no learned classes to name" in " ".join(said.err.split())
    assert "class_names" not in json.loads(copied.with_suffix(".json").read_text())
    said = camsearch("fit", "--out", fitted)
    assert "No images are given" in said.err
