"""What an application does with Elasticsearch, camsearch or not: plain.py sync|async URL INDEX.

Prints what each step is answered, without what differs between two runs: no two documents have one
number, since ties come in the order of the segments, and vectors are compared exactly.
"""

import asyncio
import inspect
import json
import sys

import elasticsearch
from elasticsearch import helpers

MAPPINGS = {
    "properties": {
        "name": {"type": "keyword"},
        "number": {"type": "integer"},
        "vector": {
            "type": "dense_vector",
            "dims": 3,
            "similarity": "cosine",
            "index_options": {"type": "flat"},
        },
    }
}
VOLATILE = ("took", "_scroll_id", "pit_id", "index_uuid", "index.uuid", "index.creation_date")


def stable(value):
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in VOLATILE}
    return [stable(v) for v in value] if isinstance(value, list) else value


def body_of(answer):
    return stable(getattr(answer, "body", answer))


async def settled(value):
    return await value if inspect.isawaitable(value) else value


async def refused(call):
    try:
        await settled(call())
    except elasticsearch.ApiError as error:
        return {
            "status": error.status_code,
            "type": type(error).__name__,
            "error": body_of(error.body),
        }
    return None


async def indexing(es, index):
    yield "create", await settled(es.indices.create(index=index, mappings=MAPPINGS))
    yield "exists", bool(await settled(es.indices.exists(index=index)))
    yield "not there", bool(await settled(es.indices.exists(index=f"{index}-x")))
    one = {"name": "one ü", "number": -1, "vector": [1, 0, 0]}
    yield "index", await settled(es.index(index=index, id="1 ü/%", document=one))
    yield "again", await refused(lambda: es.create(index=index, id="1 ü/%", document=one))
    yield "get", await settled(es.get(index=index, id="1 ü/%"))
    yield "update", await settled(es.update(index=index, id="1 ü/%", doc={"number": -7}))
    lines = [{"index": {"_id": "2"}}, {"name": "two"}, {"delete": {"_id": "none"}}]
    yield "bulk", await settled(es.bulk(index=index, operations=lines))
    actions = [
        {"_index": index, "_id": f"h{i}", "name": "many", "number": i, "vector": [i, 1, i % 7]}
        for i in range(1200)
    ]
    several = (
        helpers.async_bulk if isinstance(es, elasticsearch.AsyncElasticsearch) else helpers.bulk
    )
    yield "bulk helper", await settled(several(es, actions, chunk_size=400))
    yield "delete", await settled(es.delete(index=index, id="2"))
    yield "refresh", await settled(es.indices.refresh(index=index))
    yield "count", await settled(es.count(index=index, query={"term": {"name": "many"}}))


async def searching(es, index):
    knn = {"field": "vector", "query_vector": [5, 1, 2], "k": 5, "num_candidates": 50}
    yield (
        "search",
        await settled(
            es.search(
                index=index, query={"match": {"name": "many"}}, sort=["number"], size=3, from_=2
            )
        ),
    )
    yield "knn", await settled(es.search(index=index, knn=knn, source=["number"]))
    yield "retriever", await settled(es.search(index=index, retriever={"knn": knn}, size=2))
    aggs = {"most": {"max": {"field": "number"}}}
    yield "aggs", await settled(es.search(index=index, aggs=aggs, size=0))
    yield (
        "filter_path",
        await settled(es.search(index=index, size=1, sort="number", filter_path="hits.hits._id")),
    )
    lines = [{}, {"size": 0}, {"index": index}, {"knn": knn}, {"index": "not-there"}, {}]
    yield "msearch", await settled(es.msearch(index=index, searches=lines))
    docs = [{"_index": index, "_id": "h3"}, {"_index": index, "_id": "none"}]
    yield "mget", await settled(es.mget(docs=docs))
    wrong = {"field": "vector", "query_vector": [1], "k": 1, "num_candidates": 1}
    yield "wrong", await refused(lambda: es.search(index=index, knn=wrong))
    yield "no index", await refused(lambda: es.search(index="not-there"))


async def paging(es, index):
    page = await settled(es.search(index=index, scroll="1m", size=500, sort=["number"]))
    scrolled = []
    while page["hits"]["hits"]:
        scrolled += [hit["_id"] for hit in page["hits"]["hits"]]
        page = await settled(es.scroll(scroll_id=page["_scroll_id"], scroll="1m"))
    yield "scroll", scrolled
    yield "scroll's end", await settled(es.clear_scroll(scroll_id=page["_scroll_id"]))
    pit = (await settled(es.open_point_in_time(index=index, keep_alive="1m")))["id"]
    found, after = [], None
    while after is None or len(found) % 500 == 0:
        page = await settled(
            es.search(
                pit={"id": pit, "keep_alive": "1m"},
                size=500,
                sort=["number"],
                search_after=after,
            )
        )
        found += [hit["_id"] for hit in page["hits"]["hits"]]
        after = page["hits"]["hits"][-1]["sort"]
    yield "pit", found
    yield "pit's end", await settled(es.close_point_in_time(id=pit))


async def administering(es, index):
    actions = [{"add": {"index": index, "alias": f"{index}-alias"}}]
    yield "alias", await settled(es.indices.update_aliases(actions=actions))
    yield "aliases", await settled(es.indices.get_alias(index=f"{index}-alias"))
    yield "by alias", await settled(es.count(index=f"{index}-alias"))
    yield "mapping", await settled(es.indices.get_mapping(index=index))
    yield "settings", await settled(es.indices.get_settings(index=index, flat_settings=True))
    yield "info", (await settled(es.info()))["version"]
    yield "ping", bool(await settled(es.ping()))
    yield (
        "cat",
        str(await settled(es.cat.indices(index=index, h="index,docs.count"))),
    )
    yield "drop", await settled(es.indices.delete(index=index))


async def run(colour, url, index):
    kind = elasticsearch.Elasticsearch if colour == "sync" else elasticsearch.AsyncElasticsearch
    found = {}
    for packed in (False, True):
        es = kind(url, http_compress=packed, max_retries=0, request_timeout=60)
        try:
            for steps in (indexing, searching, paging, administering):
                async for step, answer in steps(es, index):
                    found[f"{step}, packed" if packed else step] = body_of(answer)
        finally:
            await settled(es.close())
    return found


sys.stdout.write(json.dumps(asyncio.run(run(*sys.argv[1:]))))
