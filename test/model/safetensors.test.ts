import assert from "node:assert/strict";
import { test } from "node:test";
import { loadModel } from "../../src/model/model.js";
import { decodeSafetensors, encodeSafetensors } from "../../src/model/safetensors.js";

const tensors = new Map([
  ["a", { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, Number.MAX_VALUE, 6) }],
  ["nothing", { shape: [0, 4], data: new Float32Array(0) }],
  ["scalar", { shape: [], data: Float32Array.of(7) }],
]);

function file(header: unknown, data = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + data.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(data, 8 + text.length);
  return out;
}

test("what is written comes back", () => {
  const back = decodeSafetensors(encodeSafetensors(tensors, { n: "3", note: "ü" }));
  assert.deepEqual([...back.tensors], [...tensors]);
  assert.deepEqual(back.metadata, { n: "3", note: "ü" });
});

test("half, bfloat16 and double become float32; integers are left out", () => {
  const bytes = new Uint8Array(2 * 2 + 2 + 8 + 8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x3c00, true); // 1
  view.setUint16(2, 0x8001, true); // smallest negative subnormal
  view.setUint16(4, 0x4049, true); // 3.140625
  view.setFloat64(6, 0.1, true);
  const header = {
    half: { dtype: "F16", shape: [2], data_offsets: [0, 4] },
    brain: { dtype: "BF16", shape: [1], data_offsets: [4, 6] },
    double: { dtype: "F64", shape: [1], data_offsets: [6, 14] },
    index: { dtype: "I64", shape: [1], data_offsets: [14, 22] },
  };
  const { tensors: got } = decodeSafetensors(file(header, bytes));
  assert.deepEqual([...(got.get("half")?.data ?? [])], [1, -(2 ** -24)]);
  assert.deepEqual([...(got.get("brain")?.data ?? [])], [3.140625]);
  assert.deepEqual([...(got.get("double")?.data ?? [])], [Math.fround(0.1)]);
  assert.equal(got.has("index"), false);
});

test("lying files are refused, saying where", () => {
  const entry = (over: object) =>
    file({ a: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...over } }, new Uint8Array(8));
  const huge = new Uint8Array(16);
  new DataView(huge.buffer).setBigUint64(0, 2n ** 60n, true);
  for (const [bytes, message] of [
    [new Uint8Array(3), /3 bytes/],
    [huge, /header claims/],
    [file("{oh"), /not JSON/],
    [file("[]"), /no object/],
    [entry({ shape: [3] }), /do not fit/],
    [entry({ data_offsets: [0, 800], shape: [200] }), /do not fit/],
    [entry({ data_offsets: [8, 0] }), /do not fit/],
    [entry({ shape: [-2] }), /malformed/],
    [entry({ shape: [1e300, 1e300] }), /malformed/],
    [entry({ dtype: 4 }), /malformed/],
    [file({ a: null }), /malformed/],
  ] as const) {
    assert.throws(
      () => decodeSafetensors(bytes, "x.safetensors"),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "BAD_INPUT");
        assert.match(error.message, /^x\.safetensors/);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("a model that is not there is named, with those that are", async () => {
  await assert.rejects(loadModel("nonesuch"), { code: "INVALID_ARGUMENT", message: /nonesuch/ });
  await assert.rejects(loadModel("/nowhere/x.safetensors"), {
    code: "IO",
    message: "/nowhere/x.safetensors does not exist.",
  });
});
