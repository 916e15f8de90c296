import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { halfValues } from "../../src/codec/half.js";
import { decodeOpenExr } from "../../src/codec/openexr.js";

const WIDTH = 7;
const HEIGHT = 5;

/** Halves between 0.5 and 2, and chroma of `chroma` everywhere. */
const luminance = Array.from({ length: WIDTH * HEIGHT }, (_, i) => 0x3800 + ((i * 397) % 2048));

/** A luminance/chroma file, channels BY, RY and Y in blocks of `lines` lines. */
function file(
  compression: number,
  lines: number,
  chroma: [by: number, ry: number],
  pack: (block: Buffer) => Buffer,
): Buffer {
  const int = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
  const text = (value: string) => Buffer.from(`${value}\0`);
  const attribute = (name: string, type: string, ...parts: Buffer[]) => {
    const value = Buffer.concat(parts);
    return Buffer.concat([text(name), text(type), int(value.length), value]);
  };
  const channel = (name: string, sampling: number) => Buffer.concat([text(name), int(1, 0, sampling, sampling)]);
  const header = Buffer.concat([
    int(20000630, 2),
    attribute("channels", "chlist", channel("BY", 2), channel("RY", 2), channel("Y", 1), Buffer.alloc(1)),
    attribute("compression", "compression", Buffer.from([compression])),
    attribute("dataWindow", "box2i", int(0, 0, WIDTH - 1, HEIGHT - 1)),
    Buffer.alloc(1),
  ]);
  const chunks: Buffer[] = [];
  for (let first = 0; first < HEIGHT; first += lines) {
    const words: number[] = [];
    for (let y = first; y < Math.min(HEIGHT, first + lines); y++) {
      if (y % 2 === 0) for (const code of chroma) words.push(...new Array<number>(Math.ceil(WIDTH / 2)).fill(code));
      words.push(...luminance.slice(y * WIDTH, (y + 1) * WIDTH));
    }
    const raw = Buffer.from(Uint16Array.from(words).buffer);
    const packed = pack(raw);
    const body = packed.length < raw.length ? packed : raw;
    chunks.push(Buffer.concat([int(first, body.length), body]));
  }
  const offsets = Buffer.alloc(8 * chunks.length);
  let offset = header.length + offsets.length;
  chunks.forEach((chunk, i) => {
    offsets.writeBigUInt64LE(BigInt(offset), 8 * i);
    offset += chunk.length;
  });
  return Buffer.concat([header, offsets, ...chunks]);
}

/** Even bytes, odd bytes, then differences around 128: what RLE and ZIP compress. */
function predict(block: Buffer): Buffer {
  const split = Buffer.concat([block.filter((_, i) => i % 2 === 0), block.filter((_, i) => i % 2 === 1)]);
  return split.map((byte, i) => (i === 0 ? byte : byte - split[i - 1] + 128)) as Buffer;
}

function runLength(block: Buffer): Buffer {
  const bytes = predict(block);
  const out: number[] = [];
  for (let i = 0; i < bytes.length; ) {
    let end = i;
    while (end < bytes.length && bytes[end] === bytes[i] && end - i < 128) end++;
    if (end - i > 1) out.push(end - i - 1, bytes[i]);
    else out.push(255, bytes[i]); // -1: one literal
    i = end;
  }
  return Buffer.from(out);
}

const packings: [string, number, number, (block: Buffer) => Buffer][] = [
  ["none", 0, 1, (block) => block],
  ["rle", 1, 1, runLength],
  ["zips", 2, 1, (block) => deflateSync(predict(block))],
  ["zip", 3, 16, (block) => deflateSync(predict(block))],
];

for (const [name, number, lines, pack] of packings) {
  test(`luminance/chroma with ${name}`, () => {
    const values = halfValues();
    const grey = decodeOpenExr(file(number, lines, [0, 0], pack));
    assert.deepEqual([grey.width, grey.height], [WIDTH, HEIGHT]);
    // BY = -0.5 and RY = 0.25: blue is half of the luminance, red five quarters.
    const coloured = decodeOpenExr(file(number, lines, [0xb800, 0x3400], pack));
    luminance.forEach((code, i) => {
      const y = values[code];
      for (let c = 0; c < 3; c++) assert.ok(Math.abs(grey.data[3 * i + c] - y) < 1e-5);
      const [red, green, blue] = coloured.data.subarray(3 * i, 3 * i + 3);
      assert.ok(Math.abs(red - 1.25 * y) < 1e-4 && Math.abs(blue - 0.5 * y) < 1e-4, `${red} ${blue} of ${y}`);
      assert.ok(Math.abs(0.2126 * red + 0.7152 * green + 0.0722 * blue - y) < 1e-3);
    });
  });
}

test("damaged luminance/chroma blocks are refused", () => {
  for (const [, number, lines, pack] of packings.slice(1)) {
    const whole = file(number, lines, [0, 0], pack);
    for (let length = whole.length - 1; length > 0; length -= 7) {
      assert.throws(() => decodeOpenExr(whole.subarray(0, length)), { code: "BAD_INPUT" });
    }
  }
  const zip = file(3, 16, [0, 0], (block) => deflateSync(predict(block)));
  zip.fill(0, zip.length - 40);
  assert.throws(() => decodeOpenExr(zip), { code: "BAD_INPUT" });
});
