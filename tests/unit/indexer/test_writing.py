"""The threads that write: order, batching, and errors on either side."""

from __future__ import annotations

import threading

import pytest

from indexer.writing import Writer


def twice(number):
    return 2 * number


def bring(writer, count, error=None):
    with writer:
        for number in range(count):
            writer.put(number)
        if error is not None:
            raise error


def test_everything_is_written_in_order():
    written = []
    with Writer(twice, written.extend) as writer:
        for number in range(300):
            writer.put(number)
    assert written == [2 * number for number in range(300)]


def test_what_waits_is_written_together():
    gate, calls = threading.Event(), []

    def write(light):
        gate.wait(10)
        calls.append(list(light))

    with Writer(twice, write) as writer:
        for number in range(10):
            writer.put(number)
        gate.set()
    assert [number for call in calls for number in call] == [2 * number for number in range(10)]
    assert len(calls) < 10


def test_a_slow_store_makes_the_caller_wait():
    gate, passed = threading.Event(), []

    def lighten(number):
        gate.wait(10)
        return number

    def bring_and_note():
        with Writer(lighten, lambda _: None) as writer:
            for number in range(100):
                writer.put(number)
                passed.append(number)

    caller = threading.Thread(target=bring_and_note)
    caller.start()
    caller.join(0.3)
    assert len(passed) < 10
    gate.set()
    caller.join(10)
    assert len(passed) == 100


def test_an_error_in_making_ready_keeps_what_came_before():
    written = []

    def lighten(number):
        if number == 5:
            raise OSError("The disk is full.")
        return number

    with pytest.raises(OSError, match="full"):
        bring(Writer(lighten, written.extend), 100)
    assert written == [0, 1, 2, 3, 4]


def test_an_error_in_writing_ends_it():
    calls = []

    def write(light):
        calls.append(list(light))
        raise OSError("Gone.")

    with pytest.raises(OSError, match="Gone"):
        bring(Writer(twice, write), 100)
    assert len(calls) == 1


def test_the_callers_own_error_wins_and_what_was_brought_is_written():
    written = []
    with pytest.raises(KeyError):
        bring(Writer(twice, written.extend), 2, KeyError())
    assert written == [0, 2]
