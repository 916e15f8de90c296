// How much longer a merge takes through GIMP than on the command line: npx tsx plugin/gimp/bench/race.ts [megapixels] [turns]
// Both merge the same three JPEGs, the example bracket enlarged, and take turns. The command decodes JPEG and writes an EXR; the
// plug-in finds its layers open in GIMP and leaves an open image.
import { once } from "node:events";
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { smhdr, start } from "../../../test/cli/process.js";
import { batch, type Gimp, installGimp, repository } from "../test/gimp-chroot.js";

const megapixels = Number(process.argv[2] ?? 24);
const turns = Number(process.argv[3] ?? 3);
const width = Math.round(Math.sqrt(megapixels * 1.5e6));
const EV = "0,3,6";

async function enlarge(gimp: Gimp): Promise<string[]> {
  const names = [1, 2, 3].map((number) => `exposure-${number}.jpg`);
  for (const name of names) {
    const image = sharp(join(repository, "examples", "bracket", name)).keepExif();
    await image
      .resize(width)
      .jpeg({ quality: 92 })
      .toFile(join(gimp.folder, `large-${name}`));
  }
  return names.map((name) => `large-${name}`);
}

async function timeCommand(gimp: Gimp, names: readonly string[]): Promise<number> {
  const files = names.map((name) => join(gimp.folder, name));
  const begin = performance.now();
  const { code, stderr } = await smhdr("merge", ...files, "--ev", EV, "-o", join(gimp.folder, "command.exr"));
  if (code !== 0) throw new Error(stderr);
  return (performance.now() - begin) / 1000;
}

async function timePlugIn(gimp: Gimp, names: readonly string[]): Promise<number> {
  const files = names.map((name) => `${gimp.inside}/${name}`).join(":");
  const running = gimp.run(batch(`${gimp.inside}/bench.py`), { SMHDR_BENCH_FILES: files, SMHDR_BENCH_EV: EV });
  let said = "";
  for (const stream of [running.stdout, running.stderr])
    stream?.setEncoding("utf8").on("data", (text) => (said += text));
  await once(running, "close");
  const line = said.split("\n").find((text) => text.startsWith("SMHDR_BENCH "));
  if (!line) throw new Error(said);
  return JSON.parse(line.slice("SMHDR_BENCH ".length)).seconds;
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

const gimp = installGimp();
if (typeof gimp === "string") throw new Error(gimp);
const startFile = join(gimp.folder, "service.json");
const service = start(["serve", "--port", "0"], { env: { SMHDR_SERVICE_FILE: startFile } });
try {
  copyFileSync(join(repository, "plugin", "gimp", "bench", "in_gimp.py"), join(gimp.folder, "bench.py"));

  const names = await enlarge(gimp);
  while (!existsSync(startFile)) await sleep(50);
  await timePlugIn(gimp, names); // GIMP's first start looks at all its plug-ins
  const times = { command: [] as number[], plugIn: [] as number[] };
  for (let turn = 0; turn < turns; turn++) {
    times.command.push(await timeCommand(gimp, names));
    times.plugIn.push(await timePlugIn(gimp, names));
    console.log(
      `turn ${turn + 1}: command ${times.command.at(-1)?.toFixed(1)} s, plug-in ${times.plugIn.at(-1)?.toFixed(1)} s`,
    );
  }
  // On a busy machine the fastest turn tells most.
  for (const [name, of] of [
    ["median", median] as const,
    ["fastest", (v: readonly number[]) => Math.min(...v)] as const,
  ]) {
    const [command, plugIn] = [of(times.command), of(times.plugIn)];
    const more = (100 * (plugIn / command - 1)).toFixed(0);
    console.log(
      `${megapixels} megapixels, ${name} of ${turns}: command ${command.toFixed(1)} s, plug-in ${plugIn.toFixed(1)} s, ${more} % more`,
    );
  }
} finally {
  service.process.kill();
  gimp.remove();
}
