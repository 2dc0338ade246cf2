"""The application over an Elasticsearch: before that answers, and where its index changes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from descriptors.errors import ArtifactError
from descriptors.images import ImageLimits
from reranker.errors import UpstreamUnreachable
from reranker.following import Following
from reranker.matching import Matcher
from reranker.service import ImageFiles, Service
from reranker.settings import RerankerSettings
from tests.support import asgi
from tests.support.clock import HANG_S, move_clock, run_with_clock
from tests.support.house import REGIONS, Scripted, said
from tests.support.tiny_network import tiny_method
from tests.support.wire import on_a_loop

OLD, NEW = ({"fingerprint": letter * 64} for letter in "ab")


def answer(*abouts):
    metas = {f"i-{n}": {"_meta": {"camsearch": about}} for n, about in enumerate(abouts)}
    return said({name: {"mappings": meta} for name, meta in metas.items()})


class Held(Scripted):
    """Passes a request on once it is let go."""

    def __init__(self, **said):
        super().__init__(**said)
        self.began, self.goes, self.is_closed = asyncio.Event(), asyncio.Event(), False

    async def forward(self, scope, receive, send, body):
        self.began.set()
        await self.goes.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"passed"})

    async def close(self):
        self.is_closed = True


@pytest.fixture
def following():
    """Makes the application; notes what services are made of, and which are closed."""
    made = []

    def make(upstream, fails=(), before=lambda: None):
        def service_of(about):
            before()
            make.abouts.append(about)
            if about in fails:
                raise ArtifactError("There are no weights here.")
            matcher = Matcher(tiny_method(), None, REGIONS)
            service = Service(matcher, upstream, ImageFiles(ImageLimits()), RerankerSettings())
            number, close = len(made), service.close
            service.close = lambda: (make.closed.append(number), close())
            made.append(service)
            return service

        return Following(upstream, "images", service_of)

    make.abouts, make.closed = [], []
    yield make
    for number, service in enumerate(made):
        if number not in make.closed:
            service.close()


def begun(app, looks=0):
    async def begin():
        await app.begin()
        for _ in range(looks):
            await app.look()

    asyncio.run(begin())
    return app


class TestBefore:
    def test_elasticsearch_is_waited_for_and_each_reason_said_once(self, following, caplog):
        away, starting = UpstreamUnreachable("Nobody is there."), said({"error": "starts"}, 503)
        answers = iter([away, away, away, starting, answer(NEW)])
        app = following(Scripted(turn=lambda _: next(answers, answer(NEW))))
        told = []

        async def run():
            beginning = asyncio.create_task(app.begin())
            while not beginning.done():
                told.append((await asgi.ask(app, "GET", "/_camsearch/health/ready")).json)
                move_clock(1)
                await asyncio.sleep(0)

        run_with_clock(run())
        assert following.abouts == [NEW]
        words = dict.fromkeys(check["said"] for one in told for check in one.get("checks", ()))
        assert "Nobody is there." in words
        assert [record.getMessage().split()[-1] for record in caplog.records] == ["answers."] * 2

    @on_a_loop
    async def test_it_is_live_but_not_ready_and_refuses_all_else(self, following):
        app = following(Scripted())

        live = await asgi.ask(app, "GET", "/_camsearch/health/live")
        assert (live.status, live.json) == (200, {"status": "live"})
        ready = await asgi.ask(app, "GET", "/_camsearch/health/ready")
        assert (ready.status, ready.json["status"]) == (503, "not ready")
        assert [check["passed"] for check in ready.json["checks"]] == [False]
        for method, path in (("POST", "/images/_search"), ("PUT", "/a/_doc/1"), ("GET", "/")):
            refused = await asgi.ask(app, method, path, b"{}")
            assert (refused.status, refused.all(b"retry-after")) == (503, ["1"])
            assert refused.all(b"x-elastic-product") == ["Elasticsearch"]
            assert refused.reason == "Elasticsearch has not been asked yet."

    @on_a_loop
    async def test_requests_wait_while_the_network_loads(self, following):
        loading, loaded = threading.Event(), threading.Event()
        upstream = Held(turn=lambda _: answer(NEW))
        upstream.goes.set()
        app = following(upstream, before=lambda: (loading.set(), loaded.wait(HANG_S)))

        beginning = asyncio.create_task(app.begin())
        await asyncio.to_thread(loading.wait, HANG_S)
        waits = asyncio.create_task(asgi.ask(app, "GET", "/_cat/indices"))
        try:
            assert (await asgi.ask(app, "GET", "/_camsearch/health/live")).status == 200
            assert not waits.done()
        finally:
            loaded.set()
        await beginning
        assert (await waits).body == b"passed"

    @pytest.mark.parametrize("status", [401, 404])
    def test_an_index_without_a_method_gets_the_default(self, following, status):
        upstream = Scripted(turn=lambda asked: said({}, status))
        begun(following(upstream))
        assert following.abouts == [None]
        assert len(upstream.asked) == 1

    def test_a_missing_method_ends_the_server(self, following):
        app, ended = following(Scripted(turn=lambda _: answer(NEW)), fails=[NEW]), []
        app.on_begin = lambda: ended.append(app.failure)
        begun(app)
        assert isinstance(ended[0], ArtifactError)
        assert app.service is None


class TestAfter:
    def test_an_index_that_comes_and_then_is_another(self, following):
        nothing = said({}, 404)
        answers = [nothing, nothing, answer(OLD), answer(NEW, OLD), answer(NEW)]
        told = iter(answers)
        upstream = Scripted(turn=lambda _: next(told))
        begun(following(upstream), looks=4)
        assert following.abouts == [None, OLD, NEW]
        assert following.closed == [0, 1]  # as soon as nothing uses them
        assert {one.path for one in upstream.asked} == {"/images/_mapping"}

    @on_a_loop
    async def test_a_request_is_answered_by_the_service_that_accepted_it(self, following):
        answers = iter([answer(OLD), answer(NEW)])
        upstream = Held(turn=lambda _: next(answers))
        app = following(upstream)

        await app.begin()
        taken = asyncio.create_task(asgi.ask(app, "GET", "/_cat/indices"))
        await upstream.began.wait()
        await app.look()
        assert following.closed == []
        upstream.goes.set()
        assert (await taken).body == b"passed"
        assert following.closed == [0]

    def test_from_the_servers_start_to_its_end(self, following):
        answers = iter([answer(OLD), answer(NEW)])
        upstream = Held(turn=lambda _: next(answers, answer(NEW)))
        app = following(upstream)

        async def run():
            messages, sent = asyncio.Queue(), asyncio.Queue()
            living = asyncio.create_task(app({"type": "lifespan"}, messages.get, sent.put))
            await messages.put({"type": "lifespan.startup"})
            assert (await sent.get())["type"] == "lifespan.startup.complete"
            while following.abouts != [OLD, NEW]:
                move_clock(10)
                await asyncio.sleep(0)
            await messages.put({"type": "lifespan.shutdown"})
            assert (await sent.get())["type"] == "lifespan.shutdown.complete"
            await living
            assert upstream.is_closed

        run_with_clock(run())

    def test_a_missing_method_keeps_the_old_one_and_is_logged_once(self, following, caplog):
        answers = iter([answer(OLD)])
        app = following(Scripted(turn=lambda _: next(answers, answer(NEW))), fails=[NEW])
        before = begun(app).service
        begun_again = [app.look() for _ in range(3)]
        for look in begun_again:
            asyncio.run(look)
        assert app.service is before
        assert [one.getMessage() for one in caplog.records] == [
            "The method of [images] cannot be loaded: There are no weights here."
        ]

    @pytest.mark.parametrize(
        "told",
        [said({}, 503), said({"a": {"mappings": {}}}), said("nonsense"), UpstreamUnreachable("x")],
    )
    def test_an_answer_without_a_method_changes_nothing(self, following, told):
        answers = iter([answer(OLD)])
        app = begun(following(Scripted(turn=lambda _: next(answers, told))))
        before = app.service
        asyncio.run(app.look())
        assert app.service is before
