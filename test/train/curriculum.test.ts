import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readSafetensors } from "../../src/model/safetensors.js";
import { type Curriculum, learningRate, maskRatio, measuresQuality, totalEpochs } from "../../src/train/curriculum.js";
import { LEAST_ERROR, localQuality } from "../../src/train/local-quality.js";
import { lossWeights, weightMap } from "../../src/train/loss-weights.js";
import { drawMaskMap, drawMaskModes, roundHalfEven, segmentRatios } from "../../src/train/masks.js";
import { Random } from "../../src/train/synthesis/random.js";

const golden = (name: string) => new URL(`../golden/${name}`, import.meta.url).pathname;
const reference = JSON.parse(readFileSync(golden("reference.json"), "utf8"));
const paper: Curriculum = {
  epochs: { plain: 300, rising: 50, falling: 50 },
  peakRatio: 0.9,
  changing: true,
  rate: { from: 5e-4, to: 5e-5 },
};
const near = (a: number, b: number, relative: number) =>
  assert.ok(Math.abs(a - b) <= relative * Math.max(Math.abs(b), 1e-12), `${a} is not ${b}`);

test("mask ratio and learning rate of every epoch are the paper's", () => {
  assert.equal(totalEpochs(paper), 400);
  const ratios = reference.cal_mask_ratio.epoch_1_to_400 as number[];
  assert.equal(ratios.length, 400);
  ratios.forEach((ratio, i) => {
    near(maskRatio(paper, i + 1), ratio, 1e-12);
  });
  const rates = reference.MyLR;
  const expected = [...rates.phase1_lr_used_in_epoch_1_to_300, ...rates.phase2_lr_used_in_epoch_301_to_400] as number[];
  assert.equal(expected.length, 400);
  expected.forEach((rate, i) => {
    near(learningRate(paper, i + 1), rate, 1e-9);
  });
  assert.equal(maskRatio({ ...paper, changing: false, peakRatio: 0.75 }, 400), 0.75);
  assert.equal(maskRatio({ ...paper, changing: false, peakRatio: 0.75 }, 300), 0);
  assert.deepEqual(
    [4, 5, 299, 300, 301, 302, 400].map((epoch) => measuresQuality(paper, epoch)),
    [false, true, false, true, true, true, true],
  );
});

test("ratios and loss weights of segments are the reference's", async () => {
  const { tensors } = await readSafetensors(golden("reference_images.safetensors"));
  const [prediction, truth, ids] = ["pred", "gt", "ids"].map((name) => tensors.get(name));
  assert.ok(prediction && truth && ids, [...tensors.keys()].join(" "));
  const [, channels, height, width] = truth.shape;
  const area = height * width;
  const interleaved = (data: Float32Array) =>
    Float32Array.from({ length: area * channels }, (_, i) => data[(i % channels) * area + Math.floor(i / channels)]);
  const segments = ids.data.slice(0, area);
  const quality = localQuality(interleaved(prediction.data), interleaved(truth.data), segments);
  const { mask_ratio, mask_ratio_dict, loss_ratio_dict } = reference.metric_guided_ratio;
  assert.equal(quality.size, Object.keys(mask_ratio_dict).length);
  const ratios = segmentRatios(quality, mask_ratio);
  const weights = lossWeights(quality);
  for (const id of quality.keys()) {
    near(ratios.get(id) as number, mask_ratio_dict[id.toFixed(1)], 1e-4);
    near(weights.get(id) as number, loss_ratio_dict[id.toFixed(1)], 1e-4);
  }
  near([...weights.values()].reduce((a, b) => a + b) / weights.size, 1, 1e-12);
  assert.ok([...segmentRatios(quality, 1).values()].every((ratio) => ratio <= 1));

  // As many pixels of each segment stay as in the reference; which ones is drawn.
  const map = drawMaskMap(segments, ratios, new Random(3));
  const { kept_per_id, pixels_per_id } = reference.calculate_mask_map;
  for (const id of quality.keys()) {
    const kept = map.filter((keep, p) => keep === 1 && segments[p] === id).length;
    assert.equal(segments.filter((s) => s === id).length, pixels_per_id[id.toFixed(1)]);
    assert.equal(kept, kept_per_id[id.toFixed(1)]);
  }
  assert.deepEqual(map, drawMaskMap(segments, ratios, new Random(3)));
  assert.notDeepEqual(map, drawMaskMap(segments, ratios, new Random(4)));
  assert.deepEqual(
    weightMap(segments, weights),
    segments.map((id) => weights.get(id) as number),
  );
});

test("a perfect segment keeps everything finite", () => {
  const truth = new Float32Array([0.1, 0.2, 0.3, 0, 0, 0]);
  const prediction = new Float32Array([0.1, 0.2, 0.3, 0.5, 0.5, 0.5]);
  const quality = localQuality(prediction, truth, new Float32Array([4, 9]));
  near(quality.get(4) as number, -10 * Math.log10(LEAST_ERROR), 1e-12);
  near(quality.get(9) as number, -20 * Math.log10(Math.log(2501) / Math.log(5001)), 1e-6);
  assert.ok([...segmentRatios(quality, 0.9).values(), ...lossWeights(quality).values()].every(Number.isFinite));
  assert.throws(() => localQuality(truth, truth, new Float32Array(3)), /expected pictures of 3 pixels/);
});

test("drawing", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4999, 3.51].map(roundHalfEven), [0, 2, 2, 2, 4]);
  const random = new Random(1);
  const modes = Array.from({ length: 2000 }, () => drawMaskModes(2, 0.75, random)).flat();
  near(modes.filter((mode) => mode === 1).length / modes.length, 0.75, 0.04);
  assert.ok(modes.every((mode) => mode === 1 || mode === 2));
  // Every pixel of a segment is as likely to go as any other.
  const counts = new Float32Array(10);
  for (let i = 0; i < 2000; i++)
    drawMaskMap(new Float32Array(10).fill(7), new Map([[7, 0.3]]), random).forEach((keep, p) => {
      counts[p] += 1 - keep;
    });
  assert.equal(
    counts.reduce((a, b) => a + b),
    6000,
  );
  for (const count of counts) near(count, 600, 0.15);
});
