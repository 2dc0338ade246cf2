"""Query images and the one thread that describes them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from descriptors.arrays import Box
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from reranker.errors import Overloaded
from reranker.search.description import Describer
from tests.support.clock import HANG_S

REGIONS = RegionSettings()
OTHERS = RegionSettings(n_classes=3)


@dataclass
class Network:
    """Describes an image as its number and notes each call; holds where it is told to."""

    calls: list[list[Any]] = field(default_factory=list)
    settings: list[RegionSettings] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    free: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.free.set()

    def __call__(self, queries, regions):
        self.calls.append([image for image, _ in queries])
        self.settings.append(regions)
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.free.wait(HANG_S)
        if any(box == Box(0, 0, 9, 9) for _, box in queries):
            raise RequestError("The box lies outside.")
        if any(image == "broken" for image, _ in queries):
            raise ZeroDivisionError("a fault")
        if any(image == "half" for image, _ in queries):
            return []
        return [f"{image} {regions.n_classes}" for image, _ in queries]


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def describer(network):
    made = Describer(network, waiting=8, batch=4, wait_s=0.2)
    yield made
    network.free.set()
    made.close()


def described(describer, *images, box=None, regions=REGIONS):
    async def all_of_them():
        asked = [describer.describe(image, regions, box) for image in images]
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_one_is_described_in_the_owners_thread(describer, network):
    assert described(describer, "a") == ["a 8"]
    assert network.threads == {"describe"}


def test_callers_at_the_same_time_share_a_call_and_get_their_own(describer, network):
    assert described(describer, *"abcd") == ["a 8", "b 8", "c 8", "d 8"]
    assert network.calls == [["a", "b", "c", "d"]]


def test_a_batch_is_no_larger_than_the_settings_say(describer, network):
    assert described(describer, *"abcdef") == [f"{one} 8" for one in "abcdef"]
    assert [len(call) for call in network.calls] == [4, 2]


def test_later_queries_do_not_wait_for_a_batch(network):
    describer = Describer(network, wait_s=0)
    assert described(describer, "a") + described(describer, "b") == ["a 8", "b 8"]
    assert network.calls == [["a"], ["b"]]
    describer.close()


def test_only_those_for_the_same_settings_run_together(describer, network):
    async def both():
        asked = [describer.describe(p, REGIONS) for p in "ab"]
        asked += [describer.describe(p, OTHERS) for p in "cd"]
        return await asyncio.gather(*asked)

    assert asyncio.run(both()) == ["a 8", "b 8", "c 3", "d 3"]
    assert network.calls == [["a", "b"], ["c", "d"]]
    assert network.settings == [REGIONS, OTHERS]


def test_one_bad_box_fails_its_caller_only(describer, network):
    async def all_of_them():
        boxes = {"b": Box(0, 0, 9, 9)}
        asked = [describer.describe(p, REGIONS, boxes.get(p)) for p in "abc"]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, bad, last = asyncio.run(all_of_them())
    assert (first, last) == ("a 8", "c 8")
    assert isinstance(bad, RequestError)
    assert network.calls == [["a", "b", "c"], ["a"], ["b"], ["c"]]


@pytest.mark.parametrize(("image", "kind"), [("broken", ZeroDivisionError), ("half", ValueError)])
def test_any_fault_is_its_callers_and_the_thread_lives_on(describer, image, kind):
    (error,) = described(describer, image)
    assert isinstance(error, kind)
    assert described(describer, "a", image)[0] == "a 8"


def test_a_full_queue_refuses(network):
    describer = Describer(network, waiting=2, batch=1, wait_s=0)
    network.free.clear()

    async def too_many():
        taken = asyncio.create_task(describer.describe("a", REGIONS))
        await asyncio.to_thread(network.entered.wait, HANG_S)
        waiting = [asyncio.create_task(describer.describe(one, REGIONS)) for one in "bc"]
        await asyncio.sleep(0)
        assert describer.waiting == 2
        with pytest.raises(Overloaded, match="2 query images are already waiting") as refused:
            await describer.describe("d", REGIONS)
        assert refused.value.retry_after == 1
        network.free.set()
        return await asyncio.gather(taken, *waiting)

    assert asyncio.run(too_many()) == ["a 8", "b 8", "c 8"]
    describer.close()


def test_a_cancelled_query_is_not_described(network):
    describer = Describer(network, batch=2, wait_s=0)
    network.free.clear()

    async def one_goes():
        taken = asyncio.create_task(describer.describe("a", REGIONS))
        await asyncio.to_thread(network.entered.wait, HANG_S)
        gone = asyncio.create_task(describer.describe("b", REGIONS))
        stays = asyncio.create_task(describer.describe("c", REGIONS))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        network.free.set()
        return await asyncio.gather(taken, gone, stays, return_exceptions=True)

    first, gone, last = asyncio.run(one_goes())
    assert (first, last) == ("a 8", "c 8")
    assert isinstance(gone, asyncio.CancelledError)
    assert network.calls == [["a"], ["c"]]
    describer.close()


def test_a_caller_who_goes_while_being_described_harms_nobody(describer, network):
    network.free.clear()

    async def goes():
        task = asyncio.create_task(describer.describe("a", REGIONS))
        await asyncio.to_thread(network.entered.wait, HANG_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(goes())  # its loop is gone before the answer is there
    network.free.set()
    assert described(describer, "b") == ["b 8"]


def test_closing_ends_what_is_queued_and_the_thread(network):
    before = threading.active_count()
    describer = Describer(network, batch=2, wait_s=0.01)
    assert threading.active_count() == before + 1
    network.free.clear()

    async def closed_meanwhile():
        tasks = [asyncio.create_task(describer.describe(one, REGIONS)) for one in "abcde"]
        await asyncio.to_thread(network.entered.wait, HANG_S)
        closing = asyncio.create_task(asyncio.to_thread(describer.close))
        await asyncio.sleep(0.01)
        network.free.set()
        found = await asyncio.gather(*tasks)
        await closing
        return found

    assert asyncio.run(closed_meanwhile()) == [f"{one} 8" for one in "abcde"]
    assert threading.active_count() == before
    (refused,) = described(describer, "f")
    assert isinstance(refused, Overloaded)
    assert "shutting down" in refused.reason
