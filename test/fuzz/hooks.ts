import { readFile } from "node:fs/promises";
import type { LoadHook } from "node:module";
import { fileURLToPath } from "node:url";
import { instrument } from "./instrument.js";

// A module hook, after tsx's: what src/ is compiled to gets its counters.
export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  if (!/\/(src\/.*|test\/fuzz\/planted)\.ts($|\?)/.test(url) || loaded.format !== "module") return loaded;
  const path = fileURLToPath(url.split("?")[0]);
  const source =
    loaded.source === undefined
      ? await readFile(path, "utf8")
      : Buffer.from(loaded.source as Uint8Array).toString("utf8");
  return { ...loaded, source: instrument(source, path), shortCircuit: true };
};
