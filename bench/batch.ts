// Throughput of `smhdr batch` on brackets of three 2-megapixel JPEGs, against a shell loop over `smhdr merge` and against OpenCV
// in Python on as many processes; and how busy the network's engine is kept:
//   npx tsx bench/batch.ts [--brackets 24] [--jobs 2] [--rounds 3] [--only loop|batch|follow|same|mtb|network] [--json]
// Nothing that moved is followed but by `follow`, for the peers follow nothing. The peers: `same` is our merge written with OpenCV and numpy
// (peers/opencv_same_merge.py: homographies, ghosts rejected by the same formulas); `mtb` is a cheaper, different one
// (peers/opencv_batch.py: AlignMTB + MergeDebevec, shifts alone, no ghosts rejected).
// What each makes of the example bracket is compared with its truth. The contenders take turns; each writes Radiance HDR files, for
// OpenCV comes without OpenEXR. SMHDR_PYTHON names a Python with cv2 and numpy.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { readRadiance } from "../src/codec/read-radiance.js";
import { muLaw } from "../src/measure/mu-law.js";
import { psnr } from "../src/measure/psnr.js";

const { values } = parseArgs({
  options: {
    brackets: { type: "string", default: "24" },
    network: { type: "string", default: "6" },
    jobs: { type: "string", default: String(availableParallelism()) },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    json: { type: "boolean" },
  },
});
const [count, jobs, rounds] = [Number(values.brackets), Number(values.jobs), Number(values.rounds)];
const [width, height] = [1732, 1155];
const root = new URL("../", import.meta.url).pathname;
const program = join(root, "dist", "cli", "smhdr.js");
const folder = await mkdtemp(join(tmpdir(), "smhdr-batch-"));
const photos = join(folder, "photos");

/** The example bracket, enlarged; every bracket is another crop of it. */
async function makePhotographs(): Promise<string[][]> {
  await mkdir(photos);
  const brackets: string[][] = [];
  for (let bracket = 0; bracket < count; bracket++) {
    const paths = [1, 2, 3].map((exposure) =>
      join(photos, `IMG_${String(3 * bracket + exposure).padStart(4, "0")}.jpg`),
    );
    for (const [i, path] of paths.entries()) {
      const at = new Date(Date.UTC(2026, 4, 1, 12) + 10000 * bracket + 300 * i).toISOString();
      await sharp(join(root, "examples", "bracket", `exposure-${i + 1}.jpg`))
        .resize(width + count, height + count, { fit: "fill", kernel: "cubic" })
        .extract({ left: bracket, top: count - bracket - 1, width, height })
        .withExif({
          IFD2: {
            ...{ ExposureTime: `${8 ** i}/512`, FNumber: "8/1", ISOSpeedRatings: "100" },
            DateTimeOriginal: `${at.slice(0, 10).replaceAll("-", ":")} ${at.slice(11, 19)}`,
            SubSecTimeOriginal: at.slice(20, 23),
          },
        })
        .jpeg({ quality: 92 })
        .toFile(path);
    }
    brackets.push(paths);
  }
  return brackets;
}

interface Run {
  readonly seconds: number;
  /** Of all processes, per second of the run. */
  readonly cores: number;
  readonly utilisation?: number;
}

