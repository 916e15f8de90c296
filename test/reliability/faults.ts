import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCheckpoint } from "../../src/train/checkpoint.js";
import { readMetrics } from "../../src/train/metrics.js";
import { photograph } from "../cli/photographs.js";
import { type Finished, smhdr, start } from "../cli/process.js";
import { writeTrainingSet } from "../train/training-set.js";

// What must hold however a command ends: what it wrote is whole or not there, and nothing of it lies about.

/** Runs `work` with a folder that is gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-faults-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Writes what stopTraining and fillDiskTraining train on, and how: a data set and a configuration. */
export async function writeTraining(folder: string, patchesPerScene: number, falling: number) {
  const [data, config] = [join(folder, "data"), join(folder, "config.json")];
  await writeTrainingSet(data);
  const settings = { preset: "tiny", patchesPerScene, batch: 2, checkpointMinutes: 0, validation: { every: 0 } };
  await writeFile(config, JSON.stringify({ ...settings, curriculum: { plain: 1, rising: 1, falling } }));
  return { data, config };
}

/** Three photographs that do not fit into a quarter of the least --memory, 64M: their pixels go to temporary files. */
const SPILLED = { width: 1664, height: 1200 };

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Ended by itself, or by the signal before it could listen: no crash, no fault of its own. */
export function checkEnd({ code, signal, stderr }: Finished, ...expected: number[]): void {
  assert.ok(
    signal === "SIGTERM" || signal === "SIGKILL" || expected.includes(code ?? -1),
    `${code} ${signal}: ${stderr}`,
  );
  assert.doesNotMatch(stderr, /fault of smhdr|at file:|UnhandledPromise/);
}

