/** How stored values map to linear light. A table holds linear values in [0, 1] at evenly spaced codes. */
export type Transfer = "linear" | "srgb" | "gamma2.2" | "rec709" | "pq" | "hlg" | { readonly table: Float32Array };

/** CIE xy of red, green, blue and white. */
export interface Chromaticities {
  readonly red: readonly [number, number];
  readonly green: readonly [number, number];
  readonly blue: readonly [number, number];
  readonly white: readonly [number, number];
}

export type Primaries = "srgb" | "display-p3" | "adobe-rgb" | "prophoto" | "rec2020" | Chromaticities;

/** What the numbers of an image mean. Nothing converts between encodings unless its name says so. */
export interface Encoding {
  readonly transfer: Transfer;
  readonly primaries: Primaries;
}

export type PixelData = Uint8Array | Uint16Array | Float32Array;

/** More pixels than any camera has; a file that says more is broken or hostile, and is refused before anything is allocated. */
export const MAX_PIXELS = 2 ** 28;

/** An image in memory: rows top to bottom, channels interleaved, no padding. Integers span [0, max of the type] = [0, 1]. */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: PixelData;
  readonly encoding: Encoding;
}

/** Linear light, float32 RGB; 1.0 is where the shortest exposure clips. */
export interface Radiance extends Image {
  readonly channels: 3;
  readonly data: Float32Array;
  /** What the result remembers of how it was made; writers store it as metadata. */
  readonly metadata: RadianceMetadata;
}

export interface RadianceMetadata {
  /** Exposure values in stops, relative to the shortest exposure. */
  readonly exposureValues?: readonly number[];
  /** Index of the exposure whose moment is shown. */
  readonly reference?: number;
  readonly method?: string;
  readonly model?: string;
  readonly software?: string;
  /** What 1.0 is, where that is not the shortest exposure's clipping point: a sentence. */
  readonly scale?: string;
}
