import assert from "node:assert/strict";
import { cpus } from "node:os";
import { describe, it } from "node:test";
import { loadAddon } from "../../src/engine/addon.js";
import { listDevices } from "../../src/engine/devices.js";
import type { Precision } from "../../src/engine/engine.js";
import { isDeviceName, selectEngine } from "../../src/engine/select.js";
import { modelFor } from "../../src/model/extractors.js";
import { loadModel } from "../../src/model/model.js";

const { absence, devices } = loadAddon().cudaDevices();

describe("devices", () => {
  it("are listed, and why a GPU cannot be used", async () => {
    const listed = await listDevices();
    assert.ok(listed.some(({ name, unavailable }) => name === "cpu" && !unavailable));
    const cuda = listed.filter(({ name }) => name.startsWith("cuda"));
    assert.equal(cuda.length, Math.max(1, devices.length));
    if (absence) assert.deepEqual(cuda, [{ name: "cuda", model: "none", unavailable: absence }]);
    else for (const { name, memory } of cuda) assert.ok(isDeviceName(name) && Number(memory) > 0);
  });

  it("multiply in what is faster, unless told otherwise", async () => {
    const { bf16, matrixUnit, gainsFromBf16 } = loadAddon().cpuInfo();
    assert.ok(bf16 || !(gainsFromBf16 || matrixUnit));
    if (/Intel/.test(cpus()[0].model)) assert.equal(gainsFromBf16, matrixUnit);
    const model = modelFor(await loadModel("smhdr-s"), 3);
    const exposures = Array.from({ length: 4 }, (_, i) => new Float32Array(8 * 8 * 6).fill(0.1 + i / 10));
    const run = async (precision: Precision | "auto") =>
      (await selectEngine(model, "cpu", 1, precision)).engine.run({ exposures, batch: 1, height: 8, width: 8 });
    assert.deepEqual(await run("auto"), await run(gainsFromBf16 ? "bf16" : "fp32"));
  });

  it("have names", () => {
    for (const name of ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "onnx", "onnx:cpu"])
      assert.ok(isDeviceName(name), name);
    for (const name of ["", "cuda:", "cuda:x", "cuda:-1", "cuda:1234", "gpu"]) assert.ok(!isDeviceName(name), name);
  });

  it("that are not there are refused, saying why", { skip: absence === "" && "this machine has a GPU" }, async () => {
    const model = await loadModel("smhdr-s");
    for (const name of ["cuda", "cuda:1"] as const) {
      await assert.rejects(selectEngine(model, name), (error: { code: string; message: string }) => {
        assert.equal(error.code, "UNSUPPORTED");
        return error.message.includes(`"${name}"`) && error.message.includes(absence);
      });
    }
    assert.match((await selectEngine(model)).engine.device, /^cpu/);
  });
});
