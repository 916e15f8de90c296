import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Journal } from "../../src/batch/journal.js";
import { takeLock } from "../../src/batch/lock.js";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { hasDefaultModel } from "../../src/model/model.js";
import { brackets, take } from "../batch/photographs.js";
import { BATCH, jsonLines, smhdr, start } from "./process.js";

let folder: string;
let photos: string;
const COUNT = 8;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-batch-"));
  photos = join(folder, "photos");
  await take(photos, brackets(COUNT));
});
after(() => rm(folder, { recursive: true, force: true }));

const images = async (path: string) =>
  (await readdir(path, { recursive: true })).filter((name) => /\.(exr|hdr|jpg|tif)$/.test(name)).sort();

async function contents(path: string): Promise<Record<string, string>> {
  const names = await images(path);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, (await readFile(join(path, name))).toString("base64")])),
  );
}

/** How often the journal says of each bracket that it is done. */
async function timesDone(path: string): Promise<number[]> {
  const journal = await Journal.open(join(path, "smhdr-journal.txt"));
  await journal.close();
  const counts = new Map<string, number>();
  for (const record of journal.records)
    if (record.kind === "done") counts.set(record.id, (counts.get(record.id) ?? 0) + 1);
  return [...counts.values()];
}

describe("smhdr batch", () => {
  it("merges every bracket as smhdr merge does, byte for byte whatever the number of jobs", async () => {
    const [one, many, alone] = ["one", "many", "alone"].map((name) => join(folder, name));
    for (const [out, jobs] of [
      [one, "1"],
      [many, "3"],
    ]) {
      const result = await smhdr(
        ...BATCH,
        photos,
        "-o",
        out,
        "--jobs",
        jobs,
        "--name",
        "{name}.exr",
        "--name",
        "{name}.jpg",
      );
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stderr, /8 of 8 brackets merged.*, 8 with notes in smhdr-report\.json\./);
      assert.equal(result.stdout.trim().split("\n").length, 2 * COUNT);
    }
    const results = await contents(one);
    assert.equal(Object.keys(results).length, 2 * COUNT);
    assert.deepEqual(results, await contents(many));
    await mkdir(alone);
    const inputs = [1, 2, 3].map((i) => join(photos, `IMG_000${i}.jpg`));
    assert.equal((await smhdr("merge", "--method", "radiance", ...inputs, "-o", join(alone, "IMG_0001.exr"))).code, 0);
    assert.equal((await contents(alone))["IMG_0001.exr"], results["IMG_0001.exr"]);
  });

  it("merges with the network, one engine for all", async (test) => {
    if (!hasDefaultModel()) return test.skip("no model is shipped");
    const few = join(folder, "few");
    await take(few, brackets(2));
    const runs = await Promise.all(
      ["1", "2"].map(async (jobs) => {
        const out = join(folder, `network-${jobs}`);
        const result = await smhdr("batch", few, "-o", out, "--jobs", jobs, "--method", "network", "--json");
        assert.equal(result.code, 0, result.stderr);
        const summary = jsonLines(result.stdout).at(-1);
        assert.ok((summary?.engineUtilisation as number) > 0 && (summary?.engineUtilisation as number) <= 1);
        return contents(out);
      }),
    );
    assert.deepEqual(runs[0], runs[1]);
  });

  it("shows the brackets and keeps a plan, which can be corrected and run", async () => {
    const plan = join(folder, "plan.json");
    const shown = await smhdr("batch", photos, "--dry-run", "--plan", plan);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /IMG_0022 +3 /);
    const content = JSON.parse(await readFile(plan, "utf8"));
    content.brackets = [
      { ...content.brackets[0], name: "hall", photographs: content.brackets[0].photographs.slice(0, 2) },
    ];
    await writeFile(plan, JSON.stringify(content));
    const out = join(folder, "planned");
    const result = await smhdr(...BATCH, "--plan", plan, "-o", out, "--json");
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(await images(out), ["hall.exr"]);
    const last = jsonLines(result.stdout).at(-1);
    assert.deepEqual([last?.summary, last?.merged, last?.setAside], [true, 1, 0]);
  });

  it("skips what is done, and does again what changed or is gone", async () => {
    const own = join(folder, "own");
    const out = join(folder, "own-out");
    await take(own, brackets(3));
    assert.equal((await smhdr(...BATCH, own, "-o", out)).code, 0);
    const times = async () =>
      Promise.all((await images(out)).map(async (name) => (await stat(join(out, name))).mtimeMs));
    const before = await times();
    const again = await smhdr(...BATCH, own, "-o", out);
    assert.match(again.stderr, /0 of 3 brackets merged.*3 were there/);
    assert.deepEqual(await times(), before);
    await take(own, [{ name: "IMG_0002.jpg", at: 0.3, stops: 2.5 }]);
    await rm(join(out, "IMG_0004.exr"));
    assert.match((await smhdr(...BATCH, own, "-o", out)).stderr, /2 of 3 brackets merged.*1 were there/);
    assert.equal((await times())[2], before[2]);
    assert.match((await smhdr(...BATCH, own, "-o", out, "--reference", "0")).stderr, /3 of 3 brackets merged/);
  });

  it("never replaces a photograph, whatever may be overwritten", async () => {
    const kept = join(folder, "kept");
    await take(kept, brackets(1));
    const before = await contents(kept);
    const link = join(folder, "kept-link");
    await symlink(kept, link);
    for (const out of [kept, link]) {
      const result = await smhdr(...BATCH, kept, "-o", out, "--name", "{name}.jpg", "--overwrite");
      assert.equal(result.code, 2, result.stderr);
      assert.match(result.stderr, /"IMG_0001\.jpg", the result of IMG_0001, would replace .*kept.IMG_0001\.jpg/);
    }
    assert.deepEqual(await contents(kept), before);
  });

  it("killed again and again, goes on where it was: every bracket once", async () => {
    const whole = await contents(join(folder, "one"));
    const out = join(folder, "killed");
    const args = [...BATCH, photos, "-o", out, "--name", "{name}.exr", "--name", "{name}.jpg", "--json"];
    let kills = 0;
    for (let left = 1; left > 0; ) {
      const { process: child, finished } = start(args);
      const goal = kills < 5 ? 1 + (kills % 2) : Number.POSITIVE_INFINITY; // results until the kill
      let text = "";
      child.stdout?.on("data", (part) => {
        text += part;
        if ((text.match(/"state":"merged"/g)?.length ?? 0) >= goal) child.kill("SIGKILL");
      });
      const { code, signal, stderr } = await finished;
      if (signal === "SIGKILL") kills++;
      else {
        assert.equal(code, 0, stderr);
        left = 0;
      }
      const complete = await contents(out);
      for (const [name, bytes] of Object.entries(complete)) assert.equal(bytes, whole[name], name); // never half a file
    }
    assert.ok(kills >= 3, `${kills} kills`);
    assert.deepEqual(await contents(out), whole);
    assert.deepEqual(await timesDone(out), new Array(COUNT).fill(1));
    assert.deepEqual(
      (await readdir(out)).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });

  it("sets aside a bracket that fails, merges the rest, and tells", async () => {
    const own = join(folder, "some-bad");
    const out = join(folder, "some-bad-out");
    const paths = await take(own, brackets(3));
    const whole = await readFile(paths[4]);
    await writeFile(paths[4], whole.subarray(0, whole.length / 2));
    const result = await smhdr(...BATCH, own, "-o", out, "--retries", "1", "--json");
    assert.equal(result.code, 1);
    assert.match(result.stderr, /1 of 3 brackets were set aside; .*smhdr-report\.json/);
    assert.deepEqual(await images(out), ["IMG_0001.exr", "IMG_0007.exr"]);
    const report = JSON.parse(await readFile(join(out, "smhdr-report.json"), "utf8"));
    const { merged, setAside, outcomes } = report;
    assert.deepEqual([merged, setAside, outcomes[1].state, outcomes[1].attempts], [2, 1, "set-aside", 2]);
    assert.match(outcomes[1].error.message, /IMG_0005\.jpg is damaged or cut short/);
    await writeFile(paths[4], whole);
    assert.match((await smhdr(...BATCH, own, "-o", out)).stderr, /1 of 3 brackets merged.*2 were there/);
  });

  it("sets aside a bracket that the memory cannot hold", async () => {
    const own = join(folder, "too-large");
    await take(own, [...brackets(1), ...brackets(2, [5200, 3900]).slice(3)]);
    const out = join(folder, "too-large-out");
    const result = await smhdr(...BATCH, own, "-o", out, "--memory", "440M", "--retries", "0");
    assert.equal(result.code, 1);
    assert.match(result.stderr, /IMG_0004 was set aside: memory: merging 5200 x 3900 pixels needs at least/);
    assert.deepEqual(await images(out), ["IMG_0001.exr"]);
  });

  it("does not write over what it has not written", async () => {
    const out = join(folder, "foreign");
    await mkdir(out);
    await writeFile(join(out, "IMG_0001.exr"), "precious");
    const result = await smhdr(...BATCH, photos, "-o", out);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /IMG_0001 was set aside: .*was not written by this batch/);
    assert.equal(await readFile(join(out, "IMG_0001.exr"), "utf8"), "precious");
    assert.equal((await images(out)).length, COUNT);
    assert.equal((await smhdr(...BATCH, photos, "-o", out, "--overwrite")).code, 0);
  });

  it("brings all results to one scale with --same-exposure", async () => {
    const own = join(folder, "scales");
    // The same scene; the second bracket collects two stops more in each of its exposures.
    await take(own, [
      ...[0, 2, 4].map((stops, i) => ({ name: `a${i}.jpg`, at: i, stops })),
      ...[2, 4, 6].map((stops, i) => ({ name: `b${i}.jpg`, at: 60 + i, stops })),
    ]);
    const out = join(folder, "scales-out");
    const result = await smhdr(...BATCH, own, "-o", out, "--same-exposure", "--align", "none");
    assert.equal(result.code, 0, result.stderr);
    const [a, b] = await Promise.all(["a0.exr", "b0.exr"].map((name) => readRadiance(join(out, name))));
    // A well-exposed part of both: its light must be the same number.
    const at = (32 * 96 + 40) * 3 + 1;
    assert.ok(Math.abs(Math.log2(a.data[at] / b.data[at])) < 0.2, `${a.data[at]} and ${b.data[at]}`);
    assert.match((await readFile(join(out, "b0.exr"))).toString("latin1"), /one scale for the whole batch/);
  });

  it("stops cleanly on SIGTERM and goes on later", async () => {
    const out = join(folder, "stopped");
    const { process: child, finished } = start([...BATCH, photos, "-o", out, "--json"]);
    child.stdout?.on("data", (part) => {
      if (String(part).includes('"merged"')) child.kill("SIGTERM");
    });
    const result = await finished;
    assert.equal(result.code, 130, result.stderr);
    assert.deepEqual(
      (await readdir(out)).filter((name) => /\.(tmp|lock)$/.test(name)),
      [],
    );
    assert.equal((await smhdr(...BATCH, photos, "-o", out)).code, 0);
    assert.equal((await images(out)).length, COUNT);
    assert.deepEqual(await timesDone(out), new Array(COUNT).fill(1));
  });

  it("stops where the output folder vanishes, for no bracket could be written", async () => {
    // A link, which a file can take the place of at once: a folder would be filled again while it is emptied.
    const [out, real, file] = ["vanishing", "real", "file"].map((name) => join(folder, name));
    await mkdir(real);
    await symlink(real, out);
    await writeFile(file, "a file in its place");
    const { process: child, finished } = start([
      ...BATCH,
      photos,
      "-o",
      out,
      "--name",
      "sub/{name}.exr",
      "--json",
      "--jobs",
      "1",
    ]);
    let gone = false;
    child.stdout?.on("data", async (part) => {
      if (gone || !String(part).includes('"merged"')) return;
      gone = true;
      await rename(file, out);
    });
    const result = await finished;
    assert.equal(result.code, 1, result.stdout);
    assert.match(result.stderr, /vanishing/);
  });

  it("keeps two runs from one output folder", async () => {
    const out = join(folder, "shared");
    await mkdir(out);
    const unlock = await takeLock(join(out, "smhdr-batch.lock"));
    const result = await smhdr(...BATCH, photos, "-o", out);
    assert.equal(result.code, 1);
    assert.match(result.stderr, new RegExp(`Another batch \\(process ${process.pid} on .*works in this folder`));
    await unlock();
    assert.equal((await smhdr(...BATCH, photos, "-o", out)).code, 0);
  });

  it("refuses calls that make no sense", async () => {
    const cases: [string[], number, RegExp][] = [
      [[], 2, /folder: expected at least one/],
      [[photos], 2, /-o: expected the folder/],
      [[photos, "-o", join(folder, "x"), "--name", "same.exr"], 2, /gives "same\.exr" to IMG_0001 and IMG_0004/],
      [[photos, "-o", join(folder, "x"), "--pattern", "{exposure}"], 2, /pattern: expected \{bracket\}/],
      [[join(folder, "nowhere"), "-o", join(folder, "x")], 1, /nowhere does not exist/],
      [
        [photos, "-o", join(folder, "x"), "--memory", "64M"],
        1,
        /needs at least 860 MiB with a network, 430 MiB with the method "radiance"; got 64/,
      ],
      [[photos, "-o", join(folder, "x"), "--method", "network", "--model", "none-such"], 2, /none-such/],
    ];
    for (const [args, code, message] of cases) {
      const result = await smhdr("batch", ...args);
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
    }
    const empty = join(folder, "empty");
    await take(empty, [{ name: "single.jpg", stops: 0 }]);
    const result = await smhdr("batch", empty, "-o", join(folder, "x"));
    assert.deepEqual([result.code, /No brackets were found[\s\S]*no other exposure/.test(result.stderr)], [1, true]);
  });
});
