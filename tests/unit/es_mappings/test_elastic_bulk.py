"""Writes as lines of a bulk request, and how those are cut into requests."""

from __future__ import annotations

import json

import pytest

from es_mappings.elastic_bulk import Bulk, deletion, write
from es_mappings.fields import reject_source
from tests.support.documents import reject


def lines_of(action: bytes) -> list[object]:
    return [json.loads(line) for line in action.split(b"\n")]


def test_a_write_of_a_document_carries_its_revision():
    about = {"_index": "i", "_id": 'a"\n', "version": 7, "version_type": "external_gte"}
    source = {"uri": "Ω\n", "meta": {"x": [1, None]}}
    assert lines_of(write("i", 'a"\n', source, 7)) == [{"index": about}, source]


@pytest.mark.parametrize("number", [2**64, -(2**64), 10**40])
def test_a_number_of_more_than_64_bits_is_written_as_it_is(number):
    source = {"meta": {"x": number}, "uri": "é"}
    assert lines_of(write("i", "a", source, 0))[1] == source


def test_a_deletion_is_one_line_and_leaves_what_is_later_if_it_has_a_version():
    assert lines_of(deletion("i", "a")) == [{"delete": {"_index": "i", "_id": "a"}}]
    about = {"_index": "i", "_id": "a", "version": 0, "version_type": "external_gte"}
    assert lines_of(deletion("i", "a", 0)) == [{"delete": about}]


def test_a_reject_is_written_whatever_is_there():
    first, source = lines_of(write("r", "a", reject_source(reject("a", source_tag="7"))))
    assert first == {"index": {"_index": "r", "_id": "a"}}
    assert (source["id"], source["source_tag"]) == ("a", "7")
    assert "rejected_at" not in source


class Server:
    """Answers bulk requests, and notes the sizes of their actions."""

    def __init__(self, *first: dict[str, object]) -> None:
        self.requests: list[list[int]] = []
        self.first = list(first)

    def options(self, **_: object) -> Server:
        return self

    def bulk(self, *, operations: list[bytes], **_: object) -> dict[str, object]:
        self.requests.append([len(one) for one in operations[0].split(b"\n")])
        if self.first:
            return {"items": [{"index": self.first.pop(0)}]}
        return {"items": [{"index": {"status": 201}} for _ in self.requests[-1]]}


def test_requests_are_cut_by_actions_and_by_bytes_and_nothing_is_lost():
    actions = [b"x" * size for size in (3, 3, 3, 50, 3, 3)]
    for limits, requests in (
        ({"max_actions": 2}, [[3, 3], [3, 50], [3, 3]]),
        ({"max_bytes": 10}, [[3, 3], [3], [50], [3, 3]]),
    ):
        server = Server()
        assert len(Bulk(server, **limits).write(actions)) == 6
        assert server.requests == requests
    assert Bulk(Server()).write([]) == []


def test_a_cluster_too_busy_to_map_a_field_is_asked_again():
    reason = "timed out while waiting for a dynamic mapping update"
    late = {"status": 500, "error": {"type": "mapper_exception", "reason": reason}}
    server = Server(late, late)
    [outcome] = Bulk(server, sleep=lambda _: None).write([b"x"])
    assert outcome.done
    assert len(server.requests) == 3
