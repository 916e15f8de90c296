import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodeCheckpoint } from "../../src/model/checkpoint/checkpoint.js";
import { loadModel } from "../../src/model/model.js";
import { readSafetensors } from "../../src/model/safetensors.js";
import {
  Call,
  floats,
  legacyCheckpoint,
  Name,
  operations,
  Persistent,
  type Stored,
  tensor,
  zip,
  zipCheckpoint,
  zipWithPickle,
} from "./checkpoint-files.js";

const golden = fileURLToPath(new URL("../golden/", import.meta.url));
const shared = process.env.SMHDR_GOLDEN ?? fileURLToPath(new URL("../../../shared/golden/", import.meta.url));
const program = fileURLToPath(new URL("../../src/cli/smhdr.ts", import.meta.url));

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "smhdr-checkpoint-"));
});
after(() => rm(folder, { recursive: true, force: true }));

describe("checkpoints that PyTorch wrote", () => {
  const cases = [
    ["D_checkpoint.pth", "zip", golden, "D_weights", ""],
    ["D_checkpoint_legacy.pth", "legacy", golden, "D_weights", ""],
    ["B_ckpt_min.pth", "zip", shared, "B_weights", ""],
    ["B_ckpt_min_torch113.pth", "zip", shared, "B_weights", ""],
    ["B_ckpt_legacy.pth", "legacy", shared, "B_weights", ""],
    ["B_ckpt_full.pth", "zip", shared, "B_adam3", "param/"],
    // Adam's third step differs by 5e-6 between PyTorch versions.
    ["B_ckpt_full_torch113.pth", "zip", shared, "B_adam3", "param/", 1e-5],
  ] as const;
  for (const [name, format, where, weights, prefix, tolerance = 0] of cases) {
    const path = join(where, name);
    test(name, { skip: existsSync(path) ? false : `${path} is absent` }, async () => {
      const checkpoint = await decodeCheckpoint(readFileSync(path));
      const { tensors } = await readSafetensors(join(where, `${weights}.safetensors`));
      const expected = [...tensors].filter(([key]) => key !== "input" && key !== "gt");
      assert.equal(checkpoint.format, format);
      assert.equal(checkpoint.tensors.size, expected.length);
      for (const [key, { shape, data }] of expected) {
        const got = checkpoint.tensors.get(key.slice(prefix.length));
        assert.deepEqual(got?.shape, shape, key);
        assert.ok(
          got?.data.every((value, i) => Math.abs(value - data[i]) <= tolerance),
          key,
        );
      }
    });
  }

  test("facts beside the weights are kept", async () => {
    const { facts } = await decodeCheckpoint(readFileSync(join(golden, "D_checkpoint.pth")));
    assert.deepEqual(facts, { epoch: "7" });
  });
});

const storages: Record<string, Stored> = {
  "0": floats(0, 1, 2, 3, 4, 5),
  "1": { type: "HalfStorage", count: 2, content: Buffer.from("003c0180", "hex") },
  "2": { type: "BFloat16Storage", count: 1, content: Buffer.from("4940", "hex") },
  "3": { type: "DoubleStorage", count: 1, content: Buffer.from(Float64Array.of(0.1).buffer) },
  "4": { type: "LongStorage", count: 2, content: Buffer.from(BigInt64Array.of(-3n, 2n ** 40n).buffer) },
};
const parameter = (of: Call) => new Call(new Name("torch._utils", "_rebuild_parameter"), [of, true, null]);
const everything = new Map<unknown, unknown>([
  ["module.plain", tensor("0", storages["0"], [2, 3], [3, 1])],
  ["module.transposed", parameter(tensor("0", storages["0"], [3, 2], [1, 3]))],
  ["module.column", tensor("0", storages["0"], [2], [3], 1)],
  ["scalar", tensor("0", storages["0"], [], [], 5)],
  ["expanded", tensor("0", storages["0"], [3], [0], 2)],
  ["empty", tensor("0", storages["0"], [0, 7], [7, 1])],
  ["half", tensor("1", storages["1"], [2], [1])],
  ["brain", tensor("2", storages["2"], [1], [1])],
  ["double", tensor("3", storages["3"], [1], [1])],
  ["whole", tensor("4", storages["4"], [2], [1])],
  ["layers.0.attn_mask", tensor("4", storages["4"], [2], [1])],
]);

