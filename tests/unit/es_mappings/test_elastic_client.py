"""What errors of Elasticsearch's client become."""

from __future__ import annotations

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import BadRequestError

from descriptors.errors import RequestError
from es_mappings.elastic_client import answered
from galleries.errors import ContractError

META = ApiResponseMeta(400, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "localhost", 9200))


@pytest.mark.parametrize(
    "body",
    [None, {"error": {"reason": "A compatible version is required", "type": "media_type"}}],
    ids=["HEAD", "GET"],
)
def test_a_client_of_another_major_version_is_named_as_the_cause(body):
    named = pytest.raises(ContractError, match=r"does not understand this client .*elasticsearch<9")
    with named, answered("a gallery"):
        raise BadRequestError("", META, body)


def test_another_bad_request_is_the_callers():
    refused = pytest.raises(RequestError, match=r"refuses a gallery: no such field\.")
    with refused, answered("a gallery"):
        raise BadRequestError("", META, {"error": {"reason": "no such field"}})
