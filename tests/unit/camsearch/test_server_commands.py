"""The commands that talk to Elasticsearch and Redis, on real ones, with the tiny network."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import contextmanager
from itertools import islice

import pytest
import trustme
from celery.contrib.testing.worker import start_worker
from redis.exceptions import ConnectionError as RedisConnectionError

from camsearch import servers, serving
from camsearch.settings import read_settings
from es_mappings import indices
from es_mappings.elastic_client import connect
from indexer import manifests
from indexer.app import make_celery_app
from indexer.enqueueing import Enqueuer
from indexer.ledger import WorkerState
from indexer.tasks import register
from tests.integration.chaos.lines import encrypted
from tests.support import asgi
from tests.support.clock import HANG_S
from tests.support.images import encoded, shapes
from tests.support.tiny_service import re_ranked
from tests.unit.camsearch.conftest import MACHINE

COUNT = 5


@pytest.fixture
def images(tiny, elasticsearch_url, index_prefix, redis_db_url, monkeypatch):
    """The environment of a gallery; returns its name."""
    assert tiny
    name = f"{index_prefix}images"
    for setting, value in {
        "ELASTICSEARCH": elasticsearch_url, "BROKER": redis_db_url, "IMAGES": name, "CHUNK": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CAMSEARCH_{setting}", value)
    return name


@pytest.fixture
def created(images, tiny, camsearch, tmp_path):
    done = camsearch(
        "gallery", "create", "--maps", tmp_path / "maps", "--replicas", 0, *tiny.options[:-2]
    )
    assert done.status == 0, done.err
    return images


@pytest.fixture
def working(created):
    with worker_of(read_settings()):
        yield created


@contextmanager
def worker_of(settings):
    app = make_celery_app(settings)
    register(app, settings, lambda: servers.gallery_worker(settings, MACHINE))
    options = {"perform_ping_check": False, "pool": "solo", "queues": [settings.queue]}
    with start_worker(app, shutdown_timeout=HANG_S, **options):
        yield
    app.close()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = ["id,path,city"]
    for i in range(COUNT):
        (folder / f"{i}.jpg").write_bytes(encoded(shapes(96, 64, seed=i), "JPEG", quality=95))
        rows.append(f"P{i},photos/{i}.jpg,{'Bonn' if i % 2 else 'Ulm'}")
    (folder / "bad.jpg").write_bytes(b"bad")
    (tmp_path / "all.csv").write_text("\n".join(rows))
    return folder


def found(images):
    with connect(read_settings().elasticsearch) as client:
        client.indices.refresh(index=images)
        return sorted(h["_id"] for h in client.search(index=images, size=100)["hits"]["hits"])


def the_index(camsearch, state):
    (line,) = (
        row for row in camsearch("gallery", "list").out.splitlines() if f"  {state}  " in row
    )
    return line.split()[0]


def test_from_photos_to_a_knn_search_by_any_client(working, camsearch, photos):
    said = camsearch("enqueue", photos)
    assert said.status == 0, said.err
    assert f"{COUNT} indexed, 0 unchanged" in said.err
    assert "1 rejected" in said.err
    assert found(working) == [str(photos / f"{i}.jpg") for i in range(COUNT)]
    assert "[unreadable_image]" in camsearch("status", "--rejects").out
    with connect(read_settings().elasticsearch) as client:
        vector = client.search(
            index=working, size=1, fields=["descriptor"], source=False, sort=["id"]
        )["hits"]["hits"][0]["fields"]["descriptor"]
        knn = {"field": "descriptor", "query_vector": vector, "k": 3, "num_candidates": 50}
        hits = client.search(index=working, knn=knn)["hits"]["hits"]
    assert hits[0]["_id"] == str(photos / "0.jpg")
    assert len(hits) == 3


def test_status_shows_runs_and_workers(working, camsearch, photos):
    camsearch("enqueue", photos)
    told = json.loads(camsearch("status", "--json").out)
    (run,) = told["runs"]
    assert (run["asked"], run["finished"], run["over"]) == (COUNT + 1, COUNT + 1, True)
    assert told["queue"] == {"waiting": 0, "taken": 0}
    assert [worker["images"] for worker in told["workers"]] == [COUNT + 1]
    assert run["id"][:8] in camsearch("status").out
    assert json.loads(camsearch("status", "--json", "--run", run["id"]).out)["failed"] == {}
    assert working in camsearch("gallery", "verify").out


def test_stopped_while_it_sends_it_says_what_is_sent_and_how_to_go_on(
    created, camsearch, photos, monkeypatch
):
    find = manifests.find_images

    def stop_after_three(*asked):
        yield from islice(find(*asked), 3)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "find_images", stop_after_three)
        said = camsearch("enqueue", photos)
    (run,) = servers.ledger(read_settings()).runs()
    see = f"See: camsearch status --run {run.id}"
    assert said.status == 130
    assert "Stopped: 2 images were sent, and the workers index them." in said.err
    assert f"Run the same command to send the rest. {see}" in said.err
    assert (run.asked, run.over) == (2, False)
    with worker_of(read_settings()):
        with monkeypatch.context() as patch:
            patch.setattr(Enqueuer, "follow", stop)
            said = camsearch("enqueue", photos)
        assert said.status == 130
        assert f"Stopped waiting: all {COUNT + 1} images were sent. See: " in said.err
        assert f"{COUNT} unchanged" in camsearch("enqueue", photos).err
    assert servers.ledger(read_settings()).state(run.id).over
    with monkeypatch.context() as patch:
        patch.setattr(manifests, "find_images", stop)
        said = camsearch("enqueue", photos)
    assert said.status == 130
    assert "Stopped: nothing was sent. Run the same command to start again." in said.err


def stop(*_, **__):
    raise KeyboardInterrupt


def test_rejects_are_tried_again(working, camsearch, photos):
    camsearch("enqueue", photos)
    (photos / "bad.jpg").write_bytes(encoded(shapes(96, 64, seed=9), "JPEG"))
    assert "1 indexed" in camsearch("retry-rejects").err
    assert "No image was rejected" in camsearch("retry-rejects").err
    assert str(photos / "bad.jpg") in found(working)


def test_a_manifest_is_reconciled(working, camsearch, photos, tmp_path):
    manifest = tmp_path / "all.csv"
    camsearch("enqueue", manifest)
    rows = manifest.read_text().splitlines()
    rows[1] = rows[1].replace("Ulm", "Jena")
    (photos / "2.jpg").write_bytes(encoded(shapes(96, 64, seed=77), "JPEG"))
    manifest.write_text("\n".join(rows[:-1]))
    dry = camsearch("gallery", "reconcile", manifest, "--dry-run")
    assert "4 images wanted; 2 are new or have changed, 1 others" in dry.out
    said = camsearch("gallery", "reconcile", manifest, "--delete-others", "--yes")
    assert "1 deleted" in said.out
    assert "1 indexed, 0 unchanged, 1 with new metadata" in said.err
    assert found(working) == ["P0", "P1", "P2", "P3"]
    assert "0 are new" in camsearch("gallery", "reconcile", manifest, "--dry-run").out


def test_a_manifest_is_read_as_the_gallery_maps_it(working, camsearch, photos, tmp_path):
    with connect(read_settings().elasticsearch) as client:
        own = {"inv": {"type": "keyword"}, "year": {"type": "double"}}
        client.indices.put_mapping(index=working, properties={"meta": {"properties": own}})
    manifest = tmp_path / "inv.csv"
    manifest.write_text("path,inv,year\nphotos/0.jpg,1904,c. 1900\nphotos/1.jpg,1905,1901\n")
    said = camsearch("enqueue", manifest)
    assert said.err.count("warning: ") == 1
    assert "the column 'year' holds 'c. 1900' (line 2)" in said.err
    with servers.elastic_gallery(read_settings(), working) as opened:
        meta = opened.known([str(photos / "0.jpg")])[0][str(photos / "0.jpg")].meta
    assert meta == {"inv": "1904", "year": "c. 1900"}
    assert "0 are new" in camsearch("gallery", "reconcile", manifest, "--dry-run").out
    assert "searched as: meta.inv, meta.year." in camsearch("gallery", "verify", "--no-method").out


def test_another_method_beside_the_live_one(working, tiny, camsearch, photos):
    camsearch("enqueue", photos)
    live = the_index(camsearch, "live")
    more = [*tiny.options[:-2], "--replicas", 0, "--maps", photos.parent / "maps2"]
    # The same method: only what must go on while it is rebuilt matters here.
    assert camsearch("gallery", "rebuild", "--detach", *more).status == 0
    beside = the_index(camsearch, "beside")
    deadline = time.monotonic() + HANG_S
    while (said := camsearch("gallery", "switch", beside)).status and time.monotonic() < deadline:
        assert "are not in" in said.err
        time.sleep(0.5)
    assert said.status == 0, said.err
    assert the_index(camsearch, "live") == beside
    assert camsearch("gallery", "drop", "--index", beside, "--yes").status == 1
    assert camsearch("gallery", "drop", "--index", live, "--yes").out == f"deleted {live}\n"
    assert len(found(working)) == COUNT


def test_a_missing_gallery_is_one_sentence(images, camsearch, photos):
    for command in (["enqueue", photos], ["status", "--rejects"], ["gallery", "reconcile", photos]):
        said = camsearch(*command)
        assert (said.status, said.out) == (1, "")
        assert "camsearch gallery create" in said.err
    assert camsearch("gallery", "list").status == 1
    said = camsearch("gallery", "verify")
    assert (said.status, "There is no gallery" in said.out) == (1, True)
    assert camsearch("status", "--run", "nosuch").status == 1
    assert camsearch("gallery", "drop", "--yes").status == 1
    assert images


def test_a_worker_is_checked_by_its_progress(created, camsearch):
    assert camsearch("worker", "--check").status == 0
    settings = read_settings()
    make_celery_app(settings).send_task("camsearch.delete_images", args=[["x"]])
    said = camsearch("worker", "--check")
    assert (said.status, said.out) == (
        1,
        "1 tasks waiting, 0 workers active in the last 5 minutes.\n",
    )
    now = time.time()
    servers.ledger(settings).beat(WorkerState("here", "cpu", 1, now, now))
    assert camsearch("worker", "--check").status == 0
    assert "no worker is active" not in camsearch("status").out
    assert created


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--graph", "nonsense"], "--graph nonsense is unknown"),
        (["--meta-mapping", "/nowhere.json"], "--meta-mapping /nowhere.json cannot be read"),
        (["--gallery", "Not A Name"], "not a valid gallery name"),
    ],
)
def test_a_gallery_that_cannot_be_is_refused(images, camsearch, arguments, why):
    said = camsearch("gallery", "create", *arguments)
    assert said.status == 1
    assert why in said.err
    assert images


def test_servers_that_do_not_answer_are_named(images, camsearch, monkeypatch, photos):
    slept = []
    monkeypatch.setattr("redis.retry.sleep", slept.append)
    monkeypatch.setenv("CAMSEARCH_BROKER", "redis://127.0.0.1:1/0")
    # Someone waits for these, so one retry is enough; a worker's ledger has eight.
    for command in (["status"], ["worker", "--check"]):
        slept.clear()
        assert "Redis does not answer at redis://127.0.0.1:1" in camsearch(*command).err
        assert len(slept) == 1
    slept.clear()
    with pytest.raises(RedisConnectionError):
        servers.ledger(read_settings()).waiting("q")
    assert len(slept) == 8
    monkeypatch.setenv("CAMSEARCH_BROKER", "nonsense")
    assert "is not a valid Redis URL" in camsearch("status").err
    monkeypatch.setenv("CAMSEARCH_ELASTICSEARCH", "http://127.0.0.1:1")
    assert "Elasticsearch does not answer" in camsearch("enqueue", photos).err
    monkeypatch.setenv("CAMSEARCH_ELASTICSEARCH", "nonsense")
    assert "is not a valid Elasticsearch URL" in camsearch("gallery", "list").err
    assert images


def test_a_gallery_keeps_its_own_windows_until_it_is_rebuilt(images, camsearch, tiny):
    options = ["--replicas", 0, *tiny.options[:-2]]
    assert camsearch("gallery", "create", "--windows", "none", *options).status == 0
    assert camsearch("gallery", "create", *options).status == 0  # as compose.yaml does each time
    refused = camsearch("gallery", "create", "--windows", "14", *options)
    assert refused.status == 1
    assert "gallery rebuild" in refused.err
    assert camsearch("gallery", "rebuild", "--detach", *options).status == 0
    with connect(read_settings().elasticsearch) as client:
        windows = {
            state: indices.open_gallery(client, the_index(camsearch, state)).settings["method"][
                "windows"
            ]
            for state in ("live", "beside")
        }
    assert windows == {"live": 0, "beside": 14}
    assert images


def test_an_incomplete_list_deletes_nothing(working, camsearch, photos, tmp_path):
    camsearch("enqueue", photos)
    (tmp_path / "empty").mkdir()
    said = camsearch("gallery", "reconcile", tmp_path / "empty", "--delete-others", "--yes")
    assert said.status == 1
    assert "Nothing is deleted" in said.err
    (tmp_path / "half.csv").write_text("id,path\nP0,photos/0.jpg\nP1,\n")
    said = camsearch("gallery", "reconcile", tmp_path / "half.csv", "--delete-others", "--yes")
    assert "Nothing is deleted" in said.err
    assert len(found(working)) == COUNT


def test_passwords_are_not_shown(images, camsearch, monkeypatch):
    monkeypatch.setenv("CAMSEARCH_ELASTICSEARCH", "http://elastic:SECRET@host")
    monkeypatch.setenv("CAMSEARCH_BROKER", "rediz://:SECRET@host/0")
    for command in (["gallery", "list"], ["status"]):
        said = camsearch(*command)
        assert said.status == 1
        assert "SECRET" not in said.err + said.out
    assert images


@pytest.fixture
def filled(images, tiny, camsearch, photos, elasticsearch_url):
    """Makes the gallery and has a worker fill it."""

    def fill():
        said = camsearch("gallery", "create", "--replicas", 0, *tiny.options[:-2])
        assert said.status == 0, said.err
        with worker_of(read_settings()):
            assert f"{COUNT} indexed" in camsearch("enqueue", photos).err
        with connect(elasticsearch_url) as client:
            client.indices.refresh(index=images)

    return fill


def test_every_command_over_https(
    images, camsearch, filled, photos, tmp_path, monkeypatch, elasticsearch_url
):
    """Made, filled by a worker and searched through the proxy, by the same two settings."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    with encrypted(elasticsearch_url, authority, "localhost") as line:
        monkeypatch.setenv("CAMSEARCH_ELASTICSEARCH", f"https://localhost:{line.port}")
        listed = camsearch("gallery", "list")
        assert listed.status == 1
        assert "has a certificate that is not trusted" in listed.err
        assert "CAMSEARCH_CA_CERTS" in listed.err
        monkeypatch.setenv("CAMSEARCH_CA_CERTS", str(tmp_path / "authority.pem"))
        filled()
        data = base64.b64encode((photos / "2.jpg").read_bytes()).decode()
        opened = serving.over_elasticsearch(read_settings(), MACHINE, serving.ServedMethod())
        with asyncio.Runner() as runner, opened as app:
            runner.run(app.begin())
            path = f"/{images}/_search"
            answer = runner.run(asgi.ask(app, "POST", path, re_ranked({"data": data})))
            runner.run(app.service.upstream.close())
    assert answer.ids[0] == str(photos / "2.jpg")


def test_the_proxy_adopts_an_index_created_later(images, filled, photos):
    data = base64.b64encode((photos / "2.jpg").read_bytes()).decode()

    with asyncio.Runner() as runner:

        def searched():
            path = f"/{images}/_search"
            return runner.run(asgi.ask(app, "POST", path, re_ranked({"data": data})))

        with serving.over_elasticsearch(read_settings(), MACHINE, serving.ServedMethod()) as app:
            runner.run(app.begin())
            missing = searched()
            assert (missing.status, "no such index" in missing.reason) == (404, True)
            filled()
            other = searched()
            assert (other.status, "within seconds" in other.reason) == (409, True)
            runner.run(app.look())
            assert searched().ids[0] == str(photos / "2.jpg")
            first = app.service
            runner.run(app.look())
            assert app.service is first
            runner.run(app.service.upstream.close())
