"""The servers are real, keep what they were told across a kill, and end with those who need them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import databases, redis
from tests.services.elasticsearch import ElasticsearchServer, ask, delete_indices
from tests.services.errors import NotOurs, ServiceMissing
from tests.services.locks import Lease, is_held_alone
from tests.services.recipe import Recipe
from tests.services.redis import connect
from tests.services.server import wait_until
from tests.services.settings import ServiceSettings
from tests.services.sharing import Shared
from tests.support.clock import HANG_S

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]


def said(url, method="GET", body=None):
    with ask(url, method, body) as answer:
        return json.load(answer)


def test_elasticsearch_says_its_name_and_version(elasticsearch_url):
    greeting = said(elasticsearch_url)
    assert greeting["version"]["number"] == ElasticsearchServer(elasticsearch_url).version
    assert greeting["name"]
    assert greeting["tagline"] == "You Know, for Search"
    with ask(elasticsearch_url, "HEAD") as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_a_test_s_indices_are_deleted_whatever_their_state(elasticsearch_url, index_prefix):
    said(f"{elasticsearch_url}/{index_prefix}open", "PUT")
    said(f"{elasticsearch_url}/{index_prefix}closed", "PUT")
    said(f"{elasticsearch_url}/{index_prefix}closed/_close", "POST")
    said(f"{elasticsearch_url}/{index_prefix}hidden", "PUT", {"settings": {"index.hidden": True}})
    delete_indices(elasticsearch_url, index_prefix)
    assert said(f"{elasticsearch_url}/{index_prefix}*/_settings?expand_wildcards=all") == {}


def test_redis_keeps_what_it_was_told_across_a_kill(own_redis):
    server = own_redis()
    with connect(server.url) as client:
        client.rpush("tasks", "one", "two")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    server.kill()
    assert not server.answers()
    server.start()
    with connect(server.url) as client:
        assert client.lrange("tasks", 0, -1) == [b"one", b"two"]


def test_a_database_is_lent_once_and_emptied_after(own_redis, tmp_path):
    server = Shared(own_redis().url, ours=True, lease=Lease(tmp_path / "lease"))
    with databases.lent(server, tmp_path) as one, databases.lent(server, tmp_path) as other:
        assert one != other
        with connect(one) as client:
            client.set("left", "behind")
    with connect(server.url) as client:
        assert client.info("keyspace") == {}
    server.close()


def test_data_in_a_given_server_are_left_alone(own_redis, tmp_path):
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


def test_a_given_server_is_not_ours_to_kill(redis_url, tmp_path):
    server = redis.given_or_own(tmp_path, ServiceSettings(redis=redis_url))
    with server, pytest.raises(NotOurs, match=r"not to be killed .* of their own"):
        server.kill()
    assert server.answers()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_the_process_that_needs_it(redis_url, tmp_path, ending):
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
    assert wait_until(lambda: not is_held_alone(tmp_path / "alive"))
    assert not Path(Recipe.read(tmp_path).forget[-1]).exists()
