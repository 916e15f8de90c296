import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema, TensorProto_DataLocation } from "onnx-buf";
import { SmhdrError } from "../../src/errors.js";
import { loadModel, type Model } from "../../src/model/model.js";
import { exportOnnx } from "../../src/model/onnx/export.js";
import { decodeOnnx, readOnnx } from "../../src/model/onnx/read.js";
import { readSafetensors } from "../../src/model/safetensors.js";

/** A Python that has the package onnx. */
const python = process.env.SMHDR_PYTHON ?? "python3";
const hasChecker = spawnSync(python, ["-c", "import onnx"]).status === 0;

let folder: string;
let small: Model;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-onnx-"));
  const { tensors, metadata } = await readSafetensors(
    new URL("../golden/B_weights.safetensors", import.meta.url).pathname,
  );
  small = { name: "b", tensors, metadata: { ...metadata, licence: "MIT" }, width: 24, exposures: 3 };
});
after(() => rm(folder, { recursive: true, force: true }));

describe("exportOnnx", () => {
  test("makes a file hardly larger than the weights, of few nodes", async () => {
    const model = await loadModel("smhdr");
    const bytes = exportOnnx(model);
    const weights = [...model.tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
    assert.ok(bytes.length < 1.03 * weights, `${bytes.length} bytes for ${weights} of weights`);
    const nodes = fromBinary(ModelProtoSchema, bytes).graph?.node.length ?? 0;
    assert.ok(nodes > 1000 && nodes < 1500, `${nodes} nodes`);
  });

  test("keeps weights under their published names, and what is known about the model", () => {
    const { graph, metadataProps, opsetImport } = fromBinary(ModelProtoSchema, exportOnnx(small));
    assert.deepEqual(
      opsetImport.map(({ domain, version }) => [domain, version]),
      [["", 20n]],
    );
    const stored = new Map(graph?.initializer.map((tensor) => [tensor.name, tensor]));
    for (const [name, { shape, data }] of small.tensors) {
      if (name.includes("norm1_y")) continue; // the network never uses it
      const tensor = stored.get(name);
      assert.deepEqual(tensor?.dims.map(Number), shape, name);
      assert.deepEqual(tensor?.rawData, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), name);
    }
    const facts = Object.fromEntries(metadataProps.map(({ key, value }) => [key, value]));
    const { name, exposures, width, heads, licence } = facts;
    assert.deepEqual([name, exposures, width, heads, licence], ["b", "3", "24", "2", "MIT"]);
  });

  test("passes the ONNX project's own checker", { skip: !hasChecker && `${python} has no onnx` }, async () => {
    const path = join(folder, "checked.onnx");
    await writeFile(path, exportOnnx(small));
    const program = "import onnx, sys; onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)";
    const { status, stderr } = spawnSync(python, ["-c", program, path], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
  });

  test("names the weight that is missing, does not fit or is not finite", () => {
    const refused = (name: string, shape: number[] | undefined, value: number, message: RegExp) => {
      const tensors = new Map(small.tensors);
      if (!shape) tensors.delete(name);
      else tensors.set(name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b)).fill(value) });
      assert.throws(() => exportOnnx({ ...small, tensors }), { code: "BAD_INPUT", message });
    };
    refused("norm.bias", undefined, 0, /norm\.bias \[24\] is missing/);
    refused("norm.bias", [23], 0, /norm\.bias must be \[24\], not \[23\]/);
    refused("conv_end.weight", [3, 24, 3, 3], Number.NaN, /conv_end\.weight holds values that are not finite/);
    refused("layers.0.residual_group.blocks.0.attn.relative_position_bias_table", undefined, 0, /layers\.0 is missing/);
    refused("layers.1.residual_group.blocks.1.mlp.fc1.bias", undefined, 0, /blocks\.1\.mlp\.fc1\.bias is missing/);
    assert.throws(() => exportOnnx({ ...small, exposures: 25 }), { code: "UNSUPPORTED", message: /width 24.*got 25/ });
  });
});

describe("an ONNX file given as a model", () => {
  test("tells what it is", async () => {
    const path = join(folder, "good.onnx");
    await writeFile(path, exportOnnx(small));
    const { name, exposures, width, heads } = await readOnnx(path);
    assert.deepEqual([name, exposures, width, heads], ["b", 3, 24, 2]);
  });

  test("is refused where it is something else", async () => {
    const good = exportOnnx(small);
    const refused = (bytes: Uint8Array, message: RegExp) =>
      assert.throws(() => decodeOnnx(bytes, "x.onnx"), { code: "BAD_INPUT", message });
    const changed = (change: (proto: ModelProto) => void) => {
      const proto = fromBinary(ModelProtoSchema, good);
      change(proto);
      return toBinary(ModelProtoSchema, proto);
    };
    refused(new Uint8Array(0), /no graph/);
    refused(new TextEncoder().encode("no model"), /not an ONNX file/);
    refused(good.subarray(0, good.length / 2), /not an ONNX file/);
    const without = (list: { name: string }[], name: string) =>
      list.splice(0, list.length, ...list.filter((entry) => entry.name !== name));
    refused(
      changed(({ graph }) => graph && without(graph.input, "sums_mode")),
      /"sums_mode" is not among/,
    );
    refused(
      changed(({ graph }) => graph && without(graph.output, "radiance")),
      /"radiance" is not among/,
    );
    refused(
      changed((proto) => proto.metadataProps.splice(0)),
      /lacks the number of "exposures"/,
    );
    const five = (proto: ModelProto) => {
      for (const entry of proto.metadataProps) if (entry.key === "exposures") entry.value = "5";
    };
    refused(changed(five), /"exposures" must have 30 channels/);
    const external = ({ graph }: ModelProto) => {
      if (graph) graph.initializer[0].dataLocation = TensorProto_DataLocation.EXTERNAL;
    };
    refused(changed(external), /weights lie in other files/);
    await assert.rejects(readOnnx(join(folder, "absent.onnx")), {
      code: "IO",
      message: /absent\.onnx does not exist\.$/,
    });
  });

  test("is taken or refused with one error, whatever its bytes", () => {
    const good = exportOnnx(small);
    let refusals = 0; // the first 30,000 bytes describe the nodes
    for (let i = 0; i < 200; i++) {
      const bytes = Uint8Array.from(good);
      for (let k = 0; k < 4; k++) bytes[(i * 99991 + k * 13127) % 30000] ^= 1 << ((i + k) % 8);
      try {
        decodeOnnx(bytes, "x.onnx");
      } catch (error) {
        assert.ok(error instanceof SmhdrError, `${error}`);
        refusals++;
      }
    }
    assert.ok(refusals > 20, `${refusals} refusals`);
  });
});
