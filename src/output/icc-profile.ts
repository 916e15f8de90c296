import { rgbToXyzD50 } from "../codec/chromaticities.js";
import type { Primaries } from "../image.js";

/**
 * An ICC version 4.3 matrix profile for RGB of these primaries (ICC.1:2010), with linear or sRGB's transfer function
 * (IEC 61966-2-1).
 */
export function iccProfile(primaries: Primaries, transfer: "linear" | "srgb"): Buffer {
  const m = rgbToXyzD50(primaries);
  const name = typeof primaries === "string" ? primaries : "RGB";
  const curve = transfer === "linear" ? [0x10000] : [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045].map(fixed);
  // A parametric curve: function 0 is x^g, function 3 sRGB's shape.
  const trc = Buffer.concat([tag("para"), Buffer.from([0, transfer === "linear" ? 0 : 3, 0, 0]), ...curve.map(int)]);
  const colorant = (i: number) => Buffer.concat([tag("XYZ "), ...[m[i], m[3 + i], m[6 + i]].map(fixed).map(int)]);
  const tags: [string, Buffer][] = [
    ["desc", multiLocalized(`${name}, ${transfer}`)],
    ["cprt", multiLocalized("No copyright")],
    ["wtpt", Buffer.concat([tag("XYZ "), ...D50.map(fixed).map(int)])],
    ["rXYZ", colorant(0)],
    ["gXYZ", colorant(1)],
    ["bXYZ", colorant(2)],
    ["rTRC", trc],
    ["gTRC", trc],
    ["bTRC", trc],
  ];
  const tableSize = 4 + 12 * tags.length;
  const table = Buffer.alloc(tableSize);
  table.writeUInt32BE(tags.length, 0);
  const bodies: Buffer[] = [];
  const placed = new Map<Buffer, number>();
  let offset = 128 + tableSize;
  tags.forEach(([signature, body], i) => {
    if (!placed.has(body)) {
      placed.set(body, offset);
      bodies.push(body, Buffer.alloc(-body.length & 3));
      offset += (body.length + 3) & ~3;
    }
    table.write(signature, 4 + 12 * i, "latin1");
    table.writeUInt32BE(placed.get(body) as number, 8 + 12 * i);
    table.writeUInt32BE(body.length, 12 + 12 * i);
  });
  const head = Buffer.alloc(128);
  head.writeUInt32BE(offset, 0);
  head.writeUInt32BE(0x04300000, 8);
  head.write("mntrRGB XYZ ", 12, "latin1");
  // A fixed date: the same input makes the same file.
  [2025, 1, 1].forEach((value, i) => {
    head.writeUInt16BE(value, 24 + 2 * i);
  });
  head.write("acsp", 36, "latin1");
  D50.forEach((value, i) => {
    head.writeInt32BE(fixed(value), 68 + 4 * i);
  });
  return Buffer.concat([head, table, ...bodies]);
}

const D50 = [0.9642, 1, 0.8249];

const fixed = (value: number) => Math.round(value * 65536);
const tag = (signature: string) => Buffer.from(`${signature}\0\0\0\0`, "latin1");

function int(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32BE(value);
  return buffer;
}

function multiLocalized(text: string): Buffer {
  const body = Buffer.from(text, "utf16le").swap16();
  return Buffer.concat([tag("mluc"), int(1), int(12), Buffer.from("enUS"), int(body.length), int(28), body]);
}
