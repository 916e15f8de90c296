import assert from "node:assert/strict";
import { test } from "node:test";
import { readProfile } from "../../src/bracket/icc.js";
import { decodeOpenExr } from "../../src/codec/openexr.js";
import { SmhdrError } from "../../src/errors.js";
import { encodeSafetensors } from "../../src/model/safetensors.js";
import { localQuality, softmax } from "../../src/train/local-quality.js";
import { profile } from "../bracket/profiles.js";
import { survive } from "./target.js";
import { targets } from "./targets.js";

// Inputs made to ask for much, or to break what reads them later: each of them once did.

function tensors(header: unknown, data = 0): Buffer {
  const head = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, Buffer.alloc(data)]);
}

/** An OpenEXR header of half RGB, and `rest` zeros. */
function exr(
  compression: number,
  width: number,
  height: number,
  rest: number,
  extra = Buffer.alloc(0),
  flags = 2,
): Buffer {
  const int = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
  const attribute = (name: string, type: string, value: Buffer) =>
    Buffer.concat([Buffer.from(`${name}\0${type}\0`), int(value.length), value]);
  const channels = ["B", "G", "R"].map((name) => Buffer.concat([Buffer.from(`${name}\0`), int(1, 0, 1, 1)]));
  return Buffer.concat([
    int(20000630, flags),
    attribute("channels", "chlist", Buffer.concat([...channels, Buffer.alloc(1)])),
    attribute("compression", "compression", Buffer.of(compression)),
    attribute("dataWindow", "box2i", int(0, 0, width - 1, height - 1)),
    extra,
    Buffer.alloc(1 + rest),
  ]);
}

const nested = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
const bombs: [target: string, what: string, bytes: Buffer][] = [
  ["safetensors", "metadata that cannot be made text", tensors({ __metadata__: { a: { toString: 1, valueOf: 1 } } })],
  [
    "safetensors",
    "tensors that share bytes",
    tensors(
      Object.fromEntries(
        Array.from({ length: 3000 }, (_, i) => [i, { dtype: "F32", shape: [65536], data_offsets: [0, 262144] }]),
      ),
      262144,
    ),
  ],
  ["safetensors", "a name of a megabyte", tensors({ ["n".repeat(1 << 20)]: null })],
  ["config", "a value nested too deep to be shown", Buffer.from(`{"patch":${nested}}`)],
  ["config", "a value of a megabyte", Buffer.from(`{"patch":"${"x".repeat(1 << 20)}"}`)],
  [
    "npy",
    "a header of 60 kB that is none",
    Buffer.concat([Buffer.from("\x93NUMPY\x01\0\x60\xea", "latin1"), Buffer.alloc(60000, "x")]),
  ],
  ["openexr", "268 megapixels in a kilobyte", exr(3, 16384, 16384, 1024)],
  ["openexr", "268 megapixels in ten kilobytes, with room for the table of blocks", exr(3, 16384, 16384, 10240)],
  [
    "radiance",
    "32768 x 4096 pixels in 20 kB",
    Buffer.concat([Buffer.from("#?RADIANCE\n\n-Y 4096 +X 32768\n"), Buffer.alloc(20000, 1)]),
  ],
  [
    "training-checkpoint",
    "a position that is none",
    Buffer.from(
      encodeSafetensors(new Map(), {
        format: "smhdr training checkpoint 1",
        config: "{}",
        position: "null",
        quality: "[]",
        steps: "1",
        random: "1",
      }),
    ),
  ],
];
for (const [name, what, bytes] of bombs)
  test(`${name}: ${what}`, async () => {
    const target = targets.find((one) => one.name === name);
    assert.ok(target);
    assert.equal(await survive(target, bytes), "refused");
  });

test("icc: profiles whose colours or curves cannot be converted are left to colour management", () => {
  const flat = profile({
    gammas: [2.2, 2.2, 2.2],
    colorants: [
      [0, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
    ],
  });
  assert.equal(readProfile(flat), "convert");
  const falling = profile({ gammas: [2.2] });
  const curve = falling.indexOf("curv", 200);
  falling.write("para", curve);
  falling.writeUInt16BE(0, curve + 8);
  falling.writeInt32BE(-65536, curve + 12); // x^-1
  assert.notEqual(typeof readProfile(falling), "object");
});

test("openexr: a part's header without end, and a part that three's loader would run away with", async () => {
  const parts = 0x1002;
  for (const file of [
    exr(0, 2, 2, 0, undefined, parts),
    // An attribute whose size is not its type's: the two readers would go on at different places.
    exr(0, 2, 2, 64, Buffer.concat([Buffer.from("a\0float\0"), Buffer.of(255, 0, 0, 0), Buffer.alloc(255, 97)]), parts),
  ])
    await assert.rejects(decodeOpenExr(file), (error) => error instanceof SmhdrError && error.code === "BAD_INPUT");
});

test("a segment map of a segment a pixel", () => {
  const pixels = 200_000;
  const segments = Float32Array.from({ length: pixels }, (_, i) => i);
  const quality = localQuality(new Float32Array(3 * pixels), new Float32Array(3 * pixels).fill(0.5), segments);
  assert.equal(softmax(quality, 1).size, pixels);
});
