import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bracket, Homography } from "../../src/bracket/bracket.js";
import { memoryPixels } from "../../src/bracket/pixels.js";
import { toLinear } from "../../src/bracket/transfer.js";
import { loadAddon } from "../../src/engine/addon.js";
import type { SmhdrError } from "../../src/errors.js";
import type { PixelData } from "../../src/image.js";
import { mergeRadiance } from "../../src/reconstruct/radiance.js";
import { Reconstructor } from "../../src/reconstruct/reconstructor.js";

let missing: string | false = false;
try {
  loadAddon();
} catch (error) {
  missing = (error as Error).message.split("\n")[0];
}
const options = { skip: missing };
const noCuda = (!missing && loadAddon().cudaDevices().absence) || false;

interface Scene {
  readonly width: number;
  readonly height: number;
  readonly depth?: "uint8" | "uint16" | "float32";
  readonly ev?: readonly number[];
  readonly alignment?: Homography;
  /** Radiance of channel c at (x, y) as exposure i saw it. */
  readonly radiance: (x: number, y: number, c: number, i: number) => number;
}

const tops = { uint8: 255, uint16: 65535, float32: 1 };

/** Photographs it exactly (gamma 2.2, rounded to the depth). */
function photograph({ width, height, depth = "uint16", ev = [0, 2, 4], alignment, radiance }: Scene): Bracket {
  const exposures = ev.map((exposureValue, i) => {
    const samples = Array.from({ length: width * height * 3 }, (_, at) => {
      const pixel = Math.floor(at / 3);
      const light = radiance(pixel % width, Math.floor(pixel / width), at % 3, i) * 2 ** exposureValue;
      const stored = Math.min(Math.max(light, 0), 1) ** (1 / 2.2) * tops[depth];
      return depth === "float32" ? stored : Math.round(stored);
    });
    const data: PixelData =
      depth === "uint8"
        ? Uint8Array.from(samples)
        : depth === "uint16"
          ? Uint16Array.from(samples)
          : Float32Array.from(samples);
    const encoding = { transfer: "gamma2.2", primaries: "srgb" } as const;
    return {
      name: `${i}`,
      pixels: memoryPixels({ width, height, depth, encoding }, data),
      exposureValue,
      exposureSource: "given" as const,
      ...(alignment && i !== Math.floor(ev.length / 2) ? { alignment } : {}),
    };
  });
  return { width, height, exposures, reference: Math.floor(ev.length / 2), notes: [], close() {} };
}

/** A smooth scene from 0.001 to 0.9 with a little texture. */
const smooth = (x: number, y: number, c: number) =>
  0.001 * 900 ** (0.5 + 0.5 * Math.sin(x / 9 + c / 4) * Math.cos(y / 7)) * (1 + 0.1 * Math.sin(3 * x + 5 * y));

test("a static scene comes back, in every depth and for many exposures", options, async () => {
  for (const depth of ["uint8", "uint16", "float32"] as const) {
    for (const ev of [
      [0, 2],
      [0, 2, 4],
      [0, 1, 2, 3, 4],
    ]) {
      const result = await mergeRadiance(photograph({ width: 61, height: 43, depth, ev, radiance: smooth }));
      let worst = 0;
      for (let at = 0; at < result.data.length; at++) {
        const pixel = Math.floor(at / 3);
        const truth = smooth(pixel % 61, Math.floor(pixel / 61), at % 3);
        worst = Math.max(worst, Math.abs(result.data[at] - truth) / truth);
      }
      assert.ok(worst < (depth === "uint8" ? 0.12 : 0.01), `${depth}, ${ev.length} exposures: off by ${worst}`);
      assert.equal(result.encoding.transfer, "linear");
      assert.deepEqual(result.metadata.exposureValues, ev);
    }
  }
});

test("shows the reference's moment, not what moved", options, async () => {
  // A bright square jumps from exposure to exposure; the scene behind is grey.
  const square = (i: number) => (x: number, y: number) => x >= 10 + 20 * i && x < 22 + 20 * i && y >= 15 && y < 30;
  const moving = (x: number, y: number, _c: number, i: number) => (square(i)(x, y) ? 0.16 : 0.02);
  const result = await mergeRadiance(photograph({ width: 80, height: 45, radiance: moving }));
  for (let y = 0; y < 45; y++) {
    for (let x = 0; x < 80; x++) {
      const truth = square(1)(x, y) ? 0.16 : 0.02;
      assert.ok(Math.abs(result.data[(y * 80 + x) * 3] - truth) < 0.004, `ghost at ${x}, ${y}`);
    }
  }
});

test("fills what the reference clipped, and stays neutral and finite where all clip", options, async () => {
  const scene = (x: number) => (x < 20 ? 0.05 : x < 40 ? 0.7 : 3);
  const result = await mergeRadiance(photograph({ width: 60, height: 12, radiance: scene }));
  const at = (x: number) => Array.from(result.data.subarray((6 * 60 + x) * 3, (6 * 60 + x) * 3 + 3));
  assert.ok(at(10).every((v) => Math.abs(v - 0.05) < 0.001));
  assert.ok(
    at(30).every((v) => Math.abs(v - 0.7) < 0.02),
    `${at(30)}`,
  );
  assert.ok(
    at(50).every((v) => v === at(50)[0] && v > 0.98 && v <= 1),
    `${at(50)}`,
  );
  assert.ok(result.data.every((v) => v >= 0 && v <= 1));
});

