import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { alignBracket } from "../../src/bracket/align.js";
import type { Homography } from "../../src/bracket/bracket.js";
import type { ExposureProxy } from "../../src/bracket/proxy.js";
import { readBracket } from "../../src/bracket/read-bracket.js";
import { loadAddon } from "../../src/engine/addon.js";

const width = 400;
const height = 280;

function hash(x: number, y: number, seed: number): number {
  let h = Math.imul(x, 73856093) ^ Math.imul(y, 19349663) ^ Math.imul(seed, 83492791);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/** Smooth noise in [0, 1]. */
function noise(x: number, y: number, seed: number): number {
  const [ix, iy] = [Math.floor(x), Math.floor(y)];
  const ease = (t: number) => t * t * (3 - 2 * t);
  const [tx, ty] = [ease(x - ix), ease(y - iy)];
  const row = (j: number) => hash(ix, iy + j, seed) * (1 - tx) + hash(ix + 1, iy + j, seed) * tx;
  return row(0) * (1 - ty) + row(1) * ty;
}

function radiance(x: number, y: number, seed: number): number {
  const stops = 4 * noise(x / 120, y / 120, seed) + 2 * noise(x / 30, y / 30, seed + 1) + noise(x / 6, y / 6, seed + 2);
  return 2 ** (stops - 7.5);
}

/** A proxy of the scene seen through the inverse of `back` (proxy pixels), clipped and quantised to 8 bits. */
function proxy(gain: number, { scale = 1, seed = 1, back = (x: number, y: number) => [x, y] } = {}): ExposureProxy {
  const data = new Float32Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 3) {
      const [u, v] = back(x, y);
      const code = Math.round(255 * Math.min(1, radiance(u, v, seed) * gain) ** (1 / 2.2));
      data.fill((code / 255) ** 2.2, i, i + 3);
    }
  }
  return { width, height, data, scale };
}

function at(h: Homography, x: number, y: number): [number, number] {
  const d = h[6] * x + h[7] * y + h[8];
  return [(h[0] * x + h[1] * y + h[2]) / d, (h[3] * x + h[4] * y + h[5]) / d];
}

function addonMissing(): string | false {
  try {
    loadAddon();
    return false;
  } catch (error) {
    return `no native addon: ${(error as Error).message.split("\n")[0]}`;
  }
}

// First, because a loaded addon stays loaded.
await test("without the addon nothing is aligned, and a note says so", async () => {
  const chosen = process.env.SMHDR_ADDON;
  process.env.SMHDR_ADDON = "/nowhere/smhdr.node";
  try {
    const { homographies, notes } = await alignBracket([proxy(1), proxy(4)], [0, 2], 0);
    assert.deepEqual(homographies, [undefined, undefined]);
    assert.match(notes[0].message, /native part/);
  } finally {
    if (chosen === undefined) delete process.env.SMHDR_ADDON;
    else process.env.SMHDR_ADDON = chosen;
  }
});

const skip = addonMissing();

