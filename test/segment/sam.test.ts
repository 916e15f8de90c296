import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { hasOnnxRuntime } from "../../src/engine/onnx.js";
import { encodeNpy } from "../../src/segment/npy.js";
import { type Photograph, type SamOptions, SamSegmenter, segmentWithSam } from "../../src/segment/sam/segmenter.js";
import type { SegmentMap } from "../../src/segment/segment-map.js";
import { type DecoderStyle, decoder, type EncoderStyle, encoder } from "./stand-in.js";

const skip = hasOnnxRuntime() ? false : "onnxruntime-node is not installed";
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-sam-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function models(encoderStyle: EncoderStyle = {}, decoderStyle: DecoderStyle = {}) {
  const name = JSON.stringify([encoderStyle, decoderStyle]).replace(/\W+/g, "-");
  const paths = { encoder: join(folder, `encoder${name}.onnx`), decoder: join(folder, `decoder${name}.onnx`) };
  await writeFile(paths.encoder, encoder(encoderStyle));
  await writeFile(paths.decoder, decoder(decoderStyle));
  return paths;
}

/** On one thread: so small models take longer on several. */
const segment: typeof segmentWithSam = (photograph, paths, options) =>
  segmentWithSam(photograph, paths, { threads: 1, ...options });

type Colour = readonly [red: number, green: number, blue: number];
type Piece = readonly [left: number, top: number, width: number, height: number, colour: Colour];

function paint(width: number, height: number, pieces: readonly Piece[], factor = 1): Photograph {
  const codes = new Uint16Array(width * height * factor * factor * 3);
  for (const [left, top, across, down, colour] of pieces)
    for (let y = top * factor; y < (top + down) * factor; y++)
      for (let x = left * factor; x < (left + across) * factor; x++)
        codes.set(
          colour.map((value) => value * 257),
          (y * width * factor + x) * 3,
        );
  return { width: width * factor, height: height * factor, codes };
}

/** Asserts that the map has one id for each name that `name` gives the pixels, the largest first; "" is the background's. */
function assertMap(map: SegmentMap, name: (x: number, y: number) => string, firstId = 0): void {
  const area = new Map<string, number>();
  const at = (p: number) => name(p % map.width, Math.floor(p / map.width));
  for (let p = 0; p < map.ids.length; p++) area.set(at(p), (area.get(at(p)) ?? 0) + 1);
  area.delete("");
  const order = ["", ...[...area.keys()].sort((a, b) => (area.get(b) as number) - (area.get(a) as number))];
  assert.equal(map.count, order.length);
  const wrong: string[] = [];
  for (let p = 0; p < map.ids.length; p++)
    if (map.ids[p] !== firstId + order.indexOf(at(p)))
      wrong.push(`(${p % map.width}, ${Math.floor(p / map.width)}) is ${map.ids[p]}, not ${order.indexOf(at(p))}`);
  assert.deepEqual(wrong.slice(0, 5), []);
}

/**
 * Left: a group of three pieces, one of low predicted IoU, one unstable: those show the group. Middle: a group that its better piece
 * suppresses, as their boxes are nearly the same; its strip is left over. Right: a piece of 30 x 30 pixels, too small.
 */
const pieces: Piece[] = [
  [0, 0, 56, 96, [200, 100, 200]],
  [4, 4, 48, 24, [200, 250, 201]],
  [4, 40, 44, 25, [200, 252, 50]],
  [56, 0, 40, 96, [100, 100, 20]],
  [56, 0, 40, 80, [100, 253, 220]],
  [96, 0, 32, 96, [30, 254, 230]],
  [97, 50, 30, 30, [50, 255, 240]],
];
const expected = (x: number, y: number) => {
  if (x >= 4 && x < 52 && y >= 4 && y < 28) return "first piece";
  if (x < 56) return "group";
  if (x < 96) return y < 80 ? "better piece" : "";
  return x >= 97 && x < 127 && y >= 50 && y < 80 ? "" : "right";
};

