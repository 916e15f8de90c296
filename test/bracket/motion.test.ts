import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import type { PixelStore } from "../../src/bracket/bracket.js";
import { followBracket, followedPixels } from "../../src/bracket/motion.js";
import { depthOf, memoryPixels } from "../../src/bracket/pixels.js";
import { buildProxy } from "../../src/bracket/proxy.js";
import { bracketFromImages, readBracket } from "../../src/bracket/read-bracket.js";
import { optionalAddon } from "../../src/engine/addon.js";
import { SmhdrError } from "../../src/errors.js";
import type { PixelData } from "../../src/image.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";

const skip = optionalAddon() ? false : "no native addon";
const [width, height] = [240, 180];
const encoding = { transfer: "gamma2.2", primaries: "srgb" } as const;

/** A wall of bricks, and a bright disc before it, `moved` pixels to the right. */
function light(moved: number, disc = 1): Float32Array {
  const out = new Float32Array(width * height * 3);
  for (let y = 0, p = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++, p++) {
        const u = x - moved;
        const wall =
          0.05 + 0.03 * Math.sin(x / 3 + 2 * Math.sin(y / 11)) * Math.cos(y / 4) + 0.01 * Math.sin(x / 17 + c);
        const inDisc = Math.hypot(u - 100, y - 90) < 36;
        out[p] = inDisc ? disc * (0.3 + 0.12 * Math.sin(u / 2.7) * Math.cos(y / 3.1) + 0.02 * c) : wall;
      }
  return out;
}

const codes = (moved: number, stops: number, disc?: number) =>
  Uint16Array.from(light(moved, disc), (v) => Math.round(65535 * Math.min(1, v * 2 ** stops) ** (1 / 2.2)));
const store = (data: PixelData): PixelStore => memoryPixels({ width, height, depth: depthOf(data), encoding }, data);
const image = (data: PixelData) => ({ width, height, channels: 3, data, encoding });

test("what moved is followed, and the rest stays as it is", { skip }, async () => {
  const [own, reference] = [codes(9, -1), codes(0, 0)];
  const { fields, notes } = await followBracket([own, reference].map(store).map(buildProxy), [0, 1], 1);
  assert.equal(fields[1], undefined, "the reference is its own moment");
  const [field] = fields;
  assert.ok(field);
  assert.match(notes[0].message, /^Things moved and were followed in parts of exposure 1 \(\d+ %\)\.$/);
  const pixels = followedPixels(store(own), field);
  const rows = pixels.rows(0, height).slice();
  const wanted = codes(0, -1);
  const mean = (a: PixelData, b: PixelData) => {
    let sum = 0;
    let count = 0;
    for (let y = 70; y < 110; y++)
      for (let i = (y * width + 80) * 3; i < (y * width + 120) * 3; i++, count++) sum += Math.abs(a[i] - b[i]);
    return sum / count;
  };
  assert.ok(mean(rows, wanted) < mean(own, wanted) / 8, `${mean(rows, wanted)} of ${mean(own, wanted)}`);
  assert.deepEqual(rows.subarray(0, 40 * width * 3), own.subarray(0, 40 * width * 3));
  // Read in any strips it is the same.
  for (const [y0, y1] of [
    [0, 1],
    [50, 51],
    [60, 123],
    [height - 3, height],
    [5, 5],
  ])
    assert.deepEqual(pixels.rows(y0, y1), rows.subarray(y0 * width * 3, y1 * width * 3));
  assert.throws(() => pixels.rows(-1, 3), SmhdrError);
  assert.throws(() => pixels.rows(0, height + 1), SmhdrError);
  pixels.close();
  assert.throws(() => pixels.rows(0, 1), /after close/);
});

test("a merge shows a moving thing that the reference clips", { skip }, async () => {
  const images = [codes(11, -2, 3), codes(0, 1, 3), codes(-8, 3, 3)].map(image); // the disc clips in the reference
  const truth = light(0, 3);
  const error = async (follow: "auto" | "none") => {
    const bracket = await bracketFromImages(images, { ev: [0, 3, 5], align: "none", follow });
    const { data } = await mergeRadiance(bracket);
    bracket.close();
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += (data[i] - truth[i] / 4) ** 2;
    return Math.sqrt(sum / data.length);
  };
  const [with_, without] = [await error("auto"), await error("none")];
  assert.ok(with_ < 0.75 * without, `${with_} with, ${without} without`);
  // In narrow strips, which take rows from elsewhere, the merge is the same.
  const bracket = await bracketFromImages(images, { ev: [0, 3, 5], align: "none", follow: "auto" });
  const whole = await mergeRadiance(bracket);
  const memory = width * height * 12 + 3 * 16 * 3 * width * 3 * 2;
  assert.deepEqual((await mergeRadiance(bracket, { memory })).data, whole.data);
  bracket.close();
});

