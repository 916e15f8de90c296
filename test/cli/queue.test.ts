import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Journal } from "../../src/batch/journal.js";
import { brackets, take } from "../batch/photographs.js";
import { type RunningRedis, startRedis, withoutRedis } from "../batch/redis.js";
import { BATCH, jsonLines, type Running, smhdr, start } from "./process.js";

const COUNT = 10;

describe("smhdr batch --queue and smhdr worker", { skip: withoutRedis }, () => {
  let folder: string;
  let photos: string;
  let whole: Record<string, string>;
  let redis: RunningRedis;
  const workers = new Set<Running>();

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "smhdr-queue-"));
    photos = join(folder, "photos");
    await take(photos, brackets(COUNT));
    const local = await smhdr(...BATCH, photos, "-o", join(folder, "local"));
    assert.equal(local.code, 0, local.stderr);
    whole = await contents(join(folder, "local"));
    redis = await startRedis();
  });
  after(async () => {
    for (const { process } of workers) process.kill("SIGKILL");
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function contents(path: string): Promise<Record<string, string>> {
    const names = (await readdir(path)).filter((name) => name.endsWith(".exr")).sort();
    return Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, (await readFile(join(path, name))).toString("base64")])),
    );
  }

  function worker(...more: string[]): Running {
    const running = start(["worker", "--queue", redis.url, "--stalled-after", "1", "--jobs", "1", "--json", ...more]);
    workers.add(running);
    running.finished.then(() => workers.delete(running));
    return running;
  }

  /** Calls `act` when a process has printed `text` once more. */
  function whenSaid({ process }: Running, text: string, act: (times: number) => unknown): void {
    let times = 0;
    process.stdout?.on("data", (part) => {
      for (const line of String(part).split("\n")) if (line.includes(text)) act(++times);
    });
  }

  async function stop(...running: Running[]): Promise<void> {
    for (const { process } of running) process.kill("SIGTERM");
    for (const { finished } of running) assert.equal((await finished).code, 0);
  }

  /** How often the journal says of each bracket that it is done. */
  async function timesDone(path: string): Promise<number[]> {
    const journal = await Journal.open(join(path, "smhdr-journal.txt"));
    await journal.close();
    const done = journal.records.filter(({ kind }) => kind === "done").map(({ id }) => id);
    return [...new Set(done)].map((id) => done.filter((each) => each === id).length);
  }

  it("merges what the local run merges, by two workers, each bracket by one of them", async () => {
    const out = join(folder, "two");
    const pair = [worker(), worker()];
    const result = await smhdr(...BATCH, photos, "-o", out, "--queue", redis.url, "--json");
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(await contents(out), whole);
    assert.ok(jsonLines(result.stdout).some(({ event, stage }) => event === "progress" && stage === "Merging"));
    await stop(...pair);
    const merged = await Promise.all(pair.map(async ({ finished }) => jsonLines((await finished).stdout)));
    const names = merged.flat().flatMap(({ bracket }) => (bracket ? [bracket] : []));
    assert.equal(names.length, COUNT);
    assert.equal(new Set(names).size, COUNT);
  });

  it("takes over from workers killed in the middle: every bracket is in the output once", async () => {
    const out = join(folder, "killed");
    const submitter = start([...BATCH, photos, "-o", out, "--queue", redis.url, "--json"]);
    let killed = 0;
    const hire = () => {
      const each = worker();
      // Killed while it has the next bracket in hand.
      whenSaid(each, '"bracket"', () => {
        if (killed >= 4) return;
        killed++;
        each.process.kill("SIGKILL");
        hire();
      });
    };
    hire();
    hire();
    const result = await submitter.finished;
    assert.equal(result.code, 0, result.stderr);
    assert.equal(killed, 4);
    assert.deepEqual(await contents(out), whole);
    assert.deepEqual(await timesDone(out), new Array(COUNT).fill(1));
    await stop(...workers);
    assert.deepEqual(
      (await readdir(out)).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });

  it("goes on when the submitter was killed: what workers did meanwhile is not done again", async () => {
    const out = join(folder, "resubmitted");
    const submitter = start([...BATCH, photos, "-o", out, "--queue", redis.url, "--json"]);
    const one = worker();
    whenSaid(submitter, '"bracket"', () => submitter.process.kill("SIGKILL"));
    assert.equal((await submitter.finished).signal, "SIGKILL");
    const again = await smhdr(...BATCH, photos, "-o", out, "--queue", redis.url);
    assert.equal(again.code, 0, again.stderr);
    await stop(one);
    const names = jsonLines((await one.finished).stdout).flatMap(({ bracket }) => (bracket ? [bracket] : []));
    assert.equal(names.length, COUNT, `merged: ${names.join(" ")}`);
    assert.deepEqual(await contents(out), whole);
    assert.deepEqual(await timesDone(out), new Array(COUNT).fill(1));
  });

  it("sets aside what fails on every attempt", async () => {
    const own = join(folder, "bad");
    const paths = await take(own, brackets(2));
    await writeFile(paths[1], (await readFile(paths[1])).subarray(0, 900));
    const one = worker();
    const out = join(folder, "bad-out");
    const result = await smhdr(...BATCH, own, "-o", out, "--queue", redis.url, "--retries", "1", "--json");
    assert.equal(result.code, 1);
    const report = JSON.parse(await readFile(join(out, "smhdr-report.json"), "utf8"));
    assert.deepEqual([report.merged, report.setAside], [1, 1]);
    assert.match(report.outcomes[0].error.message, /IMG_0002\.jpg/);
    await stop(one);
  });

  it("is cancelled from the submitting side, brackets in hand included", async () => {
    const large = join(folder, "large");
    await take(large, brackets(6, [1200, 800]));
    const out = join(folder, "cancelled");
    const one = worker();
    const submitter = start([...BATCH, large, "-o", out, "--queue", redis.url, "--json"]);
    whenSaid(submitter, '"bracket"', () => submitter.process.kill("SIGINT"));
    const result = await submitter.finished;
    assert.equal(result.code, 130, result.stderr);
    const done = Object.keys(await contents(out)).length;
    assert.ok(done < 6, `${done} were merged`);
    // The worker is there for others, and the cancelled ones do not come back.
    const next = await smhdr(...BATCH, photos, "-o", join(folder, "next"), "--queue", redis.url);
    assert.equal(next.code, 0, next.stderr);
    assert.equal(Object.keys(await contents(out)).length, done);
    await stop(one);
  });

  it("finishes the bracket in hand on SIGTERM, and takes no other", async () => {
    const out = join(folder, "graceful");
    const submitter = start([...BATCH, photos, "-o", out, "--queue", redis.url, "--json"]);
    const first = worker();
    whenSaid(first, '"bracket"', (times) => times === 1 && first.process.kill("SIGTERM"));
    const ended = await first.finished;
    assert.equal(ended.code, 0, ended.stderr);
    const second = worker();
    assert.equal((await submitter.finished).code, 0);
    await stop(second);
    const count = async ({ finished }: Running) =>
      jsonLines((await finished).stdout).filter(({ bracket }) => bracket).length;
    assert.equal((await count(first)) + (await count(second)), COUNT); // nothing was left for another to do again
    assert.deepEqual(await contents(out), whole);
  });

  it("knows the shared folder by another path", async () => {
    const one = worker("--map", `/elsewhere=${folder}`);
    const plan = join(folder, "map.json");
    const names = ["IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg"].map((name) => `/elsewhere/photos/${name}`);
    const content = { format: "smhdr plan 1", brackets: [{ name: "mapped", photographs: names }] };
    await writeFile(plan, JSON.stringify(content));
    const out = join(folder, "mapped");
    const result = await smhdr(...BATCH, "--plan", plan, "-o", out, "--queue", redis.url);
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(Object.values(await contents(out)), [whole["IMG_0001.exr"]]);
    await stop(one);
  });

  it("does not merge for ever what does not arrive where it is looked for", async () => {
    const apart = join(folder, "apart");
    await mkdir(apart);
    const out = join(folder, "expected-here");
    const one = worker("--map", `${out}=${apart}`);
    const result = await smhdr(...BATCH, photos, "-o", out, "--queue", redis.url, "--exposures", "3", "--json");
    await stop(one);
    assert.equal(result.code, 1);
    const merged = jsonLines((await one.finished).stdout).filter(({ bracket }) => bracket);
    assert.equal(merged.length, 2 * COUNT);
    const report = JSON.parse(await readFile(join(out, "smhdr-report.json"), "utf8"));
    assert.match(report.outcomes[0].error.message, /expected-here.*is not there.*--map/);
  });

  it("says at once where a worker has too little memory", async () => {
    const result = await smhdr("worker", "--queue", redis.url, "--memory", "256M");
    assert.equal(result.code, 1);
    assert.match(result.stderr, /memory: a batch needs at least \d+ MiB with a network/);
  });

  it("says what is wrong with an address", async () => {
    for (const command of [[...BATCH, photos, "-o", join(folder, "x")], ["worker"]]) {
      const nobody = await smhdr(...command, "--queue", "redis://127.0.0.1:1");
      assert.equal(nobody.code, 1);
      assert.match(nobody.stderr, /no Redis answers at 127\.0\.0\.1:1 \(.*ECONNREFUSED/);
      assert.doesNotMatch(nobody.stderr, /Taking brackets/);
      const wrong = await smhdr(...command, "--queue", "http://127.0.0.1");
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /expected redis:\/\/host:port/);
    }
  });
});
