import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readRadiance } from "../../src/codec/read-radiance.js";
import { hasOnnxRuntime } from "../../src/engine/onnx.js";
import { loadModel } from "../../src/model/model.js";
import { withoutPrior } from "../../src/model/prior.js";
import { encodeSafetensors } from "../../src/model/safetensors.js";
import { photograph } from "./photographs.js";
import { jsonLines, smhdr, start } from "./process.js";

const skip = hasOnnxRuntime() ? false : "onnxruntime-node is not installed";
const noAddon = { env: { SMHDR_ADDON: "/nonexistent" } };
const model = "smhdr-s";
/** It does without the merge of the exposures, and so without the native part. */
const alone = "smhdr";

let folder: string;
let images: string[];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-cli-onnx-"));
  images = await photograph(join(folder, "bracket"), "png");
});
after(() => rm(folder, { recursive: true, force: true }));

/** Merges with the network; returns the --json lines and the radiance. */
async function merge(name: string, options: string[], environment = {}) {
  const output = join(folder, name);
  const args = ["merge", ...images, "--ev", "0,2,4", "--align", "none", ...options, "--json", "-o", output];
  const { code, stdout, stderr } = await start(args, environment).finished;
  assert.equal(code, 0, stderr);
  return { lines: jsonLines(stdout), radiance: Float32Array.from((await readRadiance(output)).data) };
}

/** Root mean square of the difference. */
function difference(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);
}

describe("smhdr with ONNX Runtime", { skip }, () => {
  it("merges without the native part and says how, once", async () => {
    const { tensors } = await loadModel(alone);
    const file = join(folder, "without-merge.safetensors");
    await writeFile(file, encodeSafetensors(withoutPrior(tensors), { exposures: "3" }));
    const native = await merge("native.exr", ["--model", file, "--precision", "fp32"]);
    const onnx = await merge("without.exr", [], noAddon);
    const notes = onnx.lines.filter(({ event }) => event === "note").map(({ message }) => `${message}`);
    assert.equal(notes.filter((note) => /ONNX Runtime computes the model smhdr instead/.test(note)).length, 1);
    assert.match(notes.join("\n"), /build/);
    assert.equal(onnx.lines.at(-1)?.method, "network");
    assert.equal(onnx.lines.at(-1)?.model, alone);
    assert.ok(native.radiance.some((value) => value > 0.05));
    assert.ok(difference(native.radiance, onnx.radiance) < 1e-4);
    assert.ok(!native.lines.some(({ code }) => code === "engine"));
    const args = [
      "merge",
      ...images,
      "--ev",
      "0,2,4",
      "--align",
      "none",
      "--model",
      model,
      "-o",
      join(folder, "no.exr"),
    ];
    const refused = await start(args, noAddon).finished;
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /smhdr-s takes a merge of the exposures.*--model smhdr, or build/);
  });

  it("exports a model that merges like the original", async () => {
    const file = join(folder, "exported.onnx");
    const exported = await smhdr("export", model, "-o", file, "--json");
    assert.equal(exported.code, 0, exported.stderr);
    const [{ bytes, exposures }] = jsonLines(exported.stdout);
    assert.equal(bytes, (await readFile(file)).length);
    assert.equal(exposures, 3);
    const other = await smhdr("export", model, "-o", join(folder, "none.onnx"), "--exposures", "6");
    assert.equal(other.code, 1);
    assert.match(other.stderr, /takes .*3.*; got 6.*finetune/);
    const given = await merge("file.exr", ["--model", file]);
    const chosen = await merge("device.exr", ["--model", model, "--device", "onnx:cpu"]);
    assert.deepEqual(given.radiance, chosen.radiance);
  });

  it("lists its devices, without the native part too", async () => {
    const names = async (environment = {}) =>
      jsonLines((await start(["devices", "--json"], environment).finished).stdout).map(({ name }) => name);
    const own = (await names()).filter((name) => !`${name}`.startsWith("cuda"));
    assert.deepEqual(own.slice(0, 2), ["cpu", "onnx:cpu"]);
    assert.equal((await names(noAddon))[0], "onnx:cpu");
  });

  it("refuses wrong calls and leaves nothing", async () => {
    const out = await mkdtemp(join(folder, "out-"));
    const refused = async (code: number, message: RegExp, ...args: string[]) => {
      const result = await smhdr(...args);
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, message);
      assert.doesNotMatch(result.stderr, /\n\s+at /, "a stack trace is no message");
      assert.deepEqual(await readdir(out), []);
    };
    const words = join(folder, "words.onnx");
    await writeFile(words, "These are words and no model.");
    const merged = ["-o", join(out, "a.exr")];
    await refused(2, /ending in \.onnx/, "export", model, "-o", join(out, "model.pb"));
    await refused(2, /model: expected/, "export", "nothing", "-o", join(out, "model.onnx"));
    await refused(1, /words\.onnx/, "merge", ...images, "--model", words, ...merged);
    await refused(1, /absent\.onnx/, "merge", ...images, "--model", join(folder, "absent.onnx"), ...merged);
    await refused(2, /onnx:abacus/, "merge", ...images, "--device", "onnx:abacus", ...merged);
    await refused(2, /radiance.*cpu/, "merge", ...images, "--method", "radiance", "--device", "onnx", ...merged);
  });
});
