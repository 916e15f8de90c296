import assert from "node:assert/strict";
import { test } from "node:test";
import { soak } from "./soak.js";

// The bounded form; npm run reliability merges a thousand times.
test("a hundred merges in one process leave no files open and keep their memory", async () => {
  const { resident, moreFiles } = await soak(100, { width: 384, height: 256 });
  assert.ok(moreFiles <= 0, `${moreFiles} more open files`);
  const least = (from: number, to: number) => Math.min(...resident.slice(from, to));
  // What waits for its collection comes and goes; a merge that kept its pixels or its result would keep 42 MiB over these 50.
  const growth = least(7, 10) - least(2, 5);
  const history = resident.map((bytes) => (bytes / 2 ** 20).toFixed(1)).join(", ");
  assert.ok(growth < 2 ** 24, `${(growth / 2 ** 20).toFixed(1)} MiB more over fifty merges: ${history}`);
});
