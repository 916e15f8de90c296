import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bracket, Note } from "../../src/bracket/bracket.js";
import { bracketFromImages } from "../../src/bracket/read-bracket.js";
import { optionalAddon } from "../../src/engine/addon.js";
import type { Engine } from "../../src/engine/engine.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { SmhdrError } from "../../src/errors.js";
import { muLaw } from "../../src/measure/mu-law.js";
import type { Model } from "../../src/model/model.js";
import { withPrior } from "../../src/model/prior.js";
import { readSafetensors } from "../../src/model/safetensors.js";
import { bringHighlights } from "../../src/reconstruct/highlights.js";
import { bestCount, chooseExposures, reconstructNetwork } from "../../src/reconstruct/network.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";
import { mirror } from "../../src/reconstruct/region.js";
import { exposureSampler } from "../../src/reconstruct/sampler.js";
import { fade, OVERLAP, planTiles } from "../../src/reconstruct/tiles.js";

async function smallModel(): Promise<Model> {
  const { tensors, metadata } = await readSafetensors(
    new URL("../golden/B_weights.safetensors", import.meta.url).pathname,
  );
  return { name: "b", tensors, metadata, width: 24, exposures: 3 };
}

/** Radiance of soft gradients and edges. */
function scene(width: number, x: number, y: number, c: number): number {
  const edges = (x > width / 2 ? 0.3 : 0) * (y % 40 > 20 ? 1 : 0.2);
  return 0.2 * (0.02 + 0.4 * (Math.sin(x / (9 + c)) * Math.cos(y / 13)) ** 2 + edges);
}

/** That at three exposures; `noise`: what their values are multiplied by. */
function bracket(width: number, height: number, ev = [0, 2, 4], noise = () => 1): Promise<Bracket> {
  const images = ev.map((stops) => {
    const data = new Uint8Array(width * height * 3);
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < 3; c++)
          data[i++] = 255 * Math.min(1, noise() * (scene(width, x, y, c) * 2 ** stops) ** (1 / 2.2));
    return { width, height, channels: 3, data, encoding: { transfer: "gamma2.2", primaries: "srgb" } } as const;
  });
  return bracketFromImages(images, { ev, align: "none" });
}

/** With the addon, which sampling needs to be fast, and without. */
const samplers = [
  ["native", optionalAddon() ?? null],
  ["plain", null],
] as const;

