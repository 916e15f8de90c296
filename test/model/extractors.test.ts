import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { bracketFromImages } from "../../src/bracket/read-bracket.js";
import { createNativeEngine } from "../../src/engine/native.js";
import { checkExtractors, exposureCounts, modelFor, withExtractor } from "../../src/model/extractors.js";
import { FOLD_WEIGHT, plainFold, spreadFold } from "../../src/model/fold.js";
import { loadModel, type Model } from "../../src/model/model.js";
import { encodeSafetensors, readSafetensors, type StoredTensor } from "../../src/model/safetensors.js";
import { reconstructNetwork } from "../../src/reconstruct/network.js";
import { Reconstructor } from "../../src/reconstruct/reconstructor.js";

let folder: string;
let small: Model;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-extractors-"));
  const { tensors } = await readSafetensors(new URL("../golden/D_weights.safetensors", import.meta.url).pathname);
  small = { name: "d", tensors, metadata: {}, width: 12, exposures: 3 };
});
after(() => rm(folder, { recursive: true, force: true }));

/** conv_first of the network, changed so that its results differ. */
function extractor(scale: number): Map<string, StoredTensor> {
  const first = [...small.tensors].filter(([name]) => name.startsWith("conv_first."));
  return new Map(
    first.map(([name, { shape, data }]) => [name, { shape, data: data.map((v, i) => v * scale ** (i % 3)) }]),
  );
}

async function bracketOf(count: number, reference?: number) {
  const ev = Array.from({ length: count }, (_, i) => i);
  const images = ev.map((stops) => {
    const data = Uint8Array.from({ length: 16 * 24 * 3 }, (_, i) =>
      Math.min(255, (20 + ((i * 37) % 90)) * 2 ** (stops / 2)),
    );
    return { width: 24, height: 16, channels: 3, data, encoding: { transfer: "gamma2.2", primaries: "srgb" } } as const;
  });
  return bracketFromImages(images, { ev, align: "none", reference });
}

test("a model carries extractors for other numbers of exposures, and reads back from its file", async () => {
  const five = extractor(0.7);
  const model = withExtractor(withExtractor(small, 5, extractor(0.2)), 5, five);
  const both = withExtractor(model, 2, new Map([...extractor(0.9)].slice(0, 1)));
  const path = join(folder, "d.safetensors");
  await writeFile(path, encodeSafetensors(both.tensors, { exposures: "3" }));
  const loaded = await loadModel(path);
  assert.deepEqual(exposureCounts(loaded), [2, 3, 5]);
  assert.deepEqual(modelFor(loaded, 3).tensors, small.tensors);
  const chosen = modelFor(loaded, 5);
  assert.equal(chosen.exposures, 5);
  assert.deepEqual([...chosen.tensors.keys()], [...small.tensors.keys()]);
  for (const [name, tensor] of chosen.tensors)
    assert.deepEqual(tensor, five.get(name) ?? small.tensors.get(name), name);
  assert.throws(() => modelFor(loaded, 4), { code: "UNSUPPORTED", message: /takes 2, 3, 5; got 4.*finetune/ });
});

test("extractors that fit nothing are named", () => {
  const refused = (name: string, shape: number[], message: RegExp) => {
    const tensors = new Map(small.tensors).set(name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b)) });
    assert.throws(() => checkExtractors({ ...small, tensors }), { code: "BAD_INPUT", message });
  };
  refused("extractors.5.conv_first.0.bias", [11], /extractors\.5\.conv_first\.0\.bias must be \[12\], not \[11\]/);
  refused("extractors.5.conv_second.0.bias", [12], /does not have/);
  refused("extractors.5", [12], /does not have/);
  refused("extractors.5.extractors.5.x", [12], /does not have/);
  refused("extractors.3.conv_first.0.bias", [12], /3 exposures that the network itself takes/);
  for (const count of ["0", "13", "x", "5.5", "-1", "1e1", ""])
    refused(`extractors.${count}.conv_first.0.bias`, [12], /no extractor for 1 to 12|does not have/);
});

