import assert from "node:assert/strict";
import { test } from "node:test";
import { optionalAddon } from "../../src/engine/addon.js";
import type { Image } from "../../src/image.js";
import { prepareToneMap, type ToneMapOptions, toneMap } from "../../src/output/tone-map.js";
import { someRadiance } from "./radiance.js";

type Linear = Image & { readonly data: Float32Array };

/** A picture whose pixel (x, y) is what `pixel` says. */
function picture(width: number, height: number, pixel: (x: number, y: number) => [number, number, number]): Linear {
  const data = new Float32Array(width * height * 3);
  for (let i = 0; i < width * height; i++) data.set(pixel(i % width, Math.floor(i / width)), 3 * i);
  return { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" } };
}

const grey = (value: number): [number, number, number] => [value, value, value];
const linear = (code: number) => (code <= 0.04045 ? code / 12.92 : ((code + 0.055) / 1.055) ** 2.4);
const codes = (image: Linear, options?: ToneMapOptions) => toneMap(image, options).data;

test("strips give what the whole gives", () => {
  const radiance = someRadiance(1500, 40);
  const whole = codes(radiance);
  const map = prepareToneMap(radiance);
  for (const [y0, y1] of [
    [0, 1],
    [1, 17],
    [17, 40],
  ]) {
    const strip = new Uint8Array((y1 - y0) * 1500 * 3);
    map.rows(y0, y1, strip);
    assert.deepEqual(strip, whole.slice(y0 * 1500 * 3, y1 * 1500 * 3));
  }
});

test("with and without the addon the codes are the same, or next to each other", (t) => {
  const addon = optionalAddon();
  if (!addon) return t.skip("no addon here");
  for (const [width, height] of [
    [1, 1],
    [7, 3],
    [64, 48],
    [1500, 40],
    [3, 2100],
  ]) {
    const radiance = someRadiance(width, height);
    for (let i = 0; i < radiance.data.length; i += 101) radiance.data[i] = [Number.NaN, -1, 0, 1e30, 1e-30][i % 5];
    // A lamp far above what is around it.
    radiance.data.set([4e4, 9e4, 2e4], 3 * ((radiance.data.length / 6) | 0));
    const looks = [
      {},
      { exposure: 1.5, detail: 0.6, saturation: 1.4 },
      { saturation: 0 },
      { exposure: 2.3 },
      { exposure: -9, detail: 20 },
      { exposure: 20 },
      { exposure: Number.NaN },
    ];
    for (const primaries of ["srgb", "display-p3"] as const)
      for (const options of looks)
        for (const Codes of [Uint8Array, Uint16Array]) {
          const image = { ...radiance, encoding: { ...radiance.encoding, primaries } };
          const [plain, native] = [null, addon].map((given) => {
            const map = prepareToneMap(image, options, given);
            const out = new Codes(width * height * 3);
            const middle = height >> 1;
            map.rows(0, middle, out.subarray(0, 3 * width * middle));
            map.rows(middle, height, out.subarray(3 * width * middle));
            return out;
          });
          let off = 0;
          for (const [i, code] of plain.entries()) {
            assert.ok(
              Math.abs(native[i] - code) <= (Codes === Uint8Array ? 1 : 2),
              `${width} x ${height}, ${i}: ${native[i]}, ${code}`,
            );
            if (native[i] !== code) off++;
          }
          if (Codes === Uint8Array) assert.ok(off <= 1 + plain.length / 1000, `${off} of ${plain.length} differ`);
        }
  }
  const small = prepareToneMap(someRadiance(8, 4), {}, addon);
  for (const call of [() => small.rows(0, 2, new Uint8Array(47)), () => small.rows(3, 5, new Uint8Array(48))])
    assert.throws(call, { code: "INVALID_ARGUMENT" });
});

test("the picture does not depend on the unit of light", () => {
  const radiance = someRadiance(64, 64);
  assert.deepEqual(codes({ ...radiance, data: radiance.data.map((value) => value * 64) }), codes(radiance));
});

test("more exposure is brighter, far beyond what a display holds, and a hot pixel without colour is grey", () => {
  const radiance = someRadiance(64, 48);
  radiance.data.set([4e4, 9e4, 2e4], 3000);
  const mean = (exposure: number) =>
    Array.from(codes(radiance, { exposure })).reduce((sum, code) => sum + code, 0) / radiance.data.length;
  const means = [-12, -6, -3, 0, 1, 2, 3, 6, 12].map(mean);
  for (const [i, value] of means.slice(1).entries()) assert.ok(value >= means[i], `${means}`);
  assert.ok(means[0] < 10 && means[8] > 240, `${means}`);
  const grey = codes(radiance, { saturation: 0 }).subarray(3000, 3003);
  assert.ok(grey[0] > 245 && grey[1] === grey[0] && grey[2] === grey[0], `${grey}`);
});

test("a ramp of 14 stops rises everywhere, from near black to near white", () => {
  const out = codes(picture(512, 64, (x) => grey(2 ** ((14 * x) / 512 - 10))));
  for (let x = 1; x < 512; x++) assert.ok(out[3 * x] >= out[3 * x - 3], `column ${x}`);
  assert.ok(out[0] < 40 && out[3 * 511] > 225, `${out[0]} to ${out[3 * 511]}`);
});

test("no halo at an edge of ten stops", () => {
  const out = codes(picture(400, 100, (x) => grey(x < 200 ? 0.01 : 10)));
  const row = Array.from({ length: 400 }, (_, x) => out[3 * (50 * 400 + x)]);
  const [dark, bright] = [row.slice(0, 200), row.slice(200)];
  const spread = (values: number[]) => Math.max(...values) - Math.min(...values);
  assert.ok(spread(dark) <= 12 && spread(bright) <= 12, `${spread(dark)} dark, ${spread(bright)} bright`);
  assert.ok(Math.min(...bright) - Math.max(...dark) > 100);
});

test("local contrast survives the compression of the whole", () => {
  // A texture of a fifth of a stop on either side of a difference of 12 stops.
  const texture = picture(400, 100, (x, y) => grey((x < 200 ? 2 ** -6 : 2 ** 6) * ((x + y) % 2 ? 1 : 2 ** -0.2)));
  const out = new Uint16Array(400 * 100 * 3);
  prepareToneMap(texture).rows(0, 100, out);
  for (const [x, least] of [
    [100, 0.18],
    [300, 0.08],
  ]) {
    const at = 3 * (50 * 400 + x);
    const stops = Math.abs(Math.log2(linear(out[at] / 65535) / linear(out[at + 3] / 65535)));
    assert.ok(stops >= least && stops < 0.25, `at ${x}: ${stops} stops`);
  }
});

test("grey stays grey and hues stay: chroma only fades", () => {
  const radiance = someRadiance(64, 64);
  const neutral = codes(picture(64, 64, (x, y) => grey(radiance.data[3 * (64 * y + x)])));
  for (let i = 0; i < neutral.length; i += 3) {
    assert.ok(neutral[i] === neutral[i + 1] && neutral[i] === neutral[i + 2]);
  }
  const ratios = [1.6, 1, 0.3] as const;
  const coloured = picture(256, 8, (x) => ratios.map((ratio) => ratio * 2 ** (x / 32 - 6)) as [number, number, number]);
  const out = new Uint16Array(256 * 8 * 3);
  prepareToneMap(coloured).rows(0, 8, out);
  // In linear light the colour lies on the line from grey to where it was: (g - b) / (r - b) stays.
  for (let x = 0; x < 256; x++) {
    const [r, g, b] = [0, 1, 2].map((c) => linear(out[3 * x + c] / 65535));
    assert.ok(r >= g && g >= b);
    if (r - b > 0.02) assert.ok(Math.abs((g - b) / (r - b) - 0.7 / 1.3) < 0.01, `column ${x}: ${r} ${g} ${b}`);
  }
});

test("colours outside sRGB come in without clipping to black or white", () => {
  const green = picture(16, 16, () => [0, 1, 0]);
  const out = codes({ ...green, encoding: { transfer: "linear", primaries: "rec2020" } });
  assert.ok(out[1] > out[0] && out[1] > out[2] && out[1] < 255, `${out.slice(0, 3)}`);
});

test("options: exposure, saturation, detail", () => {
  const radiance = someRadiance(64, 64);
  const mean = (out: ArrayLike<number>) => Array.from(out).reduce((sum, code) => sum + code, 0) / out.length;
  assert.ok(mean(codes(radiance, { exposure: 1 })) > mean(codes(radiance)) + 10);
  assert.ok(mean(codes(radiance, { exposure: -1 })) < mean(codes(radiance)) - 10);
  const pale = codes(radiance, { saturation: 0 });
  for (let i = 0; i < pale.length; i += 3) assert.ok(pale[i] === pale[i + 1] && pale[i] === pale[i + 2]);
  assert.notDeepEqual(codes(radiance, { detail: 0.5 }), codes(radiance));
});

test("odd pictures: one pixel, all black, NaN, one light in the dark", () => {
  assert.deepEqual(codes(picture(1, 1, () => grey(0))), Uint8Array.of(0, 0, 0));
  const [one] = codes(picture(1, 1, () => grey(123)));
  assert.ok(one > 90 && one < 160, `${one}`);
  assert.deepEqual(codes(picture(2, 1, () => grey(Number.NaN))), new Uint8Array(6));
  assert.deepEqual(codes(picture(2, 1, () => [Number.NaN, -1, Infinity])), new Uint8Array(6));
  const light = codes(picture(64, 64, (x, y) => grey(x === 32 && y === 32 ? 1e6 : 0)));
  assert.ok(light[3 * (32 * 64 + 32)] > 90);
  assert.equal(light[0], 0);
});
