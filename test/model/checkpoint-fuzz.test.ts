import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { SmhdrError } from "../../src/errors.js";
import { decodeCheckpoint } from "../../src/model/checkpoint/checkpoint.js";
import {
  floats,
  legacyCheckpoint,
  legacyWithPickle,
  operations,
  pickle,
  type Stored,
  tensor,
  zip,
  zipCheckpoint,
  zipWithPickle,
} from "./checkpoint-files.js";

/** Mulberry32: the same mutations in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** A cut, a few flipped bits, a byte or a length that lies, a piece copied elsewhere. */
function mutate(file: Buffer, next: (below: number) => number): Buffer {
  let out = Buffer.from(file);
  for (let changes = 1 + next(3); changes > 0 && out.length > 8; changes--) {
    const at = next(out.length - 8);
    const kind = next(6);
    if (kind === 0) out = out.subarray(0, at);
    else if (kind === 1) out[at] ^= 1 << next(8);
    else if (kind === 2) out[at] = next(256);
    else if (kind === 3) out.writeUInt32LE([0xffffffff, 0x7fffffff, 0, 0x10000, 1e9][next(5)], at);
    else if (kind === 4) out.copy(out, at, next(out.length), out.length);
    else {
      const from = next(out.length);
      out = Buffer.concat([out.subarray(0, at), out.subarray(from, from + next(64)), out.subarray(at)]);
    }
  }
  return out;
}

/** Reads the file, or refuses it as it should; returns what it took. */
async function survive(file: Uint8Array): Promise<{ read: boolean; numbers: number; milliseconds: number }> {
  const start = performance.now();
  let numbers = 0;
  let read = false;
  try {
    for (const { data } of (await decodeCheckpoint(file)).tensors.values()) numbers += data.length;
    read = true;
  } catch (error) {
    assert.ok(error instanceof SmhdrError, (error as Error).stack);
    assert.match(error.code, /^(BAD_INPUT|UNSUPPORTED)$/);
    assert.ok(error.message.length < 1000, `a message of ${error.message.length} characters`);
  }
  assert.ok(numbers <= file.length, `${numbers} numbers of ${file.length} bytes`);
  return { read, numbers, milliseconds: performance.now() - start };
}

const storages: Record<string, Stored> = { "0": floats(1, 2, 3, 4, 5, 6), "1": floats(7) };
const root = new Map<string, unknown>([
  ["epoch", 12],
  [
    "state_dict",
    new Map([
      ["module.a.weight", tensor("0", storages["0"], [2, 3], [3, 1])],
      ["module.a.bias", tensor("1", storages["1"], [1], [1])],
    ]),
  ],
]);

describe("mutated checkpoints are read or refused, in time", () => {
  // Mutating the pickle before the archive's checksums are made is what reaches the unpickler.
  const data = pickle(root);
  const golden = (name: string) => readFileSync(new URL(`../golden/${name}`, import.meta.url));
  const kinds: [string, number, (next: (below: number) => number) => Buffer][] = [
    ["pickles in zip archives", 2500, (next) => zipWithPickle(mutate(data, next), storages)],
    ["pickles in legacy files", 2500, (next) => legacyWithPickle(mutate(data, next), storages)],
    ["small zip archives", 1500, (next) => mutate(zipCheckpoint(root, storages), next)],
    ["small legacy files", 1500, (next) => mutate(legacyCheckpoint(root, storages), next)],
    ["PyTorch's zip archive", 100, (next) => mutate(golden("D_checkpoint.pth"), next)],
    ["PyTorch's legacy file", 100, (next) => mutate(golden("D_checkpoint_legacy.pth"), next)],
  ];
  kinds.forEach(([name, count, make], seed) => {
    test(name, async () => {
      const next = random(seed + 1);
      let read = 0;
      for (let i = 0; i < count; i++) {
        const got = await survive(make(next));
        assert.ok(got.milliseconds < 3000, `mutation ${i} took ${got.milliseconds} ms`);
        if (got.read) read++;
      }
      assert.ok(read < count / 2, `${read} of ${count} were read: the mutations miss`);
    });
  });
});

