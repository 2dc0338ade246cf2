#!/usr/bin/env bash
# Asks searches that come as JSON: searches.sh URL INDEX < {"name": body, …}.
# Prints what each is answered, and the texts of warnings.
set -euo pipefail
url=$1 index=$2 folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cat > "$folder/asked"
jq -r 'keys_unsorted[]' "$folder/asked" | while read -r name; do
  kind=application/json path=_search
  jq -c --arg name "$name" '.[$name] | if type == "array" then .[] else . end' "$folder/asked" > "$folder/body"
  if jq -e --arg name "$name" '.[$name] | type == "array"' "$folder/asked" > /dev/null; then
    kind=application/x-ndjson path=_msearch
  fi
  curl --silent --show-error --compressed --dump-header "$folder/head" "$url/$index/$path" \
    -H "Content-Type: $kind" --data-binary "@$folder/body" > "$folder/answer"
  sed -n 's/^warning: 299 [^ ]* "\([^"]*\)".*/\1/Ip' "$folder/head" | tr -d '\r' | jq -R . | jq -s . > "$folder/warnings"
  jq --arg name "$name" --slurpfile warnings "$folder/warnings" \
    '{($name): (if .hits then . + {warnings: $warnings[0]} else . end)}' "$folder/answer"
done | jq --slurp add
