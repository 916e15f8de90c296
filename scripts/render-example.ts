/**
 * Renders the example bracket: three photographs of a room with a bright window, and the true radiance.
 *
 *   npx tsx scripts/render-example.ts [--width 1152] [--seed 1] [--paths 16] [--grid 3] [--threads N] [-o examples/bracket]
 */
import { mkdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { renderBracket, writeBracket } from "../examples/renderer/render.js";

const { values } = parseArgs({
  options: {
    width: { type: "string", default: "1152" },
    seed: { type: "string", default: "1" },
    paths: { type: "string", default: "16" },
    grid: { type: "string", default: "3" },
    coarseness: { type: "string", default: "2" },
    threads: { type: "string", default: String(availableParallelism()) },
    output: { type: "string", short: "o", default: "examples/bracket" },
  },
});
const width = Number(values.width);
const started = performance.now();
const bracket = await renderBracket(
  {
    width,
    height: Math.round((width * 2) / 3),
    coarseness: Number(values.coarseness),
    paths: Number(values.paths),
    grid: Number(values.grid),
    seed: Number(values.seed),
    catCell: 0.006,
  },
  Number(values.threads),
  (what, done) => process.stderr.write(`\r${what} ${Math.round(done * 100)} %   `),
);
await mkdir(values.output, { recursive: true });
for (const path of await writeBracket(bracket, values.output)) console.log(path);
process.stderr.write(`\n${((performance.now() - started) / 1000).toFixed(0)} s\n`);