test("all exposures are used where there is an extractor, else as many as fit, with a note", async () => {
  const model = withExtractor(small, 5, extractor(0.7));
  const path = join(folder, "five.safetensors");
  await writeFile(path, encodeSafetensors(model.tensors, { exposures: "3" }));
  const reconstructor = await Reconstructor.load({ model: path, threads: 1, precision: "fp32" });
  const explicit = await Reconstructor.load({ model: path, threads: 1, precision: "fp32", method: "network" });
  const run = async (count: number, reference?: number, by = reconstructor) => {
    const notes: string[] = [];
    const bracket = await bracketOf(count, reference);
    const { data, metadata } = await by.run(bracket, { onNote: ({ message }) => notes.push(message) });
    return { bracket, data, notes: notes.join(), method: metadata.method };
  };
  const direct = async (bracket: Awaited<ReturnType<typeof bracketOf>>, count: number) => {
    const weights = modelFor(model, count);
    return (
      await reconstructNetwork(bracket, weights, createNativeEngine(weights, 1), { memory: 2 ** 30, tile: "auto" })
    ).data;
  };
  const five = await run(5);
  assert.equal(five.notes, "");
  assert.deepEqual(five.data, await direct(five.bracket, 5));
  const three = await run(3);
  assert.equal(three.notes, "");
  assert.deepEqual(three.data, await direct(three.bracket, 3));
  assert.notDeepEqual(five.data, await direct(five.bracket, 3));

  const seven = await run(7);
  assert.match(seven.notes, /five takes 3 or 5 exposures.*Of these 7, image 1, .*image 4, .* and image 7 are used/);
  assert.deepEqual(seven.data, await direct(seven.bracket, 5));
  const aside = await run(7, 1); // one on the short side: three exposures
  assert.match(aside.notes, /Of these 7, image 1, image 2 and image 7 are used/);

  const two = await run(2);
  assert.equal(two.method, "radiance");
  assert.match(two.notes, /not 2 of which number 1 is the reference: merged without a network/);
  await assert.rejects(run(2, undefined, explicit), { code: "UNSUPPORTED", message: /five takes 3, 5 .*"radiance"/ });
});

test("a first fold does with a long bracket what the network does with a selection from it", async () => {
  const weights = modelFor(small, 3);
  for (const [exposures, chosen] of [
    [2, [0, 1, 1]],
    [5, [0, 2, 4]],
    [6, [0, 3, 5]],
  ] as const) {
    const fold = new Map([[FOLD_WEIGHT, spreadFold(plainFold(12, 3), exposures)]]);
    const model = modelFor(withExtractor(small, exposures, fold), exposures);
    assert.deepEqual(model.tensors.get(FOLD_WEIGHT)?.shape, [3, 4, exposures, 12]);
    const pixels = Array.from({ length: exposures }, (_, e) =>
      Float32Array.from({ length: 24 * 16 * 6 }, (_, i) => 0.5 + 0.5 * Math.sin(i * (1 + e))),
    );
    const size = { batch: 1, height: 16, width: 24 };
    const long = await createNativeEngine(model, 1).run({ ...size, exposures: pixels });
    const selected = chosen.map((i) => pixels[i]);
    const short = await createNativeEngine(weights, 1).run({ ...size, exposures: selected });
    const worst = long.reduce((most, v, i) => Math.max(most, Math.abs(v - short[i])), 0);
    assert.ok(worst < 1e-5, `${exposures} exposures: ${worst}`);
  }
  assert.throws(() => withExtractor(small, 5, new Map([[FOLD_WEIGHT, spreadFold(plainFold(12, 3), 4)]])), {
    code: "BAD_INPUT",
    message: /fold\.weight must be \[3, 4, 5, 12\], not \[3, 4, 4, 12\]/,
  });
});
