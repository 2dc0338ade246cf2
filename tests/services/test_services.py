"""The servers are real, keep what they were told across a kill, and end with those who need them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.services import databases, indices, redis
from tests.services.elasticsearch import ElasticsearchServer, ask
from tests.services.errors import NotOurs, ServiceMissing
from tests.services.locks import Lease, is_held_alone
from tests.services.process import wait_until
from tests.services.recipe import Recipe
from tests.services.redis import RedisServer, connect
from tests.services.settings import ServiceSettings
from tests.services.sharing import Shared
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
MAPPINGS = {
    "properties": {
        "vector": {
            "type": "dense_vector",
            "dims": 4,
            "similarity": "dot_product",
            "index_options": {"type": "int8_hnsw"},
        }
    }
}
VECTORS = {"east": [1, 0, 0, 0], "north": [0, 1, 0, 0], "nearly-east": [0.8, 0.6, 0, 0]}


def said(url: str, method: str = "GET", body: object = None) -> Any:
    with ask(url, method, body) as answer:
        return json.load(answer)


def index_vectors(url: str, index: str) -> None:
    said(f"{url}/{index}", "PUT", {"mappings": MAPPINGS, "settings": {"number_of_replicas": 0}})
    for name, vector in VECTORS.items():
        said(f"{url}/{index}/_doc/{name}", "PUT", {"vector": vector})


def nearest(url: str, index: str) -> list[str]:
    said(f"{url}/{index}/_refresh", "POST")
    knn = {"field": "vector", "query_vector": VECTORS["east"], "k": 2, "num_candidates": 3}
    hits = said(f"{url}/{index}/_search", "POST", {"knn": knn, "_source": False})["hits"]["hits"]
    return [hit["_id"] for hit in hits]


def test_elasticsearch_says_its_name_and_version(elasticsearch_url: str) -> None:
    greeting = said(elasticsearch_url)
    assert greeting["version"]["number"] == ElasticsearchServer(elasticsearch_url).version
    assert greeting["name"]
    assert greeting["tagline"] == "You Know, for Search"
    with ask(elasticsearch_url, "HEAD") as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_the_official_client_takes_it_for_an_elasticsearch(elasticsearch_url: str) -> None:
    from elasticsearch import Elasticsearch, __version__

    if int(ElasticsearchServer(elasticsearch_url).version.split(".")[0]) < __version__[0]:
        pytest.skip("a newer client than the server: it refuses older servers")
    with Elasticsearch(elasticsearch_url) as client:
        assert client.ping()
        assert client.info()["cluster_name"]


def test_elasticsearch_finds_the_nearest_vectors(elasticsearch_url: str, index_prefix: str) -> None:
    index_vectors(elasticsearch_url, f"{index_prefix}vectors")
    assert nearest(elasticsearch_url, f"{index_prefix}vectors") == ["east", "nearly-east"]


def test_a_test_s_indices_are_deleted_whatever_their_state(
    elasticsearch_url: str, index_prefix: str
) -> None:
    said(f"{elasticsearch_url}/{index_prefix}open", "PUT")
    said(f"{elasticsearch_url}/{index_prefix}closed", "PUT")
    said(f"{elasticsearch_url}/{index_prefix}closed/_close", "POST")
    said(f"{elasticsearch_url}/{index_prefix}hidden", "PUT", {"settings": {"index.hidden": True}})
    indices.delete(elasticsearch_url, index_prefix)
    assert said(f"{elasticsearch_url}/{index_prefix}*/_settings?expand_wildcards=all") == {}


def test_redis_keeps_what_it_was_told_across_a_kill(own_redis: Callable[[], RedisServer]) -> None:
    server = own_redis()
    with connect(server.url) as client:
        client.rpush("tasks", "one", "two")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    server.kill()
    assert not server.answers()
    server.start()
    server.restart()
    with connect(server.url) as client:
        assert client.lrange("tasks", 0, -1) == [b"one", b"two"]


def test_two_servers_of_a_test_are_two(own_redis: Callable[[], RedisServer]) -> None:
    assert own_redis().url != own_redis().url


def test_a_test_s_database_is_empty_and_its_own(redis_url: str, redis_db_url: str) -> None:
    assert redis_db_url != redis_url
    with connect(redis_db_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_database_is_lent_once_and_emptied_after(
    own_redis: Callable[[], RedisServer], tmp_path: Path
) -> None:
    server = Shared(own_redis().url, ours=True, lease=Lease(tmp_path / "lease"))
    with databases.lent(server, tmp_path) as one, databases.lent(server, tmp_path) as other:
        assert one != other
        with connect(one) as client:
            client.set("left", "behind")
    with connect(server.url) as client:
        assert client.info("keyspace") == {}
    server.close()


def test_data_in_a_given_server_are_left_alone(
    own_redis: Callable[[], RedisServer], tmp_path: Path
) -> None:
    server = Shared(own_redis().url, ours=False, lease=Lease(tmp_path / "lease"))
    fill = "for n = 1, 1023 do redis.call('select', n); redis.call('set', 'some', 'body') end"
    with connect(server.url) as client:
        client.eval(fill, 0)
        client.execute_command("SELECT", 7)
        client.flushdb()
    with databases.lent(server, tmp_path) as url:
        assert url.endswith("/7")
        with pytest.raises(ServiceMissing, match="are in use"), databases.lent(server, tmp_path):
            pass
    with connect(server.url) as client:
        assert len(client.info("keyspace")) == 1022
    server.close()


def test_a_given_server_is_not_ours_to_kill(redis_url: str, tmp_path: Path) -> None:
    server = redis.given_or_own(tmp_path, ServiceSettings(redis=redis_url))
    assert not server.ours
    with server, pytest.raises(NotOurs, match=r"not to be killed .* of their own"):
        server.kill()
    assert server.answers()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_the_process_that_needs_it(
    redis_url: str, tmp_path: Path, ending: signal.Signals
) -> None:
    # A shell that runs pytest in the background lets it ignore Ctrl-C, and its children with it.
    program = f"""
import signal
from pathlib import Path
from tests.services import redis
from tests.services.settings import ServiceSettings

signal.signal(signal.SIGINT, signal.default_int_handler)
with redis.own(Path({str(tmp_path)!r}), ServiceSettings()):
    print("started", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as needs_it:
        assert needs_it.stdout
        assert needs_it.stdout.readline() == b"started\n"
        assert is_held_alone(tmp_path / "alive")
        needs_it.send_signal(ending)
        needs_it.wait(HANG_S)
    assert wait_until(lambda: not is_held_alone(tmp_path / "alive"), HANG_S)
    assert not Path(Recipe.read(tmp_path).forget[-1]).exists()
