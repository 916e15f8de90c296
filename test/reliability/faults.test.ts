import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { temporaryName } from "../../src/output/replace-file.js";
import {
  changeInputs,
  fillDisk,
  fillDiskTraining,
  removeFolder,
  stopMerges,
  stopTraining,
  writeTraining,
} from "./faults.js";

// The bounded forms; npm run reliability does each of them a hundred times.

let folder: string;
let data: string;
let config: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-reliability-"));
  ({ data, config } = await writeTraining(folder, 8, 0));
});
after(() => rm(folder, { recursive: true, force: true }));

test("merges stopped by SIGTERM and SIGKILL", async (t) => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) t.diagnostic(`${await stopMerges(4, signal, false)}`);
  t.diagnostic(`spilled: ${await stopMerges(1, "SIGTERM", true)}`);
});
test("training stopped and gone on with arrives at the same bits", async (t) => {
  t.diagnostic(`${await stopTraining(4, ["SIGTERM", "SIGKILL"], data, config)}`);
});
test("photographs that change while they are read", async (t) => t.diagnostic(`${await changeInputs(4, "tif")}`));
test("the output's folder vanishes", async (t) => t.diagnostic(`${await removeFolder(3)}`));
test("the disk is full", async (t) => {
  const tally = await fillDisk();
  if (!tally) return t.skip("nothing can be mounted here");
  t.diagnostic(`merge: ${tally}; train: ${await fillDiskTraining(data, config)}`);
});

test("names of temporary files differ between processes of one number", () => {
  const names = new Set(Array.from({ length: 1000 }, () => temporaryName("/a/b.exr")));
  assert.equal(names.size, 1000);
  for (const name of names) assert.match(name, /\.\d+-[0-9a-f]{12}\.tmp$/);
});
