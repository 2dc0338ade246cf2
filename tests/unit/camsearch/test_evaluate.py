"""`camsearch evaluate` as a whole, on small folders with the tiny network."""

from __future__ import annotations

import json
import shlex
import shutil
import xml.etree.ElementTree as ET

import pytest

from descriptors.backbones import NETWORKS
from descriptors.encoder import Encoder
from evaluation.paper import paper_tables
from tests.support.datasets import make_distractors, make_oxford, make_paris
from tests.support.tiny_network import TINY
from tests.unit.camsearch.reports import Page
from tests.unit.evaluation.miniature import make_miniature, write_rows

pytestmark = pytest.mark.slow  # among the longest modules


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_miniature(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def options(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CAMSEARCH_CACHE", str(tmp_path / "cache"))
    layers = ",".join(f"{layer.name}:{layer.dims}" for layer in tiny.settings.layers)
    return [
        *("--network", "tiny", "--weights", tiny.weights, "--layers", layers),
        *("--max-side", tiny.settings.side, "--precision", "float32"),
    ]


def test_rows_and_a_comparison_as_json(camsearch, photos, options, tmp_path):
    out = tmp_path / "out.json"
    pair = "OfA:first+QE5,SPoC:first"
    said = camsearch(
        *("evaluate", "photos", photos, *options, "--systems", "OfA,SPoC"),
        *("--compare", pair, "--json", out),
    )
    assert said.status == 0, said.err
    assert "OfA:first+QE5 against SPoC:first:" in " ".join(said.out.split())
    found = json.loads(out.read_text())
    assert {row["system"] for row in found["rows"]} == {"OfA", "SPoC"}
    for key in ("system", "preset", "stage", "layers", "dims", "all", "collections"):
        assert key in found["rows"][0]
    rows = {(row["system"], row["stage"]): row["all"] for row in found["rows"]}
    gained = rows["OfA", "first+QE5"] - rows["SPoC", "first"]
    assert found["compared"]["gained"] == pytest.approx(gained)


@pytest.mark.parametrize("windows", ["none", "5"])
def test_windows_are_measured_unless_there_are_none(camsearch, photos, options, tmp_path, windows):
    out = tmp_path / "out.json"
    said = camsearch(
        *("evaluate", "photos", photos, *options, "--systems", "OfA"),
        *("--windows", windows, "--json", out),
    )
    assert said.status == 0, said.err
    stages = {row["stage"] for row in json.loads(out.read_text())["rows"]}
    assert "R100" in stages
    assert ("windows" in stages) == (windows == "5")


def test_a_report_is_one_page(camsearch, photos, options, tmp_path):
    out = tmp_path / "deep" / "out.html"
    said = camsearch(
        *("evaluate", "photos", photos, *options, "--systems", "OfA,R-MAC"),
        *("--ablate", "n_classes=1,4,qe=0,5", "--queries-of", 6, "--report", out),
    )
    assert said.status == 0, said.err
    text = out.read_text()
    page = Page(text)
    assert page.open == []
    sections = [about["id"] for tag, about in page.tags if tag == "section"]
    assert sections == ["stages", "curves", "sweeps", "compared", "queries"]
    images, links = page.all("src"), page.all("href")
    assert images
    assert all(one.startswith(("data:image/jpeg;base64,", "#")) for one in [*images, *links])
    drawings = text.split("<svg")[1:]
    assert len(drawings) == 5  # stages, curves, two settings, differences
    for drawing in drawings:
        ET.fromstring("<svg" + drawing[: drawing.index("</svg>")] + "</svg>")  # noqa: S314 - ours
    assert "paired permutation test over 4 scenes" in " ".join(text.split())
    assert 'class="answer right"' in text
    assert "Recommendation" in text


def test_learned_classes_are_learned_from_the_photos_that_are_fitted_on(
    camsearch, photos, options, tmp_path
):
    found = {}
    for name, more in {"labels": [], "learned": ["--learned", 4]}.items():
        out = tmp_path / f"{name}.json"
        words = ("evaluate", "photos", photos, *options, "--systems", "OfA,SPoC", "--json", out)
        said = camsearch(*words, *more)
        assert said.status == 0, said.err
        rows = json.loads(out.read_text())["rows"]
        found[name] = {(row["system"], row["stage"]): row["trials"] for row in rows}
    ours, other = (found[name] for name in found)
    assert ours.keys() == other.keys()
    assert ours["OfA", "first"] != other["OfA", "first"]
    assert ours["SPoC", "first"] == other["SPoC", "first"]


def test_the_packaged_whitening_has_no_learned_classes(camsearch, photos, options):
    words = ("evaluate", "photos", photos, *options, "--fit-on", "packaged", "--learned", 4)
    said = camsearch(*words)
    assert said.status == 1
    assert "has no learned classes: name images" in " ".join(said.err.split())


def test_networks_are_compared_in_one_table(camsearch, photos, options, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "other", TINY)
    out = tmp_path / "out.json"
    said = camsearch(
        *("evaluate", "photos", photos, *options, "--network", "other"),
        *("--windows", "5", "--learned", "4", "--json", out),
    )
    assert said.status == 0, said.err
    # Headings may be broken into lines.
    assert all(word in said.out for word in ("network", "other", "bytes an"))
    networks = json.loads(out.read_text())["networks"]
    assert list(networks) == ["tiny", "other"]
    for name, one in networks.items():
        assert {row["system"] for row in one["rows"]} == {name}
        assert one["index_bytes"] == (4 + 5) * 14
        assert one["cost"]["encode_ms"] > 0


def test_boxes_are_told_from_true_ones(camsearch, photos, options, tmp_path):
    placed, out = shutil.copytree(photos, tmp_path / "placed"), tmp_path / "out"
    boxes = [(f"instances/gate/{i:03d}.jpg", "gate", 8, 8, 80, 72) for i in (1, 2)]
    bridge = ("instances/bridge/001.jpg", "bridge", 8, 8, 80, 72)
    write_rows(placed / "queries.csv", [bridge, *boxes])
    said = camsearch(
        *("evaluate", "photos", placed, *options, "--systems", "OfA", "--queries", "boxes"),
        *("--report", out.with_suffix(".html"), "--json", out),
    )
    assert said.status == 0, said.err
    assert "Where: right hits among the first 100 whose box fits" in said.out
    where = {row["stage"]: row["where"] for row in json.loads(out.read_text())["rows"]}
    assert where["first"] == {}
    assert where["R100"]["all"]["right"] == 2
    page = Page(out.with_suffix(".html").read_text())
    assert "where" in [about["id"] for tag, about in page.tags if tag == "section"]


def test_photos_of_several_things_are_asked_for_with_boxes(camsearch, photos, tmp_path):
    with (shutil.copytree(photos, tmp_path / "placed") / "photos.csv").open("a") as file:
        file.write("both.jpg,gate;church,,96,96\n")
    said = camsearch("evaluate", "photos", tmp_path / "placed")
    assert said.status == 1
    assert "add --queries boxes" in " ".join(said.err.split())


def test_a_report_needs_matplotlib(camsearch, photos, options, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = camsearch("evaluate", "photos", photos, *options, "--report", tmp_path / "out.html")
    assert said.status == 1
    assert "pip install 'camsearch[evaluate]'" in said.err


def test_an_ablation_ends_with_advice(camsearch, photos, options, tmp_path):
    out = tmp_path / "out.json"
    said = camsearch(
        *("evaluate", "photos", photos, *options, "--ablate", "n_classes=2,8,qe=0"),
        *("--queries-of", 6, "--json", out),
    )
    assert said.status == 0, said.err
    assert "Keep the preset default" in said.out
    found = json.loads(out.read_text())
    assert [(v["setting"], v["value"]) for v in found["variants"]] == [
        ("n_classes", "2"),
        ("n_classes", "8"),
        ("qe", "0"),
        ("qe", "5"),
    ]
    assert found["recommendation"][0].startswith("Keep the preset default")


def test_the_papers_tables_on_miniature_datasets(camsearch, tiny, options, tmp_path):
    """Of the same file formats as Oxford5k and Paris6k, with junk and boxes."""
    make_oxford(tmp_path / "oxford5k")
    make_paris(tmp_path / "paris6k")
    out = tmp_path / "out.json"
    without_layers = [*options[:4], *options[6:]]
    said = camsearch(
        *("evaluate", "paper", tmp_path, *without_layers, "--table", "paper", "--json", out)
    )
    assert said.status == 0, said.err
    tables = {table["name"]: table["rows"] for table in json.loads(out.read_text())["tables"]}
    assert list(tables) == [table.name for table in paper_tables()]
    for row in (*tables["features"], *tables["reranking"]):
        assert row["network"] == "tiny"
        for name in ("oxford5k", "paris6k"):
            assert (row["cells"][name]["ours"] is None) == bool(row["cells"][name]["missing"])
        # There are no Flickr photos here, and that is said.
        assert "oxc1_100k" in row["cells"]["oxford105k"]["missing"]
    ours = tables["systems"][-1]["cells"]["oxford5k"]
    assert 0 < ours["ours"] <= 1
    assert ours["published"] == 0.712
    networks = tables["networks"][0]
    assert networks["network"] == "resnet50"
    assert networks["cells"]["paris6k"]["ours"] is None
    assert tables["cost"][0]["cost"]["bytes"] > 0


REFUSED = [
    ("photos", "No folder is given"),
    ("nonsense .", "There is no dataset 'nonsense'"),
    ("paper {photos}", "add --table paper"),
    ("photos {photos} --systems OFA", "There is no system 'OFA'"),
    ("photos {photos} --table nonsense", "There is no table 'nonsense'"),
    ("photos {photos} --network nonsense", "There is no network 'nonsense'"),
    ("photos {photos} --layers=", "no layer"),
    ("photos {photos} --classes=0", "not valid"),
    ("photos {photos} --max-side=0", "not valid"),
    ("photos {photos} --weights bogus=a.pth", "There is no network 'bogus'"),
    ("photos {photos} --weights a.pth --weights b.pth", "--weights b.pth is a second file"),
    # options that would be ignored
    ("photos {photos} --root elsewhere", "Two folders are given"),
    ("photos {photos} --table features --systems OfA", "--systems has no effect with --table"),
    ("photos {photos} --table features --ablate dims", "--ablate has no effect with --table"),
    ("photos {photos} --table features --windows 5", "--windows has no effect with --table"),
    ("photos {photos} --ablate dims --compare OfA:first,SPoC:first", "--compare has no effect"),
    ("photos {photos} --ablate dims --learned 8", "--ablate has no effect with --classes-from or"),
    (
        "photos {photos} --network resnet50 --network vgg16_cam --systems OfA",
        "--systems has no effect with several --network",
    ),
    ("photos {photos} --network resnet50 --network resnet50", "resnet50 is named twice"),
    ("photos {photos} --through http://x --fit-on d", "--fit-on has no effect with --through"),
    ("photos {photos} --index images", "--index has no effect without --through"),
    ("photos {photos} --queries-of 3", "--queries-of has no effect without --ablate"),
    # what the end of a long run would have to refuse
    ("photos {photos} --compare OfA", "does not name two systems at their stages"),
    (
        "photos {photos} --systems OfA --compare OfA:first,R-MAC:first",
        "--compare names 'R-MAC', which is not measured",
    ),
    ("photos {photos} --report out.txt", "its name must end in .html"),
    ("photos {photos} --report {photos}/photos.csv/a.html", "photos.csv/a.html cannot be written"),
    ("photos {photos} --json /no/such/folder/x.json", "there is no folder /no/such/folder"),
    ("photos {photos} --ablate bogus --report out.html", "--ablate knows no setting 'bogus'"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_refused_before_anything_is_measured(camsearch, photos, tmp_path, monkeypatch, words, why):
    monkeypatch.setenv("CAMSEARCH_CACHE", str(tmp_path / "cache"))
    said = camsearch("evaluate", *shlex.split(words.format(photos=photos)))
    assert (said.status, said.out) == (1, "")
    assert why in " ".join(said.err.split())
    assert not (tmp_path / "cache").exists()


def test_streamed_photos_leave_one_system_to_compare(camsearch, photos, options, oxford, tmp_path):
    asked = ("evaluate", "oxford5k", *oxford, *options, "--distractors", photos, "--stream")
    said = camsearch(*asked, "--compare", "OfA:first,OnA:first")
    assert said.status == 1
    assert "--compare names 'OnA', which is not measured" in " ".join(said.err.split())
    assert not list((tmp_path / "cache").rglob("*.zst"))


def test_stopped_it_says_what_is_kept(camsearch, photos, options, tmp_path, monkeypatch):
    """The whole way: stopped while it encodes, and run again to the end."""
    encode, batches = Encoder.encode, []

    def stop_at_the_second_batch(encoder, batch):
        batches.append(len(batch))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return encode(encoder, batch)

    asked = ("evaluate", "photos", photos, *options, "--systems", "OfA", "--json", "-")
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", stop_at_the_second_batch)
        said = camsearch(*asked)
    assert (said.status, said.out) == (130, "")
    words = f"are kept in {tmp_path / 'cache' / 'evaluate'}, results are not."
    assert words in said.err
    assert "Run the same command to continue." in said.err
    again = []
    monkeypatch.setattr(
        Encoder, "encode", lambda encoder, batch: again.append(len(batch)) or encode(encoder, batch)
    )
    done = camsearch(*asked)
    assert done.status == 0
    found = json.loads(done.out)  # alone on standard output
    assert (sum(again), found["left_out"]) == (found["photos"] - batches[0], [])
    assert "photo collections" in done.err


@pytest.fixture(scope="module")
def oxford(tmp_path_factory):
    root = make_oxford(tmp_path_factory.mktemp("oxford"))
    paris = make_paris(tmp_path_factory.mktemp("paris"))
    return root, "--fit-on", paris


def test_what_streaming_leaves_out_is_said(camsearch, photos, options, oxford):
    asked = ("evaluate", "oxford5k", *oxford, *options, "--distractors", photos, "--stream")
    said = camsearch(*asked, "--systems", "OfA,OnA,SPoC")
    assert said.status == 0, said.err
    assert "Left out, OnA, SPoC: of streamed images" in " ".join(said.out.split())
    said = camsearch(*asked, "--systems", "SPoC")
    assert said.status == 1
    assert "Add OfA to the systems" in said.err


def test_a_damaged_streamed_photo_is_named(camsearch, options, oxford, tmp_path):
    others = make_distractors(tmp_path / "others", 5)
    (others / "0" / "000002.jpg").write_bytes(b"no image")
    asked = ("evaluate", "oxford5k", *oxford, *options, "--distractors", others, "--stream")
    for _ in ("described", "read from what is kept"):
        said = camsearch(*asked, "--systems", "OfA", "--json", "-")
        assert said.status == 0, said.err
        words = "Left out, 1 that are not images (streamed distractors): 0/000002.jpg."
        assert json.loads(said.out)["left_out"] == [words]
        assert words in " ".join(said.err.split())


def test_compared_systems_with_too_few_photos_are_left_out(camsearch, options, oxford, tmp_path):
    few = f"images:{make_distractors(tmp_path / 'few', 8)}"
    asked = ("evaluate", "oxford5k", oxford[0], "--fit-on", few, *options)
    said = camsearch(*asked, "--systems", "OfA,raw,GeM")
    assert said.status == 0, said.err
    words = " ".join(said.out.split())
    assert "Left out, GeM: 8 vectors of" in words
    assert "raw" in words
    said = camsearch(*asked, "--systems", "GeM")
    assert said.status == 1
    assert "Left out, GeM" in said.err
