import assert from "node:assert/strict";
import { test } from "node:test";
import { floatsToHalves, halfValues, MAX_HALF } from "../../src/codec/half.js";

function toHalves(...values: number[]): number[] {
  const halves = new Uint16Array(values.length);
  floatsToHalves(Float32Array.from(values), halves);
  return [...halves];
}

test("every finite half comes back as itself", () => {
  const values = halfValues();
  const finite = Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => Number.isFinite(values[bits]));
  assert.equal(finite.length, 65536 - 2 * 1024);
  assert.deepEqual(toHalves(...finite.map((bits) => values[bits])), finite);
});

test("ties round to even, the rest to the nearest, between any two neighbours", () => {
  const values = halfValues();
  for (let bits = 0; bits < 0x7bff; bits++) {
    const middle = (values[bits] + values[bits + 1]) / 2; // exact in float32
    const step = middle * 2 ** -23;
    assert.deepEqual(toHalves(middle, middle - step, middle + step), [bits + (bits & 1), bits, bits + 1]);
  }
});

test("nothing becomes infinite", () => {
  assert.equal(MAX_HALF, halfValues()[0x7bff]);
  assert.deepEqual(toHalves(65504, 65519, 65520, 1e30, -65520), [0x7bff, 0x7bff, 0x7bff, 0x7bff, 0xfbff]);
  assert.deepEqual(toHalves(2 ** -25, 1e-40, -0), [0, 0, 0x8000]);
});
