import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Journal } from "../../src/batch/journal.js";
import { brackets, take } from "../batch/photographs.js";
import { type RunningRedis, startRedis, withoutRedis } from "../batch/redis.js";
import { BATCH, type Running, smhdr, start } from "../cli/process.js";

// Long forms of test/cli/batch.test.ts and test/cli/queue.test.ts: kills at random moments. SMHDR_SEED repeats a run's moments.
const COUNT = Number(process.env.SMHDR_BRACKETS ?? 60);
const KILLS = Number(process.env.SMHDR_KILLS ?? 40);
const seed = Number(process.env.SMHDR_SEED ?? Date.now() % 1e6);
let state = seed + 1;
/** Evenly spread in [0, 1). */
const random = () => {
  state = (state * 48271) % 2147483647;
  return state / 2147483647;
};
const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe(`batches under kills, seed ${seed}`, () => {
  let folder: string;
  let photos: string;
  let whole: Record<string, string>;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "smhdr-kills-"));
    photos = join(folder, "photos");
    await take(photos, brackets(COUNT, [240, 160]));
    const result = await smhdr(...BATCH, photos, "-o", join(folder, "whole"));
    assert.equal(result.code, 0, result.stderr);
    whole = await contents(join(folder, "whole"));
    assert.equal(Object.keys(whole).length, COUNT);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function contents(path: string): Promise<Record<string, string>> {
    const names = (await readdir(path).catch(() => [])).filter((name) => name.endsWith(".exr")).sort();
    return Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, (await readFile(join(path, name))).toString("base64")])),
    );
  }

  /** Every result there, whole and once; nothing else left. */
  async function check(out: string): Promise<void> {
    assert.deepEqual(await contents(out), whole);
    const journal = await Journal.open(join(out, "smhdr-journal.txt"));
    await journal.close();
    const done = journal.records.filter(({ kind }) => kind === "done").map(({ id }) => id);
    assert.equal(done.length, COUNT, "brackets that the journal calls done");
    assert.equal(new Set(done).size, COUNT);
    assert.deepEqual(
      (await readdir(out)).filter((name) => /\.(tmp|lock)$/.test(name)),
      [],
    );
  }

  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it(`goes on after ${KILLS} times ${signal}`, async (test) => {
      const out = join(folder, signal);
      let kills = 0;
      for (let running = true; running; ) {
        const { process: child, finished } = start([...BATCH, photos, "-o", out]);
        let ended = false;
        const result = finished.then((how) => {
          ended = true;
          return how;
        });
        // The pace differs from machine to machine: as many kills as were asked for, spread over start and work.
        await sleep(100 + 900 * random());
        if (!ended && kills < KILLS) {
          child.kill(signal);
          kills++;
        }
        const { code, stderr } = await result;
        if (code === 0) running = false;
        else assert.ok(code === null || code === 130, stderr);
        for (const [name, bytes] of Object.entries(await contents(out))) assert.equal(bytes, whole[name], name);
      }
      test.diagnostic(`${kills} kills`);
      await check(out);
    });
  }

  it("loses nothing when the processes that merge are killed", async (test) => {
    const out = join(folder, "processes");
    const { process: child, finished } = start([...BATCH, photos, "-o", out, "--retries", "1000"]);
    let ended = false;
    finished.then(() => {
      ended = true;
    });
    // A model that cannot be loaded ends the run, so the killing begins when there is a result.
    await Promise.race([new Promise((resolve) => child.stdout?.once("data", resolve)), finished]);
    let kills = 0;
    while (!ended && kills < KILLS) {
      await sleep(600 * random());
      const pid = child.pid as number;
      const children = childrenOf(pid);
      if (children.length > 0) {
        process.kill(children[Math.floor(random() * children.length)], "SIGKILL");
        kills++;
      }
    }
    const { code, stderr } = await finished;
    test.diagnostic(`${kills} kills`);
    assert.equal(code, 0, stderr);
    assert.deepEqual(await contents(out), whole);
  });

  describe("with a queue", { skip: withoutRedis }, () => {
    let redis: RunningRedis;
    before(async () => {
      redis = await startRedis();
    });
    after(() => redis.stop());

    it(`has every bracket once, ${KILLS} workers killed, some paused, the submitter killed`, async (test) => {
      const out = join(folder, "queue");
      const workers: Running[] = [];
      const hire = () => {
        const args = ["worker", "--queue", redis.url, "--stalled-after", "1", "--jobs", "1", "--quiet"];
        workers.push(start(args));
      };
      for (let i = 0; i < 3; i++) hire();
      let [kills, pauses, submitters] = [0, 0, 0];
      try {
        for (let running = true; running; ) {
          const submitter = start([...BATCH, photos, "-o", out, "--queue", redis.url]);
          submitters++;
          let ended = false;
          const result = submitter.finished.then((how) => {
            ended = true;
            return how;
          });
          const until = submitters <= 4 ? Date.now() + 6000 * random() : Number.POSITIVE_INFINITY;
          while (!ended) {
            await sleep(200 + 800 * random());
            if (Date.now() > until) submitter.process.kill("SIGKILL");
            if (kills >= KILLS) continue;
            const [chosen] = workers.splice(Math.floor(random() * workers.length), 1);
            hire();
            if (random() < 0.2) {
              // A machine that sleeps, and wakes when others have its bracket.
              chosen.process.kill("SIGSTOP");
              pauses++;
              await sleep(3500);
              chosen.process.kill("SIGCONT");
              await sleep(500);
            }
            chosen.process.kill("SIGKILL");
            kills++;
          }
          const { code, stderr } = await result;
          if (code === 0) running = false;
          else assert.equal(code, null, stderr);
        }
      } finally {
        for (const { process } of workers) process.kill("SIGTERM");
        await Promise.all(workers.map(({ finished }) => finished));
      }
      test.diagnostic(`${kills} workers killed, ${pauses} of them paused before; ${submitters} submitters`);
      await check(out);
    });
  });
});

/** Processes that a process has started (Linux). */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