test("strips show no seams: the same pixels for any memory limit and number of threads", options, async () => {
  const alignment = [1, 0.02, 0.4, -0.02, 1, 1.3, 1e-5, 0, 1] as const;
  const bracket = photograph({ width: 250, height: 140, radiance: smooth, alignment });
  const whole = await mergeRadiance(bracket, { threads: 1 });
  const bytes = 250 * 140 * 12 + 3 * 16 * 3 * 250 * 3 * 2; // strips of 16 rows
  const strips = await mergeRadiance(bracket, { threads: 3, memory: bytes });
  assert.deepEqual(Buffer.from(strips.data.buffer), Buffer.from(whole.data.buffer));
});

test("tolerates a camera's own tone curve", options, async () => {
  // The file says gamma 2.2; the camera added contrast that no transfer function tells.
  const curve = (light: number) => light ** 1.25 / (light ** 1.25 + 0.3 * (1 - light));
  const scene = (x: number, y: number, c: number, i: number) => curve(Math.min(1, smooth(x, y, c) * 4 ** i)) / 4 ** i;
  const result = await mergeRadiance(photograph({ width: 200, height: 160, depth: "uint8", radiance: scene }));
  // Up to the camera's curve the bracket is consistent: ratios within the scene come back.
  const logs: number[] = [];
  for (let y = 8; y < 150; y += 7) {
    for (let x = 8; x < 190; x += 7) {
      logs.push(Math.log2(result.data[(y * 200 + x) * 3 + 1] / smooth(x, y, 1)));
    }
  }
  logs.sort((a, b) => a - b);
  const spread = logs[Math.floor(0.9 * logs.length)] - logs[Math.floor(0.1 * logs.length)];
  assert.ok(spread < 0.6, `ratios spread over ${spread} stops`);
});

test("cancels, and refuses what makes no sense", options, async () => {
  const bracket = photograph({ width: 40, height: 30, radiance: smooth });
  const code = (wanted: string) => (error: SmhdrError) => error.code === wanted;
  await assert.rejects(mergeRadiance(bracket, { signal: AbortSignal.abort() }), code("CANCELLED"));
  const late = new AbortController();
  await assert.rejects(
    mergeRadiance(bracket, { signal: late.signal, onProgress: () => late.abort() }),
    code("CANCELLED"),
  );
  await assert.rejects(mergeRadiance(bracket, { memory: 1000 }), code("OUT_OF_MEMORY"));
  await assert.rejects(mergeRadiance(bracket, { threads: -1 }), code("INVALID_ARGUMENT"));
  await assert.rejects(mergeRadiance({ ...bracket, reference: 3 }), code("INVALID_ARGUMENT"));
});

test("calls that TypeScript would have refused are refused in words", options, async () => {
  const load = Reconstructor.load as (options: unknown) => Promise<Reconstructor>;
  await assert.rejects(load("smhdr"), { code: "INVALID_ARGUMENT", message: /options: .*got "smhdr"/ });
  const run = (bracket: unknown) => load({ method: "radiance" }).then((it) => it.run(bracket as Bracket));
  await assert.rejects(run("a.jpg"), { code: "INVALID_ARGUMENT", message: /bracket: .*got "a.jpg"/ });
});

test("a device that is not there leaves the merge to the processor, and a note says so", options, async () => {
  const bracket = photograph({ width: 40, height: 30, radiance: smooth });
  const notes: string[] = [];
  const result = await mergeRadiance(bracket, { device: "cuda:99", onNote: ({ message }) => notes.push(message) });
  assert.deepEqual(result.data, (await mergeRadiance(bracket)).data);
  assert.equal(notes.length, 1);
  assert.match(notes[0], /^The processor merges .* not cuda:99: .*cuda:99/);
  await assert.rejects(Reconstructor.load({ method: "radiance", device: "cuda:99" }), {
    code: "UNSUPPORTED",
    message: /cuda:99/,
  });
  await assert.rejects(mergeRadiance(bracket, { device: "cuda:x" as "cuda:0" }), { code: "INVALID_ARGUMENT" });
});

test("a CUDA device merges as the processor does", { skip: missing || noCuda }, async () => {
  const alignment = [1, 0.02, 0.4, -0.02, 1, 1.3, 1e-5, 0, 1] as const;
  for (const depth of ["uint8", "uint16", "float32"] as const) {
    const bracket = photograph({ width: 250, height: 140, depth, radiance: smooth, alignment });
    const expected = await mergeRadiance(bracket);
    const reconstructor = await Reconstructor.load({ method: "radiance", device: "cuda" });
    const result = await reconstructor.run(bracket, { onNote: ({ message }) => assert.fail(message) });
    const off = result.data.reduce((sum, v, i) => sum + Math.abs(v - expected.data[i]), 0) / result.data.length;
    assert.ok(off < 1e-5, `${depth}: ${off}`);
  }
});

test("one pixel is an image too", options, async () => {
  const result = await mergeRadiance(photograph({ width: 1, height: 1, radiance: () => 0.1 }));
  assert.ok(result.data.every((v) => Math.abs(v - 0.1) < 0.001));
  assert.equal(toLinear("linear", 0.5), 0.5);
});