for (const [label, addon] of samplers) {
  test(`exposures come as method.md section 1 says: H = I^2.2 / 2^EV, then I, ${label}`, async () => {
    const b = await bracket(16, 8);
    const out = new Float32Array(16 * 8 * 6);
    for (const exposure of b.exposures) {
      await exposureSampler(exposure, 0, addon).read({ x: 0, y: 0, width: 16, height: 8 }, out);
      const codes = exposure.pixels.rows(0, 8);
      for (let p = 0; p < 16 * 8; p++)
        for (let c = 0; c < 3; c++) {
          const value = codes[3 * p + c] / 255;
          assert.ok(Math.abs(out[6 * p + 3 + c] - value) < 2e-5);
          assert.ok(Math.abs(out[6 * p + c] - value ** 2.2 / 2 ** exposure.exposureValue) < 1e-6);
        }
    }
  });

  test(`a moved exposure is sampled where it was, and mirrored beyond the image, ${label}`, async () => {
    const b = await bracket(40, 24);
    const still = new Float32Array(24 * 16 * 6);
    const moved = new Float32Array(24 * 16 * 6);
    await exposureSampler(b.exposures[1], 0, addon).read({ x: 8, y: 0, width: 24, height: 16 }, still);
    const shifted = { ...b.exposures[1], alignment: [1, 0, 3, 0, 1, 2, 0, 0, 1] as const };
    await exposureSampler(shifted, 0, addon).read({ x: 5, y: -2, width: 24, height: 16 }, moved);
    for (let y = 2; y < 14; y++)
      for (let i = 0; i < 24 * 6; i++) assert.ok(Math.abs(moved[y * 24 * 6 + i] - still[y * 24 * 6 + i]) < 1e-5);
    // Rows -2 and 2 of the mirrored picture are the same.
    for (let i = 0; i < 24 * 6; i++) assert.ok(Math.abs(moved[i] - moved[4 * 24 * 6 + i]) < 1e-6);
  });

  test(`between pixels a moved exposure is cubic in its light's root, and keeps to the four pixels around, ${label}`, async () => {
    const [width, height] = [30, 20];
    let seed = 1;
    const noise = () => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed / 0x7fffffff;
    };
    const data = Float32Array.from({ length: width * height * 3 }, () => (noise() < 0.3 ? 1 : 0.02 * noise()));
    const image = { width, height, channels: 3, data, encoding: { transfer: "linear", primaries: "srgb" } } as const;
    const b = await bracketFromImages([image, image], { ev: [0, 2], align: "none" });
    const h = [0.98, 0.05, 0.37, -0.04, 1.03, -0.6, 1e-4, -2e-4, 1] as const;
    const sampler = exposureSampler({ ...b.exposures[1], alignment: h }, 0, addon);
    const whole = new Float32Array(width * height * 6);
    await sampler.read({ x: 0, y: 0, width, height }, whole);

    const inside = (v: number, length: number) => Math.min(Math.max(v, 0), length - 1);
    const weight = (x: number) =>
      x < 1 ? 1.5 * x ** 3 - 2.5 * x ** 2 + 1 : x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const w = h[6] * x + h[7] * y + h[8];
        const sx = inside((h[0] * x + h[1] * y + h[2]) / w, width);
        const sy = inside((h[3] * x + h[4] * y + h[5]) / w, height);
        for (let c = 0; c < 3; c++) {
          let root = 0;
          const nearest: number[] = [];
          for (let v = Math.floor(sy) - 1; v <= Math.floor(sy) + 2; v++)
            for (let u = Math.floor(sx) - 1; u <= Math.floor(sx) + 2; u++) {
              const tap = Math.sqrt(data[(inside(v, height) * width + inside(u, width)) * 3 + c]);
              root += weight(Math.abs(sx - u)) * weight(Math.abs(sy - v)) * tap;
              if (u - Math.floor(sx) < 2 && u >= Math.floor(sx) && v - Math.floor(sy) < 2 && v >= Math.floor(sy))
                nearest.push(tap);
            }
          const expected = Math.min(Math.max(root, Math.min(...nearest)), Math.max(...nearest)) ** 2 / 4;
          assert.ok(Math.abs(whole[(y * width + x) * 6 + c] - expected) < 1e-6, `${x}, ${y}, ${c}`);
        }
      }
    }
    for (const region of [
      { x: 21, y: 13, width: 9, height: 7 },
      { x: -5, y: -3, width: 12, height: 9 },
      { x: 24, y: 12, width: 16, height: 16 },
      { x: -20, y: -15, width: 70, height: 200 },
    ]) {
      const part = new Float32Array(region.width * region.height * 6);
      await sampler.read(region, part);
      for (let j = 0, to = 0; j < region.height; j++)
        for (let i = 0; i < region.width; i++, to += 6) {
          const from = (mirror(region.y + j, height) * width + mirror(region.x + i, width)) * 6;
          assert.deepEqual(part.subarray(to, to + 6), whole.subarray(from, from + 6));
        }
    }
    // An edge that lies exactly on a row of pixels: places between the corners round to either side of it.
    const edge = [0.8, 0, 4.6, 3 * -0.0004, 1.05, 3, -0.0004, 0.0007, 1] as const;
    const row = new Float32Array(width * 6);
    await exposureSampler({ ...b.exposures[1], alignment: edge }, 0, addon).read({ x: 0, y: 0, width, height: 1 }, row);
    assert.ok(row.every(Number.isFinite));
  });
}

