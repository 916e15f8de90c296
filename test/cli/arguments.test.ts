import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { parseCount, parseExposureValues, parseMemory, parseThreads, parseTile } from "../../src/cli/arguments.js";

describe("command line arguments", () => {
  it("reads exposure values", () => {
    assert.deepEqual(parseExposureValues("0,2,4"), [0, 2, 4]);
    assert.deepEqual(parseExposureValues("-2, 0.5 ,+1"), [-2, 0.5, 1]);
    for (const bad of ["", "0,,4", "0,x", "NaN,1", "Infinity,1", "0;2"]) {
      assert.throws(() => parseExposureValues(bad), /Expected exposure values/, bad);
    }
  });

  it("reads sizes of memory in powers of 1024", () => {
    for (const [text, bytes] of [
      ["2G", 2 ** 31],
      ["2GiB", 2 ** 31],
      ["2gb", 2 ** 31],
      ["512M", 2 ** 29],
      ["1.5GiB", 1.5 * 2 ** 30],
      ["1048576K", 2 ** 30],
      ["2147483648", 2 ** 31],
    ] as const) {
      assert.equal(parseMemory(text), bytes, text);
    }
    for (const bad of ["", "G", "-2G", "2X", "2 or 3G", "NaN"])
      assert.throws(() => parseMemory(bad), /such as 512M/, bad);
    assert.throws(() => parseMemory("1M"), /64M or more/);
  });

  it("reads whole numbers within their bounds", () => {
    assert.equal(parseCount(0)("0"), 0);
    for (const bad of ["", "-1", "1.5", "two", "1e400"]) assert.throws(() => parseCount(0)(bad), /whole number/, bad);
    assert.throws(() => parseCount(2, 9)("12"), /whole number from 2 to 9/);
    assert.equal(parseThreads("1"), 1);
    assert.throws(() => parseThreads("0"), /1 or more/);
    assert.throws(() => parseThreads(String(4 * availableParallelism() + 1)), /at most/);
  });

  it("reads tile sizes", () => {
    assert.equal(parseTile("auto"), "auto");
    assert.equal(parseTile("full"), "full");
    assert.equal(parseTile("256"), 256);
    for (const bad of ["7", "64", "foo", ""])
      assert.throws(() => parseTile(bad), /Expected auto, full, or a whole number of pixels, 128 or more/, bad);
  });
});
