"""The proxy's parts over the house's gallery, with an upstream that may be told what to say."""

import pytest

from reranker.folder import LocalUpstream
from tests.support.house import Scripted


@pytest.fixture
def upstream(house):
    return Scripted(LocalUpstream(house.gallery))


@pytest.fixture
def service(house, upstream):
    with house.service(upstream) as made:
        yield made