test("where nothing moves, pixels are those of the photograph", { skip }, async () => {
  for (const transform of [
    (v: number) => v,
    (v: number) => Math.round(65535 * (3 * (v / 65535) ** 2 - 2 * (v / 65535) ** 3)),
  ]) {
    const images = [codes(0, -2), codes(0, 0), codes(0, 2)].map((data) => image(data.map(transform)));
    const bracket = await bracketFromImages(images, { ev: [0, 2, 4], align: "none", follow: "auto" });
    for (const [i, { pixels }] of bracket.exposures.entries())
      assert.deepEqual(pixels.rows(0, height), images[i].data, `exposure ${i}`);
    assert.deepEqual(bracket.notes, []);
    bracket.close();
  }
});

test("8 bits and floats are followed too", { skip }, async () => {
  for (const data of [
    Uint8Array.from(codes(9, -1), (v) => Math.round(v / 257)),
    Float32Array.from(codes(9, -1), (v) => v / 65535),
  ]) {
    const reference =
      data instanceof Uint8Array ? Uint8Array.from(codes(0, 0), (v) => v / 257) : codes(0, 0).map(Number);
    const other = data instanceof Uint8Array ? reference : Float32Array.from(reference, (v) => v / 65535);
    const bracket = await bracketFromImages([image(data), image(other)], {
      ev: [0, 1],
      align: "none",
      follow: "auto",
      reference: 1,
    });
    const rows = bracket.exposures[0].pixels.rows(0, height);
    assert.equal(rows.constructor, data.constructor);
    assert.notDeepEqual(rows, data);
    bracket.close();
  }
});

test("options that make no sense, and calls that are given up", { skip }, async () => {
  const images = [codes(9, -1), codes(0, 0)].map(image);
  await assert.rejects(bracketFromImages(images, { ev: [0, 1], follow: "yes" as "auto" }), {
    code: "INVALID_ARGUMENT",
    message: 'follow: expected "auto" or "none"; got "yes".',
  });
  await assert.rejects(bracketFromImages(images, { ev: [0, 1], threads: -1 }), {
    code: "INVALID_ARGUMENT",
    message: "threads: expected a whole number from 0 (all processors); got -1.",
  });
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  await assert.rejects(
    bracketFromImages(images, { ev: [0, 1], align: "none", follow: "auto", signal: controller.signal, onProgress }),
    { code: "CANCELLED" },
  );
});

test("the addon refuses fields and rows that do not fit", { skip }, () => {
  const addon = optionalAddon();
  assert.ok(addon);
  const field = { width: 4, height: 3, scale: 2, moved: new Int16Array(24), count: 12 };
  const [rows, out] = [new Uint8Array(8 * 3 * 6), new Uint8Array(8 * 3 * 2)];
  const refused = { code: "INVALID_ARGUMENT" };
  addon.followRows(field, false, 8, 0, rows, 2, out);
  assert.throws(() => addon.followRows({ ...field, moved: new Int16Array(23) }, false, 8, 0, rows, 2, out), refused);
  assert.throws(() => addon.followRows({ ...field, width: 1e18 }, false, 8, 0, rows, 2, out), refused);
  assert.throws(() => addon.followRows(field, false, 8, 0, rows, 5, out), refused);
  assert.throws(() => addon.followRows(field, false, 9, 0, new Uint8Array(9 * 18), 0, new Uint8Array(27)), refused);
  assert.throws(() => addon.followRows(field, false, 8, 0, rows, 2, new Uint16Array(48)), refused);
  assert.throws(() => addon.rowsFollowed(field, 0, 7), refused);
  assert.throws(() => addon.rowsFollowed(field, 3, 3), refused);
  const picture = new Float32Array(64 * 48 * 3);
  const homography = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  assert.throws(() => addon.findMotion(picture, picture.subarray(3), 64, 48, 1, 0, homography), refused);
  assert.throws(() => addon.findMotion(picture, picture, 64, 48, 1, 0, [1, 2, 3]), refused);
});

const brackets = join(process.env.SMHDR_DATA ?? resolve("../shared/data"), "brackets");
test("on photographs from a tripod next to nothing is taken for moved", {
  skip: skip || (existsSync(join(brackets, "ssarcandy_taipei")) ? false : `no data in ${brackets}`),
}, async () => {
  const files = ["01.png", "02.png", "03.png"].map((name) => join(brackets, "ssarcandy_taipei", name));
  const bracket = await readBracket(files, { ev: [0, 3, 6], align: "none", follow: "auto" });
  const plain = await readBracket(files, { ev: [0, 3, 6], align: "none", follow: "none" });
  for (const [i, { pixels }] of bracket.exposures.entries()) {
    const rows = pixels.rows(0, bracket.height);
    const own = plain.exposures[i].pixels.rows(0, bracket.height);
    let changed = 0;
    for (let p = 0; p < rows.length; p += 3) if (rows[p] !== own[p] || rows[p + 1] !== own[p + 1]) changed++;
    assert.ok(changed < 0.01 * bracket.width * bracket.height, `${changed} pixels of exposure ${i}`);
  }
  bracket.close();
  plain.close();
});
