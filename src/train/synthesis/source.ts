import { displayValues, segmentGraph } from "../../segment/graph.js";

/** An HDR image that scenes are cut from. `data` is interleaved linear RGB on any scale, finite and not negative. */
export interface SourceImage {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
  /** Equirectangular, 360 by 180 degrees: wraps around horizontally. */
  readonly panorama: boolean;
}

/** A level of the pyramid: level k is 2^k times smaller. */
export interface Level {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
  /** log2 luminance minus its 5x5 binomial blur, in [-1, 1]: what sharpening amplifies. One value per pixel. */
  readonly detail: Float32Array;
}

/** A connected piece of a source that can move: bounds are inclusive, in pixels of the segment map. */
export interface Piece {
  readonly label: number;
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
  readonly area: number;
}

/** A source with all that is computed once; plain data over shared memory, so that threads can share it. */
export interface PreparedSource {
  readonly name: string;
  readonly panorama: boolean;
  readonly median: number;
  readonly levels: readonly Level[];
  /** The level whose size the segment map has. */
  readonly segmentLevel: number;
  readonly labels: Int32Array;
  readonly pieces: readonly Piece[];
}

const prepared = new WeakMap<SourceImage, PreparedSource>();

export function prepare(source: SourceImage): PreparedSource {
  let result = prepared.get(source);
  if (!result) {
    result = build(source);
    prepared.set(source, result);
  }
  return result;
}

/** Uses what another thread prepared. */
export function adopt(source: SourceImage, ready: PreparedSource): void {
  prepared.set(source, ready);
}

export function luminance(r: number, g: number, b: number): number {
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function sharedFloats(length: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(length * 4));
}

function build(source: SourceImage): PreparedSource {
  const median = medianLuminance(source.data);
  let data = sharedFloats(source.data.length);
  // The sun is a million times the median: kept, it would bleed over neighbours in every average. 12 stops clip in any exposure.
  const limit = median * 4096;
  for (let i = 0; i < data.length; i++) data[i] = Math.min(limit, source.data[i]);
  let { width, height } = source;
  const levels: Level[] = [{ width, height, data, detail: detailOf(data, width, height, median) }];
  while (levels.length < 5 && Math.min(width, height) >= 64) {
    data = halve(data, width, height);
    width >>= 1;
    height >>= 1;
    levels.push({ width, height, data, detail: detailOf(data, width, height, median) });
  }
  const segmentLevel = Math.min(levels.length - 1, Math.max(source.width, source.height) > 640 ? 1 : 0);
  const level = levels[segmentLevel];
  const segmentation = segmentGraph(displayValues(level.data, median), level.width, level.height, {
    scale: 400,
    minimumSize: Math.max(30, (level.width * level.height) >> 11),
  });
  const labels = new Int32Array(new SharedArrayBuffer(segmentation.labels.length * 4));
  labels.set(segmentation.labels);
  return {
    name: source.name,
    panorama: source.panorama,
    median,
    levels,
    segmentLevel,
    labels,
    pieces: piecesOf(labels, segmentation.count, level.width, level.height),
  };
}

function medianLuminance(data: Float32Array): number {
  const pixels = data.length / 3;
  const step = Math.max(1, Math.floor(pixels / 20000));
  const sample = new Float32Array(Math.ceil(pixels / step));
  for (let i = 0, p = 0; p < pixels; p += step) sample[i++] = luminance(data[p * 3], data[p * 3 + 1], data[p * 3 + 2]);
  sample.sort();
  // An all black half of an image (a studio's backdrop) must not make the unit zero.
  return Math.max(sample[sample.length >> 1], sample[sample.length - 1] * 1e-6, 1e-9);
}

function halve(data: Float32Array, width: number, height: number): Float32Array {
  const w = width >> 1;
  const h = height >> 1;
  const out = sharedFloats(w * h * 3);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const p = (2 * y * width + 2 * x) * 3;
      const q = p + width * 3;
      const o = (y * w + x) * 3;
      for (let c = 0; c < 3; c++) out[o + c] = 0.25 * (data[p + c] + data[p + 3 + c] + data[q + c] + data[q + 3 + c]);
    }
  }
  return out;
}

function detailOf(data: Float32Array, width: number, height: number, median: number): Float32Array {
  const pixels = width * height;
  const log = new Float32Array(pixels);
  const floor = median * 1e-3;
  for (let p = 0; p < pixels; p++) log[p] = Math.log2(floor + luminance(data[p * 3], data[p * 3 + 1], data[p * 3 + 2]));
  const across = new Float32Array(pixels);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < width; x++) {
      const l2 = log[row + Math.max(0, x - 2)];
      const l1 = log[row + Math.max(0, x - 1)];
      const r1 = log[row + Math.min(width - 1, x + 1)];
      const r2 = log[row + Math.min(width - 1, x + 2)];
      across[row + x] = (l2 + r2 + 4 * (l1 + r1) + 6 * log[row + x]) / 16;
    }
  }
  const detail = sharedFloats(pixels);
  for (let y = 0; y < height; y++) {
    const u2 = Math.max(0, y - 2) * width;
    const u1 = Math.max(0, y - 1) * width;
    const d1 = Math.min(height - 1, y + 1) * width;
    const d2 = Math.min(height - 1, y + 2) * width;
    for (let x = 0; x < width; x++) {
      const p = y * width + x;
      const blur = (across[u2 + x] + across[d2 + x] + 4 * (across[u1 + x] + across[d1 + x]) + 6 * across[p]) / 16;
      detail[p] = Math.max(-1, Math.min(1, log[p] - blur));
    }
  }
  return detail;
}

/** Segments that look like things: neither specks nor half the picture, nor thin outlines of something else. */
function piecesOf(labels: Int32Array, count: number, width: number, height: number): Piece[] {
  const x0 = new Int32Array(count).fill(width);
  const y0 = new Int32Array(count).fill(height);
  const x1 = new Int32Array(count).fill(-1);
  const y1 = new Int32Array(count).fill(-1);
  const area = new Int32Array(count);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const label = labels[y * width + x];
      area[label]++;
      if (x < x0[label]) x0[label] = x;
      if (x > x1[label]) x1[label] = x;
      if (y < y0[label]) y0[label] = y;
      if (y > y1[label]) y1[label] = y;
    }
  }
  const pieces: Piece[] = [];
  for (let label = 0; label < count; label++) {
    const w = x1[label] - x0[label] + 1;
    const h = y1[label] - y0[label] + 1;
    if (area[label] < 0.001 * width * height || w > width * 0.45 || h > height * 0.7 || area[label] < 0.3 * w * h)
      continue;
    pieces.push({ label, x0: x0[label], y0: y0[label], x1: x1[label], y1: y1[label], area: area[label] });
  }
  return pieces;
}
