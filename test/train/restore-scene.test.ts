import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createNativeEngine } from "../../src/engine/native.js";
import { SmhdrError } from "../../src/errors.js";
import { psnr } from "../../src/measure/psnr.js";
import type { Model } from "../../src/model/model.js";
import { withPrior } from "../../src/model/prior.js";
import { readSafetensors } from "../../src/model/safetensors.js";
import { LoadedNetwork } from "../../src/reconstruct/loaded-network.js";
import type { Scene } from "../../src/train/dataset.js";
import { prepareScene } from "../../src/train/prepare-scene.js";
import { reconstructScene } from "../../src/train/reconstruct-scene.js";
import { mergeScene, referenceAlone, restoreByNetwork } from "../../src/train/restore-scene.js";
import { synthesizeBracket } from "../../src/train/synthesis/synthesize.js";
import { madeUpSources } from "./sources.js";

const width = 40;
const height = 24;
const options = { align: "none", follow: "none", memory: 2 ** 31, tile: "auto", threads: 1 } as const;
let scene: Scene;
let model: Model;
before(async () => {
  const bracket = synthesizeBracket(madeUpSources, { width, height, exposures: 3, bits: 16 }, 3);
  scene = { ...bracket, name: "made up", segments: undefined };
  const { tensors } = await readSafetensors(new URL("../golden/D_weights.safetensors", import.meta.url).pathname);
  model = { name: "d", tensors, metadata: {}, width: 12, exposures: 3 };
});

const shifted = (by: number): Scene => ({ ...scene, exposureValues: scene.exposureValues.map((ev) => ev + by) });
const largest = (a: Float32Array, b: Float32Array, scale = 1) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - scale * b[i])), 0);

test("the reference alone is linearised by its exposure value as it stands", () => {
  const expected = Float32Array.from(
    scene.exposures[1],
    (code) => (code / 65535) ** 2.2 / 2 ** scene.exposureValues[1],
  );
  assert.ok(largest(referenceAlone(scene), expected) < 1e-6);
  assert.ok(largest(referenceAlone(shifted(1)), expected, 0.5) < 1e-6);
});

test("a model sees the exposures padded to 128 by reflection, and the result is cropped", async () => {
  const mirror = (at: number, length: number) => {
    const within = at % (2 * (length - 1));
    return within < length ? within : 2 * (length - 1) - within;
  };
  for (const by of [0, 1.5]) {
    const { exposures, exposureValues } = shifted(by);
    const padded = exposures.map((codes, e) => {
      const out = new Float32Array(128 * 128 * 6);
      for (let p = 0; p < 128 * 128; p++) {
        const from = (mirror(Math.floor(p / 128), height) * width + mirror(p % 128, width)) * 3;
        for (let c = 0; c < 3; c++) {
          const value = codes[from + c] / 65535;
          out[6 * p + c] = value ** 2.2 / (2 ** exposureValues[e] + 1e-8);
          out[6 * p + 3 + c] = value;
        }
      }
      return out;
    });
    const whole = await createNativeEngine(model, 1).run({ exposures: padded, batch: 1, height: 128, width: 128 });
    const cropped = Float32Array.from({ length: width * height * 3 }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
      return whole[(y * 128 + x) * 3 + (i % 3)];
    });
    const { network } = await LoadedNetwork.load(model, "cpu", 1, "fp32");
    const got = await restoreByNetwork(shifted(by), network, options);
    assert.ok(largest(got, cropped) < 1e-4, `${largest(got, cropped)}`);
  }
});

test("where memory is short tiles are used, and it is said", async () => {
  const { network } = await LoadedNetwork.load(model, "cpu", 1, "fp32");
  const notes: string[] = [];
  const onNote = ({ message }: { message: string }) => notes.push(message);
  const wide = 200;
  const repeat = <T extends Uint16Array | Float32Array>(data: T): T =>
    data.constructor === Uint16Array
      ? (Uint16Array.from({ length: wide * height * 3 }, (_, i) => column(data, i)) as T)
      : (Float32Array.from({ length: wide * height * 3 }, (_, i) => column(data, i)) as T);
  const column = (data: Uint16Array | Float32Array, i: number) => {
    const [x, y] = [Math.floor(i / 3) % wide, Math.floor(i / 3 / wide)];
    return data[(y * width + (x % width)) * 3 + (i % 3)];
  };
  const large = { ...scene, width: wide, exposures: scene.exposures.map(repeat), truth: repeat(scene.truth) };
  const whole = await restoreByNetwork(large, network, { ...options, onNote });
  assert.deepEqual(notes, []);
  const tiled = await restoreByNetwork(large, network, { ...options, tile: 128, onNote });
  assert.match(notes.join(), /worked in 3 tiles/);
  assert.ok(psnr(whole, tiled) > 30);
});

test("the radiance merge is on the truth's scale", async () => {
  const merged = await mergeScene(scene, options);
  assert.ok(psnr(merged, scene.truth) > psnr(referenceAlone(scene), scene.truth));
  assert.ok(largest(await mergeScene(shifted(1), options), merged, 0.5) < 1e-6);
});

test("exposures out of order and numbers of them that the model cannot take are refused by name", async () => {
  const { network } = await LoadedNetwork.load(model, "cpu", 1, "fp32");
  const fails = (code: string, message: RegExp) => (error: unknown) =>
    error instanceof SmhdrError && error.code === code && message.test(error.message);
  const [a, b, c] = scene.exposureValues;
  const descending = { ...scene, exposureValues: [a, c, b] };
  await assert.rejects(mergeScene(descending, options), fails("BAD_INPUT", /made up: .*number 2 has/));
  const two = { ...scene, exposures: scene.exposures.slice(1), exposureValues: [b, c] };
  await assert.rejects(restoreByNetwork(two, network, options), fails("UNSUPPORTED", /made up: .*takes 3 .*has 2/));
});

test("a prepared scene is finished as brackets are in use", async () => {
  const own = { ...model, tensors: withPrior(model.tensors, 3, 0.5, "seen") };
  const bracket = synthesizeBracket(madeUpSources, { width: 128, height: 128, exposures: 3, handheld: 0 }, 5);
  const still: Scene = { ...bracket, name: "still", segments: undefined };
  const { network } = await LoadedNetwork.load(own, "cpu", 1, "fp32");
  const inUse = await restoreByNetwork(still, network, { ...options, align: "auto", follow: "auto" });
  const engine = createNativeEngine(own, 1);
  const prepared = await prepareScene(still);
  assert.ok(largest(await reconstructScene(prepared, engine, 2 ** 31, { finish: true }), inUse) < 1e-5);
  assert.ok(largest(await reconstructScene(prepared, engine, 2 ** 31), inUse) > 1e-3);
});
