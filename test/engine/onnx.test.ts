import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { EngineInput } from "../../src/engine/engine.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { createOnnxEngine, hasOnnxRuntime, type OnnxProvider } from "../../src/engine/onnx.js";
import type { Model } from "../../src/model/model.js";
import { exportOnnx } from "../../src/model/onnx/export.js";
import { decodeOnnx } from "../../src/model/onnx/read.js";
import { readSafetensors, type StoredTensor } from "../../src/model/safetensors.js";

const shipped = fileURLToPath(new URL("../golden/", import.meta.url));
const full = process.env.SMHDR_GOLDEN ?? fileURLToPath(new URL("../../../shared/golden/", import.meta.url));
const folder = existsSync(join(full, "A_weights.safetensors")) ? full : shipped;
const skip = hasOnnxRuntime() ? false : "onnxruntime-node is not installed";

async function model(config: string, exposures: number): Promise<Model> {
  const { tensors, metadata } = await readSafetensors(join(folder, `${config}_weights.safetensors`));
  return { name: config, tensors, metadata, width: tensors.get("norm.bias")?.data.length ?? 0, exposures };
}

/** A network of width 40, which takes five exposures, of a smaller one's numbers. */
function widened(small: Model): Model {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of small.tensors) {
    const wide = shape.map((size) => (size % small.width === 0 ? (size / small.width) * 40 : size));
    const length = wide.reduce((product, size) => product * size, 1);
    const scale = shape.length > 1 ? Math.sqrt(data.length / length) : 1; // sums over more inputs stay as large
    tensors.set(name, {
      shape: wide,
      data: Float32Array.from({ length }, (_, i) => scale * data[(7 * i) % data.length]),
    });
  }
  return { ...small, name: "wide", tensors, width: 40, exposures: 5 };
}

function pictures(exposures: number, batch: number, height: number, width: number): EngineInput {
  const wave = (e: number) => (_: unknown, i: number) =>
    0.5 + 0.5 * Math.sin(i * 0.37 + (i % 6) + 3 * e + i * i * 1e-6);
  const length = batch * height * width * 6;
  return {
    exposures: Array.from({ length: exposures }, (_, e) => Float32Array.from({ length }, wave(e))),
    batch,
    height,
    width,
  };
}

function worst(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

const open = async (of: Model, providers?: readonly OnnxProvider[]) =>
  createOnnxEngine(decodeOnnx(exportOnnx(of), of.name), { providers, threads: 2 });

describe("the ONNX engine equals the native one", { skip }, () => {
  const models: [string, () => Promise<Model>][] = [
    ["three exposures", () => model("B", 3)],
    ["five exposures", async () => widened(await model("B", 3))],
  ];
  for (const [name, load] of models) {
    test(`${name}, three sizes, whole and in tiles that share their sums`, async () => {
      const weights = await load();
      const native = createNativeEngine(weights, 2);
      const { engine, provider } = await open(weights);
      assert.equal(provider, "cpu");
      let spread = 0;
      for (const [batch, height, width] of [
        [1, 8, 8],
        [2, 24, 40],
        [1, 64, 128],
      ]) {
        const input = pictures(weights.exposures, batch, height, width);
        const radiance = await engine.run(input);
        spread = Math.max(spread, Math.max(...radiance) - Math.min(...radiance));
        assert.ok(worst(radiance, await native.run(input)) <= 1e-4);
      }
      assert.ok(spread > 0.01, `a flat picture proves nothing: ${spread}`);

      const samples = pictures(weights.exposures, 3, 16, 16);
      const tile = pictures(weights.exposures, 1, 16, 32);
      const alone = await engine.run(tile);
      const record = { ...samples, record: true };
      assert.ok(worst(await engine.run(record), await native.run(record)) <= 1e-4);
      const shared = await engine.run(tile);
      assert.ok(worst(shared, await native.run(tile)) <= 1e-4);
      assert.ok(worst(shared, alone) > 1e-4, "the sums of other images change the result");
      engine.clearSums();
      assert.deepEqual(await engine.run(tile), alone);
    });
  }
});
