import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createNativeEngine } from "../../src/engine/native.js";
import type { Model } from "../../src/model/model.js";
import { readSafetensors, type StoredTensor } from "../../src/model/safetensors.js";

const shipped = fileURLToPath(new URL("../golden/", import.meta.url));
const full = process.env.SMHDR_GOLDEN ?? fileURLToPath(new URL("../../../shared/golden/", import.meta.url));
const folder = existsSync(join(full, "A_weights.safetensors")) ? full : shipped;

/** [B, C, H, W] channels [first, first + count) to [B, H, W, count]. */
function channelsLast({ shape: [b, c, h, w], data }: StoredTensor, first: number, count: number): Float32Array {
  const area = h * w;
  const out = new Float32Array(b * area * count);
  for (let i = 0; i < b; i++)
    for (let p = 0; p < area; p++)
      for (let k = 0; k < count; k++) out[(i * area + p) * count + k] = data[(i * c + first + k) * area + p];
  return out;
}

async function model(config: string): Promise<Model> {
  const { tensors, metadata } = await readSafetensors(join(folder, `${config}_weights.safetensors`));
  const width = tensors.get("conv_first.0.weight")?.shape[0] ?? 0;
  return { name: config, tensors, metadata, width, exposures: 3 };
}

const cases: [string, string][] = [
  ["B", "n3_8x8"],
  ["B", "n2_16x24"],
  ["B", "n1_16x16"],
  ["B", "n3_24x40_b2"],
  ["C", "n5_16x24"],
  ["D", "n3_16x16"],
  ["A", "n3_64x64"],
];

describe("the network through the addon equals the reference numbers", () => {
  for (const [config, name] of cases) {
    const file = join(folder, `${config}_${name}.safetensors`);
    test(`${config} ${name}`, { skip: existsSync(file) ? false : `${file} is absent` }, async () => {
      const { tensors } = await readSafetensors(file);
      const get = (key: string) => tensors.get(key) as StoredTensor;
      const [batch, channels, height, width] = get("input").shape;
      const exposures = Array.from({ length: channels / 6 }, (_, i) => channelsLast(get("input"), 6 * i, 6));
      const engine = createNativeEngine(await model(config), 2);
      const stages = { A: 4, B: 2, C: 1, D: 2 }[config] as number;
      for (const [output, mode] of [
        ["out_nomask", 0],
        ["out_hardmask", 1],
        ["out_importance", 2],
      ] as const) {
        const got = await engine.run({
          exposures,
          batch,
          height,
          width,
          maskMode: new Array(stages).fill(mode),
          maskMap: channelsLast(get("mask_map"), 0, 1),
        });
        const expected = channelsLast(get(output), 0, 3);
        const worst = got.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
        assert.ok(worst <= 1e-4, `${output}: largest error ${worst}`);
      }
    });
  }
});

describe("the native engine refuses", () => {
  test("weights that do not fit, by name", async () => {
    const broken = await model("B");
    const tensors = new Map(broken.tensors);
    tensors.delete("norm.bias");
    assert.throws(() => createNativeEngine({ ...broken, tensors }), /norm\.bias/);
    tensors.set("norm.bias", { shape: [24], data: new Float32Array(23) });
    assert.throws(() => createNativeEngine({ ...broken, tensors }), /norm\.bias has 23 values/);
  });
  test("sizes that are no multiples of 8, wrong lengths, numbers of exposures its width cannot take", async () => {
    const engine = createNativeEngine(await model("B"));
    const run = (n: number, height: number, width: number, length = height * width * 6) =>
      engine.run({ exposures: Array.from({ length: n }, () => new Float32Array(length)), batch: 1, height, width });
    await assert.rejects(run(3, 12, 16), /multiples of 8/);
    await assert.rejects(run(3, 16, 16, 5), /exposures: number 0 has 5 values/);
    await assert.rejects(run(25, 16, 16), /width 24/);
  });
  test("to go on once cancelled", async () => {
    const engine = createNativeEngine(await model("B"));
    const controller = new AbortController();
    const exposures = Array.from({ length: 3 }, () => new Float32Array(256 * 256 * 6));
    const running = engine.run({ exposures, batch: 1, height: 256, width: 256 }, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await assert.rejects(running, { code: "CANCELLED" });
  });
});
