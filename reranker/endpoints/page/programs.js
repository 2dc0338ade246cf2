// The search as a program to copy. Ids and metadata are hostile text: every value is quoted for
// the language that it is written in.

import { imagesOf, plainBody, searchBody } from "./searches.js";

// Stand for variables of the program.
const PHOTO = "\u0000photo", VECTOR = "\u0000vector";

export const LANGUAGES = ["curl", "Python", "JavaScript"];

/** `where` has the server's address, the index and whether it has windows. */
export function programOf(language, state, where, plain) {
  const uploaded = state.upload !== null;
  const search = plain ? plainBody(state, where.windows) : searchBody(state, PHOTO);
  if (plain) search.knn.query_vector = VECTOR;
  const vector = plain ? { index: where.index, ...imagesOf(state, PHOTO) } : null;
  const key = where.windows ? "window_vector" : "vector";
  return { curl, Python: python, JavaScript: javascript }[language]({ uploaded, search, vector, key, where });
}

function curl({ uploaded, search, vector, key, where }) {
  const lines = [];
  const elasticsearch = vector ? '"$elasticsearch"' : '"$proxy"';
  lines.push(`proxy=${shell(where.origin)}`);
  if (vector) lines.push("elasticsearch='http://localhost:9200'  # where the index is");
  if (uploaded) lines.push("photo=$(base64 < photo.jpg | tr -d '\\n')");
  const post = (server, path, body) =>
    `printf '%s' ${shellBody(body)} |\n  curl --silent ${server}${shell(path)} -H 'content-type: application/json' --data-binary @-`;
  if (vector) lines.push(`vector=$(${post('"$proxy"', "/_camsearch/vector", vector)} | jq -c .${key})`);
  lines.push(post(elasticsearch, `/${encodeURIComponent(where.index)}/_search`, search));
  return lines.join("\n");
}

function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function shellBody(body) {
  return shell(jsonOf(body, 0))
    .replaceAll(JSON.stringify(PHOTO), `"'"$photo"'"`)
    .replaceAll(JSON.stringify(VECTOR), `'"$vector"'`);
}

function jsonOf(value, indent) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return nested(value, indent, jsonOf, key => JSON.stringify(key), "  ");
}

function python({ uploaded, search, vector, key, where }) {
  const lines = [];
  if (uploaded) lines.push("import base64", "from pathlib import Path", "");
  lines.push("from elasticsearch import Elasticsearch", "");
  const address = vector ? '"http://localhost:9200"' : pythonText(where.origin);
  lines.push(`es = Elasticsearch(${address})${vector ? "  # where the index is" : ""}`);
  if (uploaded) lines.push('photo = base64.b64encode(Path("photo.jpg").read_bytes()).decode()');
  if (vector) {
    lines.push(`proxy = Elasticsearch(${pythonText(where.origin)})`);
    lines.push("described = proxy.perform_request(", '    "POST",', '    "/_camsearch/vector",');
    lines.push('    headers={"accept": "application/json", "content-type": "application/json"},');
    lines.push(`    body=${pythonOf(vector, 4)},`, ")", `vector = described["${key}"]`);
  }
  lines.push("found = es.search(", `    index=${pythonText(where.index)},`);
  const names = { _source: "source", from: "from_" };
  for (const [name, value] of Object.entries(search)) lines.push(`    ${names[name] ?? name}=${pythonOf(value, 4)},`);
  lines.push(")", 'for hit in found["hits"]["hits"]:', '    print(hit["_id"], hit["_score"])');
  return lines.join("\n");
}

function pythonText(text) {
  // JSON's escapes are Python's, too; a lone surrogate is printed as an escape.
  return JSON.stringify(text);
}

function pythonOf(value, indent) {
  if (value === PHOTO) return "photo";
  if (value === VECTOR) return "vector";
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return JSON.stringify(value);
  return nested(value, indent, pythonOf, pythonText, " ".repeat(4));
}

function javascript({ uploaded, search, vector, key, where }) {
  const lines = [];
  if (uploaded) lines.push("import { readFileSync } from 'node:fs'");
  lines.push("import { Client } from '@elastic/elasticsearch'", "");
  const address = vector ? "'http://localhost:9200'" : JSON.stringify(where.origin);
  lines.push(`const es = new Client({ node: ${address} })${vector ? " // where the index is" : ""}`);
  if (uploaded) lines.push("const photo = readFileSync('photo.jpg').toString('base64')");
  if (vector) {
    lines.push(`const proxy = new Client({ node: ${JSON.stringify(where.origin)} })`);
    lines.push("const described = await proxy.transport.request({");
    lines.push(`  method: 'POST', path: '/_camsearch/vector', body: ${javascriptOf(vector, 2)}`, "})");
    lines.push(`const vector = described.${key}`);
  }
  lines.push(`const found = await es.search(${javascriptOf({ index: where.index, ...search }, 0)})`);
  lines.push("for (const hit of found.hits.hits) console.log(hit._id, hit._score)");
  return lines.join("\n");
}

function javascriptOf(value, indent) {
  if (value === PHOTO) return "photo";
  if (value === VECTOR) return "vector";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return nested(value, indent, javascriptOf, key => (/^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key)), "  ");
}

/** An object or list, on one line if it is short. */
function nested(value, indent, write, keyOf, step) {
  const list = Array.isArray(value);
  const inner = indent + step.length;
  const parts = list
    ? value.map(one => write(one, inner))
    : Object.entries(value).map(([key, one]) => `${keyOf(key)}: ${write(one, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  const short = `${open}${parts.join(", ")}${close}`;
  if (short.length + indent < 72 && !short.includes("\n")) return short;
  const room = " ".repeat(inner);
  return `${open}\n${parts.map(one => room + one).join(",\n")}\n${" ".repeat(indent)}${close}`;
}
