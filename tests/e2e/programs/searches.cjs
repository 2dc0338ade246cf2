// Asks searches that come as JSON: searches.cjs URL INDEX < {"name": body, …}.
// Prints what each is answered, and what the client says besides.
const { readFileSync } = require('node:fs')
const { Client } = require('@elastic/elasticsearch')

const [url, index] = process.argv.slice(2)

async function answerTo (es, body) {
  if (Array.isArray(body)) return es.msearch({ index, searches: body })
  try {
    const found = await es.search({ index, ...body }, { meta: true })
    return { ...found.body, warnings: (found.warnings ?? []).map((one) => one.match(/"(.*?)"/)[1]) }
  } catch (error) {
    return error.body
  }
}

async function main () {
  const es = new Client({ node: url, maxRetries: 0 })
  const found = {}
  for (const [name, body] of Object.entries(JSON.parse(readFileSync(0)))) {
    found[name] = await answerTo(es, body)
  }
  await es.close()
  console.log(JSON.stringify(found))
}

main()