describe("Segment Anything's mask generator on stand-in models", { skip }, () => {
  test("choice, duplicates, painting and small segments", async () => {
    const map = await segment(paint(128, 96, pieces), await models(), { firstId: 40 });
    assertMap(map, expected, 40);
  });

  for (const [name, encoderStyle, decoderStyle, options] of [
    ["one point at a time", {}, { batch: 1 }, {}],
    ["a fixed batch of several", {}, { batch: 100 }, {}],
    ["[height, width, 3] with normalisation within", { layout: "HWC", raw: true }, {}, {}],
  ] as [string, EncoderStyle, DecoderStyle, SamOptions][]) {
    test(name, async () => {
      assertMap(
        await segment(paint(128, 96, pieces), await models(encoderStyle, decoderStyle), {
          pointsPerSide: 15,
          ...options,
        }),
        expected,
      );
    });
  }

  test("masks of large pictures have their size", async () => {
    const flat: Piece[] = [
      [0, 0, 64, 96, [200, 250, 200]],
      [64, 0, 64, 96, [20, 250, 250]],
    ];
    const map = await segment(paint(128, 96, flat, 3), await models(), { pointsPerSide: 8 });
    assert.deepEqual([map.width, map.height, map.count], [384, 288, 3]);
    // Where both colours meet, the encoder's smaller picture mixes them.
    assertMap({ ...map, ids: map.ids.map((id, p) => (Math.abs((p % 384) - 191.5) < 6 ? 0 : id)) }, (x) =>
      Math.abs(x - 191.5) < 6 ? "" : x < 192 ? "left" : "right",
    );
  });

  for (const [style, encoderStyle] of [
    ["small", {}],
    ["transformers", { positions: true }],
  ] as const) {
    test(`masks at a quarter of the size (${style})`, async () => {
      const blocks: Piece[] = [
        [0, 0, 128, 96, [9, 250, 200]],
        [8, 8, 56, 40, [30, 252, 210]],
        [72, 40, 48, 48, [50, 254, 220]],
      ];
      const map = await segment(paint(128, 96, blocks), await models(encoderStyle, { style }), {
        pointsPerSide: 8,
      });
      const at = (x: number, y: number) => map.ids[y * 128 + x];
      const wrong = Array.from(map.ids.keys()).filter((p) => {
        const [x, y] = [p % 128, Math.floor(p / 128)];
        const block = x >= 8 && x < 64 && y >= 8 && y < 48 ? 3 : x >= 72 && x < 120 && y >= 40 && y < 88 ? 2 : 1;
        return at(x, y) !== block;
      });
      assert.equal(map.count, 4);
      // Bilinear enlargement rounds every corner by one pixel.
      assert.deepEqual(
        wrong.map((p) => [p % 128, Math.floor(p / 128)]),
        [
          [8, 8],
          [63, 8],
          [72, 40],
          [119, 40],
          [8, 47],
          [63, 47],
          [72, 87],
          [119, 87],
        ],
      );
    });
  }

  test("every point of the grid is asked for", async () => {
    const cells = Array.from({ length: 1024 }, (_, i): Piece => {
      const [column, row] = [i % 32, i >> 5];
      return [4 * column, 4 * row, 4, 4, [i >> 4, 240 + (i & 15), 200]];
    });
    const all = await segment(paint(128, 128, cells), await models(), { smallest: 1, predictedIou: 0.94 });
    // Those with 240/255 = 0.941 to 1 as predicted IoU stay; the 16 cells of each group (half a row) have it at 0.95.
    assert.equal(all.count, 1025);
    const ids = new Set(Array.from({ length: 1024 }, (_, i) => all.ids[(4 * (i >> 5) + 2) * 128 + 4 * (i % 32) + 1]));
    assert.equal(ids.size, 1024);
  });

  test("the program goes on meanwhile, and hears of progress", async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const heard: number[] = [];
    await segment(paint(128, 96, pieces), await models(), {
      batch: 16,
      pointsPerSide: 16,
      onProgress: (fraction) => heard.push(fraction),
    });
    clearInterval(timer);
    assert.ok(ticks > 10, `${ticks} ticks`);
    assert.ok(heard.length > 10 && heard.every((value, i) => i === 0 || value > heard[i - 1]), heard.join(" "));
    assert.equal(heard.at(-1), 1);
  });

  test("it stops at once when asked to", async () => {
    const controller = new AbortController();
    let stopped = 0;
    const onProgress = (fraction: number) => {
      if (fraction <= 0 || stopped > 0) return;
      stopped = performance.now();
      controller.abort();
    };
    const segmenter = new SamSegmenter(await models({}, { batch: 1 }), { pointsPerSide: 256 });
    const photograph = paint(128, 96, pieces);
    await assert.rejects(segmenter.segment(photograph, { signal: controller.signal, onProgress }), {
      code: "CANCELLED",
    });
    assert.ok(stopped > 0 && performance.now() - stopped < 500);
    await segmenter.close();
  });

  test("maps are kept by photograph, models and settings", async () => {
    const cache = join(folder, "cache");
    const photograph = paint(128, 96, pieces);
    const paths = await models();
    const few = { cache, pointsPerSide: 8 };
    const first = await segment(photograph, paths, few);
    const [name] = await readdir(cache);
    assert.deepEqual(await segment(photograph, paths, { ...few, smallest: 1000 }), first);
    assert.equal((await readdir(cache)).length, 1);

    const half = Float32Array.from({ length: 128 * 96 }, (_, p) => (p < 64 * 96 ? 1 : 0));
    await writeFile(join(cache, name), gzipSync(encodeNpy(half, [96, 128, 1])));
    const known = await segment(photograph, paths, { ...few, firstId: 5 });
    assertMap(known, (_, y) => (y < 48 ? "upper" : ""), 5);

    await writeFile(join(cache, name), "damaged");
    assert.deepEqual(await segment(photograph, paths, few), first);
    await segment(paint(128, 96, pieces.slice(1)), paths, { ...few, stability: 0.5 });
    await segment(photograph, await models({ raw: true }), few);
    assert.equal((await readdir(cache)).length, 3);
  });

  test("bad models and calls end with one clear error", async () => {
    const photograph = paint(128, 96, pieces);
    const good = await models();
    const junk = join(folder, "junk.onnx");
    await writeFile(junk, "junk");
    const fails = async (change: object, options: SamOptions, code: string, message: RegExp) =>
      assert.rejects(segmentWithSam(photograph, { ...good, ...change }, options), {
        name: "SmhdrError",
        code,
        message,
      });
    await fails({ encoder: join(folder, "absent.onnx") }, {}, "IO", /absent\.onnx/);
    await fails({ decoder: junk }, {}, "BAD_INPUT", /junk\.onnx.*cannot load/);
    await fails({ encoder: good.decoder }, {}, "UNSUPPORTED", /point_coords/);
    await fails({ decoder: good.encoder }, {}, "UNSUPPORTED", /expected a mask decoder/);
    await fails({ decoder: (await models({ size: 64 }, { size: 64 })).decoder }, {}, "BAD_INPUT", /decoder failed/);
    await fails({}, { pointsPerSide: 0 }, "INVALID_ARGUMENT", /pointsPerSide/);
    await fails({}, { stability: 2 }, "INVALID_ARGUMENT", /stability/);
    await fails({}, { batch: -1 }, "INVALID_ARGUMENT", /batch/);
    const cut = { ...photograph, codes: photograph.codes.subarray(1) };
    await assert.rejects(segment(cut, good), { code: "INVALID_ARGUMENT", message: /128x96/ });
  });
});
