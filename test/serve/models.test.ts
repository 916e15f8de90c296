import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { loadModel, shippedModels } from "../../src/model/model.js";
import { exportOnnx } from "../../src/model/onnx/export.js";
import { startService } from "../../src/serve/service.js";
import { refusal, TestService } from "./client.js";

describe("the models of the service", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "smhdr-test-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("are the shipped ones and the given files, ONNX too", async () => {
    const weights = join(folder, "mine.safetensors");
    const onnx = join(folder, "theirs.onnx");
    await copyFile(fileURLToPath(new URL("../../models/smhdr-s.safetensors", import.meta.url)), weights);
    await writeFile(onnx, exportOnnx(await loadModel("smhdr-s")));
    const service = await TestService.start({ modelFiles: [weights, onnx] });
    const told = (await (await service.fetch("/v1/models")).json()) as {
      default: string;
      models: { name: string; exposures: number[] }[];
    };
    assert.equal(told.default, "smhdr-s");
    assert.deepEqual(
      told.models.map(({ name }) => name),
      [...shippedModels(), "mine", "theirs"],
    );
    const [whole, copy, exported] = ["smhdr-s", "mine", "theirs"].map(
      (name) => told.models.find((model) => model.name === name)?.exposures,
    );
    assert.deepEqual(copy, whole);
    assert.deepEqual(exported, [3]);
    const job = { width: 8, height: 8, format: "uint8", exposures: [{}, {}] };
    for (const model of ["mine", "theirs", "default"]) {
      assert.equal((await service.post("/v1/jobs", { ...job, model })).status, 201, model);
    }
    assert.match(
      await refusal(service.post("/v1/jobs", { ...job, model: weights })),
      /^400 INVALID_ARGUMENT model: expected one of .*, mine, theirs; got /,
    );
    await service.close();
  });

  it("that cannot be read keep it from starting, by the option's name", async () => {
    const junk = join(folder, "junk.onnx");
    await writeFile(junk, "junk");
    await writeFile(join(folder, "junk.safetensors"), "junk");
    const startFile = join(folder, "service.json");
    for (const [file, code, message] of [
      [shippedModels()[0], "INVALID_ARGUMENT", /^--model: expected models of different names; got /],
      ["nosuch", "INVALID_ARGUMENT", /^--model: expected a \.safetensors file or one of: .*; got "nosuch"\.$/],
      [join(folder, "nosuch.safetensors"), "IO", /^--model: .*nosuch\.safetensors /],
      [join(folder, "nosuch.onnx"), "IO", /^--model: .*nosuch\.onnx /],
      [junk, "BAD_INPUT", /^--model: .*junk\.onnx is no network/],
      [join(folder, "junk.safetensors"), "BAD_INPUT", /^--model: .*junk\.safetensors/],
    ] as const) {
      await assert.rejects(startService({ version: "0", port: 0, startFile, modelFiles: [file] }), { code, message });
    }
    await assert.rejects(stat(startFile), { code: "ENOENT" });
  });
});
