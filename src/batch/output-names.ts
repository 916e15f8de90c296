import { basename, dirname, extname, isAbsolute, normalize, sep } from "node:path";
import { SmhdrError } from "../errors.js";
import { checkOutputPath } from "../output/write-image.js";
import { byName } from "./by-name.js";
import type { PlannedBracket } from "./plan.js";

/** What a template may name, for help texts. */
export const NAME_FIELDS =
  "{name} (with folders), {folder}, {first}, {last}, {count}, {index} or {index:4}: the bracket's number";

/** Names a bracket's result without saying otherwise. */
export const DEFAULT_NAME = "{name}.exr";

/**
 * The files of every bracket, from the output folder, by templates such as "{folder}/{first}-{last}.exr".
 * @throws SmhdrError INVALID_ARGUMENT for an unknown field or extension, a name that leaves the folder, or one that two brackets share.
 */
export function outputNames(brackets: readonly PlannedBracket[], templates: readonly string[]): string[][] {
  const owners = new Map<string, string>();
  return brackets.map((bracket, index) =>
    templates.map((template) => {
      const name = fill(template, bracket, index);
      checkOutputPath(name);
      const path = normalize(name);
      if (isAbsolute(path) || path.split(sep)[0] === ".." || basename(path).startsWith(".")) {
        const what = "expected a name inside the output folder";
        throw new SmhdrError("INVALID_ARGUMENT", `name: ${what}; "${template}" gives "${name}" for ${bracket.name}.`);
      }
      const key = path.toLowerCase(); // some file systems do not tell A from a
      const owner = owners.get(key);
      if (owner !== undefined) {
        const who = owner === bracket.name ? `${owner} twice` : `${owner} and ${bracket.name}`;
        throw new SmhdrError(
          "INVALID_ARGUMENT",
          `name: "${template}" gives "${path}" to ${who}; add {index} or {name}.`,
        );
      }
      owners.set(key, bracket.name);
      return path;
    }),
  );
}

function fill(template: string, { name, photographs }: PlannedBracket, index: number): string {
  const stem = (path: string) => basename(path, extname(path));
  const names = photographs.map(stem).sort(byName);
  const fields: Readonly<Record<string, string>> = {
    name,
    folder: dirname(name),
    first: names[0],
    last: names[names.length - 1],
    count: String(photographs.length),
    index: String(index + 1),
  };
  return template.replace(/\{(\w+)(?::(\d))?\}/g, (place, field: string, digits?: string) => {
    if (!Object.hasOwn(fields, field)) {
      throw new SmhdrError("INVALID_ARGUMENT", `name: expected ${NAME_FIELDS}; got "${place}" in "${template}".`);
    }
    return fields[field].padStart(Number(digits ?? 0), "0");
  });
}