test("tiles cover every pixel, begin on the grid, overlap and fade to one", () => {
  for (const [width, height, pixels] of [
    [1000, 700, 300 * 300],
    [4000, 64, 200 * 200],
    [129, 513, 40000],
  ] as const) {
    const { tiles, samples } = planTiles(width, height, pixels, "auto");
    assert.ok(tiles.length > 1 && samples.length > 0);
    const sum = new Float64Array(width * height);
    for (const tile of tiles) {
      assert.ok(tile.x % 8 === 0 && tile.y % 8 === 0 && tile.width % 8 === 0 && tile.height % 8 === 0);
      assert.ok(tile.width * tile.height <= pixels);
      for (let y = tile.y; y < Math.min(height, tile.y + tile.height); y++)
        for (let x = tile.x; x < Math.min(width, tile.x + tile.width); x++)
          sum[y * width + x] += fade(y, tile.y, tile.height, height) * fade(x, tile.x, tile.width, width);
    }
    assert.ok(sum.every((s) => s > 0));
    assert.ok(samples.reduce((n, s) => n + s.width * s.height, 0) <= pixels);
  }
  assert.equal(planTiles(100, 50, 1e9, "auto").tiles.length, 1);
  assert.ok(OVERLAP % 8 === 0);
  assert.throws(() => planTiles(100, 50, 10, "full"), { code: "OUT_OF_MEMORY" });
  assert.throws(() => planTiles(5000, 5000, 100, "auto"), { code: "OUT_OF_MEMORY" });
  assert.throws(() => planTiles(5000, 5000, 1e6, 64), { code: "OUT_OF_MEMORY", message: /at least 128/ });
});

test("too little memory is refused with the figure that will do", async () => {
  const model = await smallModel();
  const engine = createNativeEngine(model);
  const b = await bracket(328, 200);
  for (const [tile, work] of [
    ["auto", ""],
    ["full", " as a whole"],
    [136, " in tiles of 136"],
  ] as const) {
    const share = 3 / 4;
    let needed = 0;
    const refused = reconstructNetwork(b, model, engine, { memory: share * 2 ** 26, share, tile });
    await assert.rejects(refused, (error: SmhdrError) => {
      const said = /^The network needs at least (\d+) MiB of memory for 328 x 200 pixels(.*); got 64 MiB\./.exec(
        error.message,
      );
      assert.equal(said?.[2], work, error.message);
      needed = Number(said[1]);
      return error.code === "OUT_OF_MEMORY";
    });
    await reconstructNetwork(b, model, engine, { memory: share * needed * 2 ** 20, share, tile });
    const less = reconstructNetwork(b, model, engine, { memory: share * (needed - 1) * 2 ** 20, share, tile });
    await assert.rejects(less, { code: "OUT_OF_MEMORY" });
  }
});

test("in tiles the picture is nearly that of the whole image, and its seams are no steeper than the picture", async () => {
  const model = await smallModel();
  const engine = createNativeEngine(model);
  const b = await bracket(328, 200);
  const options = { memory: 2 ** 31 };
  const whole = await reconstructNetwork(b, model, engine, { ...options, tile: "full" });
  const tiled = await reconstructNetwork(b, model, engine, { ...options, tile: 136 });
  let squared = 0;
  for (let i = 0; i < whole.data.length; i++) squared += (whole.data[i] - tiled.data[i]) ** 2;
  const psnr = -10 * Math.log10(squared / whole.data.length);
  assert.ok(psnr > 40, `PSNR of tiles against the whole image: ${psnr.toFixed(1)} dB`);
  assert.equal(whole.metadata.method, "network");
});

