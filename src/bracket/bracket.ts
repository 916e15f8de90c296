import type { Encoding } from "../image.js";

/** A 3x3 matrix, row by row: maps homogeneous pixel centres (x, y, 1) of the reference to those of this exposure. */
export type Homography = readonly [number, number, number, number, number, number, number, number, number];

/** Rows of an image wherever they live (memory, or a temporary file when the memory limit asks for it). */
export interface PixelStore {
  readonly width: number;
  readonly height: number;
  readonly channels: 3;
  readonly depth: "uint8" | "uint16" | "float32";
  readonly encoding: Encoding;
  /** Interleaved RGB rows [y0, y1). A view where possible: read-only, valid until the next call. */
  rows(y0: number, y1: number): Uint8Array | Uint16Array | Float32Array;
  /** Frees memory and temporary files; called once, by Bracket.close(). */
  close(): void;
}

/** One photograph and how much light it collected. */
export interface Exposure {
  readonly name: string;
  readonly pixels: PixelStore;
  /** Stops relative to the shortest exposure of the bracket (which has 0). */
  readonly exposureValue: number;
  /** Where the exposure value came from. */
  readonly exposureSource: "given" | "exif" | "estimated" | "stored";
  /** Reference pixel -> this exposure's pixel; absent when nothing needs moving. */
  readonly alignment?: Homography;
}

/** A remark for the person: something was estimated, corrected or given up. Never silent garbage. */
export interface Note {
  readonly code: string;
  readonly message: string;
}

/** Exposures of one scene, shortest first, all of one size and encoding. */
export interface Bracket {
  readonly width: number;
  readonly height: number;
  readonly exposures: readonly Exposure[];
  /** Index into exposures: floor(n / 2) unless chosen. */
  readonly reference: number;
  readonly notes: readonly Note[];
  close(): void;
}
