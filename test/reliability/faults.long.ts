import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  changeInputs,
  fillDisk,
  fillDiskTraining,
  removeFolder,
  stopMerges,
  stopTraining,
  writeTraining,
} from "./faults.js";

let folder: string;
let data: string;
let config: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-reliability-"));
  ({ data, config } = await writeTraining(folder, 40, 1));
});
after(() => rm(folder, { recursive: true, force: true }));

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`a hundred merges stopped by ${signal}`, async (t) =>
    t.diagnostic(`exits ${await stopMerges(100, signal, false)}`));
  test(`ten merges that spill, stopped by ${signal}`, async (t) =>
    t.diagnostic(`exits ${await stopMerges(10, signal, true)}`));
}
test("training stopped a hundred times by SIGTERM", async (t) =>
  t.diagnostic(`exits ${await stopTraining(100, ["SIGTERM"], data, config)}`));
test("training stopped a hundred times by SIGKILL", async (t) =>
  t.diagnostic(`exits ${await stopTraining(100, ["SIGKILL"], data, config)}`));
for (const format of ["jpg", "png", "tif"] as const)
  test(`${format} files cut, replaced or removed while they are read, forty times`, async (t) =>
    t.diagnostic(`exits ${await changeInputs(40, format)}`));
test("the output's folder vanishes a hundred times", async (t) => t.diagnostic(`exits ${await removeFolder(100)}`));
test("the disk is full", async (t) => {
  const tally = await fillDisk();
  if (!tally) return t.skip("nothing can be mounted here");
  t.diagnostic(`merge: exits ${tally}; train: exits ${await fillDiskTraining(data, config)}`);
});