test("a network with a prior gets the merge of the whole bracket, on its scale, and where its gate is open gives that", async () => {
  const small = await smallModel();
  const model = { ...small, tensors: new Map(withPrior(small.tensors, 3, 0.5)), prior: true };
  model.tensors.set("conv_end.bias", { shape: [4], data: Float32Array.of(0, 0, 0, 60) });
  const b = await bracket(200, 136, [0, 1, 2, 3, 4]);
  const merge = await mergeRadiance(b);
  const engine = createNativeEngine(model);
  const fractions: number[] = [];
  for (const tile of ["full", 128] as const) {
    const options = { memory: 2 ** 31, tile, onProgress: (fraction: number) => fractions.push(fraction) };
    const { data } = await reconstructNetwork(b, model, engine, options);
    const worst = data.reduce(
      (most, v, i) => Math.max(most, Math.abs(Math.min(v, 0.9) - Math.min(merge.data[i], 0.9))),
      0,
    );
    assert.ok(worst < 6e-3, `${worst}`); // the logits' black and white
    assert.ok(fractions.every((fraction, i) => i === 0 || fraction >= fractions[i - 1]));
    fractions.length = 0;
  }
  // The merge is the engine's device's, if it can.
  const notes: string[] = [];
  const onNote = ({ message }: Note) => notes.push(message);
  await reconstructNetwork(b, model, { ...engine, cuda: "cuda:99" }, { memory: 2 ** 31, tile: "full", onNote });
  assert.match(notes.join(), /^The processor merges .* not cuda:99/);
  const refused = reconstructNetwork(b, { ...model, prior: false }, engine, { memory: 2 ** 31, tile: "full" });
  await assert.rejects(refused, { code: "INVALID_ARGUMENT", message: /made for 3 and a merge of them; 3 came/ });
});

test("where a network with a prior is a little darker than the merge, that is taken back; what it adds stays", async () => {
  const b = await bracket(150, 131);
  const merge = (await mergeRadiance(b)).data;
  const dot = (p: number) => p % 150 === 75 && Math.floor(p / 150) === 60;
  const fake: Engine = {
    device: "fake",
    bytesPerPixel: () => 1,
    run: async ({ exposures, width, height }) => {
      const out = new Float32Array(width * height * 3);
      for (let p = 0; p < width * height; p++)
        for (let c = 0; c < 3; c++)
          out[3 * p + c] =
            exposures[3][6 * p + c] * 0.9 + (width > 150 && dot(Math.floor(p / width) * 150 + (p % width)) ? 0.5 : 0);
      return out;
    },
    clearSums: () => {},
  };
  const run = (signal?: AbortSignal) =>
    reconstructNetwork(b, { name: "fake", exposures: 3, prior: true }, fake, { memory: 2 ** 31, tile: "auto", signal });
  const { data } = await run();
  let [before, after] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    if (merge[i] > 0.15) continue; // the reference clips at 0.25
    before += muLaw(merge[i] * 0.9) - muLaw(merge[i]);
    after += muLaw(data[i]) - muLaw(merge[i]);
  }
  assert.ok(Math.abs(after) < 0.1 * Math.abs(before), `${before} before, ${after} after`);
  const at = 3 * (60 * 150 + 75);
  assert.ok(data[at] > merge[at] + 0.4, `${data[at]} where ${merge[at]} is`);
  await assert.rejects(run(AbortSignal.abort()), { code: "CANCELLED" });
});

/** What is left of the noise of the colours, and of brightness, that a network left in the bracket's picture. */
async function noiseLeft(b: Bracket, draw: () => number): Promise<[number, number]> {
  const given: { clean?: Float32Array; noisy?: Float32Array } = {};
  const fake: Engine = {
    device: "fake",
    bytesPerPixel: () => 1,
    run: async ({ width, height }) => {
      const at = (i: number) => [width, Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3] as const;
      given.clean = Float32Array.from({ length: 3 * width * height }, (_, i) => scene(...at(i)));
      given.noisy = given.clean.map((v) => Math.max(0, Math.min(1, v + (v + 1 / 5000) * 0.3 * draw())));
      return given.noisy.slice();
    },
    clearSums: () => {},
  };
  const options = { memory: 2 ** 31, tile: "full" } as const;
  const { data } = await reconstructNetwork(b, { name: "fake", exposures: 3, prior: true }, fake, options);
  const { clean, noisy } = given;
  assert.ok(clean && noisy && data.length === clean.length, "whole, without padding");
  const squares = (of: Float32Array, what: (of: Float32Array, p: number) => number) => {
    let sum = 0;
    for (let p = 0; p < of.length; p += 3) sum += (what(of, p) - what(clean, p)) ** 2;
    return sum;
  };
  const left = (what: (of: Float32Array, p: number) => number) => squares(data, what) / squares(noisy, what);
  return [
    left((of, p) => muLaw(of[p]) - muLaw(of[p + 2])),
    left((of, p) => muLaw(of[p]) + muLaw(of[p + 1]) + muLaw(of[p + 2])),
  ];
}

