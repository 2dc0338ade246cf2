"""Errors in Elasticsearch's shape."""

from __future__ import annotations

import importlib
import json
import pkgutil

import pytest

import descriptors
import galleries
import indexer
import reranker
from descriptors.errors import CamsearchError, ImageError, RequestError, UnreadableImage
from galleries.errors import DocumentsRefused, FingerprintMismatch, GalleryNotFound, NoWindows
from reranker.errors import (
    DialectError,
    OneImageOnly,
    Overloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from reranker.http.error_answers import refusal, unexpected
from reranker.http.exchange import Answer

for package in (descriptors, galleries, indexer, reranker):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2] == "errors":
            importlib.import_module(module.name)


def every_error(root):
    return [root, *(error for child in root.__subclasses__() for error in every_error(child))]


def made(kind):
    if kind is DocumentsRefused:
        return DocumentsRefused("It did not work: do otherwise.", {})
    return kind("It did not work: do otherwise.")


# NoWindows and OneImageOnly say their own sentences.
NOT_MADE = (UpstreamRefused, NoWindows, OneImageOnly)
OURS = [kind for kind in every_error(CamsearchError) if kind not in NOT_MADE]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_has_an_answer_in_shape_that_says_its_sentence(kind):
    answer = refusal(made(kind))
    body = json.loads(answer.body)
    assert body["status"] == answer.status
    assert 400 <= answer.status < 600
    assert body["error"]["reason"] == "It did not work: do otherwise."
    assert body["error"]["root_cause"] == [{k: body["error"][k] for k in ("type", "reason")}]
    assert (b"x-elastic-product", b"Elasticsearch") in answer.headers
    assert (b"content-type", b"application/json") in answer.headers


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (DialectError, 400),
        (RequestError, 400),
        (ImageError, 400),
        (UnreadableImage, 400),
        (GalleryNotFound, 404),
        (FingerprintMismatch, 409),
        (Overloaded, 429),
        (UpstreamUnreachable, 503),
        (CamsearchError, 500),
    ],
)
def test_statuses(kind, status):
    assert refusal(made(kind)).status == status


def test_a_narrower_error_has_its_own_name():
    assert json.loads(refusal(DialectError("x")).body)["error"]["type"] == "parsing_exception"


def test_overload_says_when_to_come_again():
    assert (b"retry-after", b"7") in refusal(Overloaded("Too much: wait.", 7)).headers


def test_what_elasticsearch_said_is_said_again():
    said = Answer(403, (), b"{}")
    assert refusal(UpstreamRefused("It refuses: ask with other rights.", said)) is said


def test_the_unexpected_says_nothing_of_the_inside():
    assert unexpected().status == 500
    assert b"Traceback" not in unexpected().body
