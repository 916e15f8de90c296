import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { access, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { readMetrics } from "../../src/train/metrics.js";
import { writeTrainingSet } from "../train/training-set.js";
import { jsonLines, smhdr, start } from "./process.js";

const program = fileURLToPath(new URL("../../dist/cli/smhdr.js", import.meta.url));
let root: string;
let data: string;
let config: string;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "smhdr-train-command-"));
  data = join(root, "data");
  config = join(root, "config.json");
  await writeTrainingSet(data);
  const settings = { preset: "tiny", patchesPerScene: 40, batch: 2, dropPath: 0.1, validation: { every: 0 } };
  await writeFile(config, JSON.stringify({ ...settings, curriculum: { plain: 1, rising: 1, falling: 1 } }));
});
after(() => rm(root, { recursive: true, force: true }));

const run = (output: string, ...more: string[]) => ["train", "--data", data, "-o", output, "--threads", "1", ...more];
const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

test("Ctrl-C writes a checkpoint, a file that cannot grow leaves it, and the run ends as if nothing had been", async () => {
  const whole = join(root, "whole");
  const first = await smhdr(...run(whole, "--config", config, "--json"));
  assert.equal(first.code, 0, first.stderr);
  const lines = jsonLines(first.stdout);
  assert.equal(lines.at(-1)?.steps, 180);
  assert.ok(lines.some(({ event, detail }) => event === "progress" && /epoch \d of 3, loss/.test(String(detail))));

  const output = join(root, "stopped");
  const running = start(run(output, "--config", config));
  while ((await readMetrics(join(output, "metrics.jsonl"))).length < 10)
    await new Promise((resolve) => setTimeout(resolve, 20));
  running.process.kill("SIGINT");
  const stopped = await running.finished;
  assert.equal(stopped.code, 130, stopped.stderr);
  assert.match(
    stopped.stderr,
    /^smhdr: Stopped in epoch \d after \d+ steps; the checkpoint is .*Go on with --resume\.\n$/,
  );
  const checkpoint = join(output, "checkpoint.safetensors");
  const before = await readFile(checkpoint);
  assert.ok(await exists(join(output, "model.safetensors")));

  if (process.platform === "linux") {
    // No file may grow beyond 100 KiB: the checkpoint's writing breaks off in its middle, as on a full disk.
    const command = `ulimit -f 100; exec "$@"`;
    const args = ["-c", command, "bash", process.execPath, program, ...run(output, "--resume")];
    const full = spawnSync("bash", args, { encoding: "utf8" });
    assert.equal(full.status, 1, full.stderr);
    assert.match(full.stderr, /^smhdr: .*checkpoint\.safetensors: cannot be written \(.*\)\.\n$/);
    assert.deepEqual(await readFile(checkpoint), before);
    assert.deepEqual(
      (await readdir(output)).filter((name) => name.endsWith(".tmp")),
      [],
    );
  }

  const other = await smhdr(...run(output, "--resume", "--preset", "tiny"));
  assert.equal(other.code, 2, other.stderr);
  assert.match(other.stderr, /^smhdr: .*another configuration; expected the same \S+ \(/);

  const rest = await smhdr(...run(output, "--resume"));
  assert.equal(rest.code, 0, rest.stderr);
  assert.match(rest.stdout, /180 steps, PSNR-mu \d/);
  for (const name of ["model.safetensors"])
    assert.deepEqual(await readFile(join(output, name)), await readFile(join(whole, name)));
  const counted = async (folder: string) =>
    (await readMetrics(join(folder, "metrics.jsonl"))).map(({ event, step }) => `${event} ${step}`);
  assert.deepEqual(await counted(output), await counted(whole));

  const report = await smhdr("report", output);
  assert.equal(report.code, 0, report.stderr);
  assert.equal(report.stdout, `${join(output, "report.html")}\n`);
  assert.match(await readFile(join(output, "report.html"), "utf8"), /<svg /);
});

test("the model merges photographs", async () => {
  const model = join(root, "whole", "model.safetensors");
  const scene = join(data, "Test", "d");
  const photographs = [0, 1, 2].map((i) => join(scene, `${i}.tif`));
  const out = join(root, "merged.png");
  const merged = await smhdr("merge", ...photographs, "--ev", "0,2,4", "--model", model, "--align", "none", "-o", out);
  assert.equal(merged.code, 0, merged.stderr);
  assert.equal((await sharp(out).metadata()).width, 72);
});

test("wrong calls end with one clear message", async () => {
  for (const [args, code, pattern] of [
    [["train", "-o", join(root, "x")], 2, /expected a data set \(--data\) or HDR images \(--synthesize\)/],
    [run(join(root, "x"), "--preset", "paper"), 2, /"vgg" needs VGG-19's weights.*--vgg FILE/],
    [run(join(root, "x"), "--resume"), 1, /x does not exist\.$/m],
    [run(data, "--resume"), 1, /expected the folder of a training run/],
    [run(join(root, "whole")), 2, /already holds a training run/],
    [run(join(root, "x"), "--resume", "--model", "smhdr-s"), 2, /give one of them/],
    [["train", "--data", root, "-o", join(root, "x")], 1, /expected a data set with a folder Training\.$/m],
    [["train", "--data", join(root, "none"), "-o", join(root, "x")], 1, /none does not exist\.$/m],
    [["report", data], 1, /expected the folder of a training run, with a config\.json\.$/m],
    [["import", join(root, "none.pth"), "-o", join(root, "x.safetensors")], 1, /none\.pth does not exist\.$/m],
  ] as const) {
    const result = await smhdr(...args);
    assert.equal(result.code, code, result.stderr);
    assert.match(result.stderr, pattern);
    assert.match(result.stderr, /^smhdr: [^\n]*\n$/);
  }
  assert.equal(await exists(join(root, "x")), false);
});
