import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { reduceArea, reducedSize } from "../../src/measure/reduce.js";

describe("reduced pictures", () => {
  it("keep proportions and never grow", () => {
    assert.deepEqual(reducedSize(6000, 4000, 1000), { width: 1000, height: 667 });
    assert.deepEqual(reducedSize(40, 30, 1000), { width: 40, height: 30 });
    assert.deepEqual(reducedSize(5000, 1, 100), { width: 100, height: 1 });
  });

  it("are means over the areas covered", () => {
    const data = Float32Array.from([0, 10, 1, 20, 2, 30, 3, 40, 4, 50, 5, 60]); // 3 x 2, two channels
    const whole = reduceArea(data, { width: 3, height: 2 }, { width: 1, height: 1 }, 2);
    assert.deepEqual([...whole], [2.5, 35]);
    const halves = reduceArea(data, { width: 3, height: 2 }, { width: 2, height: 2 }, 2);
    // Columns 0 and half of 1; half of 1 and 2.
    for (const [i, value] of [1 / 3, 40 / 3, 5 / 3, 80 / 3].entries()) assert.ok(Math.abs(halves[i] - value) < 1e-5);
    assert.deepEqual(reduceArea(data, { width: 3, height: 2 }, { width: 3, height: 2 }, 2), data);
  });

  it("keep the mean at any size", () => {
    const [width, height] = [97, 61];
    const data = Float32Array.from({ length: width * height }, (_, i) => (i * 7919) % 101);
    const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
    for (const to of [
      { width: 13, height: 40 },
      { width: 96, height: 60 },
      { width: 1, height: 61 },
    ]) {
      assert.ok(Math.abs(mean(reduceArea(data, { width, height }, to, 1)) - mean(data)) < 1e-3);
    }
  });
});
