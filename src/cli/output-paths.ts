import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { SmhdrError } from "../errors.js";
import { checkOutputPath } from "../output/write-image.js";

/**
 * Checks, before the work begins, that every output can be written: a known extension, a folder that exists and can be
 * written to, not a folder itself, not one of the inputs, not named twice.
 */
export async function checkOutputs(outputs: readonly string[], inputs: readonly string[]): Promise<void> {
  const inputPaths = new Set(await Promise.all(inputs.map(locate)));
  const seen = new Set<string>();
  for (const output of outputs) {
    checkOutputPath(output);
    const folder = dirname(resolve(output));
    const kind = await stat(folder).catch(() => undefined);
    if (!kind) throw new SmhdrError("IO", `Output "${output}": the folder ${folder} does not exist.`);
    if (!kind.isDirectory()) throw new SmhdrError("IO", `Output "${output}": ${folder} is not a folder.`);
    await access(folder, constants.W_OK).catch((cause) => {
      throw new SmhdrError("IO", `Output "${output}": the folder ${folder} cannot be written to.`, { cause });
    });
    const present = await stat(output).catch(() => undefined);
    if (present?.isDirectory()) throw new SmhdrError("IO", `Output "${output}": this is a folder.`);
    const path = await locate(output);
    if (inputPaths.has(path)) {
      throw new SmhdrError("INVALID_ARGUMENT", `Output "${output}": this is one of the photographs; it would be lost.`);
    }
    if (seen.has(path)) throw new SmhdrError("INVALID_ARGUMENT", `Output "${output}": named twice.`);
    seen.add(path);
  }
}

/** The path with every link followed, also of a file that is yet to be. */
async function locate(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const folder = dirname(resolve(path));
    return join(await realpath(folder).catch(() => folder), basename(path));
  }
}