describe("small files that ask for much", () => {
  const repeat = (count: number, ...parts: (number | Buffer)[]) =>
    Buffer.alloc(
      count * Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part))).length,
      Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part))),
    );
  const wrap = (...parts: (number | Buffer)[]) =>
    zipWithPickle(
      Buffer.concat([
        Buffer.of(0x80, 2),
        ...parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part)),
        Buffer.of(0x2e),
      ]),
      {},
    );
  const million = 1 << 20;
  // [[], [x, x], [[x, x], [x, x]], ...]: doubles with every step for whoever walks it.
  const laughs = Buffer.concat([
    Buffer.of(0x5d, 0x71, 0),
    ...Array.from({ length: 200 }, (_, i) => Buffer.of(0x68, i, 0x68, i, 0x86, 0x71, i + 1)),
  ]);
  const bombs: [string, Buffer][] = [
    ["a megabyte of dictionaries", wrap(repeat(million, 0x7d))],
    ["a million dictionaries with an entry", wrap(repeat(million, 0x7d, 0x4e, 0x4e, 0x73))],
    ["a megabyte of marks", wrap(repeat(million, 0x28))],
    ["lists a million deep", wrap(repeat(million, 0x5d), repeat(million, 0x61))],
    ["memo entries", wrap(0x7d, repeat(million, 0x94))],
    ["more operations than any checkpoint", wrap(repeat(5 * million, 0x4e))],
    ["doubling", wrap(laughs, repeat(200, 0x85))],
    ["doubling as a name", wrap(laughs, operations("x"), 0x93)],
    ["a dictionary in itself", wrap(0x7d, 0x71, 0, operations("state_dict"), 0x68, 0, 0x73)],
    ["text of 4 GB", wrap(0x58, Buffer.from("ffffffff", "hex"))],
    [
      "one tuple passed a million times",
      wrap(
        Buffer.from("ctorch\nSize\n"),
        0x71,
        0,
        0x28,
        repeat(50000, 0x4e),
        0x74,
        0x71,
        1,
        repeat(million >> 3, 0x68, 0, 0x68, 1, 0x52),
      ),
    ],
    [
      "a tensor that repeats one number",
      zipCheckpoint(new Map([["a", tensor("0", { ...storages["1"] }, [1e6, 1e6], [0, 0])]]), storages),
    ],
    [
      "many views of one storage",
      zipCheckpoint(
        new Map(
          Array.from({ length: 3000 }, (_, i) => [`${i}`, tensor("0", { ...floats(), count: 5000 }, [5000], [1])]),
        ),
        { "0": floats(...new Array(5000).fill(1)) },
      ),
    ],
    ["an archive of fifty thousand files", zip(Array.from({ length: 50000 }, (_, i) => [`a/${i}`, Buffer.alloc(0)]))],
  ];
  for (const [name, file] of bombs) {
    test(name, async () => {
      const before = process.memoryUsage();
      const { milliseconds } = await survive(file);
      const { heapTotal, external, arrayBuffers } = process.memoryUsage();
      const grown = heapTotal + external + arrayBuffers - before.heapTotal - before.external - before.arrayBuffers;
      assert.ok(milliseconds < 5000, `${milliseconds} ms`);
      assert.ok(grown < 2 ** 26 + 40 * file.length, `${grown} bytes for a file of ${file.length}`);
    });
  }
});

describe("properties", () => {
  const values = fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 40 });
  test("any view of any storage reads as its strides say", async () => {
    await fc.assert(
      fc.asyncProperty(
        values,
        fc.array(fc.tuple(fc.nat(4), fc.nat(5)), { maxLength: 4 }),
        fc.nat(8),
        async (numbers, axes, offset) => {
          const shape = axes.map(([size]) => size);
          const strides = axes.map(([, stride]) => stride);
          const positions = shape.reduce(
            (list, size, axis) => list.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * strides[axis])),
            [offset],
          );
          fc.pre(Math.max(offset, ...positions) < numbers.length);
          const stored = floats(...numbers);
          for (const write of [zipCheckpoint, legacyCheckpoint]) {
            const file = write(new Map([["a", tensor("k", stored, shape, strides, offset)]]), { k: stored });
            const got = (await decodeCheckpoint(file)).tensors.get("a");
            assert.deepEqual(got?.shape, shape);
            assert.deepEqual(
              [...(got?.data ?? [])],
              positions.map((at) => numbers[at]),
            );
          }
        },
      ),
      { numRuns: 300, seed: 7 },
    );
  });

  test("no bytes make anything but a model or a refusal", async () => {
    const legacy = fc.uint8Array({ maxLength: 200 }).map((data) => legacyWithPickle(data, storages));
    const archive = fc.uint8Array({ maxLength: 200 }).map((data) => zipWithPickle(data, storages));
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 300 }), legacy, archive), async (file) => {
        await survive(file);
      }),
      { numRuns: 1500, seed: 7 },
    );
  });
});
