/** XYZ of red, green and blue relative to D50, as profiles store them. */
export const SRGB_COLORANTS = [
  [0.4361, 0.2225, 0.0139],
  [0.3851, 0.7169, 0.0971],
  [0.1431, 0.0606, 0.7141],
] as const;
export const ADOBE_COLORANTS = [
  [0.6097, 0.3111, 0.0195],
  [0.2053, 0.6257, 0.0609],
  [0.1492, 0.0632, 0.7446],
] as const;

export interface ProfileContent {
  /** Gamma of each colour, or of grey. */
  readonly gammas: readonly number[];
  readonly colorants?: readonly (readonly [number, number, number])[];
  readonly connection?: "XYZ " | "Lab ";
  readonly whitePoint?: readonly [number, number, number];
  readonly extraTags?: readonly string[];
}

/** A version 2 ICC profile made of gammas and, for three of them, colorants. */
export function profile({
  gammas,
  colorants = SRGB_COLORANTS,
  connection = "XYZ ",
  whitePoint = [0.9642, 1, 0.8249],
  extraTags = [],
}: ProfileContent): Buffer {
  const grey = gammas.length === 1;
  const tags: [string, Buffer][] = [
    ["desc", text("test")],
    ["cprt", Buffer.concat([Buffer.from("text\0\0\0\0none\0", "latin1"), Buffer.alloc(3)])],
    ["wtpt", xyz(whitePoint)],
    ...gammas.map((gamma, i): [string, Buffer] => [grey ? "kTRC" : `${"rgb"[i]}TRC`, curve(gamma)]),
    ...(grey ? [] : colorants.map((value, i): [string, Buffer] => [`${"rgb"[i]}XYZ`, xyz(value)])),
    ...extraTags.map((tag): [string, Buffer] => [tag, text("test")]),
  ];
  const table = Buffer.alloc(4 + 12 * tags.length);
  table.writeUInt32BE(tags.length);
  let at = 128 + table.length;
  for (const [i, [name, data]] of tags.entries()) {
    table.write(name, 4 + 12 * i, "latin1");
    table.writeUInt32BE(at, 8 + 12 * i);
    table.writeUInt32BE(data.length, 12 + 12 * i);
    at += data.length;
  }
  const header = Buffer.alloc(128);
  header.writeUInt32BE(at);
  header.writeUInt32BE(0x02100000, 8);
  header.write(`mntr${grey ? "GRAY" : "RGB "}${connection}`, 12, "latin1");
  header.write("acsp", 36, "latin1");
  for (const [i, value] of [0.9642, 1, 0.8249].entries()) header.writeInt32BE(Math.round(value * 65536), 68 + 4 * i);
  return Buffer.concat([header, table, ...tags.map(([, data]) => data)]);
}

/** Puts a profile into a JPEG without touching its pixels. */
export function attach(jpeg: Buffer, icc: Buffer): Buffer {
  const segment = Buffer.concat([Buffer.from("\xff\xe2\0\0ICC_PROFILE\0\x01\x01", "latin1"), icc]);
  segment.writeUInt16BE(segment.length - 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), segment, jpeg.subarray(2)]);
}

function xyz(value: readonly [number, number, number]): Buffer {
  const tag = Buffer.alloc(20);
  tag.write("XYZ ", "latin1");
  for (const [i, v] of value.entries()) tag.writeInt32BE(Math.round(v * 65536), 8 + 4 * i);
  return tag;
}

function curve(gamma: number): Buffer {
  const tag = Buffer.alloc(16);
  tag.write("curv", "latin1");
  tag.writeUInt32BE(1, 8);
  tag.writeUInt16BE(Math.round(gamma * 256), 12);
  return tag;
}

function text(value: string): Buffer {
  const tag = Buffer.alloc(104);
  tag.write("desc", "latin1");
  tag.writeUInt32BE(value.length + 1, 8);
  tag.write(value, 12, "latin1");
  return tag;
}
