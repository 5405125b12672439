// Checks an OpenAPI document, and what was really sent and answered against its schemas.
//
// Reads {"document", "exchanges": [{"path", "method", "body", "status", "answer"}]} from standard
// input; prints one line for everything that is wrong and exits with 1 then.

import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv2020 from "ajv/dist/2020.js";

const { document, exchanges } = JSON.parse(readFileSync(0, "utf8"));
const wrong = [];

const { valid, errors } = await new Validator().validate(structuredClone(document));
if (!valid) wrong.push(`the document: ${JSON.stringify(errors)}`);

// The document as a whole is no JSON schema; its parts are.
const ajv = new Ajv2020({ strict: false, validateSchema: false });
ajv.addSchema(document, "api");

const escaped = (part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"));
const at = (parts) => parts.reduce((found, part) => found?.[part], document);

function fits(what, parts, value) {
  const reference = at(parts)?.$ref;
  const place = reference ? reference.slice(2).split("/") : parts;
  const content = at(place)?.content ?? {};
  const text = content["text/plain"] ?? content["text/event-stream"] ?? content["image/svg+xml"];
  if (typeof value === "string" && text) return;
  if (!content["application/json"]) return wrong.push(`${what}: what it says is not described`);
  const pointer = [...place, "content", "application/json", "schema"].map(escaped).join("/");
  const check = ajv.compile({ $ref: `api#/${pointer}` });
  if (!check(value)) wrong.push(`${what}: ${ajv.errorsText(check.errors)}`);
}

for (const { path, method, body, status, answer } of exchanges) {
  const name = `${method} ${path}`;
  const operation = ["paths", path, method.toLowerCase()];
  const response = [...operation, "responses", `${status}`];
  if (!at(response)) wrong.push(`${name}: ${status} is not described`);
  else if (answer !== null) fits(`${name} ${status}`, response, answer);
  if (body != null && status < 300) fits(`${name} body`, [...operation, "requestBody"], body);
}

console.log(wrong.join("\n"));
process.exitCode = wrong.length > 0 ? 1 : 0;
