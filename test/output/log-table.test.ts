import assert from "node:assert/strict";
import { test } from "node:test";
import { fastExp2, fastLog2 } from "../../src/output/log-table.js";

test("logarithms and powers by tables are as exact as float32", () => {
  for (let i = 0; i < 20_000; i++) {
    const exponent = -125 + (i / 20_000) * 251;
    const value = Math.fround(2 ** exponent);
    assert.ok(Math.abs(fastLog2(value) - Math.log2(value)) < 2e-7 * Math.max(1, Math.abs(exponent)), `log2 ${value}`);
    const power = 2 ** exponent;
    assert.ok(Math.abs(fastExp2(exponent) - power) < 1e-8 * power, `exp2 ${exponent}`);
  }
  for (let exponent = -126; exponent <= 127; exponent++) {
    assert.equal(fastLog2(2 ** exponent), exponent);
    assert.equal(fastExp2(exponent), 2 ** exponent);
  }
  assert.equal(fastExp2(-1000), 2 ** -126);
  assert.equal(fastExp2(1000), 2 ** 127);
});
