import assert from "node:assert/strict";
import { test } from "node:test";
import { agreement, checkAgreement } from "../../src/engine/agreement.js";
import type { EngineInput } from "../../src/engine/engine.js";

/** What would be right, and the same with an error of `wrong` at every fifth value. */
const device =
  (wrong: number) =>
  async ({ exposures }: EngineInput) =>
    exposures[0].map((value, i) => value + exposures[2][i] + (i % 5 === 0 ? wrong : 0));

test("a GPU that computes something else, or nothing, is not trusted", async () => {
  assert.equal(await agreement(device(0), device(0), 3), Number.POSITIVE_INFINITY);
  const db = await agreement(device(0.1), device(0), 3);
  assert.ok(Math.abs(db - 10 * Math.log10(5 / 0.01)) < 0.05, `${db}`);
  await checkAgreement("cuda:1", device(1e-3), device(0), 3);
  for (const wrong of [0.1, Number.NaN])
    await assert.rejects(checkAgreement("cuda:1", device(wrong), device(0), 3), {
      code: "UNSUPPORTED",
      message: /"cuda:1" computes something else.*--device cpu/,
    });
});
