import { deflateSync } from "node:zlib";

export const WIDTH = 7;
export const HEIGHT = 5;

/** Halves between 0.5 and 2, and chroma of `chroma` everywhere. */
export const luminance = Array.from({ length: WIDTH * HEIGHT }, (_, i) => 0x3800 + ((i * 397) % 2048));

/** A luminance/chroma file, channels BY, RY and Y in blocks of `lines` lines. */
export function file(
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
export function predict(block: Buffer): Buffer {
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

export const packings: [string, number, number, (block: Buffer) => Buffer][] = [
  ["none", 0, 1, (block) => block],
  ["rle", 1, 1, runLength],
  ["zips", 2, 1, (block) => deflateSync(predict(block))],
  ["zip", 3, 16, (block) => deflateSync(predict(block))],
];
