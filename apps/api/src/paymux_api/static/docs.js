// Draws /openapi.json as a page. Everything from the document is set as text, never as markup.
"use strict";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
};

// `code` between backticks becomes an element, the rest stays text.
const words = (text) => (text || "").split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));

const lastPart = (reference) => reference.split("/").pop();

const shapeOf = (schema) => {
  if (schema.$ref) return make("a", { href: `#schema-${lastPart(schema.$ref)}` }, lastPart(schema.$ref));
  const either = schema.anyOf || schema.oneOf;
  if (either) {
    const parts = either.filter((one) => one.type !== "null").flatMap((one, place) => (place ? [" or ", shapeOf(one)] : [shapeOf(one)]));
    if (either.some((one) => one.type === "null")) parts.push(" or null");
    return make("span", {}, ...parts);
  }
  if (schema.enum) return make("span", {}, ...schema.enum.flatMap((value, place) => [place ? " | " : "", make("code", {}, String(value))]));
  if (schema.type === "array") return make("span", {}, "list of ", shapeOf(schema.items || {}));
  if (schema.type === "object" && schema.additionalProperties) return make("span", {}, "map to ", shapeOf(schema.additionalProperties));
  return make("span", {}, schema.type || "any", schema.format ? ` (${schema.format})` : "");
};

const boundsOf = (schema) => {
  const inner = (schema.anyOf || []).find((one) => one.type !== "null") || schema;
  const names = { minimum: "≥ ", maximum: "≤ ", exclusiveMinimum: "> ", minLength: "min. length ", maxLength: "max. length ", maxProperties: "max. entries ", pattern: "" };
  return Object.entries(names).filter(([name]) => name in inner).map(([name, prefix]) => prefix + inner[name]).join(", ");
};

const table = (heads, rows) => make("table", {},
  make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
  make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat()))))));

const fieldsTable = (schema) => table(["field", "type", "notes"], Object.entries(schema.properties || {}).map(([name, shape]) => [
  [make("code", {}, name), (schema.required || []).includes(name) ? make("span", { class: "required" }, " required") : ""],
  shapeOf(shape),
  [...words(shape.description), " ", make("span", { class: "soft" }, boundsOf(shape))],
]));

const parametersTable = (parameters) => table(["parameter", "in", "type", "notes"], parameters.map((one) => [
  [make("code", {}, one.name), one.required ? make("span", { class: "required" }, " required") : ""], one.in, shapeOf(one.schema),
  [...words(one.description), " ", make("span", { class: "soft" }, boundsOf(one.schema))],
]));

const curlOf = (method, path, operation) => {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path.replace("{id}", "pay_…")}`];
  if ((operation.security || []).length) lines.push('-H "Authorization: Bearer $PAYMUX_API_KEY"');
  if ((operation.parameters || []).some((one) => one.name === "Idempotency-Key")) lines.push('-H "Idempotency-Key: order-1001-try-1"');
  const body = operation.requestBody;
  if (body) lines.push(`--json '${JSON.stringify(body.content["application/json"].example || {})}'`);
  return lines.join(" \\\n  ");
};

const copyable = (text) => {
  const button = make("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  });
  return make("div", {}, button, make("pre", {}, make("code", {}, text)));
};

const responsesTable = (responses) => table(["status", "meaning"], Object.entries(responses).map(([status, answer]) => {
  const codes = answer.description.split("`").filter((_, place) => place % 2);
  const isProblem = "application/problem+json" in (answer.content || {});
  const meaning = isProblem
    ? codes.flatMap((code, place) => [place ? ", " : "", make("a", { href: `#problem-${code}` }, make("code", {}, code))])
    : words(answer.description);
  const schema = isProblem ? null : Object.values(answer.content || {})[0]?.schema;
  return [make("code", {}, status), [...meaning, schema && schema.$ref ? " → " : "", schema && schema.$ref ? shapeOf(schema) : ""]];
}));

const drawOperation = (method, path, operation, schemas) => {
  const scopes = (operation.security || []).flatMap((one) => Object.values(one).flat());
  const body = operation.requestBody;
  return make("section", { id: operation.operationId },
    make("h2", {}, operation.summary),
    make("p", { class: "route" }, make("span", { class: `method ${method}` }, method.toUpperCase()), " ", path),
    make("p", {}, ...words(operation.description)),
    make("p", { class: "soft" }, ...(scopes.length ? words(`Scope: \`${scopes.join("` `")}\``) : ["Open to everybody."])),
    copyable(curlOf(method, path, operation)),
    operation.parameters.length ? parametersTable(operation.parameters) : "",
    body ? make("div", {}, make("h3", {}, "Body"), fieldsTable(schemas[lastPart(body.content["application/json"].schema.$ref)])) : "",
    make("h3", {}, "Answers"), responsesTable(operation.responses));
};

const draw = (contract) => {
  const main = document.querySelector("main");
  const contents = document.querySelector("#contents");
  const schemas = contract.components.schemas;
  document.querySelector("#about").replaceChildren(...words(contract.info.description),
    " Version ", contract.info.version, ". ", make("a", { href: "/openapi.json" }, "openapi.json"));
  const tags = new Map();
  for (const [path, methods] of Object.entries(contract.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      main.append(drawOperation(method, path, operation, schemas));
      const tag = operation.tags[0];
      tags.set(tag, [...(tags.get(tag) || []), make("a", { href: `#${operation.operationId}` }, operation.summary)]);
    }
  }
  for (const [tag, links] of tags) contents.append(make("h2", {}, tag), ...links);
  const problems = Object.entries(contract["x-problems"]);
  main.append(make("section", { id: "problems" }, make("h2", {}, "Problems"),
    make("p", {}, ...words("Every refusal is `application/problem+json`. Act on `code` alone.")),
    ...problems.map(([code, kind]) => make("div", { id: `problem-${code}` },
      make("h3", {}, make("code", {}, code), ` ${kind.status}`), make("p", {}, kind.title, ". ", ...words(kind.remedy))))));
  const objects = Object.entries(schemas);
  main.append(make("section", { id: "objects" }, make("h2", {}, "Objects"),
    ...objects.map(([name, schema]) => make("div", { id: `schema-${name}` },
      make("h3", {}, name), make("p", {}, ...words(schema.description)), fieldsTable(schema)))));
  contents.append(make("h2", {}, "reference"), make("a", { href: "#problems" }, "Problems"), make("a", { href: "#objects" }, "Objects"));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
};

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(draw)
  .catch((error) => { document.querySelector("#about").textContent = `The contract could not be read: ${error.message}`; });
