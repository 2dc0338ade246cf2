"""The command line: what it prints, and that every refusal is one sentence and its status."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from camsearch.commands import options
from camsearch.library import ImageLibrary
from camsearch.main import app
from camsearch.settings import CommandSettings, read_settings
from descriptors.encoder import Encoder
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from galleries.local import LocalGallery
from tests.support.clock import HANG_S
from tests.support.images import encoded, shapes
from tests.unit.camsearch.conftest import MACHINE

pytestmark = pytest.mark.slow  # among the longest modules

COUNT = 6
COMMANDS = ["index", "search", "fit", "info", "delete", "doctor", "demo", "evaluate"]
COMMANDS += ["convert-weights", "serve", "enqueue", "worker", "status", "retry-rejects"]
SCRIPT = Path(sys.executable).parent / "camsearch"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = ["id,path,city,year"]
    for i in range(COUNT):
        image = encoded(shapes(96, 64, seed=i), "JPEG", quality=95)
        (folder / f"{i}.jpg").write_bytes(image)
        rows.append(f"P{i},photos/{i}.jpg,{'Köln' if i % 2 else 'Bonn'},{2000 + i}")
    (folder / "bad.jpg").write_bytes(b"bad")
    (tmp_path / "images.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def gallery(tiny, camsearch, photos, tmp_path):
    folder = tmp_path / "gallery"
    done = camsearch("index", "-m", tmp_path / "images.csv", "-g", folder, *tiny.options)
    assert done.status == 0, done.err
    return folder


def assert_one_sentence(said, why=""):
    """Status 1, and nothing but one line with what is wrong and a remedy."""
    assert said.status == 1, said
    (line,) = said.err.strip().splitlines()
    assert line.startswith("error: "), line
    assert line.endswith((".", ")")), line
    assert why in line, line
    assert "Traceback" not in said.err + said.out


def answer(said):
    assert said.status == 0, said.err
    return json.loads(said.out)


def ids(hits):
    return [hit["id"] for hit in hits]


class TestHelp:
    def test_each_command_shows_an_example_and_loses_nothing_to_markup(self, camsearch):
        for command in COMMANDS:
            said = camsearch(command, "--help")
            assert (said.status, said.err) == (0, "")
            assert f"Example: camsearch {command} " in said.out
            # "[default: cpu]" in a help text would be read as a style by rich, and vanish.
            lines = said.out.splitlines()
            assert not [line for line in lines if re.search(r" \.(\s|$)", line)]

    def test_the_commands_are_those_of_the_app(self):
        assert sorted(COMMANDS) == sorted(str(one.name) for one in app.registered_commands)

    def test_the_version(self, camsearch):
        said = camsearch("--version")
        assert (said.status, said.out) == (0, "camsearch 0.1.0\n")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["index", "--nonsense"],
            ["search"],
            ["search", "a.jpg", "-k", "0"],
            ["info", "superfluous"],
        ],
    )
    def test_wrong_usage_is_status_2(self, camsearch, arguments):
        said = camsearch(*arguments)
        assert said.status == 2
        assert "Error" in said.err
        assert "Traceback" not in said.err


class TestIndex:
    def test_skipped_files_are_reported(self, tiny, camsearch, photos, tmp_path):
        for name in ("a.txt", "b.mov", "@eaDir/0.jpg"):
            (photos / name).parent.mkdir(exist_ok=True)
            (photos / name).touch()
        options = ("-g", tmp_path / "g", "--exclude", "bad.*", "--exclude", "[3-5].jpg")
        said = camsearch("index", photos, *options, *tiny.options)
        assert said.status == 0, said.err
        assert "Skipped 2 files that are not images: 1 .txt, 1 .mov." in said.err
        assert "3 matching [3-5].jpg" in said.err
        assert "1 matching bad.*" in said.err
        assert "1 @eaDir" in said.err
        assert "3 indexed" in said.err

    def test_what_a_manifest_is_not_searched_by_is_said(self, tiny, camsearch, photos, tmp_path):
        (photos / "m.csv").write_text(",path,Inv. No.\n0,0.jpg,1904.10\n1,1.jpg,1904.2a\n")
        gallery = tmp_path / "g"
        said = camsearch("index", "--manifest", photos / "m.csv", "-g", gallery, *tiny.options)
        assert said.status == 0, said.err
        assert "warning: " in said.err
        assert "1 columns without a name are ignored" in said.err
        assert "the column 'Inv. No.' is searched as 'meta.Inv No'" in said.err
        found = camsearch(
            "search", photos / "0.jpg", "-g", gallery, "--filter", "meta.Inv No=1904.10", "--json"
        )
        assert [Path(hit["uri"]).name for hit in json.loads(found.out)["hits"]] == ["0.jpg"]

    def test_a_manifest_is_read_as_its_columns_are_mapped(self, tiny, camsearch, photos, tmp_path):
        mapping, gallery = tmp_path / "mapping.json", tmp_path / "g"
        manifest = ["-m", photos.parent / "images.csv", "-g", gallery]
        for text in ("[]", '{"year": 1}', "{"):
            mapping.write_text(text)
            said = camsearch("index", *manifest, "--meta-mapping", mapping)
            assert_one_sentence(said, "--meta-mapping")
        mapping.write_text('{"year": {"type": "keyword"}}')
        said = camsearch("index", *manifest, "--meta-mapping", mapping, *tiny.options)
        assert said.status == 0, said.err
        with LocalGallery.open(gallery) as opened:
            assert opened.known(["P1"])[0]["P1"].meta == {"city": "Köln", "year": "2001"}

    def test_a_folder(self, tiny, camsearch, photos, tmp_path):
        said = camsearch("index", photos, "--gallery", tmp_path / "g", *tiny.options)
        assert said.status == 0
        assert said.out == ""
        assert (
            f"6 indexed, 0 unchanged, 0 with new metadata, 1 rejected; 6 images in {tmp_path / 'g'}."
            in said.err
        )
        assert f"See why: camsearch info --rejects --gallery {tmp_path / 'g'}" in said.err

    def test_unchanged_images_are_skipped(self, tiny, camsearch, photos, tmp_path):
        command = ["index", photos, "-g", tmp_path / "g", *tiny.options]
        camsearch(*command)
        (photos / "0.jpg").write_bytes(encoded(shapes(64, 64, seed=77), "JPEG"))
        assert "1 indexed, 5 unchanged, 0 with new metadata, 1 rejected" in camsearch(*command).err
        assert "6 indexed, 0 unchanged" in camsearch(*command, "--again").err

    def test_stopped_it_says_what_is_kept_and_goes_on_from_there(
        self, tiny, camsearch, photos, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("CAMSEARCH_BATCH_SIZE", "2")
        command = ["index", photos, "-g", tmp_path / "g", *tiny.options]
        encode, batches = Encoder.encode, []

        def stop_at_the_second_batch(encoder, batch):
            batches.append(len(batch))
            if len(batches) == 2:
                raise KeyboardInterrupt
            return encode(encoder, batch)

        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "encode", stop_at_the_second_batch)
            said = camsearch(*command)
        words = "Stopped: 2 new images are kept. Run the same command to continue."
        assert (said.status, said.out, words in said.err) == (130, "", True)
        assert "4 indexed, 2 unchanged" in camsearch(*command).err

    def test_stopped_before_the_first_image_it_says_that_too(
        self, tiny, camsearch, photos, tmp_path, monkeypatch
    ):
        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("indexer.sources.find_images", stop)
        said = camsearch("index", photos, "-g", tmp_path / "g", *tiny.options)
        words = "Stopped: nothing was indexed. Run the same command to start again.\n"
        assert said == (130, "", words)
        assert not (tmp_path / "g").exists()

    def test_rejects_are_tried_again_when_the_limits_have_changed(
        self, tiny, camsearch, photos, tmp_path, monkeypatch
    ):
        command = ["index", photos, "-g", tmp_path / "g", *tiny.options]
        monkeypatch.setenv("CAMSEARCH_MAX_PIXELS", "100")
        assert camsearch(*command).status == 1  # every one of them was refused
        assert "0 indexed, 0 unchanged, 0 with new metadata, 7 rejected" in camsearch(*command).err
        assert "7 rejected" in camsearch(*command, "--retry-rejects").err
        monkeypatch.delenv("CAMSEARCH_MAX_PIXELS")
        assert "6 indexed, 0 unchanged, 0 with new metadata, 1 rejected" in camsearch(*command).err

    def test_an_unreadable_image_is_a_warning(self, tiny, camsearch, gallery, photos, tmp_path):
        (photos / "0.jpg").unlink()
        said = camsearch("index", "-m", tmp_path / "images.csv", "-g", gallery, *tiny.options)
        assert said.status == 0
        assert "warning: 1 images of the gallery cannot be read now" in said.err

    def test_maps_are_kept_only_where_asked(self, tiny, camsearch, photos, tmp_path):
        options = ["-g", tmp_path / "g"]
        assert camsearch("index", photos, *options, *tiny.options).status == 0
        assert not list((tmp_path / "g").rglob("*.maps"))
        found = answer(camsearch("search", photos / "1.jpg", *options, "--json", "--by", "maps"))
        assert found["reranked"] == {"hits": 100, "by": "maps"}
        assert found["warnings"] == []
        assert found["hits"][0]["box"]

    def test_what_a_gallery_that_is_there_does_not_follow_is_said(
        self, tiny, camsearch, photos, tmp_path
    ):
        command = ["index", photos, "-g", tmp_path / "g", *tiny.options]
        regions = RegionSettings(coarse_maps=False)
        tiny.library(tmp_path / "g", regions=regions, maps="maps").close()
        said = camsearch(*command)
        assert (said.status, "warning" in said.err) == (0, False)
        assert "warning" not in camsearch(*command, "--maps", "maps").err
        off = camsearch(*command, "--maps", "off").err
        assert "--maps off has no effect" in off
        assert "was made with --maps maps" in off
        assert (
            "was made with another coarse_maps." in camsearch(*command, "--preset", "default").err
        )

    def test_a_gallery_keeps_its_own_windows(self, tiny, camsearch, photos, tmp_path):
        command = ["index", photos, "-g", tmp_path / "g", *tiny.options]
        assert camsearch(*command, "--windows", "none").status == 0
        said = camsearch(*command)
        assert said.status == 0, said.err
        assert "6 unchanged" in said.err
        assert "windows      none\n" in camsearch("info", "-g", tmp_path / "g").out
        said = camsearch(*command, "--windows", "14")
        assert_one_sentence(said, "index into another folder")
        assert camsearch(*command, "--windows", "15").status == 2
        found = answer(camsearch("search", photos / "1.jpg", "-g", tmp_path / "g", "--json"))
        assert found["reranked"] == {"hits": 100, "by": "maps"}
        said = camsearch("search", photos / "1.jpg", "-g", tmp_path / "g", "--by", "windows")
        assert_one_sentence(said, "This gallery has no windows")


class TestSearch:
    def test_a_table_a_hit_a_line(self, camsearch, gallery, photos):
        said = camsearch("search", photos / "3.jpg", "-g", gallery, "-k", 4)
        assert said.status == 0
        header, *lines = said.out.splitlines()
        assert header.split() == ["rank", "score", "first", "box", "image"]
        assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
        rank, score, first, box, id_ = lines[0].split()
        assert (rank, first, id_) == ("1", "1", "P3")
        assert 0.9 < float(score) <= 1
        assert len(box.split(",")) == 4

    def test_json_says_everything(self, camsearch, gallery, photos):
        found = answer(camsearch("search", photos / "3.jpg", "-g", gallery, "--json"))
        assert set(found) == {"reranked", "hits", "first", "milliseconds", "warnings"}
        assert found["reranked"] == {"hits": 1000, "by": "windows"}
        first = found["hits"][0]
        assert set(first) == (
            {"rank", "id", "uri", "score", "box", "first_rank", "first_score", "meta"}
        )
        assert (first["id"], first["rank"], first["first_rank"]) == ("P3", 1, 1)
        assert first["uri"] == str(photos / "3.jpg")
        assert first["meta"] == {"city": "Köln", "year": 2003}
        assert sorted(ids(found["hits"])) == [f"P{i}" for i in range(COUNT)]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (["meta.city=Köln", "meta.year=2003"], ["P3"]),
            (["meta.city="], []),
            (["id=P2"], ["P2"]),
            (['{"terms": {"_id": ["P1", "P2"]}}', "meta.city=Bonn"], ["P2"]),
        ],
    )
    def test_filters(self, camsearch, gallery, photos, filters, expected):
        options = [part for one in filters for part in ("--filter", one)]
        found = answer(camsearch("search", photos / "3.jpg", "-g", gallery, "--json", *options))
        assert sorted(ids(found["hits"])) == expected

    def test_several_images_are_one_query(self, camsearch, gallery, photos):
        images, box = [photos / "1.jpg", photos / "2.jpg"], (4, 4, 60, 60)
        options = ["--box", "full", "--box", "4,4,60,60", "--without", photos / "4.jpg"]
        options += ["-g", gallery, "--json", "--precision", "float32"]
        found = answer(camsearch("search", *images, *options))
        with ImageLibrary.open(gallery, MACHINE) as library:
            views = [images[0], (images[1], box)]
            expected = library.search(images=views, without=[photos / "4.jpg"], rerank=1000)
        assert ids(found["hits"]) == [hit.document.id for hit in expected.hits]
        assert [hit["score"] for hit in found["hits"]] == pytest.approx(
            [hit.score for hit in expected.hits]
        )

    def test_nothing_matches(self, camsearch, gallery, photos):
        said = camsearch("search", photos / "3.jpg", "-g", gallery, "--filter", "meta.city=Rom")
        assert (said.status, said.out) == (0, "No image matches.\n")

    def test_a_report(self, camsearch, gallery, photos, tmp_path):
        report = tmp_path / "new folder" / "out.html"
        said = camsearch(
            *("search", photos / "3.jpg", "-g", gallery, "--json"),
            *("--box", "4,4,60,50", "--report", report),
        )
        assert said.status == 0
        assert said.err == f"Report: {report}\n"
        json.loads(said.out)
        assert "<html" in report.read_text(encoding="utf-8")

    def test_ids_that_look_like_markup_are_printed_as_they_are(
        self, tiny, camsearch, photos, tmp_path
    ):
        odd = tmp_path / "trip [old]" / "[bold]a["
        odd.mkdir(parents=True)
        image = odd / "b].jpg"  # the path holds "[/b]", a closing tag to rich
        shutil.copy(photos / "1.jpg", image)
        camsearch("index", odd, "-g", tmp_path / "g", *tiny.options)
        said = camsearch("search", image, "-g", tmp_path / "g")
        assert said.status == 0
        assert said.out.splitlines()[1].endswith(str(image))

    def test_a_long_id_stays_on_its_line(self, tiny, camsearch, photos, tmp_path):
        deep = tmp_path / ("x" * 120) / ("y y" * 40)
        deep.mkdir(parents=True)
        shutil.copy(photos / "1.jpg", deep / "a.jpg")
        camsearch("index", deep, "-g", tmp_path / "g", *tiny.options)
        said = camsearch("search", photos / "1.jpg", "-g", tmp_path / "g")
        assert said.out.splitlines()[1].endswith(str(deep / "a.jpg"))

    def test_images_that_are_gone_are_a_warning(self, tiny, camsearch, photos, tmp_path):
        options = ["-g", tmp_path / "g"]
        camsearch("index", photos, *options, *tiny.options)
        query = shutil.copy(photos / "1.jpg", tmp_path / "query.jpg")
        shutil.rmtree(photos)
        assert camsearch("search", query, *options).err == ""
        said = camsearch("search", query, *options, "--by", "maps")
        assert said.status == 0
        assert said.err.startswith("warning: 6 of 6 hits keep their first score")
        assert len(said.out.splitlines()) == 1 + COUNT


class TestInfoAndDelete:
    def test_what_a_gallery_holds(self, camsearch, gallery):
        said = camsearch("info", "-g", gallery)
        assert said.status == 0
        assert "images       6" in said.out
        assert "rejects      0" in said.out
        assert "metadata     meta.city, meta.year\n" in said.out
        assert "dimensions   14" in said.out
        assert "windows      14\nmaps         off\n" in said.out

    def test_as_json(self, tiny, camsearch, photos, tmp_path):
        camsearch("index", photos, "-g", tmp_path / "g", *tiny.options)
        about = answer(camsearch("info", "-g", tmp_path / "g", "--json", "--rejects"))
        assert (about["images"], about["dims"]) == (COUNT, 14)
        assert (about["windows"], about["maps"]) == (14, None)
        assert about["rejects"] == {"unreadable_image": 1}
        assert about["settings"]["method"]["network"] == "tiny"
        assert len(about["fingerprint"]) == 64
        assert about["metadata"] == []
        (rejected,) = about["rejected"]
        assert rejected["id"] == rejected["uri"] == str(photos / "bad.jpg")
        assert set(rejected) == {"id", "uri", "kind", "reason", "at"}

    def test_rejects_with_their_reasons(self, tiny, camsearch, photos, tmp_path):
        camsearch("index", photos, "-g", tmp_path / "g", *tiny.options)
        said = camsearch("info", "-g", tmp_path / "g", "--rejects")
        (line,) = said.out.splitlines()
        assert line.startswith(
            f"{photos / 'bad.jpg'}  [unreadable_image]  The file is not an image"
        )

    def test_no_rejects(self, camsearch, gallery):
        assert camsearch("info", "-g", gallery, "--rejects").out == "No image was rejected.\n"

    def test_deleted_by_a_path_as_it_was_written(
        self, tiny, camsearch, photos, tmp_path, monkeypatch
    ):
        camsearch("index", photos, "-g", tmp_path / "g", *tiny.options)
        monkeypatch.chdir(photos)
        said = camsearch(
            "delete", "0.jpg", "../photos/./1.jpg", photos / "bad.jpg", "-g", tmp_path / "g"
        )
        assert (said.status, said.out) == (0, "3 deleted.\n")
        assert (photos / "0.jpg").is_file()

    def test_unknown_ids_are_reported(self, camsearch, gallery):
        said = camsearch("delete", "P1", "unknown", "-g", gallery)
        assert said.out == "1 deleted.\n"
        assert_one_sentence(said, "1 of the ids are not in")

    def test_doctor_passes(self, camsearch, gallery):
        said = camsearch("doctor", "-g", gallery, "--precision", "float32")
        assert said.status == 0, said.out
        assert said.out.count("ok ") == 6
        assert "6 images, 0 rejects, fingerprint matches" in said.out

    def test_doctor_reports_faults(self, camsearch, gallery, monkeypatch):
        monkeypatch.setenv("CAMSEARCH_BATCHSIZE", "3")
        said = camsearch("doctor", "-g", gallery)
        assert said.status == 1
        assert "wrong  settings: There is no setting CAMSEARCH_BATCHSIZE" in said.out
        assert "Traceback" not in said.out + said.err

    def test_doctor_counts_images_without_maps(self, tiny, camsearch, photos, tmp_path):
        gallery = tmp_path / "g"
        camsearch("index", photos, "-g", gallery, *tiny.options, "--maps", "maps")
        for path in sorted(gallery.rglob("*.maps"))[:2]:
            path.unlink()
        said = camsearch("doctor", "-g", gallery)
        assert said.status == 0
        assert "2 images have no stored maps" in said.out
        assert "--again" in said.out

    def test_doctor_without_a_gallery(self, camsearch, tmp_path):
        said = camsearch("doctor", "-g", tmp_path / "none")
        assert said.status == 0
        assert "make one with `camsearch index" in said.out


class TestFit:
    def test_a_whitening_of_one_s_own(self, tiny, camsearch, photos, tmp_path):
        out = tmp_path / "mine" / "my.safetensors"
        options = tiny.options
        options = options[: options.index("--whitening")] + options[options.index("--precision") :]
        said = camsearch("fit", photos, "--out", out, *options)
        assert said.status == 0, said.err
        assert f"Whitening of 6 images written to {out} (1 could not be read)." in said.err
        assert camsearch(
            "index", photos, "-g", tmp_path / "g", *options, "--whitening", out
        ).status == 0  # fmt: skip

    def test_most_limits_the_number_of_images(self, tiny, camsearch, photos, tmp_path):
        options = tiny.options[: tiny.options.index("--whitening")]
        (photos / "bad.jpg").unlink()
        said = camsearch("fit", photos, "-o", tmp_path / "w.safetensors", "--most", 5, *options)
        assert "Whitening of 5 images" in said.err


class TestRefusals:
    @pytest.mark.parametrize("command", [["info"], ["search", "{photos}/1.jpg"], ["delete", "P1"]])
    def test_no_gallery(self, camsearch, photos, tmp_path, command):
        command = [part.format(photos=photos) for part in command]
        said = camsearch(*command, "-g", tmp_path / "none")
        assert_one_sentence(said, "There is no gallery in")
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (["{photos}/gone.jpg"], "cannot be read"),
            (["{photos}/bad.jpg"], "not an image in a supported format"),
            (["{photos}"], "not a regular file"),
            (["x" * 300], "cannot be read"),
            (["https://localhost/a.jpg"], ""),
            (["{photos}/1.jpg", "--box", "1,2,3"], "box"),
            (["{photos}/1.jpg", "--box", "nan,0,9,9"], "box"),
            (["{photos}/1.jpg", "--box", "9,9,1,1"], "box"),
            (
                ["{photos}/1.jpg", "--box=-50,-50,-1,-1"],
                "outside the image, which is 96 x 64 pixel",
            ),
            (["{photos}/1.jpg", "{photos}/2.jpg", "--box", "1,2,30,40"], "1 boxes for 2 images"),
            (["{photos}/1.jpg", "--without-box", "1,2,30,40"], "1 boxes for 0 images"),
            (["{photos}/1.jpg", "{photos}/2.jpg", "--by", "maps"], "re-rank by windows"),
            (["{photos}/1.jpg", "--by", "maps", "--rerank", "0"], "--by has no effect"),
            (["{photos}/1.jpg", "--refine", "--by", "maps"], "Only windows are refined"),
            (["{photos}/1.jpg", "--filter", "=Köln"], "write field=value"),
            (["{photos}/1.jpg", "--filter", "city=Köln"], "city"),
            (["{photos}/1.jpg", "--filter", '{{"match": {{"meta.city": "x"}}}}'], "match"),
            (["{photos}/1.jpg", "--filter", '{{"bool": ' + "[" * 100_000], "not valid JSON"),
        ],
        ids=range(18),
    )
    def test_a_search_that_cannot_be(self, camsearch, gallery, photos, words, why):
        words = [word.format(photos=photos) for word in words]
        assert_one_sentence(camsearch("search", "-g", gallery, *words), why)

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (["--side", "96"], "camsearch fit"),
            (["--side", "5"], "side: Input should be greater than or equal to 32"),
            (["--layers", "mid:many"], "--layers 'mid:many' is not valid"),
            (["--layers", "first:8"], "has no layer 'first'"),
            (["--network", "vgg99"], "There is no network 'vgg99'"),
            (["--preset", "best"], "There is no preset 'best'"),
            (["--theme", "123456"], "123456"),
            (["--weights", "/nowhere/weights.pt"], "There is no weight file"),
            (["--whitening", "/nowhere/w.safetensors"], "There is no whitening"),
            (["--device", "nonsense"], "There is no device 'nonsense'"),
            (["--maps", "nosuch://x"], "nosuch://x"),
        ],
    )
    def test_settings_that_cannot_work(self, tiny, camsearch, photos, tmp_path, options, why):
        said = camsearch("index", photos, "-g", tmp_path / "g", *tiny.options, *options)
        assert_one_sentence(said, why)

    def test_a_misspelt_variable(self, camsearch, photos, tmp_path, monkeypatch):
        monkeypatch.setenv("CAMSEARCH_GALERY", "x")
        more = {
            "index": [photos],
            "search": [photos / "1.jpg"],
            "enqueue": [photos],
            "fit": [photos, "-o", tmp_path / "w.safetensors"],
            "convert-weights": [photos / "1.jpg", "-o", tmp_path / "w.safetensors"],
            "delete": ["x"],
            "demo": [photos, "--out", tmp_path / "demo"],
            "evaluate": ["photos", photos],
        }
        for command in COMMANDS:
            said = camsearch(command, *more.get(command, []))
            assert_one_sentence(said, "There is no setting CAMSEARCH_GALERY: the settings are")

    def test_a_variable_that_has_another_name_now(self, camsearch, monkeypatch):
        monkeypatch.setenv("CAMSEARCH_SERVE_MOST_PICTURE", "9")
        assert_one_sentence(
            camsearch("info"),
            "CAMSEARCH_SERVE_MOST_PICTURE is now called CAMSEARCH_SERVE_MAX_IMAGE: rename it",
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [("BATCH_SIZE", "many"), ("PRECISION", "half"), ("READERS", "-1")],
    )
    def test_a_bad_value_of_a_variable(self, camsearch, photos, tmp_path, monkeypatch, name, value):
        monkeypatch.setenv(f"CAMSEARCH_{name}", value)
        said = camsearch("index", photos, "-g", tmp_path / "g")
        assert_one_sentence(said, f"CAMSEARCH_{name} is not valid")

    @pytest.mark.parametrize(
        ("command", "damage"),
        [("info", b"no database"), ("search", b""), ("index", "cut"), ("info", "cut")],
    )
    def test_a_damaged_gallery(self, tiny, camsearch, gallery, photos, damage, command):
        file = gallery / "gallery.sqlite"
        # The middle of the tables, or all of the file.
        file.write_bytes(file.read_bytes()[:20_000] if damage == "cut" else damage)
        for rest in gallery.glob("gallery.sqlite-*"):
            rest.unlink()
        more = {"search": [photos / "1.jpg"], "index": [photos, *tiny.options]}.get(command, [])
        assert_one_sentence(camsearch(command, *more, "-g", gallery))

    @pytest.mark.parametrize("command", ["index", "fit"])
    def test_no_images(self, tiny, camsearch, tmp_path, command):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").touch()
        more = ["-o", tmp_path / "w.safetensors"] if command == "fit" else ["-g", tmp_path / "g"]
        options = tiny.options
        if command == "fit":
            options = options[: options.index("--whitening")]
        said = camsearch(command, tmp_path / "empty", *more, *options)
        *skipped, error = said.err.strip().splitlines()
        assert skipped == ["Skipped 1 file that is not an image: 1 .txt."] * (command == "index")
        assert_one_sentence(said._replace(err=error), "image")
        assert not (tmp_path / "g").exists()

    @pytest.mark.parametrize(
        "arguments",
        [[], ["/nowhere"], ["-m", "{photos}/1.jpg"]],
    )
    def test_nothing_to_index(self, camsearch, photos, tmp_path, arguments):
        arguments = [argument.format(photos=photos) for argument in arguments]
        assert_one_sentence(camsearch("index", *arguments, "-g", tmp_path / "g"))
        assert not (tmp_path / "g").exists()

    def test_a_gallery_where_none_can_be(self, tiny, camsearch, photos, tmp_path):
        (tmp_path / "file").touch()
        said = camsearch("index", photos, "-g", tmp_path / "file", *tiny.options)
        assert_one_sentence(said, "cannot be created")

    @pytest.mark.parametrize("out", ["w.npz", "folder.safetensors"])
    def test_a_whitening_that_cannot_be_written(self, tiny, camsearch, photos, tmp_path, out):
        (tmp_path / "file").touch()
        (tmp_path / "folder.safetensors").mkdir()
        options = tiny.options[: tiny.options.index("--whitening")]
        assert_one_sentence(camsearch("fit", photos, "-o", tmp_path / out, *options), "--out")

    def test_figures_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RequestError, match=r"cannot be written .*choose another path"):
            options.write_json(tmp_path / "file" / "figures.json", {"rows": []})

    def test_a_check_before_a_long_run_leaves_files_as_they_are(self, tmp_path):
        options.check_writable(tmp_path / "new" / "a", "--out")
        assert list((tmp_path / "new").iterdir()) == []
        (tmp_path / "a").write_text("kept")
        options.check_writable(tmp_path / "a", "--out")
        assert (tmp_path / "a").read_text() == "kept"

    def test_messages_may_look_like_markup(self, camsearch, tmp_path):
        said = camsearch("info", "-g", tmp_path / "[bold]a[" / "b]")
        assert_one_sentence(said, f"There is no gallery in {tmp_path}/[bold]a[/b]")


def test_help_needs_no_network():
    # Start-up stays fast: torch is loaded when it is needed.
    code = "import sys, camsearch.main; print([m for m in ('torch', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_default_network_from_end_to_end(camsearch, photos, tmp_path):
    gallery = tmp_path / "gallery"
    command = [SCRIPT, "index", photos, "--gallery", gallery]
    index = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert index.returncode == 0, index.stderr
    assert "6 indexed" in index.stderr
    assert "1 rejected" in index.stderr

    info = answer(camsearch("info", "-g", gallery, "--json"))
    assert (info["images"], info["dims"]) == (COUNT, 512)
    options = ["-g", gallery, "--json", "--box", "4,4,90,60"]
    found = answer(camsearch("search", photos / "3.jpg", *options))
    assert found["hits"][0]["id"] == str(photos / "3.jpg")
    doctor = camsearch("doctor", "-g", gallery)
    assert doctor.status == 0, doctor.out
    assert "6 images, 1 rejects, fingerprint matches" in doctor.out


def test_the_demo_on_a_folder_with_a_bad_image(camsearch, photos, tmp_path):
    odd = photos / "[bold]a.jpg"
    (photos / "0.jpg").rename(odd)
    (photos / "bad.jpg").rename(photos / "0-bad.jpg")  # the first, so it would be a query
    demo = camsearch("demo", photos, "--out", tmp_path / "demo")
    assert demo.status == 0, demo.err
    assert "6 images indexed, 0 unchanged, 1 rejected." in demo.out
    assert odd.name in demo.out
    assert (tmp_path / "demo" / "report.html").is_file()

    (tmp_path / "empty").mkdir()
    empty = camsearch("demo", tmp_path / "empty", "--out", tmp_path / "other")
    assert_one_sentence(empty._replace(err=last_line(empty.err)), "No image")


def last_line(text):
    """What is left when a progress bar has gone."""
    return text.strip().splitlines()[-1]


def test_a_closed_pipe_is_not_an_error(tmp_path):
    # As `camsearch info --rejects | head -1` does: more than a pipe holds, and nobody reads it.
    with LocalGallery.create(tmp_path, 4, "f" * 64, {"method": {}}) as gallery:
        from tests.support.documents import reject

        gallery.put_rejects([reject(f"{i:05d}", reason="x" * 300) for i in range(2000)])
    done = subprocess.run(
        ["/bin/bash", "-c", f"'{SCRIPT}' info --rejects -g '{tmp_path}' | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert done.returncode in (0, 1, 128 + signal.SIGPIPE)


def test_an_interrupt_while_the_network_is_loaded_is_no_traceback(photos, tmp_path):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import sys; sys.addaudithook(lambda event, about: event == 'import' "
        "and about[0] == 'torch.nn' and print('loading', flush=True)); "
        "from camsearch.main import run; run()"
    )
    command = [sys.executable, "-c", code, "index", photos, "-g", tmp_path / "g"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=HANG_S)
    assert process.returncode in (1, 130)
    assert "Traceback" not in told


def test_every_setting_can_come_from_the_environment(monkeypatch):
    given = {
        "gallery": Path("g"), "device": "cuda:1", "precision": "bfloat16", "batch_size": 3,
        "readers": 2, "max_pixels": 9, "max_bytes": 8, "cache": Path("c"),
        "elasticsearch": "http://es:1", "api_key": "k", "ca_certs": "c.pem", "images": "things", "broker": "redis://r",
        "queue": "q", "chunk": 5, "max_waiting": 6, "attempts": 7, "visibility_timeout": 8,
        "soft_shutdown": 9.5, "web_hosts": "a.org,b.org",
        "serve_host": "::1", "serve_port": 1, "serve_read_only": True, "serve_max_body": 2048,
        "serve_max_image": 1025, "serve_max_window": 10, "serve_max_k": 11, "serve_waiting": 12,
        "serve_reranks": 13, "serve_batch_wait": 0.5, "serve_timeout": 1.5, "serve_max_encoded": 14,
        "serve_rate": "1/second", "serve_cors": "http://a.org", "serve_log_requests": True,
        "serve_explains": 15, "serve_thumbnails": 16,
    }  # fmt: skip
    assert given.keys() == CommandSettings.model_fields.keys()
    for name, value in given.items():
        monkeypatch.setenv(f"CAMSEARCH_{name.upper()}", str(value))
    assert read_settings().model_dump() == given
