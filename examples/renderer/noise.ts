/** Seeded randomness and smooth noise: everything random in the picture comes from here. */

/** A small fast generator (mulberry32): uniform in [0, 1). */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** Normal deviate (Box-Muller). */
  gaussian(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

/** Mixes integers into one well-spread 32-bit seed. */
export function hashInts(a: number, b: number, c = 0): number {
  let h = Math.imul(a, 0x27d4eb2d) ^ Math.imul(b, 0x165667b1) ^ Math.imul(c, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Uniform in [0, 1) from integer coordinates. */
export function cellHash(a: number, b: number, c = 0): number {
  return (hashInts(a, b, c) >>> 0) / 4294967296;
}

const fade = (t: number) => t * t * (3 - 2 * t);

/** Value noise in [0, 1], one feature per unit. */
export function noise2(x: number, y: number, seed = 0): number {
  const ix = Math.floor(x);
  const iy = Math.floor(y);
  const u = fade(x - ix);
  const v = fade(y - iy);
  const top = cellHash(ix, iy, seed) * (1 - u) + cellHash(ix + 1, iy, seed) * u;
  const bottom = cellHash(ix, iy + 1, seed) * (1 - u) + cellHash(ix + 1, iy + 1, seed) * u;
  return top * (1 - v) + bottom * v;
}

/** Value noise in [0, 1] of a point in space. */
export function noise3(x: number, y: number, z: number, seed = 0): number {
  const iz = Math.floor(z);
  const w = fade(z - iz);
  return noise2(x, y, seed + iz * 131) * (1 - w) + noise2(x, y, seed + (iz + 1) * 131) * w;
}

/** Sum of octaves of noise2, each half as strong and twice as fine; in [0, 1]. */
export function fractal2(x: number, y: number, octaves: number, seed = 0): number {
  let sum = 0;
  let weight = 0.5;
  let total = 0;
  for (let i = 0; i < octaves; i++) {
    sum += weight * noise2(x, y, seed + i * 17);
    total += weight;
    // Turning each octave hides the grid.
    const turned = 1.6 * x - 1.2 * y + 5.2;
    y = 1.2 * x + 1.6 * y + 1.3;
    x = turned;
    weight *= 0.5;
  }
  return sum / total;
}

export const clamp = (x: number, low = 0, high = 1) => (x < low ? low : x > high ? high : x);
export const mix = (a: number, b: number, t: number) => a + (b - a) * t;
/** 0 below `low`, 1 above `high`, smooth between. */
export const smoothStep = (low: number, high: number, x: number) => fade(clamp((x - low) / (high - low)));
