"""What is refused, and that the refusal names the key."""

import base64
import re

import pytest

from reranker.dialect.parsing import parse_search
from reranker.dialect.searches import ImageSource
from reranker.errors import DialectError
from tests.unit.reranker.dialect.bodies_of import DATA, LIMITS, clause, parsed, reranked

OTHER = {"id": "another"}


def in_clause(image, **more):
    return {"knn": clause() | {"query_vector_builder": {"camsearch": {"image": image, **more}}}}


def several(images, **more):
    builder = {"images": images, **more}
    return {"knn": clause() | {"query_vector_builder": {"camsearch": builder}}}


def nested(depth):
    query = {"knn": clause()}
    for _ in range(depth):
        query = {"bool": {"must": query}}
    return {"query": query}


BUILDER = "knn.query_vector_builder.camsearch"
REFUSED = [
    # images
    (in_clause({}), f"{BUILDER}.image"),
    (in_clause("abc"), f"{BUILDER}.image"),
    (in_clause(DATA | OTHER), f"{BUILDER}.image"),
    (in_clause({"path": "x"}), f"{BUILDER}.image.path"),
    (in_clause({"data": "not base64!"}), f"{BUILDER}.image.data"),
    (in_clause({"data": "data:image/png;base64,"}), f"{BUILDER}.image.data"),
    (in_clause({"data": base64.b64encode(bytes(104)).decode()}), f"{BUILDER}.image.data"),
    (in_clause({"id": ""}), f"{BUILDER}.image.id"),
    (in_clause({"url": "x" * 9000}), f"{BUILDER}.image.url"),
    (in_clause(DATA, box=[1, 2, 3]), f"{BUILDER}.box"),
    (in_clause(DATA, box={"x0": 1}), f"{BUILDER}.box"),
    (in_clause(DATA, box=[1, 2, 1, 4]), f"{BUILDER}.box"),
    (in_clause(DATA, box=[-1, 2, 3, 4]), f"{BUILDER}.box.0"),
    (in_clause(DATA, box=[1, 2, True, 4]), f"{BUILDER}.box.2"),
    (in_clause(DATA, size=3), f"{BUILDER}.size"),
    # several images
    (several([]), f"{BUILDER}.images"),
    (several(DATA), f"{BUILDER}.images"),
    (several([DATA, "abc"]), f"{BUILDER}.images.1"),
    (several([DATA | OTHER]), f"{BUILDER}.images.0"),
    (several([DATA, OTHER | {"box": [1, 2, 3]}]), f"{BUILDER}.images.1.box"),
    (several([DATA, {"image": DATA}]), f"{BUILDER}.images.1.image"),
    (several([{"id": str(i)} for i in range(3)]), BUILDER),
    (several([DATA, OTHER], without=[OTHER]), BUILDER),
    (several([DATA], image=OTHER), f"{BUILDER}.image"),
    (several([DATA], box=[1, 2, 3, 4]), f"{BUILDER}.box"),
    (several([DATA], without=[]), f"{BUILDER}.without"),
    (several([DATA], without=OTHER), f"{BUILDER}.without"),
    (in_clause(DATA, without=[{"id": ""}]), f"{BUILDER}.without.0.id"),
    (several(None, without=[DATA]), f"{BUILDER}.image"),
    (reranked(without=[DATA]), "retriever.camsearch.without"),
    # builders
    ({"knn": clause() | {"query_vector_builder": {"camsearch": 5}}}, BUILDER),
    (
        {"knn": clause() | {"query_vector_builder": {"camsearch": {}, "lookup": {}}}},
        "knn.query_vector_builder.lookup",
    ),
    ({"knn": clause(query_vector=[1])}, "knn.query_vector_builder"),
    ({"knn": [clause(k=501)]}, "knn.0.k"),
    (reranked({"knn": clause(k=501)}), "retriever.camsearch.retriever.knn.k"),
    # our retriever
    ({"retriever": {"camsearch": {}}}, "retriever.camsearch"),
    (reranked(inner=5), "retriever.camsearch.retriever"),
    (reranked(filter={}), "retriever.camsearch.filter"),
    ({"retriever": {"camsearch": {}, "knn": clause()}}, "retriever"),
    (
        {"retriever": {"rrf": {"retrievers": [{"knn": clause()}, reranked()["retriever"]]}}},
        "retriever.rrf.retrievers.1.camsearch",
    ),
    (reranked(rank_window_size=201), "retriever.camsearch.rank_window_size"),
    (reranked(rank_window_size=1.5), "retriever.camsearch.rank_window_size"),
    (reranked(rerank="yes"), "retriever.camsearch.rerank"),
    (reranked(rerank={"region": True}), "retriever.camsearch.rerank.region"),
    (reranked(rerank={"regions": 1}), "retriever.camsearch.rerank.regions"),
    (reranked(rerank={"classes": 0}), "retriever.camsearch.rerank.classes"),
    (reranked(expand={"hits": 21}), "retriever.camsearch.expand.hits"),
    (reranked(expand={"alpha": -1}), "retriever.camsearch.expand.alpha"),
    (reranked(expand=10), "retriever.camsearch.expand"),
    (reranked(box=[1, 2, 3, 4]), "retriever.camsearch.box"),
    (reranked(expand={}, image=OTHER), "retriever.camsearch.expand"),
    (reranked(inner={"standard": {}}), "retriever.camsearch"),
    # images of a search
    (
        reranked({"rrf": {"retrievers": [{"knn": clause()}, {"knn": clause(OTHER)}]}}),
        "retriever.camsearch",
    ),
    # ext
    ({"ext": {"camsearch": {}}}, "ext.camsearch"),
    ({"ext": {"camsearch": {"retriever": {}}}}, "ext.camsearch.retriever"),
    ({"ext": {"camsearch": {"image": DATA}}, "query": {"match_all": {}}}, "ext.camsearch.image"),
    ({**reranked(), "ext": {"camsearch": {"image": DATA}}}, "ext.camsearch"),
    # with re-ranking
    *(
        (reranked(body={key: value}), key)
        for key, value in [
            ("sort", ["width"]),
            ("sort", {"_score": "asc"}),
            ("collapse", {"field": "id"}),
            ("search_after", [1]),
            ("pit", {"id": "x"}),
            ("rescore", {"window_size": 5}),
            ("slice", {"id": 0, "max": 2}),
            ("stored_fields", "_none_"),
            ("size", -1),
            ("size", "many"),
            ("from", 991),
            ("min_score", "high"),
        ]
    ),
]


