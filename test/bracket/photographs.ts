import sharp, { type Sharp } from "sharp";

/** A photograph of a made-up scene of twelve stops: ramps and texture, no two columns alike. */
export interface Shot {
  /** Stops of light collected. */
  readonly stops: number;
  /** What the file says of its exposure time, in seconds as a fraction; nothing where absent. */
  readonly time?: string;
  readonly iso?: number;
  readonly fNumber?: string;
  /** Strength of the camera's contrast curve: 0 none. */
  readonly contrast?: number;
  /** Pixels by which the camera moved. */
  readonly shift?: number;
}

export const WIDTH = 160;
export const HEIGHT = 96;

const encodeSrgb = (y: number) => (y <= 0.0031308 ? 12.92 * y : 1.055 * y ** (1 / 2.4) - 0.055);

/** The pixels of a shot, 0 to 1, sRGB-encoded. */
export function shoot({ stops, contrast = 0, shift = 0 }: Shot): Float64Array {
  const pixels = new Float64Array(WIDTH * HEIGHT * 3);
  for (let y = 0, i = 0; y < HEIGHT; y++) {
    for (let x = 0; x < WIDTH; x++) {
      for (let c = 0; c < 3; c++, i++) {
        const at = x + shift;
        const light = 2 ** (-10 + (10 * y) / HEIGHT + 2 * Math.sin(at * 0.21 + c) + Math.sin(at * 0.05 * (c + 1)));
        const collected = Math.min(1, light * 2 ** stops);
        // An S-curve in the encoded values, as cameras apply.
        const v = encodeSrgb(collected);
        pixels[i] = v + contrast * (v * v * (3 - 2 * v) - v);
      }
    }
  }
  return pixels;
}

/** The shot as a file in memory. */
export async function photograph(shot: Shot, format: "png" | "jpeg" = "png"): Promise<Buffer> {
  const data = Uint8Array.from(shoot(shot), (v) => Math.round(255 * v));
  const image = sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });
  const exif: Record<string, string> = {};
  if (shot.time) exif.ExposureTime = shot.time;
  if (shot.iso) exif.ISOSpeedRatings = `${shot.iso}`;
  if (shot.fNumber) exif.FNumber = shot.fNumber;
  if (Object.keys(exif).length > 0) image.withExif({ IFD2: exif });
  return (format === "png" ? image.png() : image.jpeg({ quality: 95 })).toBuffer();
}

/** Interleaved RGB integers as an image for sharp to encode; 16-bit ones stay so. */
export function rgb(data: Uint8Array | Uint16Array, width: number, height: number): Sharp {
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  return data instanceof Uint16Array ? image.toColourspace("rgb16") : image;
}

interface TiffContent {
  readonly width: number;
  readonly height: number;
  /** EXIF entries: tag, type (3 short, 5 rational), value or numerator, denominator. */
  readonly exif?: readonly (readonly [tag: number, type: 3 | 5, value: number, denominator?: number])[];
  /** Bytes of 8-bit grey pixels; missing ones are what a lying header promises. */
  readonly pixels: Uint8Array;
  /** The pixels are 32-bit floats instead. */
  readonly float?: boolean;
  /** Marked as a small form of another picture. */
  readonly thumbnail?: boolean;
}

/** A minimal little-endian TIFF of 8-bit grey pixels: sharp writes no EXIF into its own. */
export function tiff({ width, height, exif = [], pixels, float = false, thumbnail = false }: TiffContent): Buffer {
  const main: [number, number, number][] = [
    [254, 4, Number(thumbnail)],
    [256, 4, width],
    [257, 4, height],
    [258, 3, float ? 32 : 8],
    [259, 3, 1],
    [262, 3, 1],
    [273, 4, 0],
    [277, 3, 1],
    [278, 4, height],
    [279, 4, width * height * (float ? 4 : 1)],
    [339, 3, float ? 3 : 1],
  ];
  const exifAt = 8 + 2 + 12 * (main.length + 1) + 4;
  const valuesAt = exifAt + 2 + 12 * exif.length + 4;
  const pixelsAt = valuesAt + 8 * exif.length;
  const file = Buffer.alloc(pixelsAt);
  file.write("II*\0", "latin1");
  file.writeUInt32LE(8, 4);
  const entry = (at: number, tag: number, type: number, value: number) => {
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(type, at + 2);
    file.writeUInt32LE(1, at + 4);
    file.writeUInt32LE(value >>> 0, at + 8);
  };
  file.writeUInt16LE(main.length + 1, 8);
  for (const [i, [tag, type, value]] of main.entries()) {
    entry(10 + 12 * i, tag, type, tag === 273 ? pixelsAt : value);
  }
  entry(10 + 12 * main.length, 34665, 4, exifAt);
  file.writeUInt16LE(exif.length, exifAt);
  for (const [i, [tag, type, value, denominator = 1]] of exif.entries()) {
    const at = valuesAt + 8 * i;
    entry(exifAt + 2 + 12 * i, tag, type, type === 5 ? at : value);
    file.writeUInt32LE(value >>> 0, at);
    file.writeUInt32LE(denominator, at + 4);
  }
  return Buffer.concat([file, pixels]);
}
