import assert from "node:assert/strict";
import { test } from "node:test";
import type { Scene } from "../../src/train/dataset.js";
import { lossWeights } from "../../src/train/loss-weights.js";
import { makeBatch } from "../../src/train/make-batch.js";
import { cutPatch, epochOrder, patchArrays, randomFor } from "../../src/train/patches.js";
import { tinyConfig } from "./training-set.js";

/** A scene in which every pixel knows its place: codes and truth count up, channels apart. */
function numberedScene(width: number, height: number): Scene {
  const pixels = width * height;
  const codes = Uint16Array.from({ length: pixels * 3 }, (_, i) => 10 * Math.floor(i / 3) + (i % 3));
  return {
    ...{ name: "numbered", width, height, exposureValues: [0, 2, 4] },
    exposures: [codes, codes, codes],
    truth: Float32Array.from(codes),
    segments: Float32Array.from({ length: pixels }, (_, p) => (p % width < width / 2 ? 3 : 4)),
  };
}

test("an epoch has every scene as often, in another order each time", () => {
  const plan = { seed: 1, patchesPerScene: 5, scenesAtOnce: 0 };
  const order = epochOrder(plan, 7, 1);
  const times = (part: Int32Array) => Array.from({ length: 7 }, (_, scene) => part.filter((s) => s === scene).length);
  assert.deepEqual(times(order), Array(7).fill(5));
  assert.deepEqual(order, epochOrder(plan, 7, 1));
  assert.notDeepEqual(order, epochOrder(plan, 7, 2));
  assert.notDeepEqual(order, epochOrder({ ...plan, seed: 2 }, 7, 1));
  // In groups: the first fifteen patches come from three scenes.
  const grouped = epochOrder({ ...plan, scenesAtOnce: 3 }, 7, 1);
  assert.deepEqual(times(grouped), Array(7).fill(5));
  for (const [from, to, scenes] of [
    [0, 15, 3],
    [15, 30, 3],
    [30, 35, 1],
  ] as const)
    assert.equal(new Set(grouped.subarray(from, to)).size, scenes);
});

test("a patch is the same place of every picture, however it is turned", () => {
  const scene = numberedScene(40, 24);
  const config = tinyConfig({ patch: 16, augmentation: { flips: true, turns: true, colours: 0.5 } });
  const count = 60;
  const arrays = patchArrays(count, 16, 3);
  const steps = new Set<string>();
  const corners = new Set<number>();
  let recoloured = 0;
  for (let slot = 0; slot < count; slot++) {
    cutPatch(scene, config, randomFor(1, "patch", slot), arrays, slot);
    const at = (x: number, y: number) => slot * 256 + y * 16 + x;
    const place = (p: number) => Math.floor(arrays.truth[3 * p] / 10);
    steps.add(`${place(at(1, 0)) - place(at(0, 0))} ${place(at(0, 1)) - place(at(0, 0))}`);
    corners.add(place(at(0, 0)));
    if (arrays.truth[3 * at(0, 0)] % 10 !== 0) recoloured++;
    for (let p = at(0, 0); p <= at(15, 15); p++) {
      assert.equal(arrays.segments[p], place(p) % 40 < 20 ? 3 : 4);
      for (let c = 0; c < 3; c++) {
        const code = arrays.truth[3 * p + c];
        arrays.exposures.forEach((exposure, e) => {
          assert.equal(exposure[6 * p + 3 + c], Math.fround(code / 65535));
          const radiance = (code / 65535) ** 2.2 / (2 ** scene.exposureValues[e] + 1e-8);
          assert.ok(Math.abs(exposure[6 * p + c] - radiance) <= 1e-6 * radiance);
        });
      }
    }
  }
  // All eight ways to turn a square, and many places.
  assert.deepEqual([...steps].sort(), ["-1 -40", "-1 40", "-40 -1", "-40 1", "1 -40", "1 40", "40 -1", "40 1"].sort());
  assert.ok(corners.size > 30);
  assert.ok(recoloured > 5 && recoloured < 40, String(recoloured));
  const plain = tinyConfig({ patch: 16, augmentation: { flips: false, turns: false, colours: 0 } });
  cutPatch(scene, plain, randomFor(1, "patch", 0), arrays, 0);
  assert.equal(arrays.truth[3] - arrays.truth[0], 10);
  assert.equal(arrays.truth[48] - arrays.truth[0], 400);
});

test("masks and weights of a batch follow configuration and ratio", () => {
  const scene = numberedScene(40, 24);
  const quality = new Map([
    [3, 20],
    [4, 40],
  ]);
  const patches = [0, 1].map((number) => ({ scene, number, quality }));
  const base = { patch: 16, augmentation: { flips: false, turns: false, colours: 0 } };
  const semantic = makeBatch(patches, tinyConfig({ ...base, maskProbability: 1 }), 2, 0.5, 7);
  assert.deepEqual(semantic.maskMode, [1, 1]);
  const { segments } = (() => {
    const arrays = patchArrays(2, 16, 3);
    patches.forEach(({ number }, slot) => {
      cutPatch(scene, tinyConfig(base), randomFor(1, "patch", number), arrays, slot);
    });
    return arrays;
  })();
  const weights = lossWeights(quality);
  assert.deepEqual(
    semantic.weights,
    segments.map((id) => weights.get(id) as number),
  );
  const kept = (id: number) =>
    (semantic.maskMap as Float32Array).filter((keep, p) => segments[p] === id && keep === 1).length /
    segments.filter((s) => s === id).length;
  // softmax(0.05 (20, 40)) = (0.269, 0.731); times 2 x 0.5.
  assert.ok(Math.abs(kept(3) - (1 - 0.2689)) < 0.02 && Math.abs(kept(4) - (1 - 0.7311)) < 0.02);

  const none = makeBatch(patches, tinyConfig({ ...base, masks: "none", lossWeights: "uniform" }), 2, 0.5, 7);
  assert.deepEqual([none.maskMap, none.maskMode, none.weights], [undefined, undefined, undefined]);
  const before = makeBatch(patches, tinyConfig(base), 2, 0, 7);
  assert.deepEqual([before.maskMap, before.maskMode], [undefined, undefined]);
  const random = makeBatch(patches, tinyConfig({ ...base, masks: "random" }), 2, 0.25, 7);
  assert.equal(random.maskMap?.filter((keep) => keep === 0).length, 128);
  assert.deepEqual(random, makeBatch(patches, tinyConfig({ ...base, masks: "random" }), 2, 0.25, 7));
});
