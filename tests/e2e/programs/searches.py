"""Asks searches that come as JSON: searches.py sync|async URL INDEX < {"name": body, …}.

Prints what each is answered, and what the client says besides.
"""

import asyncio
import inspect
import json
import sys
import warnings

import elasticsearch


async def settled(value):
    return await value if inspect.isawaitable(value) else value


async def answer_to(es, index, body):
    """Of a search; a list is an `_msearch`."""
    if isinstance(body, list):
        return (await settled(es.msearch(index=index, searches=body))).body
    named = {"from": "from_", "_source": "source"}
    asked = {named.get(key, key): value for key, value in body.items()}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", elasticsearch.ElasticsearchWarning)
            answer = (await settled(es.search(index=index, **asked))).body
        return {**answer, "warnings": [str(one.message) for one in said]}
    except elasticsearch.ApiError as error:
        return error.body


async def run(colour, url, index):
    kind = elasticsearch.Elasticsearch if colour == "sync" else elasticsearch.AsyncElasticsearch
    es = kind(url, max_retries=0, request_timeout=60)
    try:
        return {
            name: await answer_to(es, index, body) for name, body in json.load(sys.stdin).items()
        }
    finally:
        await settled(es.close())


sys.stdout.write(json.dumps(asyncio.run(run(*sys.argv[1:]))))