for (const [format, write] of [
  ["zip", zipCheckpoint],
  ["legacy", legacyCheckpoint],
] as const) {
  test(`types, views, prefixes and nesting (${format})`, async () => {
    const root = new Map<unknown, unknown>([
      ["epoch", 3],
      ["loss", 0.25],
      ["model", new Map([["state_dict", everything]])],
    ]);
    const { tensors, facts } = await decodeCheckpoint(write(root, storages));
    assert.deepEqual(facts, { epoch: "3", loss: "0.25" });
    const got = Object.fromEntries([...tensors].map(([key, { shape, data }]) => [key, [shape, [...data]]]));
    assert.deepEqual(got, {
      plain: [
        [2, 3],
        [0, 1, 2, 3, 4, 5],
      ],
      transposed: [
        [3, 2],
        [0, 3, 1, 4, 2, 5],
      ],
      column: [[2], [1, 4]],
      scalar: [[], [5]],
      expanded: [[3], [2, 2, 2]],
      empty: [[0, 7], []],
      half: [[2], [1, -(2 ** -24)]],
      brain: [[1], [3.140625]],
      double: [[1], [Math.fround(0.1)]],
      whole: [[2], [-3, 2 ** 40]],
    });
  });
}

async function refused(file: Uint8Array, code: string, message: RegExp): Promise<void> {
  await assert.rejects(decodeCheckpoint(file), { name: "SmhdrError", code, message });
}

describe("what is refused, by name", () => {
  const one = { "0": floats(1, 2) };
  const raw = (...parts: (number | Buffer)[]) =>
    zipWithPickle(Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part))), one);

  test("other globals and operations, executed by none", async () => {
    const system = new Map([["a", new Call(new Name("posix", "system"), [`touch ${join(folder, "executed")}`])]]);
    await refused(zipCheckpoint(system, one), "UNSUPPORTED", /"posix\.system"/);
    await refused(legacyCheckpoint(system, {}), "UNSUPPORTED", /"posix\.system"/);
    await refused(
      raw(0x80, 4, operations("builtins"), operations("eval"), 0x93, 0x2e),
      "UNSUPPORTED",
      /builtins\.eval/,
    );
    await refused(raw(0x80, 2, 0x7d, 0x32, 0x2e), "UNSUPPORTED", /operation DUP \(byte 3\)/);
    await refused(raw(0x80, 2, 0x69, Buffer.from("os\nsystem\n"), 0x2e), "UNSUPPORTED", /INST/);
    await refused(raw(0xff), "UNSUPPORTED", /0xff/);
    assert.deepEqual(await readdir(folder), []);
  });

  test("damaged structures", async () => {
    const view = (...shape: [number[], number[], number?]) =>
      zipCheckpoint(new Map([["a", tensor("0", one["0"], ...shape)]]), one);
    await refused(view([3], [1]), "BAD_INPUT", /leaves its storage/);
    await refused(view([2], [1], 1), "BAD_INPUT", /leaves its storage/);
    await refused(view([2], [1, 1]), "BAD_INPUT", /leaves its storage/);
    await refused(view([-2], [1]), "BAD_INPUT", /make no sense/);
    await refused(view([2], [-1], 1), "BAD_INPUT", /make no sense/);
    await refused(view([2 ** 53], [1]), "BAD_INPUT", /make no sense/);
    await refused(view([1e9], [0]), "BAD_INPUT", /more numbers than/);
    await refused(view(new Array(40).fill(1), new Array(40).fill(1)), "BAD_INPUT", /make no sense/);
    await refused(zipCheckpoint(new Map([["a", tensor("9", one["0"], [2], [1])]]), one), "BAD_INPUT", /"9" is missing/);
    const larger = { ...one["0"], count: 3 };
    await refused(zipCheckpoint(new Map([["a", tensor("0", larger, [3], [1])]]), one), "BAD_INPUT", /not the 12/);
    const twice = new Map(["a", "module.a"].map((name) => [name, tensor("0", one["0"], [2], [1])]));
    await refused(zipCheckpoint(twice, one), "BAD_INPUT", /with and without/);
    await refused(zipCheckpoint(new Map([["a", new Persistent(["module", 1])]]), one), "BAD_INPUT", /no storage/);
    await refused(raw(0x80, 2, 0x58, Buffer.from("ffffff7f", "hex"), 0x2e), "BAD_INPUT", /ends within/);
    await refused(raw(0x80, 2, 0x68, 5, 0x2e), "BAD_INPUT", /never stored/);
    await refused(raw(0x80, 2, 0x28, 0x7d, 0x2e), "BAD_INPUT", /left over/);
    await refused(raw(0x80, 2, 0x74, 0x2e), "BAD_INPUT", /no mark/);
    await refused(raw(0x80, 2, 0x7d), "BAD_INPUT", /ends within/);
  });

  test("other files", async () => {
    await refused(Buffer.alloc(0), "BAD_INPUT", /no PyTorch checkpoint/);
    await refused(Buffer.from("<html>404</html>"), "BAD_INPUT", /no PyTorch checkpoint/);
    await refused(zip([["a.txt", Buffer.from("a")]]), "BAD_INPUT", /holds 0 files/);
    await refused(zipCheckpoint(new Map([["lr", 1]]), {}), "BAD_INPUT", /found the keys "lr"/);
    await refused(zipCheckpoint([1, 2], {}), "BAD_INPUT", /no dictionary with names/);
    const file = readFileSync(join(golden, "D_checkpoint.pth"));
    await refused(file.subarray(0, 60000), "BAD_INPUT", /archive cannot be read/);
    const flipped = Buffer.from(file);
    flipped[file.length >> 1] ^= 1;
    await refused(flipped, "BAD_INPUT", /checksum|archive/);
    const legacy = readFileSync(join(golden, "D_checkpoint_legacy.pth"));
    await refused(legacy.subarray(0, legacy.length - 1), "BAD_INPUT", /cut off/);
  });
});

