import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import ExifReader from "exifreader";
import sharp from "sharp";
import { Camera, exposureValue, SHOTS } from "../../examples/renderer/camera.js";
import { renderBracket } from "../../examples/renderer/render.js";
import { readRadiance } from "../../src/codec/read-radiance.js";

const folder = new URL("../../examples/bracket/", import.meta.url);
const photograph = (k: number) => new URL(`exposure-${k + 1}.jpg`, folder);

const tiny = { width: 48, height: 32, coarseness: 4, paths: 2, grid: 1, seed: 5, catCell: 0.03 };

test("the renderer repeats itself bit by bit, and follows its seed", async () => {
  const first = await renderBracket(tiny, 0);
  const again = await renderBracket(tiny, 0);
  assert.deepEqual(again.radiance, first.radiance);
  const other = await renderBracket({ ...tiny, seed: 6 }, 0);
  assert.notDeepEqual(other.radiance[1], first.radiance[1]);
  for (const picture of first.radiance) {
    assert.ok(picture.every((v) => v >= 0 && v <= 1));
    const lit = picture.filter((v) => v > 0).length;
    assert.ok(lit > 0.97 * picture.length, `only ${lit} of ${picture.length} values see light`);
  }
});

test("the photographs state the exposure times of the shots", () => {
  for (const [k, shot] of SHOTS.entries()) {
    const tags = ExifReader.load(readFileSync(photograph(k)));
    assert.deepEqual(tags.ExposureTime?.value, shot.time);
    assert.deepEqual(tags.FNumber?.value, [8, 1]);
    assert.equal(tags.Model?.description, "smhdr example renderer");
  }
  assert.deepEqual(
    SHOTS.map((_, k) => exposureValue(k)),
    [0, 3, 6],
  );
});

test("the truth spans more than 12 stops", async () => {
  const { data } = await readRadiance(new URL("truth.hdr", folder).pathname);
  const light = Float32Array.from({ length: data.length / 3 }, (_, i) => Number(data[i * 3 + 1])).sort();
  const stops = Math.log2(light[Math.floor(0.999 * light.length)] / light[Math.floor(0.001 * light.length)]);
  assert.ok(stops > 12, `${stops.toFixed(1)} stops`);
});

test("what is neither moving nor clipped agrees with the truth after the known shake", async () => {
  const truth = await readRadiance(new URL("truth.hdr", folder).pathname);
  const { width, height } = truth;
  const reference = new Camera(width, height, 1);
  for (let k = 0; k < SHOTS.length; k++) {
    const { data, info } = await sharp(photograph(k).pathname).raw().toBuffer({ resolveWithObject: true });
    assert.deepEqual([info.width, info.height, info.channels], [width, height, 3]);
    const camera = new Camera(width, height, k);
    const errors = { shaken: [] as number[], straight: [] as number[] };
    for (let y = 20; y < height - 20; y += 3) {
      for (let x = 20; x < width - 20; x += 3) {
        const [u, v] = reference.project(...camera.direction(x + 0.5, y + 0.5));
        const code = data[(y * width + x) * 3 + 1];
        if (code < 90 || code > 235) continue;
        const encoded = code / 255;
        const radiance = ((encoded + 0.055) / 1.055) ** 2.4 / 2 ** exposureValue(k);
        errors.shaken.push(Math.abs(radiance / sample(u - 0.5, v - 0.5) - 1));
        errors.straight.push(Math.abs(radiance / sample(x, y) - 1));
      }
    }
    const [shaken, straight] = [median(errors.shaken), median(errors.straight)];
    assert.ok(errors.shaken.length > 2000, `exposure ${k + 1}: ${errors.shaken.length} pixels to compare`);
    assert.ok(shaken < 0.04, `exposure ${k + 1}: median error ${shaken}`);
    if (k !== 1) assert.ok(straight > 1.5 * shaken, `exposure ${k + 1}: ${straight} unaligned, ${shaken} aligned`);
  }

  /** The truth's green between pixels. */
  function sample(x: number, y: number): number {
    const [i, j] = [Math.floor(x), Math.floor(y)];
    const [a, b] = [x - i, y - j];
    const at = (column: number, row: number) => Number(truth.data[(row * width + column) * 3 + 1]);
    return (
      (at(i, j) * (1 - a) + at(i + 1, j) * a) * (1 - b) + (at(i, j + 1) * (1 - a) + at(i + 1, j + 1) * a) * b + 1e-9
    );
  }
});

test("the bracket stays small", () => {
  for (let k = 0; k < SHOTS.length; k++) assert.ok(readFileSync(photograph(k)).length < 500_000);
  assert.ok(existsSync(new URL("README.md", folder)));
  assert.ok(readFileSync(new URL("truth.hdr", folder)).length < 3_200_000);
});

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
