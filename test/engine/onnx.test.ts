import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import type { Engine, EngineInput } from "../../src/engine/engine.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { createOnnxEngine, hasOnnxRuntime, listOnnxProviders, type OnnxProvider } from "../../src/engine/onnx.js";
import { selectEngine } from "../../src/engine/select.js";
import { FOLD_WEIGHT, plainFold, spreadFold } from "../../src/model/fold.js";
import type { Model } from "../../src/model/model.js";
import { exportOnnx } from "../../src/model/onnx/export.js";
import { decodeOnnx } from "../../src/model/onnx/read.js";
import { hasPrior, withPrior } from "../../src/model/prior.js";
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

/** The network with a prior, its gate moving with the pictures' values and its fold with a little of the merge. */
function corrected(small: Model): Model {
  const tensors = new Map(withPrior(small.tensors, 3, 0.5));
  tensors.get(FOLD_WEIGHT)?.data.forEach((v, i, fold) => {
    fold[i] = v + 0.02 * Math.sin(i);
  });
  const end = tensors.get("conv_end.weight");
  end?.data.subarray(3 * 24 * 9).forEach((_, i, gate) => {
    gate[i] = 0.2 * Math.sin(i);
  });
  return { ...small, name: "corrected", tensors };
}

/** The network with a fold that gives every slot a little of each of five exposures. */
function folded(small: Model): Model {
  const first = spreadFold(plainFold(small.width, 3), 5);
  const fold = { ...first, data: first.data.map((v, i) => v + 0.02 * Math.sin(i)) };
  return { ...small, name: "folded", tensors: new Map([...small.tensors, [FOLD_WEIGHT, fold]]), exposures: 5 };
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

/** Channels [first, first + count) of [1, C, H, W] as [1, H, W, count]. */
function channelsLast({ shape: [, c, h, w], data }: StoredTensor, first: number, count: number): Float32Array {
  return Float32Array.from({ length: h * w * count }, (_, i) => {
    const [p, k] = [Math.floor(i / count), i % count];
    return first + k < c ? data[(first + k) * h * w + p] : Number.NaN;
  });
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
    ["five exposures and a learnt fold", async () => folded(await model("B", 3))],
    ["three exposures and a prior", async () => corrected(await model("B", 3))],
  ];
  for (const [name, load] of models) {
    test(`${name}, three sizes, whole and in tiles that share their sums`, async () => {
      const weights = await load();
      const native = createNativeEngine(weights, 2);
      const { engine, provider } = await open(weights);
      assert.equal(provider, "cpu");
      const inputs = weights.exposures + Number(hasPrior(weights.tensors));
      let spread = 0;
      for (const [batch, height, width] of [
        [1, 8, 8],
        [2, 24, 40],
        [1, 64, 128],
      ]) {
        const input = pictures(inputs, batch, height, width);
        const radiance = await engine.run(input);
        spread = Math.max(spread, Math.max(...radiance) - Math.min(...radiance));
        assert.ok(worst(radiance, await native.run(input)) <= 1e-4);
      }
      assert.ok(spread > 0.01, `a flat picture proves nothing: ${spread}`);

      const samples = pictures(inputs, 3, 16, 16);
      const tile = pictures(inputs, 1, 16, 32);
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

  for (const [config, name] of [
    ["B", "n2_16x24"],
    ["D", "n3_16x16"],
    ["C", "n5_16x24"],
    ["A", "n5_32x48"],
  ] as const) {
    const file = join(folder, `${config}_${name}.safetensors`);
    test(`reference numbers: ${config} ${name}`, { skip: existsSync(file) ? false : `${file} is absent` }, async () => {
      const { tensors } = await readSafetensors(file);
      const input = tensors.get("input") as StoredTensor;
      const [batch, channels, height, width] = input.shape;
      const n = channels / 6;
      const exposures = Array.from({ length: n }, (_, i) => channelsLast(input, 6 * i, 6));
      const { engine } = await open(await model(config, n));
      const radiance = await engine.run({ exposures, batch, height, width });
      assert.ok(worst(radiance, channelsLast(tensors.get("out_nomask") as StoredTensor, 0, 3)) <= 1e-4);
    });
  }

  for (const [config, n] of [
    ["D", 2],
    ["D", 7],
    ["B", 4],
    ["B", 9],
  ] as const) {
    test(`PyTorch's numbers where ${n} exposures do not divide the width: ${config}`, async () => {
      const { tensors } = await readSafetensors(join(shipped, "any_inputs.safetensors"));
      const input = tensors.get(`${config}_n${n}/input`) as StoredTensor;
      const [batch, , height, width] = input.shape;
      const weights = await model(config, n);
      const pass = {
        exposures: Array.from({ length: n }, (_, i) => channelsLast(input, 6 * i, 6)),
        batch,
        height,
        width,
      };
      const expected = channelsLast(tensors.get(`${config}_n${n}/out`) as StoredTensor, 0, 3);
      assert.ok(worst(await createNativeEngine(weights, 2).run(pass), expected) <= 5e-6);
      assert.ok(worst(await (await open(weights)).engine.run(pass), expected) <= 5e-6);
    });
  }
});

describe("the ONNX engine", { skip }, () => {
  let engine: Engine;
  before(async () => {
    ({ engine } = await open(await model("B", 3)));
  });

  test("refuses sizes, lengths, numbers of exposures and masks it cannot take", async () => {
    const good = pictures(3, 1, 16, 16);
    const refused = (input: EngineInput, message: RegExp) =>
      assert.rejects(engine.run(input), { code: "INVALID_ARGUMENT", message });
    await refused({ ...good, height: 12 }, /multiples of 8, not 16 x 12/);
    await refused({ ...good, batch: 0 }, /multiples of 8/);
    await refused({ ...good, width: 32 }, /number 0 has 1536 values, expected 3072/);
    await refused(pictures(2, 1, 16, 16), /takes 3; 2 came/);
    await refused({ ...good, maskMode: [1, 0] }, /maskMode/);
  });

  test("stops at once when cancelled, lets others finish, and works again", async () => {
    const large = pictures(3, 1, 256, 256);
    const small = pictures(3, 1, 16, 16);
    const expected = await engine.run(small);
    const controller = new AbortController();
    const running = engine.run(large, { signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    const start = performance.now();
    await assert.rejects(running, { code: "CANCELLED" });
    assert.ok(performance.now() - start < 1000);
    assert.deepEqual(await engine.run(small), expected);

    const second = new AbortController();
    const both = [engine.run(large, { signal: second.signal }), engine.run(small)];
    second.abort();
    await assert.rejects(both[0], { code: "CANCELLED" });
    assert.deepEqual(await both[1], expected);
    await assert.rejects(engine.run(small, { signal: AbortSignal.abort() }), { code: "CANCELLED" });
  });

  test("does not keep the event loop from turning, and reports its progress", async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    const fractions: number[] = [];
    await engine.run(pictures(3, 1, 256, 256), { onProgress: (fraction) => fractions.push(fraction) });
    clearInterval(timer);
    assert.ok(turns > 5, `${turns} turns`);
    assert.equal(fractions.at(-1), 1);
  });

  test("falls back to the processor, saying why, where a provider does not work", async () => {
    const elsewhere = process.platform === "linux" ? "directml" : "cuda";
    const { provider, refusals } = await open(await model("B", 3), [elsewhere]);
    assert.equal(provider, "cpu");
    assert.equal(refusals.length, 1);
    assert.match(refusals[0], new RegExp(`^${elsewhere}: .*(not part of|not installed)`));
    assert.ok((await listOnnxProviders()).includes("cpu"));
  });

  test("says so when ONNX Runtime cannot load the model", async () => {
    const proto = fromBinary(ModelProtoSchema, exportOnnx(await model("B", 3)));
    for (const node of proto.graph?.node ?? []) if (node.opType === "Gelu") node.opType = "Gloom";
    const broken = decodeOnnx(toBinary(ModelProtoSchema, proto), "broken.onnx");
    await assert.rejects(createOnnxEngine(broken), { code: "BAD_INPUT", message: /cannot load.*Gloom/ });
  });
});

describe("the engine is chosen", { skip }, () => {
  test("by device and by model", async () => {
    const weights = await model("B", 3);
    assert.match((await selectEngine(weights)).engine.device, /^(cpu|cuda)/);
    assert.equal((await selectEngine(weights, "onnx:cpu")).engine.device, "onnx (cpu)");
    const file = decodeOnnx(exportOnnx(weights), "b.onnx");
    const { engine, notes } = await selectEngine(file, "auto", 1);
    assert.equal(engine.device, "onnx (cpu)");
    assert.deepEqual(notes, []);
    await assert.rejects(selectEngine(weights, "cuda:99"), { code: "UNSUPPORTED", message: /"cuda:99"/ });
    await assert.rejects(selectEngine(file, "cuda"), { code: "INVALID_ARGUMENT", message: /ONNX model/ });
    await assert.rejects(selectEngine(weights, "abacus" as "cpu"), { code: "INVALID_ARGUMENT", message: /abacus/ });
  });
});
