// Filters such as "meta.city=Paris" or "width>=1000": as Elasticsearch's JSON, and as facets.

const WRITTEN = /^\s*([^\s=<>]+)\s*(>=|<=|=|>|<)\s*(.*?)\s*$/s;
const BOUNDS = { ">=": "gte", "<=": "lte", ">": "gt", "<": "lt" };
const VALUES = 12;

/** Field, operator and value; null if the text is not a filter. */
export function readFilter(text) {
  const parts = WRITTEN.exec(text);
  return parts && parts[3] !== "" ? { field: parts[1], operator: parts[2], value: parts[3] } : null;
}

/** A `bool` query; null without filters. Several values of one field are alternatives. */
export function filterQuery(texts) {
  const values = new Map();
  const clauses = [];
  for (const { field, operator, value } of texts.map(readFilter).filter(Boolean)) {
    if (operator === "=") values.set(field, [...(values.get(field) ?? []), ...asked(value)]);
    else clauses.push({ range: { [field]: { [BOUNDS[operator]]: numeric(value) ? Number(value) : value } } });
  }
  for (const [field, among] of values) clauses.push({ terms: { [field]: among } });
  return clauses.length ? { bool: { filter: clauses } } : null;
}

function numeric(value) {
  return value !== "" && Number.isFinite(Number(value));
}

/** A field of numbers wants a number, a keyword the text. */
function asked(value) {
  return numeric(value) ? [value, Number(value)] : [value];
}

/** Fields with few values to choose from: classes, and the keywords of the user's metadata. */
export function facetFields(properties) {
  const fields = [];
  const waiting = [["meta", properties.meta ?? {}]];
  while (waiting.length) {
    const [path, mapped] = waiting.pop();
    if (mapped.type === "keyword") fields.push(path);
    for (const [name, below] of Object.entries(mapped.properties ?? {})) waiting.push([`${path}.${name}`, below]);
  }
  fields.sort();
  return properties.classes ? [...fields, "classes.name"] : fields;
}

/** Count the values of each field, among what the filters of the other fields leave. */
export function facetBody(fields, filters) {
  const aggs = {};
  for (const field of fields) {
    const others = filters.filter(text => readFilter(text)?.field !== field);
    aggs[field] = {
      filter: filterQuery(others) ?? { match_all: {} },
      aggs: { values: { terms: { field, size: VALUES } } },
    };
  }
  return { size: 0, aggs };
}

/** Check boxes with counts; `change` gets a filter, and whether it is wanted. */
export function showFacets(place, fields, counted, filters, change) {
  const open = new Set([...place.querySelectorAll("details[open]")].map(one => one.dataset.field));
  const groups = fields.map(field => {
    const buckets = counted[field]?.values.buckets ?? [];
    // With as many values as images there is nothing to choose from.
    if (!buckets.length || (buckets[0].doc_count < 2 && field !== "classes.name")) return null;
    const group = document.createElement("details"), title = document.createElement("summary");
    group.dataset.field = field;
    title.textContent = field === "classes.name" ? "Classes" : field.replace(/^meta\./, "");
    const chosen = buckets.map(bucket => valueBox(field, bucket, filters, change));
    group.open = open.has(field) || chosen.some(one => one.querySelector("input").checked);
    group.append(title, ...chosen);
    return group;
  });
  place.replaceChildren(...groups.filter(Boolean));
}

function valueBox(field, bucket, filters, change) {
  const text = `${field}=${bucket.key}`;
  const label = document.createElement("label"), box = document.createElement("input");
  const name = document.createElement("span"), count = document.createElement("span");
  label.className = "value";
  box.type = "checkbox";
  box.checked = filters.includes(text);
  box.addEventListener("change", () => change(text, box.checked));
  name.textContent = bucket.key;
  count.textContent = bucket.doc_count.toLocaleString("en");
  count.className = "soft";
  label.append(box, name, count);
  return label;
}
