import assert from "node:assert/strict";
import { test } from "node:test";
import { soak } from "./soak.js";

test("a thousand merges in one process: flat memory", async (t) => {
  const { resident, slope, moreFiles } = await soak(1000, { width: 96, height: 64 }, (done) => {
    if (done % 100 === 0) t.diagnostic(`${done} merges, ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`);
  });
  const mebibytes = resident.map((bytes) => bytes / 2 ** 20);
  t.diagnostic(
    `resident ${mebibytes[0].toFixed(1)} MiB after 10 merges, ${mebibytes.at(-1)?.toFixed(1)} after 1000; ` +
      `slope over the last 500: ${(slope / 1024).toFixed(2)} KiB a merge; ${moreFiles} more open files`,
  );
  assert.ok(moreFiles <= 0);
  // A bracket's pixels are 54 KiB, its result 72 KiB.
  assert.ok(slope < 8 * 1024, `${slope} bytes a merge`);
});
