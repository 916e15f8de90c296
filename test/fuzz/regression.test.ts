import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { survive } from "./target.js";
import { targets } from "./targets.js";

// Inputs that once broke a parser, found by the fuzzer or by hand: test/fuzz/found/<target>/<what it did>.
const folder = new URL("./found/", import.meta.url);
const known = existsSync(folder) ? readdirSync(folder) : [];

describe("inputs that once broke a parser", () => {
  test("belong to targets", () => {
    assert.deepEqual(
      known.filter((name) => !targets.some((target) => target.name === name)),
      [],
    );
  });
  for (const target of targets.filter(({ name }) => known.includes(name)))
    for (const name of readdirSync(new URL(`${target.name}/`, folder)))
      test(`${target.name}: ${name}`, async () => {
        await survive(target, readFileSync(new URL(`${target.name}/${name}`, folder)));
      });
});

test("the seeds are read", async () => {
  for (const target of targets) {
    const outcomes = await Promise.all((await target.seeds()).map((seed) => survive(target, seed)));
    assert.ok(outcomes.includes("read"), `${target.name}: ${outcomes}`);
  }
});
