import assert from "node:assert/strict";
import { test } from "node:test";
import { soak } from "./soak.js";

// The bounded form; npm run reliability merges a thousand times.
test("a hundred merges in one process leave no files open and keep their memory", async () => {
  const { resident, moreFiles } = await soak(100);
  assert.ok(moreFiles <= 0, `${moreFiles} more open files`);
  const growth = (resident.at(-1) as number) - resident[resident.length >> 1];
  // Allocators settle for a while; a merge that kept its pixels or its result would keep 5 MB over these 50.
  assert.ok(growth < 2 ** 24, `${(growth / 2 ** 20).toFixed(1)} MiB more over fifty merges`);
});
