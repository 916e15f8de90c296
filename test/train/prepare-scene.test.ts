import assert from "node:assert/strict";
import { test } from "node:test";
import { muLaw } from "../../src/measure/mu-law.js";
import { psnr } from "../../src/measure/psnr.js";
import { mergeSampler } from "../../src/reconstruct/sampler.js";
import { makeConfig } from "../../src/train/config.js";
import type { Scene } from "../../src/train/dataset.js";
import { makeBatch } from "../../src/train/make-batch.js";
import { prepareScene } from "../../src/train/prepare-scene.js";

const [width, height] = [320, 240];
const base = 3; // what the file counts the stops from

/** Light of a picture of smooth blobs, `shift` pixels further to the left. */
function light(shift: number): Float32Array {
  const out = new Float32Array(width * height * 3);
  for (let y = 0, p = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++, p++) {
        const u = x + shift;
        const wave = Math.sin(u / 7 + c) * Math.cos(y / 9) + Math.sin((u + y) / 23) + Math.sin(u / 3.1 - y / 5 + c);
        out[p] = 2 ** (wave * 1.2 - 3.5);
      }
  return out;
}

function photograph(shift: number, stops: number): Uint16Array {
  return Uint16Array.from(light(shift), (v) => Math.round(65535 * Math.min(1, v * 2 ** stops) ** (1 / 2.2)));
}

const scene: Scene = {
  name: "blobs",
  width,
  height,
  exposureValues: [base, base + 2, base + 4],
  exposures: [photograph(2.4, 0), photograph(0, 2), photograph(-3.3, 4)],
  truth: light(0).map((v) => Math.min(1, v) * 2 ** -base),
  segments: undefined,
};

test("a prepared scene is aligned, and has the merge on the scale of its truth", async () => {
  const prepared = await prepareScene(scene);
  const { merge, exposures } = prepared;
  assert.ok(merge);
  const scaled = (values: Float32Array) => values.map((v) => v * 2 ** base);
  assert.ok(psnr(scaled(merge), scaled(scene.truth), muLaw) > 40);
  assert.deepEqual(exposures[1], scene.exposures[1], "the reference stays as it is");
  const inside = (codes: Uint16Array) =>
    Array.from({ length: 200 * 160 }, (_, i) => codes[((40 + Math.floor(i / 200)) * width + 60 + (i % 200)) * 3]);
  const worst = (a: Uint16Array, b: Uint16Array) => {
    const [left, right] = [inside(a), inside(b)];
    return Math.max(...left.map((v, i) => Math.abs(v - right[i])));
  };
  for (const [e, stops] of [
    [0, 0],
    [2, 4],
  ]) {
    const still = photograph(0, stops);
    assert.ok(worst(exposures[e], still) < worst(scene.exposures[e], still) / 10, `exposure ${e}`);
  }
});

test("patches carry the merge as one more exposure: radiance, then its mu-law", () => {
  const merge = scene.truth.map((v) => v / 2);
  const config = makeConfig({ patch: 32, augmentation: { flips: false, turns: false, colours: 0 } }, "tiny");
  const { exposures, truth } = makeBatch(
    [{ scene: { ...scene, merge }, number: 1, quality: undefined }],
    config,
    1,
    0,
    0,
  );
  assert.equal(exposures.length, 4);
  for (let p = 0; p < 32 * 32; p++)
    for (let c = 0; c < 3; c++) {
      const value = truth[3 * p + c] / 2;
      assert.ok(Math.abs(exposures[3][6 * p + c] - value) < 1e-6);
      assert.ok(Math.abs(exposures[3][6 * p + 3 + c] - muLaw(value)) < 2e-4);
    }
  const plain = makeBatch([{ scene, number: 1, quality: undefined }], config, 1, 0, 0);
  assert.equal(plain.exposures.length, 3);
});

test("a merge is read scaled, kept within 0 and 1, and mirrored beyond its borders", async () => {
  const data = Float32Array.of(0, 0.1, 0.2, 0.3, 0.4, 0.5, -1, 4, 0.125);
  const out = new Float32Array(5 * 6);
  await mergeSampler({ width: 3, height: 1, data }, 2).read({ x: 0, y: 0, width: 5, height: 1 }, out);
  const radiance = Array.from({ length: 15 }, (_, i) => out[6 * Math.floor(i / 3) + (i % 3)]);
  const expected = [0, 0.2, 0.4, 0.6, 0.8, 1, 0, 1, 0.25, 0.6, 0.8, 1, 0, 0.2, 0.4];
  assert.deepEqual(
    radiance.map((v) => Number(v.toFixed(6))),
    expected,
  );
  assert.ok(Math.abs(out[3 + 2] - muLaw(0.4)) < 2e-4);
});
