"""What names us, and what it comes to."""

from dataclasses import replace

import orjson
import pytest

from descriptors.arrays import Box
from reranker.dialect.parsing import may_name_us, parse_search, refuse_elsewhere
from reranker.dialect.searches import Example, Expand, ImageQuery, ImageSource, Rerank
from reranker.errors import DialectError
from tests.unit.reranker.dialect.bodies_of import DATA, IMAGE, LIMITS, clause, parsed, reranked

OURS = ImageQuery((Example(ImageSource(data=IMAGE)),))
PLAIN = {"field": "descriptor", "k": 5, "num_candidates": 9}


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": {"match": {"title": "camsearch"}}}',
        b'{"query": {"term": {"camsearch": 1}}}',
        b'{"knn": {"query_vector_builder": {"text_embedding": {"model_text": "camsearch"}}}}',
        b'{"query": {"script_score": {"script": {"params": {"knn": {"query_vector_builder": {"camsearch": {}}}}}}}}',
        b'{"_source": {"retriever": {"camsearch": 1}}}',
        b'{"retriever": {"standard": {"query": {"term": {"a": "camsearch"}}}}}',
        b'{"ext": {"other": {"camsearch": {}}}}',
        b'["camsearch"]',
        b'{"ext": {"camsearches": {}} // a comment',
        b"camsearch \xff",
        b"[" * 5000 + b"camsearch",
    ],
)
def test_what_does_not_name_us_is_not_ours(body):
    assert parse_search(body, "", LIMITS) is None


def test_our_name_may_be_written_with_escapes():
    body = orjson.dumps(reranked()).replace(b"camsearch", b"c\\u0061msearch")
    assert may_name_us(body)
    assert parse_search(body, "", LIMITS).rerank == Rerank(100)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"knn": clause()}, ("knn",)),
        ({"knn": [PLAIN | {"query_vector": [1]}, clause()]}, ("knn", 1)),
        ({"query": {"bool": {"must": [{"knn": clause()}]}}}, ("query", "bool", "must", 0, "knn")),
        (
            {
                "query": {
                    "function_score": {"query": {"constant_score": {"filter": {"knn": clause()}}}}
                }
            },
            ("query", "function_score", "query", "constant_score", "filter", "knn"),
        ),
        (
            {"retriever": {"linear": {"retrievers": [{"retriever": {"knn": clause()}}]}}},
            ("retriever", "linear", "retrievers", 0, "retriever", "knn"),
        ),
        ({"post_filter": {"knn": clause()}}, ("post_filter", "knn")),
        ({"aggs": {"x": {"filter": {"knn": clause()}}}}, ("aggs", "x", "filter", "knn")),
    ],
)
def test_a_builder_is_found_wherever_a_vector_may_stand(body, path):
    search = parsed(body)
    [slot] = search.slots
    assert (path, "descriptor", OURS) == (slot.path, slot.field, slot.image)
    assert not search.ranks
    assert search.images == (OURS,)


def test_a_first_search_keeps_all_but_the_builder():
    body = {
        "knn": clause(boost=2),
        "aggs": {"a": {"terms": {"field": "b"}}},
        "sort": ["x"],
        "size": 1.5,
    }
    search = parsed(body, "scroll=1m&format=yaml&timeout=1500ms")
    assert {**body, "knn": PLAIN | {"boost": 2}} == search.body
    assert search.timeout == 1.5


def test_the_inner_retriever_takes_our_place():
    search = parsed(
        reranked(
            rank_window_size=7,
            rerank={"regions": False, "classes": 6},
            expand={"hits": 3, "alpha": 1.5},
        )
    )
    assert search.body == {"retriever": {"knn": PLAIN}}
    assert [slot.path for slot in search.slots] == [("retriever", "knn")]
    assert (Rerank(7, "images", 6), Expand(3, 1.5)) == (search.rerank, search.expand)
    assert search.image == OURS
    assert (search.start, search.size, search.first_hits) == (0, 10, 100)


@pytest.mark.parametrize("off", [False, None])
def test_re_ranking_can_be_switched_off(off):
    search = parsed(reranked(rerank=off))
    assert not search.ranks
    assert search.body == {"retriever": {"knn": PLAIN}}
    assert parsed(reranked(rerank=off, expand={})).expand == Expand(10, 0.0)


def test_without_an_inner_retriever_the_body_is_the_first_search():
    body = {"retriever": {"camsearch": {}}, "knn": clause(), "query": {"match_all": {}}}
    search = parsed(body)
    assert search.body == {"knn": PLAIN, "query": {"match_all": {}}}
    assert search.image == OURS


def test_a_text_search_is_re_ranked_by_an_image_of_its_own():
    search = parsed(
        {
            "retriever": {"camsearch": {"image": {"id": "a"}, "box": [1, 2, 3, 4.5]}},
            "query": {"match": {"t": "x"}},
        }
    )
    assert search.slots == ()
    assert ImageQuery((Example(ImageSource(id="a"), Box(1, 2, 3, 4.5)),)) == search.image


