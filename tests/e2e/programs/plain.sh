#!/usr/bin/env bash
# What people do with Elasticsearch and curl, camsearch or not: plain.sh URL INDEX.
# Prints what each step is answered, without what differs between two runs: no two documents have
# one number, since ties come in the order of the segments, and vectors are compared exactly.
set -euo pipefail
url=$1 index=$2
volatile='walk(if type == "object" then del(.took, ._scroll_id, .pit_id, .index_uuid, .sort) else . end)'
json='Content-Type: application/json'

step() { # NAME CURL-ARGUMENTS...   one line: {"NAME": {"status": …, "answer": …}}
  local name=$1 answer; shift
  answer=$(curl --silent --show-error --write-out '\n%{http_code}' "$@")
  printf '%s' "${answer%$'\n'*}" |
    jq --compact-output --raw-input --slurp --arg name "$name" --arg status "${answer##*$'\n'}" \
      '{($name): {status: $status, answer: ((. as $raw | try fromjson catch $raw) | '"$volatile"')}}'
}

{
  step create -X PUT "$url/$index" -H "$json" -d '{"mappings": {"properties": {"number": {"type": "integer"},
    "vector": {"type": "dense_vector", "dims": 3, "similarity": "cosine", "index_options": {"type": "flat"}}}}}'
  step exists --head "$url/$index" --output /dev/null
  step "not there" --head "$url/$index-x" --output /dev/null
  step index -X PUT "$url/$index/_doc/1%20%C3%BC%2F%25" -H "$json" -d '{"number": 0, "vector": [1, 0, 0]}'
  step again -X PUT "$url/$index/_create/1%20%C3%BC%2F%25" -H "$json" -d '{"number": 1}'
  for i in $(seq 1 300); do
    printf '{"index": {"_id": "%s"}}\n{"number": %s, "vector": [%s, 1, 2]}\n' "$i" "$i" "$i"
  done | step bulk -X POST "$url/$index/_bulk?refresh=true&filter_path=errors,items.*.status" \
    -H 'Content-Type: application/x-ndjson' --data-binary @-
  step "bulk in chunks" -X POST "$url/$index/_bulk?refresh=true" -H "$json" -H 'Transfer-Encoding: chunked' \
    --data-binary $'{"delete": {"_id": "300"}}\n'
  step get "$url/$index/_doc/7?pretty"
  step search "$url/$index/_search?size=3&from=1&sort=number"
  step "search with GET" -X GET "$url/$index/_search" -H "$json" -d '{"query": {"range": {"number": {"lt": 4}}}, "sort": ["number"]}'
  step knn --compressed "$url/$index/_search?pretty=true" -H "$json" \
    -d '{"knn": {"field": "vector", "query_vector": [5, 1, 2], "k": 50, "num_candidates": 100}, "size": 50}'
  step msearch "$url/$index/_msearch" -H 'Content-Type: application/x-ndjson' --data-binary $'{}\n{"size": 0}\n{"index": "not-there"}\n{}\n'
  scroll=$(curl -s "$url/$index/_search?scroll=1m&size=200&sort=number" | jq -r ._scroll_id)
  step scroll "$url/_search/scroll" -H "$json" -d "{\"scroll\": \"1m\", \"scroll_id\": \"$scroll\"}"
  step "scroll's end" -X DELETE "$url/_search/scroll/$scroll"
  pit=$(curl -s -X POST "$url/$index/_pit?keep_alive=1m" | jq -r .id)
  step pit "$url/_search" -H "$json" -d "{\"pit\": {\"id\": \"$pit\"}, \"size\": 2, \"sort\": [\"number\"]}"
  step "pit's end" -X DELETE "$url/_pit" -H "$json" -d "{\"id\": \"$pit\"}"
  step alias -X POST "$url/_aliases" -H "$json" -d "{\"actions\": [{\"add\": {\"index\": \"$index\", \"alias\": \"$index-alias\"}}]}"
  step "by alias" "$url/$index-alias/_count"
  step yaml "$url/$index/_mapping?format=yaml"
  step cat "$url/_cat/indices/$index?v&h=index,docs.count"
  step wrong "$url/$index/_search" -H "$json" -d '{"query": {"no_such_query": {}}}'
  step "no json" "$url/$index/_search" -H "$json" -d '{'
  step "wrong media" "$url/$index/_search" -H 'Content-Type: text/plain' -d '{}'
  step "no such path" -X PATCH "$url/$index/_search"
  step root "$url/?filter_path=version.number,tagline"
  step options -X OPTIONS "$url/"
  step "1.0" --http1.0 "$url/$index/_count"
  step drop -X DELETE "$url/$index"
} | jq --slurp add
