import { Ajv } from "ajv";
import type { FastifyError, FastifyInstance, FastifyRequest } from "fastify";
import { shown } from "../errors.js";
import { ServiceError } from "./errors.js";

/** Bytes of JSON at most; pixels are read as they come. */
export const BODY_LIMIT = 1 << 20;

/** What the schemas of this service are made of. */
interface Schema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  /** What is expected, where the rest does not say it to a person. */
  readonly description?: string;
}

/** What the validator tells of one thing that is wrong. */
interface Fault {
  readonly instancePath: string;
  readonly params: { readonly additionalProperty?: string; readonly missingProperty?: string };
  readonly parentSchema: Schema;
  readonly data: unknown;
}

/** Has bodies and queries checked against their schemas, and refuses in this project's words what does not fit. */
export function addValidation(app: FastifyInstance): void {
  const options = { verbose: true, strict: false };
  const ajv = new Ajv(options);
  const ajvOfText = new Ajv({ ...options, coerceTypes: true }); // a query has nothing but text
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === "querystring" ? ajvOfText : ajv).compile(schema));
  app.setSchemaErrorFormatter((errors, part) => {
    const message = describeFaults(errors as unknown as readonly Fault[], part === "querystring");
    return new ServiceError("INVALID_ARGUMENT", message);
  });
  app.removeContentTypeParser(["text/plain", "application/json"]);
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body === "") return done(null, undefined);
    parseJson(request, body as string, (error, value) => {
      if (!error) return done(null, value);
      done(new ServiceError("INVALID_ARGUMENT", `The body: expected JSON; got ${shown(body)}.`));
    });
  });
}

/** The HTTP library's own refusals as ones that say what to send; any other error as it is. */
export function inOurWords(error: FastifyError, { headers }: FastifyRequest): Error {
  if (error.code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") {
    const came = headers["content-type"] ?? "none";
    return new ServiceError("INVALID_ARGUMENT", `Content-Type: expected application/json; got ${came}.`, 415);
  }
  if (error.code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new ServiceError("TOO_LARGE", `The body: expected at most ${BODY_LIMIT} bytes; got more.`);
  }
  return error;
}

/** What is wrong, of all that the validator tells: of several ways in which a value may be right, the one that it came closest to. */
function describeFaults(faults: readonly Fault[], isQuery: boolean): string {
  const placed = faults.map((fault) => {
    const { additionalProperty, missingProperty } = fault.params;
    const path = [...fault.instancePath.split("/").slice(1), additionalProperty ?? missingProperty ?? []].flat();
    return { ...fault, path };
  });
  // The last of the deepest: a choice comes after the ways that it offers.
  const { path, params, parentSchema, data } = placed.reduce((a, b) => (b.path.length >= a.path.length ? b : a));
  const place = path.join(".") || "The body";
  const { properties = {} } = parentSchema;
  if (params.additionalProperty !== undefined) {
    const known = Object.keys(properties).join(", ") || "none";
    return `${place}: there is no such ${isQuery ? "parameter here" : "field"}; expected ${known}.`;
  }
  if (params.missingProperty !== undefined) {
    return `${place}: expected ${expected(properties[params.missingProperty] ?? {})}; got nothing.`;
  }
  const came = path.length === 0 && data === null ? "nothing" : shown(data);
  return `${place}: expected ${expected(parentSchema)}; got ${came}.`;
}

function expected(schema: Schema): string {
  const all = choices(schema);
  return all.length > 1 ? `${all.slice(0, -1).join(", ")} or ${all.at(-1)}` : all[0];
}

function choices(schema: Schema): string[] {
  if (schema.description !== undefined) return [schema.description];
  if (schema.anyOf) return schema.anyOf.flatMap(choices);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value));
  switch (schema.type) {
    case "integer":
      return [`a whole number${range(schema)}`];
    case "number":
      return [`a number${range(schema)}`];
    case "string": {
      const { minLength = 0, maxLength } = schema;
      return [maxLength === undefined ? "a text" : `a text of ${minLength} to ${maxLength} characters`];
    }
    case "array": {
      const { minItems = 0, maxItems = minItems, uniqueItems } = schema;
      const count = minItems === maxItems ? minItems : `${minItems} to ${maxItems}`;
      return [`a list of ${count}${uniqueItems ? " different" : ""} values`];
    }
    case "object":
      return [schema.required ? `an object with ${schema.required.join(", ")}` : "an object"];
    case "boolean":
      return ["true", "false"];
    default:
      return [schema.type ?? "another value"];
  }
}

function range({ minimum, maximum }: Schema): string {
  if (minimum === undefined) return "";
  return maximum === undefined ? `, ${minimum} or more` : ` from ${minimum} to ${maximum}`;
}