test("a turned and shifted exposure is found in full-resolution pixels", { skip }, async () => {
  const scale = 3;
  const [angle, shiftX, shiftY] = [0.02, 11.3, -6.7];
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const moved = proxy(4, {
    scale,
    back: (x, y) => [c * (x - shiftX) + s * (y - shiftY), -s * (x - shiftX) + c * (y - shiftY)],
  });
  const fractions: number[] = [];
  const { homographies, notes } = await alignBracket([proxy(1, { scale }), moved], [0, 2], 0, {
    names: ["a.jpg", "b.jpg"],
    onProgress: (fraction) => fractions.push(fraction),
  });
  assert.equal(homographies[0], undefined);
  const found = homographies[1];
  assert.ok(found);
  for (const [x, y] of [
    [0, 0],
    [width - 1, 0],
    [0, height - 1],
    [width - 1, height - 1],
  ]) {
    const [u, v] = at(found, (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5);
    const wantedX = (c * x - s * y + shiftX + 0.5) * scale - 0.5;
    const wantedY = (s * x + c * y + shiftY + 0.5) * scale - 0.5;
    const error = Math.hypot(u - wantedX, v - wantedY);
    assert.ok(error < 0.1 * scale, `corner ${x}, ${y} is off by ${error} full-resolution pixels`);
  }
  assert.match(notes[0].message, /aligned to a\.jpg: b\.jpg by up to \d/);
  assert.ok(fractions.every((fraction) => fraction > 0 && fraction <= 1));
});

test("a still camera is left alone without a word", { skip }, async () => {
  const { homographies, notes } = await alignBracket([proxy(0.25), proxy(1), proxy(4)], [0, 2, 4], 1);
  assert.deepEqual(homographies, [undefined, undefined, undefined]);
  assert.deepEqual(notes, []);
});

test("an exposure of something else is left alone, and a note says so", { skip }, async () => {
  const { homographies, notes } = await alignBracket([proxy(1), proxy(4, { seed: 77 })], [0, 2], 0);
  assert.deepEqual(homographies, [undefined, undefined]);
  assert.match(notes[0].message, /^exposure 2 was left as it is/);
});

test("cancelling, and proxies that do not fit together", { skip }, async () => {
  const both = [proxy(1), proxy(4)];
  await assert.rejects(alignBracket(both, [0, 2], 0, { signal: AbortSignal.abort() }), { code: "CANCELLED" });
  const abort = new AbortController();
  const running = alignBracket(both, [0, 2], 0, { signal: abort.signal });
  abort.abort();
  await assert.rejects(running, { code: "CANCELLED" });
  await assert.rejects(alignBracket([], [], 0), { code: "INVALID_ARGUMENT" });
  await assert.rejects(alignBracket([both[0], { ...both[1], scale: 2 }], [0, 2], 0), { code: "INVALID_ARGUMENT" });
  await assert.rejects(alignBracket(both, [0], 0), { code: "INVALID_ARGUMENT" });
  await assert.rejects(alignBracket(both, [0, 2], 2), { code: "INVALID_ARGUMENT" });
});

const brackets = join(process.env.SMHDR_DATA ?? resolve("..", "shared", "data"), "brackets");
const skipReal = skip || (existsSync(brackets) ? false : `no photographs at ${brackets}`);

async function alignedOf(scene: string): Promise<(Homography | undefined)[]> {
  const files = readdirSync(join(brackets, scene)).filter((name) => /^\d+\.(jpg|png)$/.test(name));
  const bracket = await readBracket(files.sort().map((name) => join(brackets, scene, name)));
  bracket.close();
  return bracket.exposures.map(({ alignment }) => alignment);
}

test("a real hand-held bracket is aligned", { skip: skipReal }, async () => {
  const [short, reference, long] = await alignedOf("handheld_alignment");
  assert.equal(reference, undefined);
  assert.ok(short && long);
  // Where SIFT matches and a robust homography (OpenCV's MAGSAC) put these pixels of the reference.
  const expected = [
    { of: short, from: [180, 270], to: [194.51, 266.02] },
    { of: short, from: [360, 540], to: [373.74, 536.42] },
    { of: short, from: [540, 810], to: [553.1, 807.03] },
    { of: long, from: [180, 270], to: [202.15, 258.21] },
    { of: long, from: [360, 540], to: [381.24, 528.73] },
    { of: long, from: [540, 810], to: [560.4, 799.37] },
  ];
  for (const { of, from, to } of expected) {
    const [x, y] = at(of, from[0], from[1]);
    assert.ok(Math.hypot(x - to[0], y - to[1]) < 0.4, `${from} goes to ${x}, ${y}; expected ${to}`);
  }
});

test("real brackets from a tripod are left alone", { skip: skipReal }, async () => {
  for (const scene of ["horse", "frobisher", "ssarcandy_taipei"]) {
    assert.ok(
      (await alignedOf(scene)).every((alignment) => alignment === undefined),
      scene,
    );
  }
});

test("a part of a pixel that a real tripod gave way is found", { skip: skipReal }, async () => {
  const alignments = await alignedOf("stack_room");
  const moved = alignments[4];
  assert.ok(moved && alignments.every((alignment, i) => i === 4 || alignment === undefined));
  // What matching 24x24 pixels at a time says (OpenCV's normalised correlation, parabolas, the median): -0.11, 0.67.
  const [x, y] = at(moved, 320, 213.5);
  assert.ok(Math.hypot(x - 319.89, y - 214.17) < 0.15, `the centre goes to ${x}, ${y}`);
});
