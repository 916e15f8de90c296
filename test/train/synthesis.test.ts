import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { SmhdrError } from "../../src/errors.js";
import { throughJpeg } from "../../src/train/synthesis/jpeg.js";
import {
  type SynthesisOptions,
  type SyntheticBracket,
  synthesizeBracket,
} from "../../src/train/synthesis/synthesize.js";
import { madeUpSources } from "./sources.js";

const size = { width: 64, height: 48 };
const plain = { ...size, exposures: 3, noise: 0, response: 0, bits: 16 } as const;

function make(options: SynthesisOptions, count: number): SyntheticBracket[] {
  return Array.from({ length: count }, (_, seed) => synthesizeBracket(madeUpSources, options, seed));
}

/** Largest difference, in codes, between what the files hold and the truth photographed perfectly, over the pixels chosen. */
function worstCode(bracket: SyntheticBracket, chosen: (pixel: number) => boolean): number {
  let worst = 0;
  bracket.exposures.forEach((codes, i) => {
    const gain = 2 ** bracket.exposureValues[i];
    for (let k = 0; k < codes.length; k++) {
      if (!chosen(Math.floor(k / 3))) continue;
      const expected = Math.round(65535 * Math.min(1, bracket.truth[k] * gain) ** (1 / 2.2));
      worst = Math.max(worst, Math.abs(codes[k] - expected));
    }
  });
  return worst;
}

test("a bracket is the same for the same seed and another for another", () => {
  const options = { ...size, exposures: 3 };
  const a = synthesizeBracket(madeUpSources, options, 7);
  assert.deepEqual(synthesizeBracket(madeUpSources, options, 7), a);
  assert.notDeepEqual(synthesizeBracket(madeUpSources, options, 8).truth, a.truth);
  assert.notDeepEqual(synthesizeBracket(madeUpSources, options, 7 + 2 ** 40).truth, a.truth);
});

test("without noise, motion and shake every exposure is the truth to the last code", () => {
  for (const exposures of [2, 3, 5]) {
    for (const bracket of make({ ...plain, exposures, motion: 0, handheld: 0 }, 15)) {
      assert.ok(worstCode(bracket, () => true) <= 2, `off by ${worstCode(bracket, () => true)} codes`);
      assert.equal(bracket.moving.indexOf(1), -1);
    }
  }
});

test("what moves is marked: outside the marks a tripod's exposures agree, inside they do not", () => {
  let disagreeing = 0;
  const brackets = make({ ...plain, handheld: 0, motion: 1 }, 40);
  for (const bracket of brackets) {
    assert.ok(worstCode(bracket, (p) => bracket.moving[p] === 0) <= 2);
    if (worstCode(bracket, (p) => bracket.moving[p] === 1) > 500) disagreeing++;
  }
  assert.ok(disagreeing > 30, `${disagreeing} of ${brackets.length} brackets move visibly`);
});

test("the reference shows the truth even where things move and the camera shakes", () => {
  for (const bracket of make({ ...plain, exposures: 4, handheld: 1, motion: 1 }, 20)) {
    const middle = { ...bracket, exposures: [bracket.exposures[2]], exposureValues: [bracket.exposureValues[2]] };
    assert.ok(worstCode(middle, () => true) <= 2);
  }
});

test("hand shake moves the other exposures, by no more than asked", () => {
  const [still] = make({ ...plain, motion: 0, handheld: 0 }, 1);
  const shaken = make({ ...plain, motion: 0, handheld: 1, shake: 4 }, 10);
  assert.equal(worstCode(still, () => true) <= 2, true);
  assert.ok(shaken.filter((bracket) => worstCode(bracket, () => true) > 500).length >= 8);
});

test("the reference's moment can be photographed at every exposure, and changes nothing else", () => {
  const options = { ...size, exposures: 3, response: 0, motion: 1, handheld: 1 };
  for (const [i, bracket] of make({ ...options, still: true }, 4).entries()) {
    const { still = [], ...others } = bracket;
    assert.deepEqual(others, make(options, 4)[i]);
    assert.equal(still.length, 3);
    const photographed = { ...bracket, exposures: still };
    assert.ok(worstCode(photographed, () => true) <= 2);
  }
});

test("8-bit codes are multiples of 257, 16-bit ones mostly not", () => {
  const [eight] = make({ ...size, exposures: 3, bits: 8 }, 1);
  const [sixteen] = make({ ...size, exposures: 3, bits: 16 }, 1);
  assert.ok(eight.exposures.every((codes) => codes.every((code) => code % 257 === 0)));
  assert.ok(sixteen.exposures[1].filter((code) => code % 257 !== 0).length > 1000);
});

