import type { FileHandle } from "node:fs/promises";
import { SmhdrError } from "../errors.js";
import type { Radiance } from "../image.js";
import { describe } from "./describe.js";
import { iccProfile } from "./icc-profile.js";
import { withNewFile, writeFully } from "./replace-file.js";
import { copyFinite, deflateStrips } from "./strips.js";

export interface TiffOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

const STRIP_BYTES = 1 << 20;

/**
 * Writes a 32-bit float RGB TIFF: linear, Adobe deflate with the floating-point predictor (TIFF Technical Note 3),
 * an embedded linear ICC profile and the description as ImageDescription. `path` must not exist.
 */
export async function writeFloatTiff(radiance: Radiance, path: string, options: TiffOptions = {}): Promise<void> {
  const { width, height, data } = radiance;
  const row = new Float32Array(3 * width);
  const rowBytes = new Uint8Array(row.buffer);
  const text = describe(radiance)
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
  await writeTiff(path, {
    width,
    height,
    bitsPerSample: 32,
    predictor: 3,
    description: text,
    profile: iccProfile(radiance.encoding.primaries, "linear"),
    rows: (y0, y1) => {
      const out = new Uint8Array((y1 - y0) * rowBytes.length);
      for (let y = y0; y < y1; y++) {
        copyFinite(data.subarray(y * row.length, (y + 1) * row.length), row);
        predictFloats(rowBytes, out.subarray((y - y0) * rowBytes.length, (y - y0 + 1) * rowBytes.length));
      }
      return out;
    },
    ...options,
  });
}

/** The floating-point predictor: most significant bytes first, plane by plane, then differences three bytes apart. */
function predictFloats(bytes: Uint8Array, out: Uint8Array): void {
  const count = bytes.length / 4;
  for (let i = 0; i < count; i++) {
    out[i] = bytes[4 * i + 3];
    out[count + i] = bytes[4 * i + 2];
    out[2 * count + i] = bytes[4 * i + 1];
    out[3 * count + i] = bytes[4 * i];
  }
  for (let i = out.length - 1; i >= 3; i--) out[i] -= out[i - 3];
}

export interface TiffContent extends TiffOptions {
  readonly width: number;
  readonly height: number;
  /** 8 and 16 are unsigned integers, 32 is floating point. */
  readonly bitsPerSample: 8 | 16 | 32;
  /** 1: rows are stored as they are, uncompressed; 3: deflated, rows come with the floating-point predictor applied. */
  readonly predictor: 1 | 3;
  readonly description?: string;
  readonly profile: Buffer;
  /** The bytes of rows [y0, y1), little endian. */
  readonly rows: (y0: number, y1: number) => Uint8Array;
}

/** Writes an RGB TIFF in strips (TIFF 6.0, little endian). `path` must not exist. */
export async function writeTiff(path: string, content: TiffContent): Promise<void> {
  const { width, height, bitsPerSample, predictor, rows, signal, onProgress } = content;
  const bytesPerRow = (width * 3 * bitsPerSample) / 8;
  if (bytesPerRow * height > 4e9) {
    throw new SmhdrError(
      "UNSUPPORTED",
      `TIFF files end at 4 GB; ${width}x${height} pixels need more. Write .exr instead.`,
    );
  }
  const rowsPerStrip = Math.max(1, Math.min(height, Math.floor(STRIP_BYTES / bytesPerRow)));
  const count = Math.ceil(height / rowsPerStrip);
  const offsets: number[] = [];
  const sizes: number[] = [];
  let position = 8;
  await withNewFile(path, async (file) => {
    const store = async (bytes: Uint8Array): Promise<void> => {
      offsets.push(position);
      sizes.push(bytes.length);
      await writeFully(file, bytes, position);
      position += bytes.length + (bytes.length & 1);
    };
    await deflateStrips({
      count,
      level: predictor === 1 ? undefined : 6,
      signal,
      onProgress,
      prepare: (i) => rows(i * rowsPerStrip, Math.min(height, (i + 1) * rowsPerStrip)),
      store: (_, deflated) => store(deflated),
    });
    await writeDirectory(file, position, content, rowsPerStrip, offsets, sizes);
  });
}

const SHORT = 3;
const LONG = 4;

async function writeDirectory(
  file: FileHandle,
  at: number,
  { width, height, bitsPerSample, predictor, description, profile }: TiffContent,
  rowsPerStrip: number,
  offsets: number[],
  sizes: number[],
): Promise<void> {
  const text = Buffer.from(`${description ?? ""}\0`, "utf8");
  // Tag, type (2 ASCII, 3 SHORT, 4 LONG, 7 bytes), values.
  const entries: [number, number, number[] | Buffer][] = [
    [256, LONG, [width]],
    [257, LONG, [height]],
    [258, SHORT, [bitsPerSample, bitsPerSample, bitsPerSample]],
    [259, SHORT, [predictor === 1 ? 1 : 8]], // compression: none or deflate
    [262, SHORT, [2]], // RGB
    [270, 2, text],
    [273, LONG, offsets],
    [277, SHORT, [3]],
    [278, LONG, [rowsPerStrip]],
    [279, LONG, sizes],
    [284, SHORT, [1]], // interleaved
    [317, SHORT, [predictor]],
    [339, SHORT, new Array<number>(3).fill(bitsPerSample === 32 ? 3 : 1)], // sample format
    [34675, 7, profile],
  ];
  const directory = Buffer.alloc(2 + 12 * entries.length + 4);
  directory.writeUInt16LE(entries.length, 0);
  const extra: Buffer[] = [];
  let extraAt = at + directory.length;
  entries.forEach(([tag, type, values], i) => {
    const bytes = Buffer.isBuffer(values)
      ? values
      : Buffer.from((type === SHORT ? Uint16Array.from(values) : Uint32Array.from(values)).buffer);
    const entry = 2 + 12 * i;
    directory.writeUInt16LE(tag, entry);
    directory.writeUInt16LE(type, entry + 2);
    directory.writeUInt32LE(values.length, entry + 4);
    if (bytes.length <= 4) {
      bytes.copy(directory, entry + 8);
    } else {
      directory.writeUInt32LE(extraAt, entry + 8);
      extra.push(bytes, Buffer.alloc(bytes.length & 1));
      extraAt += bytes.length + (bytes.length & 1);
    }
  });
  await writeFully(file, Buffer.concat([directory, ...extra]), at);
  const head = Buffer.from([0x49, 0x49, 42, 0, 0, 0, 0, 0]);
  head.writeUInt32LE(at, 4);
  await writeFully(file, head, 0);
}