def test_a_query_may_be_of_several_images_and_of_what_it_is_not():
    examples = {"images": [DATA, {"id": "a", "box": [1, 2, 3, 4]}], "without": [{"id": "b"}]}
    limits = replace(LIMITS, images=3)
    views = (OURS.images[0], Example(ImageSource(id="a"), Box(1, 2, 3, 4)))
    expected = ImageQuery(views, (Example(ImageSource(id="b")),))
    in_builder = PLAIN | {"query_vector_builder": {"camsearch": examples}}
    for body in (
        {"knn": in_builder},
        reranked({"knn": in_builder}),
        reranked({"standard": {"query": {"match": {"t": "x"}}}}, **examples),
        {"knn": PLAIN, "ext": {"camsearch": examples}},
    ):
        assert parsed(body, limits=limits).images == (expected,)


def test_one_image_may_have_examples_of_what_it_is_not():
    body = {"knn": PLAIN, "ext": {"camsearch": {"image": DATA, "without": [{"id": "b"}]}}}
    without = (Example(ImageSource(id="b")),)
    assert parsed(body).images == (ImageQuery(OURS.images, without),)


def test_ext_gives_its_image_to_clauses_without_a_vector():
    filled = PLAIN | {"query_vector": [1, 2]}
    other = PLAIN | {"query_vector_builder": {"text_embedding": {"model_text": "x"}}}
    body = {
        "knn": [PLAIN, filled, other],
        "query": {"bool": {"should": [{"knn": PLAIN}, {"match": {"knn": {"query": "x"}}}]}},
        "ext": {"camsearch": {"image": DATA}, "mine": 1},
    }
    search = parsed(body)
    assert [s.path for s in search.slots] == [("knn", 0), ("query", "bool", "should", 0, "knn")]
    assert {**body, "ext": {"mine": 1}} == search.body
    assert not search.ranks


def test_ext_is_dropped_when_it_is_empty_and_ranks_if_it_says_so():
    search = parsed({"knn": PLAIN, "ext": {"camsearch": {"image": DATA, "expand": {}}}})
    assert search.body == {"knn": PLAIN}
    assert (Rerank(100), Expand(10)) == (search.rerank, search.expand)


def test_what_stands_in_the_query_string_wins():
    body = reranked(body={"from": 1, "size": 2, "timeout": "1s", "min_score": 0.5})
    search = parsed(body, "size=30&from=4&timeout=2m&filter_path=hits.hits._id%2Ctook&pretty")
    assert (search.start, search.size, search.timeout, search.min_score) == (4, 30, 120, 0.5)
    assert search.filter_path == "hits.hits._id,took"
    assert search.pretty
    assert ((other := parsed(body, "pretty=false")).start, other.size) == (1, 2)
    assert not other.pretty


@pytest.mark.parametrize("size", [3, 3.7, "3"])
def test_size_is_read_as_elasticsearch_reads_it(size):
    assert parsed(reranked(body={"size": size})).size == 3


def test_nothing_is_asked_for_where_no_hits_are():
    assert parsed(reranked(body={"size": 0})).first_hits == 0


def test_the_fields_we_need_are_those_that_are_not_asked_for():
    assert parsed(reranked()).added_fields == ("digest", "width", "height", "uri")
    asked = {"fields": ["w*", {"field": "uri"}, 3], "docvalue_fields": [{"field": "digest"}]}
    assert parsed(reranked(body=asked)).added_fields == ("height",)
    assert parsed(reranked(), "docvalue_fields=*").added_fields == ()


@pytest.mark.parametrize(
    "sort", ["_score", ["_score"], [], {"_score": "desc"}, [{"_score": {"order": "desc"}}]]
)
def test_sorting_by_score_is_no_sorting(sort):
    assert parsed(reranked(body={"sort": sort}), "sort=_score:desc").ranks


@pytest.mark.parametrize(
    "text",
    [
        b'{"knn":{"query_vector_builder":{"camsearch":{}}}}',
        b'{"source": {"query": {"knn": {"query_vector_builder" : {\n "camsearch": {}}}}}}',
        b'{"requests": [{"request": {"retriever": {"camsearch": {}}}}]}',
        b'{}\n{"source": "{\\"ext\\": {\\n\\"camsearch\\": {}}, \\"size\\": {{size}}}"}\n',
    ],
    ids=["plain", "template", "inner", "text"],
)
def test_elsewhere_than_in_a_search_we_cannot_be_named(text):
    with pytest.raises(DialectError, match=r"\[/_x\] .* the body of \[_search\] or \[_msearch\]"):
        refuse_elsewhere(text, "/_x")


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b'{"query":{"term":{"a":"camsearch"}}}', b'{"aggs":{"camsearch":{}}}']
)
def test_elsewhere_our_name_may_be_data(text):
    refuse_elsewhere(text, "/_x")


@pytest.mark.parametrize(
    "body",
    [
        b'{"retriever": {"camsearch": {}},}',
        b'{"ext": {"camsearch" : {"box": [NaN, 0, 1, 1]}}}',
        b'\xef\xbb\xbf{"ext": {"camsearch": {}}}',
        b'{"ext": {"camsearch": {"image"',
    ],
)
def test_what_names_us_and_is_no_json_is_said_by_us(body):
    with pytest.raises(DialectError, match="is not valid JSON"):
        parse_search(body, "", LIMITS)
