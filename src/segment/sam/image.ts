import sharp from "sharp";
import type { EncoderContract } from "./models.js";

/** 8-bit interleaved RGB. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Where the image lies in what the encoder sees: at the top left, `scale` times its size. */
export interface Placement {
  readonly scale: number;
  readonly width: number;
  readonly height: number;
  /** Side of the square that low-resolution masks cover. */
  readonly frame: number;
}

export interface EncoderInput {
  readonly data: Float32Array | Uint8Array;
  readonly dims: readonly number[];
  readonly placement: Placement;
}

/** The longest side that all of the family's models are made for. */
const LONGEST = 1024;
/** Mean and standard deviation of ImageNet's colours in 8-bit codes, which all of the family's models are trained with. */
const mean = [123.675, 116.28, 103.53];
const deviation = [58.395, 57.12, 57.375];

/**
 * The image as an encoder takes it: resized to fit, normalised unless the model does so (`raw`), and filled up at the right and the
 * bottom with the mean colour, which is 0 when normalised. Models that do it all take any size: they get the resized image.
 */
export async function encoderInput(image: Pixels, encoder: EncoderContract, raw: boolean): Promise<EncoderInput> {
  const height = encoder.height ?? (raw ? undefined : LONGEST);
  const width = encoder.width ?? (raw ? undefined : LONGEST);
  const scale = Math.min((width ?? LONGEST) / image.width, (height ?? LONGEST) / image.height);
  const inner = {
    width: Math.max(1, Math.floor(image.width * scale + 0.5)),
    height: Math.max(1, Math.floor(image.height * scale + 0.5)),
  };
  const resized = await resize(image, inner.width, inner.height);
  const outer = { width: width ?? inner.width, height: height ?? inner.height };
  const area = outer.width * outer.height;
  const data = encoder.type === "uint8" ? new Uint8Array(3 * area) : new Float32Array(3 * area);
  const interleaved = encoder.layout.endsWith("C");
  for (let y = 0; y < outer.height; y++) {
    for (let x = 0; x < outer.width; x++) {
      const p = y * outer.width + x;
      const q = y < inner.height && x < inner.width ? 3 * (y * inner.width + x) : -1;
      for (let c = 0; c < 3; c++) {
        const value = q < 0 ? mean[c] : resized[q + c];
        data[interleaved ? 3 * p + c : c * area + p] = raw
          ? encoder.type === "uint8"
            ? Math.round(value)
            : value
          : (value - mean[c]) / deviation[c];
      }
    }
  }
  const dims = [...encoder.layout].map((axis) => ({ N: 1, C: 3, H: outer.height, W: outer.width })[axis] as number);
  return { data, dims, placement: { ...inner, scale, frame: Math.max(outer.width, outer.height) } };
}

async function resize({ data, width, height }: Pixels, toWidth: number, toHeight: number): Promise<Uint8Array> {
  if (toWidth === width && toHeight === height) return data;
  return sharp(data, { raw: { width, height, channels: 3 } })
    .resize(toWidth, toHeight, { fit: "fill", kernel: "linear" })
    .raw()
    .toBuffer();
}

/**
 * Low-resolution logits [rows, columns], which cover the encoder's square, at the image's size: bilinear to the square, cut to the
 * image, bilinear to its size, as the published models postprocess.
 */
export function enlargeLogits(
  low: Float32Array,
  columns: number,
  rows: number,
  { frame, width, height }: Placement,
  image: { readonly width: number; readonly height: number },
): Float32Array {
  const inSquare = bilinear(low, columns, rows, columns / frame, rows / frame, width, height);
  return bilinear(inSquare, width, height, width / image.width, height / image.height, image.width, image.height);
}

/** Samples `source` at steps of `stepX`, `stepY`; a pixel's value is at its centre, beyond the border the border goes on. */
function bilinear(
  source: Float32Array,
  columns: number,
  rows: number,
  stepX: number,
  stepY: number,
  width: number,
  height: number,
): Float32Array {
  const out = new Float32Array(width * height);
  const axis = (length: number, step: number, size: number) => {
    const first = new Int32Array(length);
    const second = new Int32Array(length);
    const weight = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      const at = Math.max(0, (i + 0.5) * step - 0.5);
      first[i] = Math.min(size - 1, Math.floor(at));
      second[i] = Math.min(size - 1, first[i] + 1);
      weight[i] = at - first[i];
    }
    return { first, second, weight };
  };
  const across = axis(width, stepX, columns);
  const down = axis(height, stepY, rows);
  for (let y = 0; y < height; y++) {
    const upper = down.first[y] * columns;
    const lower = down.second[y] * columns;
    for (let x = 0; x < width; x++) {
      const [l, r, u, v] = [across.first[x], across.second[x], across.weight[x], down.weight[y]];
      out[y * width + x] =
        (1 - v) * ((1 - u) * source[upper + l] + u * source[upper + r]) +
        v * ((1 - u) * source[lower + l] + u * source[lower + r]);
    }
  }
  return out;
}
