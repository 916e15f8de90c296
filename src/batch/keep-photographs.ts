import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SmhdrError } from "../errors.js";
import type { PlannedBracket } from "./plan.js";

/**
 * Checks that no result takes the place of a photograph of the plan, whatever may be overwritten: what is lost there is lost.
 * @param files of every bracket, from the folder `output`
 * @throws SmhdrError INVALID_ARGUMENT
 */
export async function keepPhotographs(
  brackets: readonly PlannedBracket[],
  files: readonly (readonly string[])[],
  output: string,
): Promise<void> {
  const locate = locator();
  const owners = new Map<string, string>();
  for (const { name, photographs } of brackets)
    for (const path of photographs) owners.set(await locate(path), `${path}, a photograph of ${name}`);
  for (const [index, names] of files.entries())
    for (const name of names) {
      const lost = owners.get(await locate(join(output, name)));
      if (lost === undefined) continue;
      const why = `"${name}", the result of ${brackets[index].name}, would replace ${lost}`;
      throw new SmhdrError("INVALID_ARGUMENT", `name: ${why}; choose another name or another output folder.`);
    }
}

/** Tells files apart by their folders with every link followed, each looked up once. */
function locator(): (path: string) => Promise<string> {
  const folders = new Map<string, Promise<string>>();
  return async (path) => {
    const folder = dirname(path);
    const real = folders.get(folder) ?? realpath(folder).catch(() => folder);
    folders.set(folder, real);
    return join(await real, basename(path)).toLowerCase(); // some file systems do not tell A from a
  };
}