test("colour noise that a network with a prior left is taken away, as much as its exposures had; brightness stays", async () => {
  let state = 1;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const noisy = await bracket(200, 136, [0, 2, 4], () => 1 + 0.5 * draw());
  const [colour, brightness] = await noiseLeft(noisy, draw);
  assert.ok(colour < 0.4, `${colour} of the colours' noise is left`);
  assert.ok(brightness > 0.7, `${brightness} of the brightness's noise, which drift's squares alone take a little of`);
  const [kept] = await noiseLeft(await bracket(200, 136), draw);
  assert.ok(kept > 0.8, `${kept} of what is as fine as noise is left where the exposures have none`);
});

test("of a bracket of many stops a network with a prior gets those near the reference, and the merge's highlights", async () => {
  const small = await smallModel();
  const b = await bracket(64, 48, [0, 3, 6, 9, 12]);
  assert.deepEqual(chooseExposures(b, 3), [0, 2, 4]);
  assert.deepEqual(chooseExposures(b, 3, true), [1, 2, 3]);
  assert.deepEqual(chooseExposures(await bracket(16, 16, [0, 6, 12]), 3, true), [0, 1, 2]); // no choice
  assert.deepEqual(chooseExposures(b, 5, true), [0, 1, 2, 3, 4]);
  const counts = [2, 3, 5];
  assert.equal(bestCount(b, { counts, prior: true }), 3); // five would lie 6 stops away
  assert.equal(bestCount(b, { counts, prior: false }), 5);
  assert.equal(bestCount(await bracket(16, 16, [0, 1, 2, 3, 4]), { counts, prior: true }), 5);
  assert.equal(bestCount(await bracket(16, 16, [0, 6, 12]), { counts, prior: true }), 3);
  assert.equal(bestCount(await bracket(16, 16, [0, 2]), { counts, prior: true }), 2);
  const long = await bracket(
    16,
    16,
    Array.from({ length: 16 }, (_, i) => i),
  );
  assert.deepEqual(chooseExposures(long, 5, true), [4, 6, 8, 10, 12]);

  // A gate that is shut: the network's own radiance, mid grey, up to where the exposures that it was given clip.
  const model = { ...small, tensors: new Map(withPrior(small.tensors, 3, 0.5)), prior: true };
  model.tensors.set("conv_end.weight", { shape: [4, 24, 3, 3], data: new Float32Array(4 * 24 * 9) });
  model.tensors.set("conv_end.bias", { shape: [4], data: Float32Array.of(0, 0, 0, -60) });
  const options = { memory: 2 ** 31, tile: "full" } as const;
  const { data } = await reconstructNetwork(b, model, createNativeEngine(model), options);
  const merge = (await mergeRadiance(b)).data;
  let [dark, bright] = [0, 0];
  for (let p = 0; p < data.length; p += 3) {
    const brightest = Math.max(merge[p], merge[p + 1], merge[p + 2]);
    for (let c = p; c < p + 3; c++) {
      // What lies near the merge is drift.
      const away = muLaw(merge[p] * 8) < muLaw(0.5) - 0.3;
      if (brightest < 0.6 / 8 && away)
        assert.ok(Math.abs(muLaw(data[c] * 8) - muLaw(0.5)) < 0.05, `${data[c]} at ${c}`);
      if (brightest > 0.95 / 8) assert.ok(Math.abs(data[c] - merge[c]) < 1e-6, `${data[c]}, not ${merge[c]} at ${c}`);
    }
    if (brightest < 0.6 / 8 && muLaw(merge[p] * 8) < muLaw(0.5) - 0.3) dark++;
    if (brightest > 0.95 / 8) bright++;
  }
  assert.ok(dark > 100 && bright > 100, `${dark} and ${bright}`);
});

