"""Which metadata every gallery holds and finds, and which every gallery refuses."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from es_mappings.elastic_bulk import Bulk, write
from es_mappings.elastic_client import connect
from es_mappings.indices import IndexPlan
from galleries.checks import check_meta
from galleries.errors import MalformedDocument
from galleries.filters import Exists, Term
from indexer.manifests import read_manifest
from tests.support.clock import HANG_S
from tests.support.documents import document, ids_of


def nested(levels: int, innermost: Any) -> Any:
    return innermost if levels == 0 else {"a": nested(levels - 1, innermost)}


NAMES_REFUSED = [
    "",
    ".",
    "...",
    " ",
    "\t",
    "\u3000",
    ".a",
    ".a.",
    "a..b",
    "a. ",
    "a. .b",
    ". .",
    " .a",
]
NAMES_HELD = [
    "a.",
    "a..",
    " a",
    "a ",
    "a. b",
    "\xa0",
    "a.\u2007.b",
    "\x85",
    "*",
    "_id",
    "é ü",
    "\0",
]
# Which value counts is not clear; Elasticsearch 8.19 refuses those of two types.
TWICE = [
    {"a.b": 1, "a": {"b": 2}},
    {"a.b": 1, "a": {"b": "x"}},
    {"a": {"b.c": 1}, "a.b": {"c": [2]}},
    {"a": 1, "a.": 2},
]
REFUSED = [
    *({name: value} for name in NAMES_REFUSED for value in ("x", None)),
    {"o": {"": 1}},
    {"o": [{"a..b": 1}]},
    {"dc.title": "x", "dc.title.alternative": "y"},
    {"dc": {"title": {"alternative": "y"}}, "dc.title": "x"},
    {"a": 1, "a.b": None},
    {"a": 1, "a.": {}},
    {"a": [1, {"b": 2}]},
    {"a": [{"b": 1}, {"b": {"c": 1}}]},
    nested(20, 1),
    nested(19, {}),
    {".".join("a" * 20): 1},
    {"n": 10**1000},
    *TWICE,
]
HELD = [
    *({name: "x"} for name in NAMES_HELD),
    {"a": None, "a.b": 1},
    {"a": [[], None], "a.b": 1},
    {"a": {}, "a.b": 1},
    {"a.b": 1, "a": {"c": 2}},
    {"a.b": 1, "a": {"b": None}},
    {"a": [{"b": 1}, {"b": 2}], "a.c": 1},
    {"a": [[{"c": 1}], [{"b": 1}]]},
    {"n": 10**999},
    {"n": -(2**70)},
]
DEEPEST = [nested(19, 1), nested(18, {}), {".".join("a" * 19): 1}]


def test_metadata_that_elasticsearch_cannot_map_is_refused(gallery):
    gallery.put([document("there")])
    for meta in REFUSED:
        with pytest.raises(MalformedDocument, match="'odd': its metadata has"):
            gallery.put([document("odd", meta=meta)])
        with pytest.raises(MalformedDocument, match="'there': its metadata has"):
            gallery.put_meta({"there": meta})
    assert [(one.id, one.meta) for one in gallery.documents()] == [("there", {})]


def test_all_other_metadata_is_held(gallery):
    # Each within an object of its own, since what a document holds may not fit the next one.
    metas = [{f"o{number}": meta} for number, meta in enumerate(HELD)]
    gallery.put([document(f"{number:02d}", meta=meta) for number, meta in enumerate(metas)])
    assert [one.meta for one in gallery.documents()] == metas
    gallery.put_meta({"00": metas[1]})
    assert gallery.get(["00"])["00"].meta == metas[1]


def test_the_fields_are_named_with_the_remedy():
    with pytest.raises(MalformedDocument) as both:
        check_meta("a", {"dc.title": "x", "dc": {"title": {"alternative": "y"}}})
    assert both.value.reason == (
        "Document 'a': its metadata has a field 'dc.title' beside 'dc.title.alternative': a field "
        "cannot hold both a value and further fields. Rename 'dc.title', for example to "
        "'dc.title.value'."
    )
    with pytest.raises(MalformedDocument) as twice:
        check_meta("a", {"dc.title": "x", "dc": {"title": "y"}})
    assert twice.value.reason == (
        "Document 'a': its metadata has the field 'dc.title' twice, written with and without a "
        "dot: keep one."
    )
    with pytest.raises(MalformedDocument, match=r"a field named 'dc\.\.b': give it a name with"):
        check_meta("a", {"dc": {".b": 1}})


@pytest.mark.services
def test_the_rule_is_that_of_elasticsearch(elasticsearch_url, index_prefix):
    values = [1, None, {}, {"b": "x"}, [1, {}]]
    names = [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a"), ("a", "a.")]
    pairs = [
        {one: value, other: also} for (one, other), value, also in product(names, values, values)
    ]
    metas = [*REFUSED, *HELD, *DEEPEST, *pairs]
    # Elasticsearch 9 takes most of those.
    metas = [meta for meta in metas if "twice" not in _refusal(meta)]
    name = f"{index_prefix}rule"
    body = IndexPlan(replicas=0).body({}, 4)
    body["settings"]["index"]["mapping"]["total_fields"]["limit"] = 100_000
    writes = []
    for number, meta in enumerate(metas):
        # Each within an object of its own, so that none meets the mapping of another.
        body["mappings"]["properties"] |= {f"m{number}": {"type": "object", "dynamic": True}}
        writes.append(write(name, str(number), {f"m{number}": meta}, 1))
    with connect(elasticsearch_url, seconds=HANG_S) as client:
        client.indices.create(index=name, **body)
        outcomes = Bulk(client, max_actions=50, patience=HANG_S).write(writes)
    held = {str(meta): one.done for meta, one in zip(metas, outcomes, strict=True)}
    assert {str(meta): not _refusal(meta) for meta in metas} == held
    assert sum(held.values()) not in (0, len(held))


def _refusal(meta: dict[str, Any]) -> str:
    try:
        check_meta("a", meta)
    except MalformedDocument as error:
        return error.reason
    return ""


def test_dots_at_the_end_of_a_name_say_nothing(gallery):
    odd = {"no.": 7, "o": {"p.": "x", "none": None}, "list": [{"Inv No": 1}]}
    gallery.put([document("a", meta=odd), document("b", meta={"no": 7})])
    assert ids_of(gallery.documents(Term("meta.no", 7))) == ["a", "b"]
    assert gallery.count(Term("meta.o.p", "x")) == 1
    assert gallery.count(Exists("meta.no.")) == 0
    assert gallery.meta_names() == ["meta.list.Inv No", "meta.no", "meta.o.p"]


def test_accession_numbers_of_a_manifest_are_found_as_they_are_written(gallery, tmp_path):
    manifest = tmp_path / "accession.csv"
    written = ["1904.10", "1904.1", "1904.2a", "007"]
    rows = "".join(f"{n}.jpg,{inv},{n}\n" for n, inv in enumerate(written))
    manifest.write_text(f"path,inv,Inv. No.\n{rows}")
    sources = list(read_manifest(manifest))
    gallery.put([document(str(n), meta=source.meta) for n, source in enumerate(sources)])
    for n, inv in enumerate(written):
        assert ids_of(gallery.documents(Term("meta.inv", inv))) == [str(n)]
        assert ids_of(gallery.documents(Term("meta.Inv No", n))) == [str(n)]
    assert gallery.count(Term("meta.inv", "7")) == 0
    assert gallery.count(Exists("meta.inv")) == len(written)
