import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Contender, Missing, startContender, startPython } from "../../src/bench/contender.js";
import { difference, race, join as takePart } from "../../src/bench/race.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-race-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A contender that says what it takes; `log` hears every run. */
function runner(name: string, seconds: readonly number[], log: string[], optional = false): Contender {
  let runs = 0;
  return {
    name,
    optional,
    async run(check) {
      log.push(check ? `${name} warms up` : name);
      const taken = seconds[Math.min(runs++, seconds.length - 1)];
      if (Number.isNaN(taken)) throw new Error(`${name} fell\nand more`);
      return { seconds: taken, peakBytes: 1000 * runs };
    },
    close: () => log.push(`${name} leaves`),
  };
}

function circumstances() {
  const notes: string[] = [];
  const fractions: number[] = [];
  const signal = new AbortController().signal;
  const context = { signal, note: (text: string) => notes.push(text), progress: (f: number) => fractions.push(f) };
  return { context, notes, fractions };
}

describe("race", () => {
  test("takes turns, warms up, and gives medians", async () => {
    const log: string[] = [];
    const { context, fractions } = circumstances();
    const contenders = [runner("a", [9, 3, 1, 2], log), runner("b", [5, 5, 5, 50], log)];
    const standings = await race(contenders, { rounds: 3, least: 1, budget: 1000 }, context);
    assert.deepEqual(log, "a warms up,b warms up,a,b,a,b,a,b,a leaves,b leaves".split(","));
    const { rounds, ...rest } = standings.get("a") ?? assert.fail();
    assert.deepEqual(
      { ...rest, rounds: [...rounds] },
      { seconds: 2, runs: 3, peakBytes: 4000, rounds: [undefined, 3, 1, 2] },
    );
    assert.equal(standings.get("b")?.seconds, 5);
    assert.equal(fractions.at(-1), 1);
  });

  test("runs the slow less often, and counts a long first run", async () => {
    const log: string[] = [];
    const contenders = [runner("fast", [1], log), runner("slow", [60], log)];
    const standings = await race(contenders, { rounds: 5, least: 2, budget: 60 }, circumstances().context);
    assert.equal(standings.get("fast")?.runs, 5);
    assert.equal(standings.get("slow")?.runs, 2);
    assert.equal(log.filter((entry) => entry === "slow").length, 1);
  });

  test("goes on without optional contenders that fail or are thrown out, and says who", async () => {
    const log: string[] = [];
    const { context, notes } = circumstances();
    const contenders = [
      runner("ours", [1], log),
      runner("falls", [1, Number.NaN], log, true),
      runner("starts badly", [Number.NaN], log, true),
      runner("cheats", [0.1], log, true),
    ];
    const standings = await race(contenders, { rounds: 2, least: 1, budget: 60 }, context, async (ran) => {
      assert.deepEqual([...ran], ["ours", "falls", "cheats"]);
      return ["cheats"];
    });
    assert.deepEqual([...standings.keys()], ["ours"]);
    assert.deepEqual(notes, ["skipped: starts badly failed: starts badly fell", "skipped: falls failed: falls fell"]);
    assert.ok(!log.includes("cheats"), "it warmed up and no more");
  });

  test("fails with those that must run, and closes all", async () => {
    const log: string[] = [];
    const contenders = [runner("ours", [Number.NaN], log), runner("peer", [1], log, true)];
    const options = { rounds: 2, least: 1, budget: 60 };
    await assert.rejects(race(contenders, options, circumstances().context), /ours fell/);
    assert.deepEqual(log, ["ours warms up", "ours leaves", "peer leaves"]);
  });
});

describe("a contender's process", () => {
  const signal = new AbortController().signal;
  const node = (script: string) => startContender("it", process.execPath, ["-e", script], signal);

  test("is missing where the program is not there or says so", async () => {
    await assert.rejects(startContender("it", "/nonexistent/program", [], signal), (error) => error instanceof Missing);
    await assert.rejects(
      node(`console.log(JSON.stringify({ missing: "no torch" }))`),
      (error) => error instanceof Missing && error.message === "no torch",
    );
    const { context, notes } = circumstances();
    const absent = await takePart(context, "pytorch", () => startPython("pytorch", "absent.py", {}, signal));
    assert.equal(absent, undefined);
    assert.match(notes[0], /^skipped: pytorch: .*clone/);
  });

  test("that ends early is an error with its last words", async () => {
    const words = `console.error("out of memory"); process.exit(3)`;
    await assert.rejects(node(words), { code: "INTERNAL", message: /exit code 3.*out of memory/ });
    const contender = await node(`console.log('{"ready":"1"}'); process.stdin.once("data", () => { ${words} })`);
    await assert.rejects(contender.run(false), { code: "INTERNAL", message: /exit code 3.*out of memory/ });
  });

  test("answers every line and ends with its race", async () => {
    const contender = await node(`
      console.log('{"ready":"1"}');
      require("node:readline").createInterface({ input: process.stdin }).on("line", (line) =>
        console.log(JSON.stringify({ seconds: line === "check" ? 2 : 1, peakBytes: 5 })));`);
    assert.deepEqual(await contender.run(true), { seconds: 2, peakBytes: 5 });
    assert.deepEqual(await contender.run(false), { seconds: 1, peakBytes: 5 });
    contender.close();
  });

  test("ends when the work is stopped", async () => {
    const controller = new AbortController();
    const script = `console.log('{"ready":"1"}'); setInterval(() => {}, 1000)`;
    const contender = await startContender("it", process.execPath, ["-e", script], controller.signal);
    const run = contender.run(false);
    controller.abort();
    await assert.rejects(run, { code: "CANCELLED" });
  });
});

test("difference is relative to the largest value, and sees what is no number", async () => {
  const write = async (name: string, values: number[]) => {
    const path = join(folder, name);
    await writeFile(path, Float32Array.from(values));
    return path;
  };
  const ours = await write("ours", [0, 2, 1]);
  assert.equal(await difference(ours, await write("same", [0, 2, 1])), 0);
  assert.equal(await difference(ours, await write("near", [0, 1.5, 1])), 0.25);
  assert.ok(Number.isNaN(await difference(ours, await write("not", [0, Number.NaN, 1]))));
  await assert.rejects(difference(ours, await write("short", [0, 2])), { code: "INTERNAL" });
});