@pytest.mark.parametrize(
    ("body", "named"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_refusal_names_the_key(body, named):
    with pytest.raises(DialectError, match=rf"\[{re.escape(named)}\]") as refused:
        parsed(body)
    assert refused.value.reason.endswith(".") or "Result window" in refused.value.reason
    assert len(refused.value.reason) < 300


@pytest.mark.parametrize(
    "query",
    [
        "sort=width",
        "scroll=1m",
        "format=yaml",
        "stored_fields=_none_",
        "size=1.0",
        "from=-1",
    ],
)
def test_a_refusal_names_the_parameter(query):
    with pytest.raises(DialectError, match=rf"\[{query.partition('=')[0]}\]"):
        parsed(reranked(), query)


def test_a_box_of_no_numbers_is_never_taken():
    body = b'{"knn": {"query_vector_builder": {"camsearch": {"image": {"id": "a"}, "box": %b}}}}'
    for box in (b"[1, 2, NaN, 4]", b"[1, 2, 1e999, 4]"):
        with pytest.raises(DialectError, match="is not valid JSON"):
            parse_search(body % box, "", LIMITS)


def test_too_many_images_are_refused():
    two = [clause({"id": str(i)}) for i in range(2)]
    assert len(parsed({"knn": [*two, *two]}).images) == 2
    with pytest.raises(DialectError, match="3 different images"):
        parsed({"knn": [*two, clause()]})
    with pytest.raises(DialectError, match="3 different images"):
        parsed({"knn": [clause({"id": "0"}), several([{"id": "1"}], without=[DATA])["knn"]]})


def test_a_body_may_be_only_so_deep():
    assert parsed(nested(7))
    with pytest.raises(DialectError, match="flatter"):
        parsed(nested(8))


def test_images_may_come_as_browsers_and_command_lines_write_them():
    text = base64.encodebytes(bytes(range(90))).decode()
    assert text.count("\n") > 1
    for written in (text, text.replace("\n", "\r\n"), "data:image/jpeg;base64," + text):
        [query] = parsed(in_clause({"data": written, "id": None})).images
        assert ImageSource(data=bytes(range(90))) == query.images[0].image


def test_an_image_is_not_printed():
    assert "data" not in repr(parsed(in_clause(DATA)).slots)


def test_an_image_of_just_the_allowed_size_is_taken():
    assert parsed(in_clause({"data": base64.b64encode(bytes(100)).decode()}))
