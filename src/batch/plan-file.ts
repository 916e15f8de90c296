import { readFile, stat, writeFile } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { MAX_EXPOSURES } from "../bracket/read-bracket.js";
import { SmhdrError, unreadable } from "../errors.js";
import { replaceFile } from "../output/replace-file.js";
import type { BatchPlan, PlannedBracket } from "./plan.js";

const FORMAT = "smhdr plan 1";

/**
 * Writes a plan as JSON that people can correct; photographs below its folder are named from there.
 * @throws SmhdrError INVALID_ARGUMENT where the file exists (it may have been corrected), IO.
 */
export async function writePlan(plan: BatchPlan, path: string): Promise<void> {
  if (await stat(path).catch(() => undefined))
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `plan: ${path} exists and may have been corrected; leave the folders out to merge by it, or choose another name.`,
    );
  const folder = dirname(resolve(path));
  const short = (file: string) => {
    const inside = relative(folder, file);
    return inside.startsWith("..") || isAbsolute(inside) ? file : inside.split(sep).join("/");
  };
  const content = {
    format: FORMAT,
    brackets: plan.brackets.map(({ name, about, photographs, ev, reference }) => ({
      name,
      ...(about !== undefined && { about }),
      photographs: photographs.map(short),
      ...(ev && { ev }),
      ...(reference !== undefined && { reference }),
    })),
    left: plan.left.map(({ path: file, reason }) => ({ path: short(file), reason })),
  };
  await replaceFile(path, undefined, (temporary) => writeFile(temporary, `${JSON.stringify(content, null, 2)}\n`));
}

/** Reads a plan. @throws SmhdrError IO, or BAD_INPUT naming the bracket that is wrong, what was expected and what came. */
export async function readPlan(path: string): Promise<BatchPlan> {
  const text = await readFile(path, "utf8").catch((cause) => {
    throw unreadable(`plan: ${path}`, cause);
  });
  const fail = (what: string): never => {
    throw new SmhdrError("BAD_INPUT", `${path}: ${what}.`);
  };
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    return fail(`is not JSON (${(error as Error).message})`);
  }
  if (!isRecord(content) || content.format !== FORMAT) return fail(`expected "format": "${FORMAT}"`);
  const { brackets, left = [] } = content;
  if (!Array.isArray(brackets)) return fail(`"brackets": expected a list`);
  if (!Array.isArray(left)) return fail(`"left": expected a list`);
  const folder = dirname(resolve(path));
  return {
    brackets: brackets.map((bracket, i) => readEntry(bracket, folder, (what) => fail(`bracket ${i + 1}: ${what}`))),
    left: left.flatMap((entry) =>
      isRecord(entry) && typeof entry.path === "string"
        ? [{ path: resolve(folder, entry.path), reason: String(entry.reason ?? "") }]
        : [],
    ),
  };
}

function readEntry(entry: unknown, folder: string, fail: (what: string) => never): PlannedBracket {
  if (!isRecord(entry)) return fail("expected an object");
  const { name, photographs, ev, reference, about } = entry;
  if (typeof name !== "string" || name === "") return fail(`"name": expected a text; got ${JSON.stringify(name)}`);
  if (!isList(photographs, "string")) return fail(`"photographs" of ${name}: expected a list of paths`);
  const count = photographs.length;
  if (count < 2 || count > MAX_EXPOSURES)
    return fail(`${name}: expected 2 to ${MAX_EXPOSURES} photographs; got ${count}`);
  const paths = photographs.map((file) => resolve(folder, file));
  const twice = paths.find((file, i) => paths.indexOf(file) !== i);
  if (twice) return fail(`${name}: ${twice} comes twice`);
  if (ev !== undefined && !(isList(ev, "number") && ev.length === count && ev.every(Number.isFinite)))
    return fail(`"ev" of ${name}: expected ${count} numbers; got ${JSON.stringify(ev)}`);
  const inside = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < count;
  if (reference !== undefined && !inside(reference))
    return fail(`"reference" of ${name}: expected 0 to ${count - 1}; got ${JSON.stringify(reference)}`);
  return {
    name,
    photographs: paths,
    ...(ev !== undefined && { ev }),
    ...(reference !== undefined && { reference: reference as number }),
    ...(typeof about === "string" && { about }),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isList<T extends "string" | "number">(
  value: unknown,
  type: T,
): value is (T extends "string" ? string : number)[] {
  return Array.isArray(value) && value.every((each) => typeof each === type);
}