describe("smhdr import", () => {
  const run = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      execFile(process.execPath, ["--import", "tsx", program, "import", ...args], (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
      );
    });

  test("makes a model that loads and remembers where it came from", async () => {
    const output = join(folder, "d.safetensors");
    const { code, stdout, stderr } = await run(join(golden, "D_checkpoint.pth"), "-o", output, "--json");
    assert.equal(code, 0, stderr);
    const result = { event: "result", output, parameters: 22179, width: 12, exposures: 3, format: "zip" };
    assert.deepEqual(JSON.parse(stdout.trim().split("\n").at(-1) as string), result);
    const model = await loadModel(output);
    assert.equal(model.exposures, 3);
    assert.deepEqual([model.metadata.epoch, model.metadata.source], ["7", "D_checkpoint.pth"]);
    const { tensors } = await readSafetensors(join(golden, "D_weights.safetensors"));
    assert.deepEqual(new Map([...model.tensors].sort()), new Map([...tensors].sort()));
  });

  test("says what is wrong, and writes nothing", async () => {
    const before = await readdir(folder);
    const output = join(folder, "wrong.safetensors");
    const other = join(tmpdir(), `smhdr-other-${process.pid}.pth`);
    await writeFile(other, zipCheckpoint(new Map([["a", tensor("0", floats(1), [1], [1])]]), { "0": floats(1) }));
    try {
      for (const [args, exit, message] of [
        [[other, "-o", output], 1, /no SMNet model: there is no conv_first\.0\.weight/],
        [
          [join(golden, "D_checkpoint.pth"), "-o", output, "--exposures", "13"],
          2,
          /width 12 take at most 12 exposures, not 13/,
        ],
        [[join(golden, "D_checkpoint.pth"), "-o", join(folder, "wrong.onnx")], 2, /ending in \.safetensors/],
      ] as const) {
        const { code, stderr } = await run(...args);
        assert.equal(code, exit, stderr);
        assert.match(stderr, message);
      }
      assert.deepEqual(await readdir(folder), before);
    } finally {
      await rm(other);
    }
  });

  test("names the weight that a network would need", async (t) => {
    const { createNativeEngine } = await import("../../src/engine/native.js");
    const complete = await loadModel(join(golden, "D_weights.safetensors"));
    try {
      createNativeEngine(complete, 1);
    } catch {
      return t.skip("the addon is not built");
    }
    const contents: Record<string, Stored> = {};
    const root = new Map<string, Call>();
    for (const [name, { shape, data }] of complete.tensors) {
      if (name === "layers.1.conv.bias") continue;
      contents[name] = floats(...data);
      const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
      root.set(name, tensor(name, contents[name], shape, strides));
    }
    const path = join(tmpdir(), `smhdr-incomplete-${process.pid}.pth`);
    await writeFile(path, zipCheckpoint(root, contents));
    try {
      const { code, stderr } = await run(path, "-o", join(folder, "wrong.safetensors"));
      assert.equal(code, 1);
      assert.match(stderr, /layers\.1\.conv\.bias \[12\] is missing/);
    } finally {
      await rm(path);
    }
  });
});
