// What an application does with Elasticsearch, camsearch or not: plain.cjs URL INDEX.
// Prints what each step is answered, without what differs between two runs: no two documents have
// one number, since ties come in the order of the segments, and vectors are compared exactly.
const { Client } = require('@elastic/elasticsearch')

const [url, index] = process.argv.slice(2)
// Ties of a PIT are broken by a document's place in its shard.
const VOLATILE = new Set(['took', '_scroll_id', 'pit_id', 'index_uuid', 'sort'])

function stable (value) {
  if (Array.isArray(value)) return value.map(stable)
  if (value === null || typeof value !== 'object') return value
  const kept = Object.entries(value).filter(([key]) => !VOLATILE.has(key))
  return Object.fromEntries(kept.map(([key, one]) => [key, stable(one)]))
}

async function refused (call) {
  try {
    await call()
  } catch (error) {
    return { status: error.statusCode, type: error.name, error: error.body }
  }
  return null
}

async function * steps (es) {
  const mappings = {
    properties: {
      name: { type: 'keyword' },
      number: { type: 'integer' },
      vector: { type: 'dense_vector', dims: 3, similarity: 'cosine', index_options: { type: 'flat' } }
    }
  }
  yield ['create', await es.indices.create({ index, mappings })]
  yield ['exists', await es.indices.exists({ index })]
  yield ['not there', await es.indices.exists({ index: `${index}-x` })]
  const document = { name: 'one ü', number: -1, vector: [1, 0, 0] }
  yield ['index', await es.index({ index, id: '1 ü/%', document })]
  yield ['again', await refused(() => es.create({ index, id: '1 ü/%', document }))]
  yield ['get', await es.get({ index, id: '1 ü/%' })]
  const operations = [{ index: { _id: '2' } }, { name: 'two' }, { delete: { _id: 'none' } }]
  yield ['bulk', await es.bulk({ index, operations })]
  const many = Array.from({ length: 1200 }, (_, i) => ({ name: 'many', number: i, vector: [i, 1, i % 7] }))
  const { total, failed, successful } = await es.helpers.bulk({
    datasource: many,
    onDocument: (one) => ({ index: { _index: index, _id: `h${one.number}` } }),
    flushBytes: 20000,
    refreshOnCompletion: index
  })
  yield ['bulk helper', { total, failed, successful }]
  yield ['count', await es.count({ index, query: { term: { name: 'many' } } })]

  const knn = { field: 'vector', query_vector: [5, 1, 2], k: 5, num_candidates: 50 }
  yield ['search', await es.search({ index, query: { match: { name: 'many' } }, sort: ['number'], size: 3, from: 2 })]
  yield ['knn', await es.search({ index, knn, _source: ['number'] })]
  yield ['retriever', await es.search({ index, retriever: { knn }, size: 2 })]
  yield ['filter_path', await es.search({ index, size: 1, sort: 'number', filter_path: 'hits.hits._id' })]
  yield ['msearch', await es.msearch({ index, searches: [{}, { size: 0 }, { index: 'not-there' }, {}] })]
  yield ['no index', await refused(() => es.search({ index: 'not-there' }))]

  const scrolled = []
  for await (const page of es.helpers.scrollSearch({ index, size: 500, sort: ['number'] })) {
    scrolled.push(...page.documents.map((one) => one.number))
  }
  yield ['scroll', scrolled]
  const pit = await es.openPointInTime({ index, keep_alive: '1m' })
  yield ['pit', await es.search({ pit: { id: pit.id }, size: 5, sort: ['number'] })]
  yield ["pit's end", await es.closePointInTime({ id: pit.id })]

  yield ['alias', await es.indices.updateAliases({ actions: [{ add: { index, alias: `${index}-alias` } }] })]
  yield ['by alias', await es.count({ index: `${index}-alias` })]
  yield ['mapping', await es.indices.getMapping({ index })]
  yield ['info', (await es.info()).version]
  yield ['ping', await es.ping()]
  yield ['cat', await es.cat.indices({ index, h: 'index,docs.count' })]
  yield ['drop', await es.indices.delete({ index })]
}

async function main () {
  const found = {}
  for (const compression of [false, true]) {
    const es = new Client({ node: url, compression, maxRetries: 0 })
    for await (const [step, answer] of steps(es)) {
      found[compression ? `${step}, packed` : step] = stable(answer)
    }
    await es.close()
  }
  console.log(JSON.stringify(found))
}

main()