test("references are clipped in places, and no value leaves its range", () => {
  const brackets = make({ ...size, exposures: 3 }, 80);
  let clipped = 0;
  let lost = 0;
  for (const { exposures, exposureValues, truth } of brackets) {
    assert.ok(truth.every((v) => v >= 0 && v <= 1));
    assert.equal(exposureValues[0], 0);
    clipped += exposures[1].filter((code) => code === 65535).length / exposures[1].length / brackets.length;
    lost += truth.filter((v) => v === 1).length / truth.length / brackets.length;
  }
  assert.ok(clipped > 0.02 && clipped < 0.3, `the references clip ${clipped}`);
  assert.ok(lost < 0.1, `the truth clips ${lost}`);
});

test("the noise has the variance of a sensor at the ISO asked for", () => {
  const grey = {
    name: "grey",
    width: 256,
    height: 256,
    data: new Float32Array(256 * 256 * 3).fill(1),
    panorama: false,
  };
  const options = {
    ...plain,
    noise: 1,
    motion: 0,
    handheld: 0,
    texture: 0,
    iso: [1600, 1600],
    clipped: [0.5, 0.5],
  } as const;
  for (let seed = 0; seed < 10; seed++) {
    const { exposures, truth } = synthesizeBracket([grey], options, seed);
    for (let c = 0; c < 3; c++) {
      const level = truth[c];
      if (level > 0.5) continue; // clipping would cut the noise
      let variance = 0;
      for (let k = c; k < truth.length; k += 3)
        variance += ((exposures[0][k] / 65535) ** 2.2 - level) ** 2 / (truth.length / 3);
      const most = level / (30000 / 16) + (6 / (30000 / 16)) ** 2;
      const least = level / (80000 / 16) + (2 / (80000 / 16)) ** 2;
      assert.ok(variance > 0.9 * least && variance < 1.1 * most, `${variance} is not in ${least} .. ${most}`);
    }
  }
});

test("the JPEG step does what libjpeg does", async () => {
  const [{ exposures }] = make({ ...size, exposures: 3, bits: 8, jpeg: 0 }, 1);
  for (const [quality, subsampled] of [
    [75, false],
    [92, true],
  ] as const) {
    const codes = Uint16Array.from(exposures[1]);
    throughJpeg(codes, size.width, size.height, quality, subsampled);
    const file = await sharp(
      Uint8Array.from(exposures[1], (v) => v / 257),
      { raw: { ...size, channels: 3 } },
    )
      .jpeg({ quality, chromaSubsampling: subsampled ? "4:2:0" : "4:4:4" })
      .toBuffer();
    const theirs = await sharp(file).raw().toBuffer();
    const mean = (distance: (i: number) => number) => codes.reduce((sum, _, i) => sum + distance(i), 0) / codes.length;
    const apart = mean((i) => Math.abs(codes[i] / 257 - theirs[i]));
    const lost = mean((i) => Math.abs(exposures[1][i] / 257 - theirs[i]));
    // Subsampled colour is interpolated by libjpeg and repeated here, as simpler decoders do.
    assert.ok(apart < (subsampled ? 0.6 : 0.3) * lost, `${apart} codes apart where JPEG loses ${lost}`);
  }
});

test("options out of range are refused by name", () => {
  const attempt = (options: Partial<SynthesisOptions>, pattern: RegExp, sources = madeUpSources, seed = 1) =>
    assert.throws(
      () => synthesizeBracket(sources, { ...size, exposures: 3, ...options }, seed),
      (error) => error instanceof SmhdrError && error.code === "INVALID_ARGUMENT" && pattern.test(error.message),
    );
  attempt({ width: 4 }, /width.*16 to 8192, got 4/);
  attempt({ height: 10.5 }, /height/);
  attempt({ exposures: 1 }, /exposures.*2 to 9, got 1/);
  attempt({ exposures: 10 }, /exposures/);
  attempt({ evSpacing: [] }, /evSpacing/);
  attempt({ evSpacing: [-1] }, /evSpacing/);
  attempt({ motion: 2 }, /motion/);
  attempt({ noise: Number.NaN }, /noise/);
  attempt({ iso: [800, 100] }, /iso/);
  attempt({}, /at least one image/, []);
  attempt({}, /seed/, madeUpSources, Number.NaN);
});
