// Peak memory and time of `smhdr merge` on brackets of five photographs of 12, 24 and 45 megapixels, as JPEG and as
// 16-bit TIFF: npx tsx bench/memory.ts [--method radiance] [--follow none] [--memory 2G] [--only 45] [--json]
// Each is merged into an OpenEXR file and a tone-mapped JPEG. The photographs are the example's, enlarged.
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";

const { values } = parseArgs({
  options: {
    method: { type: "string", default: "radiance" },
    follow: { type: "string", default: "auto" },
    memory: { type: "string", default: "2G" },
    only: { type: "string" },
    json: { type: "boolean" },
  },
});

const sizes = [
  { megapixels: 12, width: 4240, height: 2832 },
  { megapixels: 24, width: 6000, height: 4000 },
  { megapixels: 45, width: 8192, height: 5464 },
].filter(({ megapixels }) => !values.only || megapixels === Number(values.only));

const root = new URL("../", import.meta.url).pathname;
const example = [1, 2, 3].map((number) => join(root, "examples", "bracket", `exposure-${number}.jpg`));
const folder = await mkdtemp(join(tmpdir(), "smhdr-memory-"));
const hook = join(folder, "hook.cjs");
await writeFile(
  hook,
  `process.on("exit", () => require("node:fs").writeFileSync(process.env.SMHDR_PEAK, String(process.resourceUsage().maxRSS)));`,
);

/** Five exposures a stop apart from three two stops apart: the two between are the nearest, their values scaled. */
async function photographs(width: number, height: number, format: "jpeg" | "tiff"): Promise<string[]> {
  const paths: string[] = [];
  for (let index = 0; index < 5; index++) {
    const path = join(folder, `${width}-${index}.${format}`);
    let image = sharp(example[index >> 1]).resize(width, height, { fit: "fill", kernel: "cubic" });
    if (index % 2 === 1) image = image.linear(2 ** (1 / 2.2), 0);
    if (format === "jpeg") await image.jpeg({ quality: 92 }).toFile(path);
    else await image.toColourspace("rgb16").tiff({ compression: "lzw", predictor: "horizontal" }).toFile(path);
    paths.push(path);
  }
  return paths;
}

/** Seconds of one merge; its peak is left in peak.txt. */
function merge(paths: string[], outputs: string[]): number {
  const peak = join(folder, "peak.txt");
  const args = [
    "--require",
    hook,
    join(root, "dist/cli/smhdr.js"),
    "merge",
    ...paths,
    "--ev",
    "0,1,2,3,4",
    "--method",
    values.method,
    "--follow",
    values.follow,
  ];
  const start = performance.now();
  const result = spawnSync(
    process.execPath,
    [...args, "--memory", values.memory, ...outputs.flatMap((path) => ["-o", path])],
    {
      env: { ...process.env, SMHDR_PEAK: peak },
      encoding: "utf8",
    },
  );
  if (result.status !== 0) throw new Error(`smhdr failed (${result.status}, ${result.signal}):\n${result.stderr}`);
  return (performance.now() - start) / 1000;
}

try {
  for (const { megapixels, width, height } of sizes) {
    for (const format of ["jpeg", "tiff"] as const) {
      const paths = await photographs(width, height, format);
      const outputs = ["merged.exr", "merged.jpg"].map((name) => join(folder, name));
      const seconds = merge(paths, outputs);
      const peakMiB = Math.round(Number(await readFile(join(folder, "peak.txt"), "utf8")) / 1024);
      const row = { megapixels, format, peakMiB, seconds: Number(seconds.toFixed(1)) };
      if (values.json) console.log(JSON.stringify(row));
      else console.log(`5 x ${megapixels} MP ${format.padEnd(5)} peak ${peakMiB} MiB, ${row.seconds} s`);
      await Promise.all([...paths, ...outputs].map((path) => rm(path)));
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
