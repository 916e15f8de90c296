import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compare } from "../../src/measure/compare.js";
import { muLaw, muLawOf } from "../../src/measure/mu-law.js";
import { meanSquaredError, psnr } from "../../src/measure/psnr.js";
import { pu21, pu21Psnr } from "../../src/measure/pu21.js";
import { ssim, ssimWindow } from "../../src/measure/ssim.js";

const golden = new URL("../golden/", import.meta.url);
const reference = JSON.parse(readFileSync(new URL("reference.json", golden), "utf8"));

/** One tensor of a safetensors file: 8 bytes of header length, a JSON header, the data. */
function tensor(name: string): { shape: number[]; data: Float32Array } {
  const file = readFileSync(new URL("reference_images.safetensors", golden));
  const length = Number(file.readBigUInt64LE(0));
  const { shape, data_offsets } = JSON.parse(file.toString("utf8", 8, 8 + length))[name];
  const [start, end] = data_offsets.map((offset: number) => 8 + length + offset);
  return { shape, data: new Float32Array(new Uint8Array(file.subarray(start, end)).buffer) };
}

/** Image `index` of an [N, 3, H, W] tensor, interleaved. */
function picture(name: string, index: number) {
  const { shape, data } = tensor(name);
  const [, channels, height, width] = shape;
  const size = height * width;
  const planes = data.subarray(index * channels * size, (index + 1) * channels * size);
  const interleaved = Float32Array.from(planes, (_, i) => planes[(i % channels) * size + Math.floor(i / channels)]);
  const encoding = { transfer: "linear", primaries: "srgb" } as const;
  return { width, height, channels, data: interleaved, encoding };
}

function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);
}

test("the mu-law has the reference's values", () => {
  const { x, y } = reference.range_compressor_f64;
  for (let i = 0; i < x.length; i++) near(muLaw(x[i]), y[i], 1e-12);
  assert.equal(muLaw(-1), 0);
  assert.deepEqual([...muLawOf(Float32Array.of(0, 1))], [0, 1]);
});

for (const index of [0, 1]) {
  test(`image ${index} has the reference's PSNR and SSIM`, () => {
    const pred = picture("pred", index);
    const gt = picture("gt", index);
    const expected = reference.metrics[index];
    const measures = compare(pred, gt);
    near(meanSquaredError(pred.data, gt.data), expected.mse_l, 1e-5 * expected.mse_l);
    near(meanSquaredError(pred.data, gt.data, muLaw), expected.mse_mu, 1e-5 * expected.mse_mu);
    // The reference's PSNR is float32.
    near(measures.psnrL, expected.psnr_l, 1e-4);
    near(measures.psnrMu, expected.psnr_mu, 1e-4);
    near(measures.ssimL, expected.ssim_l_f64, 1e-7);
    // The reference's window is rounded to float32: that alone moves this figure by 7e-7.
    near(measures.ssimMu, expected.ssim_mu_f64, 2e-6);
  });
}

test("both images pooled have the reference's PSNR", () => {
  near(psnr(tensor("pred").data, tensor("gt").data), reference.metrics.batch.psnr_l, 1e-4);
});

test("the SSIM window is the reference's", () => {
  const weights = ssimWindow();
  tensor("window11").data.forEach((value, i) => {
    near(weights[i % 11] * weights[Math.floor(i / 11)], value, 1e-8);
  });
});

test("equal pictures: SSIM 1, PSNR infinite", () => {
  const gt = picture("gt", 0);
  assert.equal(ssim(gt, gt), reference.ssim_identical);
  assert.equal(psnr(gt.data, gt.data), Number.POSITIVE_INFINITY);
});

test("SSIM of pictures smaller than its window", () => {
  const one = (value: number) => ({ width: 1, height: 1, channels: 1, data: Float32Array.of(value) });
  assert.equal(ssim(one(0.5), one(0.5)), 1);
  const [p, q] = [0.8, 0.2].map(Math.fround);
  const weight = ssimWindow()[5] ** 2;
  const [mp, mq] = [p * weight, q * weight];
  const covariance = p * q * weight - mp * mq;
  const variances = p * p * weight - mp * mp + q * q * weight - mq * mq;
  const expected = ((2 * mp * mq + 1e-4) * (2 * covariance + 9e-4)) / ((mp * mp + mq * mq + 1e-4) * (variances + 9e-4));
  near(ssim(one(p), one(q)), expected, 1e-12);
});

test("PU21 runs from 0 over 256 at 100 cd/m2 to its published end", () => {
  near(pu21(0.005), 0, 1e-3);
  near(pu21(100), 256, 1);
  near(pu21(10000), 595.39, 0.05);
  assert.equal(pu21(20000), pu21(10000));
  assert.equal(pu21(Number.NaN), pu21(0));
  let last = -1;
  for (let log = -2; log <= 4; log += 0.25) {
    assert.ok(pu21(10 ** log) > last);
    last = pu21(10 ** log);
  }
});

test("PU21-PSNR of a known difference", () => {
  const difference = pu21(100) - pu21(50);
  near(
    pu21Psnr(Float32Array.of(1, 0.5), Float32Array.of(1, 1), 100),
    20 * Math.log10(256 / difference) + 10 * Math.log10(2),
    1e-9,
  );
});

test("pictures of different sizes are refused", () => {
  const wrong = { code: "INVALID_ARGUMENT", message: /one size/ };
  assert.throws(() => psnr(new Float32Array(3), new Float32Array(6)), wrong);
  const gt = picture("gt", 0);
  assert.throws(() => ssim(gt, { ...gt, width: 32, height: 96 }), wrong);
});
