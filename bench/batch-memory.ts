// The most memory that `smhdr batch` held, all its processes together, on brackets of mixed sizes:
//   npx tsx bench/batch-memory.ts [--memory 1G] [--jobs 4] [--method radiance] [--json]
// Resident memory is sampled from /proc every 20 ms (Linux only); shared pages of the runtime count once a process.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";

const { values } = parseArgs({
  options: {
    memory: { type: "string", default: "1G" },
    jobs: { type: "string", default: "4" },
    method: { type: "string", default: "radiance" },
    json: { type: "boolean" },
  },
});
const root = new URL("../", import.meta.url).pathname;
const folder = await mkdtemp(join(tmpdir(), "smhdr-memory-"));

/** Megapixels and format of the brackets, three exposures each. */
const mix = [
  ...[24, 2, 2, 12, 2, 24, 6, 2, 12, 2, 2, 6].map((megapixels) => ({ megapixels, format: "jpeg" as const })),
  ...[12, 2, 24].map((megapixels) => ({ megapixels, format: "tiff" as const })),
].filter(({ megapixels }) => values.method === "radiance" || megapixels <= 2);

/** Resident bytes of a process and those it started, and how many of their threads there are. */
async function measure(pid: number): Promise<{ bytes: number; threads: number }> {
  try {
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ").filter(Boolean);
    const parts = await Promise.all(children.map((child) => measure(Number(child))));
    const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    return {
      bytes: parts.reduce((sum, { bytes }) => sum + bytes, 1024 * number("VmRSS")),
      threads: parts.reduce((sum, { threads }) => sum + threads, number("Threads")),
    };
  } catch {
    return { bytes: 0, threads: 0 }; // it has ended
  }
}

try {
  const brackets = [];
  for (const [i, { megapixels, format }] of mix.entries()) {
    const height = Math.round(Math.sqrt((megapixels * 1e6) / 1.5));
    const photographs = [];
    for (let exposure = 0; exposure < 3; exposure++) {
      const path = join(folder, `${i}-${exposure}.${format}`);
      const image = sharp(join(root, "examples", "bracket", `exposure-${exposure + 1}.jpg`)).resize(
        Math.round(1.5 * height),
        height,
        { fit: "fill" },
      );
      if (format === "jpeg") await image.jpeg().toFile(path);
      else await image.toColourspace("rgb16").tiff({ compression: "lzw" }).toFile(path);
      photographs.push(path);
    }
    brackets.push({ name: `b${i}`, photographs, ev: [0, 3, 6] });
  }
  const plan = join(folder, "plan.json");
  await writeFile(plan, JSON.stringify({ format: "smhdr plan 1", brackets }));
  const out = join(folder, "out");
  const args = ["batch", "--plan", plan, "-o", out, "--name", "{name}.exr", "--name", "{name}.jpg"];
  const limits = ["--memory", values.memory, "--jobs", values.jobs, "--method", values.method, "--quiet"];
  const child = spawn(process.execPath, [join(root, "dist", "cli", "smhdr.js"), ...args, ...limits], {
    stdio: "inherit",
  });
  const ended = once(child, "exit");
  let [bytes, threads] = [0, 0];
  let running = true;
  ended.then(() => {
    running = false;
  });
  while (running) {
    const now = await measure(child.pid as number);
    bytes = Math.max(bytes, now.bytes);
    threads = Math.max(threads, now.threads);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`smhdr batch failed (${code}).`);
  const written = (await readdir(out)).filter((name) => name.endsWith(".exr")).length;
  const { memory, jobs, method } = values;
  const row = { method, memory, jobs, brackets: written, peakMiB: Math.round(bytes / 1024 ** 2), threads };
  console.log(values.json ? JSON.stringify(row) : row);
} finally {
  await rm(folder, { recursive: true, force: true });
}
