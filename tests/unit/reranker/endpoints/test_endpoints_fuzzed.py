"""Whatever is sent to our own endpoints: no fault, no hang, and answers as openapi.json says.

More of it: `CAMSEARCH_TEST_CASES=20000 pytest tests/unit/reranker/endpoints/test_endpoints_fuzzed.py`.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from reranker.app import make_app
from tests.support.tiny_service import image_text, make_gallery, tiny_service

# Read before the fixture that clears the environment for each test; of each endpoint.
CASES = int(os.environ.get("CAMSEARCH_TEST_CASES", "12"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
load_all_checks()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    make_gallery(folder)
    with tiny_service(folder) as service:
        schema = schemathesis.openapi.from_asgi("/_camsearch/openapi.json", make_app(service))
        images = [image_text(folder, i) for i in range(2)]

        # Chance finds no id and draws no image: half of what it makes gets some that are there.
        @schema.hook
        def map_body(context, body):
            if isinstance(body, dict) and len(repr(body)) % 2:
                image = [{"data": images[0]}, {"id": "1/a.png"}, {"data": images[1]}]
                kept = ("box", "regions", "by", "classes")
                more = {k: v for k, v in body.items() if k in kept}
                hits = {"ids": ["2/a.png", "x"]} if "ids" in body else {}
                hits |= {"id": "2/a.png"} if "id" in body else {}
                if "images" in body:
                    return {"images": image, "without": image[:1]}
                return {"image": image[len(repr(body)) % 3], **hits, **more}
            return body

        @schema.hook
        def map_path_parameters(context, parameters):
            if parameters and len(repr(parameters)) % 2:
                return dict.fromkeys(parameters, "3/a.png")
            return parameters

        yield schema


PATHS = [
    ("POST", "/_camsearch/explain"),
    ("GET", "/_camsearch/health/live"),
    ("GET", "/_camsearch/health/ready"),
    ("GET", "/_camsearch/metrics"),
    ("POST", "/_camsearch/rank"),
    ("GET", "/_camsearch/thumbnails/{image_id}"),
    ("POST", "/_camsearch/vector"),
]


def test_every_endpoint_is_tried(api):
    listed = [one.ok() for one in api.get_all_operations()]
    assert sorted((one.method.upper(), one.path) for one in listed) == sorted(PATHS)


@pytest.mark.filterwarnings("ignore:Do not use the .random. module:Warning")  # schemathesis does
@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        pytest.param(*one, mode, id=f"{one[1]}-{mode.value}")
        for one in PATHS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or one[1].endswith(("explain", "rank", "vector", "}"))
    ],
)
def test_nothing_breaks_our_endpoints(api, method, path, mode):
    """Without schemathesis' own pytest plug-in, which does not know pytest 9."""
    operation = api[path][method]

    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def tried(case):
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        assert b"Traceback" not in answer.content

    tried()