async function timed(command: string, args: readonly string[], input?: string): Promise<Run & { stdout: string }> {
  const start = performance.now();
  const timing = ["-c", 'time -p "$@"', "bash", command, ...args];
  const child = spawn("bash", timing, { stdio: ["pipe", "pipe", "pipe"], cwd: folder });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (part) => (stdout += part));
  child.stderr.on("data", (part) => (stderr += part));
  child.stdin.end(input);
  const [code] = await once(child, "close");
  const seconds = (performance.now() - start) / 1000;
  if (code !== 0) throw new Error(`${command} failed (${code}):\n${stdout}${stderr}`);
  const used = [...stderr.matchAll(/^(?:user|sys) ([\d.]+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
  return { seconds, cores: used / seconds, stdout };
}

async function batch(out: string, extra: readonly string[]): Promise<Run> {
  const args = ["batch", photos, "-o", out, "--name", "{name}.hdr", "--jobs", String(jobs), "--json", ...extra];
  const { seconds, cores, stdout } = await timed(process.execPath, [program, ...args]);
  const summary = JSON.parse(stdout.trim().split("\n").at(-1) as string);
  return { seconds, cores, ...(summary.engineUtilisation !== undefined && { utilisation: summary.engineUtilisation }) };
}

async function loop(out: string, brackets: readonly string[][], follow = "none"): Promise<Run> {
  await mkdir(out);
  const lines = brackets.map(
    (paths, i) =>
      `"${process.execPath}" "${program}" merge ${paths.join(" ")} --method radiance --follow ${follow} -o ${out}/${i}.hdr`,
  );
  return timed("bash", ["-e"], `${lines.join("\n")}\n`);
}

async function peer(script: string, out: string, brackets: readonly string[][], python: string): Promise<Run> {
  await mkdir(out);
  const list = brackets.map((paths, i) => [join(out, `${i}.hdr`), ...paths].join("\t")).join("\n");
  return timed(python, [join(root, "bench", "peers", script), String(jobs)], list);
}

const example = [1, 2, 3].map((exposure) => join(root, "examples", "bracket", `exposure-${exposure}.jpg`));

/** PSNR of a result of the example bracket, in dB; undefined for one on another scale. */
async function quality(path: string): Promise<{ psnrMu: number; psnrL: number } | undefined> {
  const truth = (await readRadiance(join(root, "examples", "bracket", "truth.hdr"))).data as Float32Array;
  const data = (await readRadiance(path)).data as Float32Array;
  if (Math.abs(Math.log2(median([...data]) / median([...truth]))) > 0.5) return undefined;
  const [psnrMu, psnrL] = [muLaw, undefined].map((curve) => Number(psnr(data, truth, curve).toFixed(2)));
  return { psnrMu, psnrL };
}

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1];

try {
  const brackets = await makePhotographs();
  const python = process.env.SMHDR_PYTHON;
  const hasOpenCv = python !== undefined && spawnSync(python, ["-c", "import cv2"]).status === 0;
  const contenders: Readonly<Record<string, (out: string) => Promise<Run>>> = {
    batch: (out) => batch(out, ["--method", "radiance", "--follow", "none"]),
    follow: (out) => batch(out, ["--method", "radiance"]),
    loop: (out) => loop(out, brackets),
    ...(python &&
      hasOpenCv && {
        same: (out: string) => peer("opencv_same_merge.py", out, brackets, python),
        mtb: (out: string) => peer("opencv_batch.py", out, brackets, python),
      }),
  };
  const onExample: Readonly<Record<string, (out: string) => Promise<Run>>> = {
    batch: (out) => loop(out, [example]), // as the batch merges it, byte for byte
    follow: (out) => loop(out, [example], "auto"),
    ...(python && hasOpenCv && { same: (out: string) => peer("opencv_same_merge.py", out, [example], python) }),
  };
  const chosen = Object.keys(contenders).filter((name) => !values.only || name === values.only);
  const results: Record<string, Run[]> = Object.fromEntries(chosen.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of chosen) {
      const out = join(folder, `${name}-${round}`);
      const run = await contenders[name](out);
      const written = (await readdir(out)).filter((file) => file.endsWith(".hdr")).length;
      if (written !== count) throw new Error(`${name} wrote ${written} of ${count} results.`);
      results[name].push(run);
      await rm(out, { recursive: true });
    }
  }
  const qualities: Record<string, Awaited<ReturnType<typeof quality>>> = {};
  for (const name of chosen.filter((name) => onExample[name])) {
    const out = join(folder, `example-${name}`);
    await onExample[name](out);
    qualities[name] = await quality(join(out, "0.hdr"));
  }
  const rows = chosen.map((contender) => {
    const seconds = median(results[contender].map((run) => run.seconds));
    return {
      contender,
      brackets: count,
      seconds: Number(seconds.toFixed(2)),
      perMinute: Number(((60 * count) / seconds).toFixed(1)),
      cores: Number(median(results[contender].map(({ cores }) => cores)).toFixed(2)),
      ...qualities[contender],
      // What a busy machine leaves alone, more or less.
      processorSecondsEach: Number(
        median(results[contender].map((run) => (run.cores * run.seconds) / count)).toFixed(3),
      ),
    };
  });
  for (const row of rows) {
    const ratio = rows[0].contender === "batch" ? row.seconds / rows[0].seconds : undefined;
    const object = { ...row, ...(ratio !== undefined && { timesBatch: Number(ratio.toFixed(2)) }) };
    if (values.json) console.log(JSON.stringify(object));
    else console.log(object);
  }
  if (!values.only || values.only === "network") {
    const few = join(folder, "few.json");
    const planned = brackets.slice(0, Number(values.network)).map((photographs, i) => ({ name: `n${i}`, photographs }));
    await writeFile(few, JSON.stringify({ format: "smhdr plan 1", brackets: planned }));
    const out = join(folder, "network");
    const args = [program, "batch", "--plan", few, "-o", out, "--method", "network", "--json"];
    const { seconds } = await timed(process.execPath, args);
    const report = JSON.parse(await readFile(join(out, "smhdr-report.json"), "utf8"));
    const { perMinute, engineUtilisation } = report;
    const object = {
      contender: "network",
      brackets: planned.length,
      seconds: Number(seconds.toFixed(1)),
      perMinute,
      engineUtilisation,
    };
    console.log(values.json ? JSON.stringify(object) : object);
  }
  console.error(`load average at the end: ${loadavg()[0].toFixed(1)} on ${availableParallelism()} processors`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