test("the merge's highlights come in smoothly", () => {
  const picture = new Float32Array(3 * 200).fill(0.5);
  const merge = Float32Array.from({ length: 3 * 200 }, (_, i) => Math.floor(i / 3) / 200);
  bringHighlights(picture, merge, 2);
  for (let p = 1; p < 200; p++) assert.ok(picture[3 * p] - picture[3 * p - 3] < 0.05);
  assert.equal(picture[0], 0.5);
  assert.ok(Math.abs(picture[3 * 199] - (199 / 200) * 2) < 1e-6);
});

test("the shortest exposure used sets the scale", async () => {
  const model = await smallModel();
  const b = await bracket(16, 16, [0, 1, 2, 3, 4]);
  assert.deepEqual(chooseExposures(b, 3), [0, 2, 4]);
  assert.deepEqual(chooseExposures({ ...b, reference: 1 }, 3), [0, 1, 4]);
  assert.deepEqual(chooseExposures(b, 5), [0, 1, 2, 3, 4]);
  assert.throws(() => chooseExposures({ ...b, reference: 0 }, 3), { code: "UNSUPPORTED", message: /radiance/ });
  const fake: Engine = {
    device: "fake",
    bytesPerPixel: () => 1,
    run: async ({ batch, height, width }) => new Float32Array(batch * height * width * 3).fill(0.5),
    clearSums: () => {},
  };
  const { data } = await reconstructNetwork(b, { ...model, exposures: 1 }, fake, { memory: 2 ** 31, tile: "auto" });
  assert.ok(data.every((v) => v === 0.5 / 4)); // one exposure, two stops over the shortest
});

test("a cancelled reconstruction stops between and within tiles", async () => {
  const model = await smallModel();
  const b = await bracket(400, 400);
  const controller = new AbortController();
  const onProgress = (fraction: number) => fraction > 0.3 && controller.abort();
  const running = reconstructNetwork(b, model, createNativeEngine(model), {
    memory: 2 ** 31,
    tile: 200,
    signal: controller.signal,
    onProgress,
  });
  await assert.rejects(running, { code: "CANCELLED" });
});

test("a device that runs out of its memory works in smaller tiles, and then the processor does", async () => {
  const model = await smallModel();
  const processor = createNativeEngine(model, 2);
  const b = await bracket(328, 200);
  const expected = await reconstructNetwork(b, model, processor, { memory: 2 ** 31, tile: "auto" });
  for (const most of [0, 33_000, 328 * 200]) {
    const sizes: number[] = [];
    const device: Engine = {
      ...processor,
      device: "cuda:0 (a fake)",
      pixelsAtOnce: () => 1e9,
      substitute: () => processor,
      run(input, options) {
        sizes.push(input.height * input.width);
        const small = input.batch * input.height * input.width <= most;
        return small ? processor.run(input, options) : Promise.reject(new SmhdrError("OUT_OF_MEMORY", "Full."));
      },
    };
    const notes: string[] = [];
    const onNote = ({ message }: Note) => notes.push(message);
    const { data } = await reconstructNetwork(b, model, device, { memory: 2 ** 31, tile: "auto", onNote });
    const squared = data.reduce((sum, value, i) => sum + (value - expected.data[i]) ** 2, 0);
    assert.ok(-10 * Math.log10(squared / data.length) > 40);
    if (most === 328 * 200) assert.deepEqual(notes, []);
    else assert.match(notes[0], /a fake.*ran out of memory.*smaller tiles/);
    assert.equal(
      notes.some((note) => /the processor computes/.test(note)),
      most === 0,
    );
    assert.ok(sizes[0] >= 328 * 200 && Math.min(...sizes) <= Math.max(most, 328 * 100));
  }
  const failing: Engine = { ...processor, run: () => Promise.reject(new SmhdrError("OUT_OF_MEMORY", "Full.")) };
  await assert.rejects(reconstructNetwork(b, model, failing, { memory: 2 ** 31, tile: "auto" }), { message: "Full." });
});
