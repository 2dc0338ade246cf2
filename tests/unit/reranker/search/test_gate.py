"""So many at a time, so many waiting."""

from __future__ import annotations

import asyncio

import pytest

from reranker.errors import Overloaded
from reranker.search.admission import Gate
from tests.support.wire import on_a_loop


class Crowd:
    """Tasks that go in and stay until they are let out."""

    def __init__(self, inside, waiting):
        self.gate = Gate(inside, waiting)
        self.out = asyncio.Event()
        self.inside = self.most = 0
        self.tasks = []

    async def _one(self, fault=None):
        async with self.gate.passed():
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.out.wait()
                if fault:
                    raise fault
            finally:
                self.inside -= 1

    async def come(self, count=1, fault=None):
        came = [asyncio.create_task(self._one(fault)) for _ in range(count)]
        self.tasks += came
        for _ in range(5):
            await asyncio.sleep(0)
        return came

    async def end(self):
        self.out.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


@on_a_loop
async def test_no_more_are_admitted_than_allowed():
    crowd = Crowd(2, 10)
    await crowd.come(7)
    assert (crowd.inside, crowd.gate.waiting) == (2, 5)
    assert await crowd.end() == [None] * 7
    assert (crowd.most, crowd.inside, crowd.gate.waiting) == (2, 0, 0)


@pytest.mark.parametrize("waiting", [0, 1, 3])
@on_a_loop
async def test_a_full_queue_refuses_at_once(waiting):
    crowd = Crowd(1, waiting)
    await crowd.come(1 + waiting)
    (refused,) = await crowd.come()
    assert refused.done()
    error = refused.exception()
    assert isinstance(error, Overloaded)
    assert f"{waiting} requests are already waiting" in error.reason
    assert crowd.gate.waiting == waiting
    assert (await crowd.end()).count(None) == 1 + waiting


@on_a_loop
async def test_a_caller_who_leaves_while_waiting_frees_its_place():
    crowd = Crowd(1, 2)
    await crowd.come(1)
    first, second = await crowd.come(2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert crowd.gate.waiting == 1
    (third,) = await crowd.come(1)
    assert not third.done()
    await crowd.end()
    assert second.exception() is third.exception() is None
    assert crowd.gate.waiting == 0
    (late,) = await crowd.come(1)
    await late
    assert crowd.most == 1


@on_a_loop
async def test_a_caller_who_leaves_when_admitted_admits_the_next():
    gate = Gate(1, 5)
    leave = asyncio.Event()

    async def inside():
        async with gate.passed():
            await leave.wait()

    holder = asyncio.create_task(inside())
    await asyncio.sleep(0)
    waiter, next_one = asyncio.create_task(inside()), asyncio.create_task(inside())
    await asyncio.sleep(0)
    leave.set()
    await holder  # frees the place, which wakes the waiter
    waiter.cancel()
    async with asyncio.timeout(1):
        await next_one
    async with asyncio.timeout(1), gate.passed():
        assert gate.waiting == 0


@on_a_loop
async def test_a_failure_inside_frees_the_slot():
    crowd = Crowd(1, 0)
    await crowd.come(1, fault=ValueError("inside"))
    (failed,) = await crowd.end()
    assert isinstance(failed, ValueError)
    async with asyncio.timeout(1), crowd.gate.passed():
        pass