/** How the ends of commands were spread: "130: 61, 0: 12". */
export class Tally {
  private readonly counts = new Map<string, number>();
  add({ code, signal }: Finished): void {
    const name = signal ?? String(code);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
  toString(): string {
    return [...this.counts].map(([name, count]) => `${name}: ${count}`).join(", ");
  }
}

/** How long a command takes here, in milliseconds, and that it succeeds. */
async function duration(run: () => Promise<Finished>): Promise<number> {
  const began = performance.now();
  const { code, stderr } = await run();
  assert.equal(code, 0, stderr);
  return performance.now() - began;
}

/** `smhdr merge`, stopped by `signal` at `count` random moments; `spilled`: of photographs too large for its memory. */
export async function stopMerges(count: number, signal: "SIGTERM" | "SIGKILL", spilled: boolean): Promise<Tally> {
  return inFolder(async (folder) => {
    const photographs = await photograph(folder, "png", spilled ? SPILLED : { width: 480, height: 320 });
    const [out, temporary] = [join(folder, "out"), join(folder, "tmp")];
    await mkdir(out);
    await mkdir(temporary);
    const outputs = ["a.exr", "a.jpg"].map((name) => join(out, name));
    const args = [
      "merge",
      ...photographs,
      ...outputs.flatMap((path) => ["-o", path]),
      "--memory",
      "64M",
      "--align",
      "none",
    ];
    const env = { TMPDIR: temporary };
    const whole = await duration(() => start(args, { env }).finished);
    const expected = await Promise.all(outputs.map((path) => readFile(path)));
    const tally = new Tally();
    for (let i = 0; i < count; i++) {
      for (const path of outputs) await rm(path, { force: true });
      const running = start(args, { env });
      await sleep(Math.random() * whole);
      running.process.kill(signal);
      const ended = await running.finished;
      tally.add(ended);
      checkEnd(ended, 0, 130);
      for (const [k, path] of outputs.entries()) {
        const bytes = await readFile(path).catch(() => undefined);
        assert.ok(bytes === undefined || bytes.equals(expected[k]), `${path} is not whole`);
      }
      if (signal === "SIGKILL") continue; // it can tidy nothing: hidden .tmp files stay
      const known = new Set(outputs.map((path) => path.slice(out.length + 1)));
      assert.deepEqual(
        (await readdir(out)).filter((name) => !known.has(name)),
        [],
      );
      if (ended.signal === null) assert.deepEqual(await readdir(temporary), []);
    }
    // Nothing of it is in the way of the next one.
    await duration(() => start(args, { env }).finished);
    for (const [k, path] of outputs.entries()) assert.ok((await readFile(path)).equals(expected[k]));
    return tally;
  });
}

/** `smhdr train`, stopped by signals at `count` random moments, then gone on with to its end. */
export async function stopTraining(
  count: number,
  signals: readonly ("SIGTERM" | "SIGKILL")[],
  data: string,
  config: string,
): Promise<Tally> {
  return inFolder(async (folder) => {
    const args = (run: string) => ["train", "--data", data, "-o", join(folder, run), "--threads", "1"];
    const whole = await duration(() => smhdr(...args("whole"), "--config", config));
    const run = join(folder, "run");
    const [checkpoint, metrics] = [join(run, "checkpoint.safetensors"), join(run, "metrics.jsonl")];
    const tally = new Tally();
    let steps = 0;
    let begun = false;
    for (let i = 0; i < count; i++) {
      const running = start([...args("run"), ...(begun ? ["--resume"] : ["--config", config])]);
      // It begins anew often enough that most moments fall into training: starting takes its time too.
      await sleep(Math.random() * whole);
      running.process.kill(signals[i % signals.length]);
      const ended = await running.finished;
      tally.add(ended);
      checkEnd(ended, 0, 130);
      const present = await readFile(checkpoint).catch(() => undefined);
      assert.ok(present || !begun, "the checkpoint is gone");
      if (!present) {
        await rm(run, { recursive: true, force: true });
        continue;
      }
      begun = true;
      const { position } = await readCheckpoint(checkpoint);
      assert.ok(position.steps >= steps, `${position.steps} steps, and ${steps} before`);
      steps = position.steps;
      if (ended.code === 0) {
        await checkSameRun(run, join(folder, "whole"));
        await rm(run, { recursive: true });
        [steps, begun] = [0, false];
      } else if (ended.code === 130) {
        const hidden = (await readdir(run)).filter((name) => name.endsWith(".tmp"));
        assert.ok(signals.includes("SIGKILL") || hidden.length === 0, hidden.join(", "));
        assert.ok((await readMetrics(metrics)).every((metric) => metric.step <= steps));
      }
    }
    const rest = await smhdr(...args("run"), ...(begun ? ["--resume"] : ["--config", config]));
    assert.equal(rest.code, 0, rest.stderr);
    await checkSameRun(run, join(folder, "whole"));
    return tally;
  });
}

async function checkSameRun(run: string, whole: string): Promise<void> {
  const model = (folder: string) => readFile(join(folder, "model.safetensors"));
  assert.ok((await model(run)).equals(await model(whole)), "the model is not that of a run that was never stopped");
}

/** `smhdr merge` while a photograph is cut or replaced: a result, or one clear error. */
export async function changeInputs(count: number, format: "jpg" | "png" | "tif"): Promise<Tally> {
  return inFolder(async (folder) => {
    const photographs = await photograph(join(folder, "a"), format, { width: 900, height: 600 });
    const other = await photograph(join(folder, "b"), format, { width: 300, height: 200 });
    const kept = await Promise.all(photographs.map((path) => readFile(path)));
    const out = join(folder, "out");
    await mkdir(out);
    const args = ["merge", ...photographs, "-o", join(out, "a.hdr")];
    const whole = await duration(() => smhdr(...args));
    const tally = new Tally();
    for (let i = 0; i < count; i++) {
      await rm(join(out, "a.hdr"), { force: true });
      const running = start(args);
      await sleep(Math.random() * whole * 0.8);
      const victim = i % photographs.length;
      if (i % 4 === 0) await truncate(photographs[victim], Math.floor(Math.random() * kept[victim].length));
      else if (i % 4 === 1) await copyFile(other[victim], photographs[victim]);
      else if (i % 4 === 2) await writeFile(photographs[victim], "no picture");
      else await rm(photographs[victim]);
      const ended = await running.finished;
      tally.add(ended);
      checkEnd(ended, 0, 1);
      assert.equal(ended.signal, null, ended.stderr);
      assert.deepEqual(await readdir(out), ended.code === 0 ? ["a.hdr"] : []);
      if (ended.code === 1) assert.match(ended.stderr, /^smhdr: [^\n]+\n$/m);
      await writeFile(photographs[victim], kept[victim]);
    }
    return tally;
  });
}

/** A file system of so many bytes, mounted while `work` runs; undefined where that is not allowed. */
export async function onSmallDisk<T>(bytes: number, work: (folder: string) => Promise<T>): Promise<T | undefined> {
  return inFolder(async (folder) => {
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", folder]);
    if (mounted.status !== 0) return undefined;
    try {
      return await work(folder);
    } finally {
      spawnSync("umount", [folder]);
    }
  });
}

/** `smhdr merge` into a full disk, each format; what was there before stays. Undefined where nothing can be mounted. */
export async function fillDisk(): Promise<Tally | undefined> {
  return inFolder(async (folder) => {
    const photographs = await photograph(folder, "png", { width: 480, height: 320 });
    const tally = new Tally();
    return onSmallDisk(64 * 1024, async (disk) => {
      for (const extension of ["exr", "hdr", "tif", "jpg", "png", "webp", "avif"]) {
        const out = join(disk, `a.${extension}`);
        await writeFile(out, "before");
        const ended = await smhdr("merge", ...photographs, "-o", out);
        tally.add(ended);
        // What is small enough fits; the uncompressed pixels that displays' formats go through do not.
        assert.equal(ended.code, 1, `${extension}: ${ended.stderr}`);
        assert.match(ended.stderr, /^smhdr: [^\n]*cannot be written[^\n]*\n$/m, extension);
        assert.equal(await readFile(out, "utf8"), "before");
        assert.deepEqual(await readdir(disk), [`a.${extension}`]);
        await rm(out);
      }
      const large = await photograph(join(folder, "large"), "png", SPILLED);
      const spilled = start(["merge", ...large, "-o", join(folder, "b.exr"), "--memory", "64M"], {
        env: { TMPDIR: disk },
      });
      const ended = await spilled.finished;
      tally.add(ended);
      assert.equal(ended.code, 1, ended.stderr);
      assert.match(ended.stderr, /temporary file/);
      assert.deepEqual(await readdir(disk), []);
      return tally;
    });
  });
}

/** `smhdr train` into a disk that fills: the last checkpoint that fitted stays good. Undefined where nothing can be mounted. */
export async function fillDiskTraining(data: string, config: string): Promise<Tally | undefined> {
  return inFolder(async (folder) => {
    const whole = join(folder, "whole");
    assert.equal((await smhdr("train", "--data", data, "-o", whole, "--config", config, "--threads", "1")).code, 0);
    const { length } = await readFile(join(whole, "checkpoint.safetensors"));
    const tally = new Tally();
    // Room for the first checkpoint and the model, and for no second one beside them.
    return onSmallDisk(Math.ceil(1.9 * length), async (disk) => {
      const run = join(disk, "run");
      const ended = await smhdr("train", "--data", data, "-o", run, "--config", config, "--threads", "1");
      tally.add(ended);
      assert.equal(ended.code, 1, ended.stderr);
      assert.match(ended.stderr, /^smhdr: [^\n]*cannot be written[^\n]*\n$/m);
      assert.ok((await readCheckpoint(join(run, "checkpoint.safetensors"))).position.steps >= 1);
      assert.deepEqual(
        (await readdir(run)).filter((name) => name.endsWith(".tmp")),
        [],
      );
      return tally;
    });
  });
}

/** The output's folder vanishes at `count` random moments of a merge: an error that names it, or it was too late. */
export async function removeFolder(count: number): Promise<Tally> {
  return inFolder(async (folder) => {
    const photographs = await photograph(folder, "png", { width: 480, height: 320 });
    const out = join(folder, "out");
    const args = ["merge", ...photographs, "-o", join(out, "a.exr"), "-o", join(out, "a.jpg")];
    await mkdir(out);
    const whole = await duration(() => smhdr(...args));
    const tally = new Tally();
    for (let i = 0; i < count; i++) {
      await mkdir(out, { recursive: true });
      const running = start(args);
      await sleep(Math.random() * whole);
      // A file may be made while the folder is emptied.
      await rm(out, { recursive: true, force: true, maxRetries: 5, retryDelay: 1 });
      const ended = await running.finished;
      tally.add(ended);
      checkEnd(ended, 0, 1);
      if (ended.code === 1) assert.match(ended.stderr, /^smhdr: [^\n]*(out|a\.(exr|jpg))[^\n]*\n$/m);
    }
    return tally;
  });
}
