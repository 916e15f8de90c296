import { Random } from "./random.js";

/** Side of a texture tile in pixels; tiles wrap around. */
export const tileSize = 256;

let tiles: Float32Array[] | undefined;

/**
 * Tileable textures of zero mean and standard deviation 1: fine grain, rough surfaces, dead leaves (occluding discs, whose edges have
 * the statistics of photographs), shingles, and glyph-like marks. Panoramas are small: these give upsampled views real fine detail.
 */
export function textureTiles(): Float32Array[] {
  if (tiles) return tiles;
  const random = new Random(20040917);
  tiles = [
    grain(random),
    rough(random),
    leaves(random, 1.5, 14),
    leaves(random, 1, 5),
    shingles(random),
    marks(random),
  ].map(normalise);
  return tiles;
}

function normalise(tile: Float32Array): Float32Array {
  let mean = 0;
  for (const v of tile) mean += v;
  mean /= tile.length;
  let variance = 0;
  for (const v of tile) variance += (v - mean) ** 2;
  const gain = 1 / Math.sqrt(variance / tile.length);
  return tile.map((v) => Math.max(-3, Math.min(3, (v - mean) * gain)));
}

function grain(random: Random): Float32Array {
  const white = new Float32Array(tileSize * tileSize).map(() => random.normal());
  return white.map((v, i) => v + 0.5 * white[(i + 1) % white.length] + 0.5 * white[(i + tileSize) % white.length]);
}

function rough(random: Random): Float32Array {
  const out = new Float32Array(tileSize * tileSize);
  for (let cell = 2; cell <= 32; cell *= 2) {
    const n = tileSize / cell;
    const lattice = new Float32Array(n * n).map(() => random.normal());
    for (let y = 0; y < tileSize; y++) {
      for (let x = 0; x < tileSize; x++) {
        const u = Math.floor(x / cell);
        const v = Math.floor(y / cell);
        const s = x / cell - u;
        const t = y / cell - v;
        const u1 = (u + 1) % n;
        const v1 = (v + 1) % n;
        const top = lattice[v * n + u] * (1 - s) + lattice[v * n + u1] * s;
        const bottom = lattice[v1 * n + u] * (1 - s) + lattice[v1 * n + u1] * s;
        out[y * tileSize + x] += Math.sqrt(cell) * (top * (1 - t) + bottom * t);
      }
    }
  }
  return out;
}

function leaves(random: Random, smallest: number, largest: number): Float32Array {
  const out = new Float32Array(tileSize * tileSize);
  // Radii with density r^-3, the scale-invariant law.
  const count = (8 * tileSize * tileSize) / (smallest * largest * 3);
  for (let i = 0; i < count; i++) {
    const radius = 1 / Math.sqrt(random.uniform(largest ** -2, smallest ** -2));
    const stretch = random.uniform(0.4, 1);
    const angle = random.uniform(0, Math.PI);
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const [cx, cy] = [random.uniform(0, tileSize), random.uniform(0, tileSize)];
    const value = random.normal();
    const slope = random.normal(0, 0.3) / radius;
    for (let y = Math.floor(cy - radius); y <= cy + radius; y++) {
      for (let x = Math.floor(cx - radius); x <= cx + radius; x++) {
        const u = (x - cx) * c + (y - cy) * s;
        const v = ((y - cy) * c - (x - cx) * s) / stretch;
        if (u * u + v * v > radius * radius) continue;
        out[(y & (tileSize - 1)) * tileSize + (x & (tileSize - 1))] = value + slope * u;
      }
    }
  }
  return out;
}

function shingles(random: Random): Float32Array {
  const out = new Float32Array(tileSize * tileSize);
  for (let row = 0; row < tileSize / 8; row++) {
    for (let column = 0; column < tileSize / 16; column++) {
      const value = random.normal();
      for (let y = 0; y < 8; y++) {
        for (let x = 0; x < 16; x++) {
          const px = (column * 16 + x + (row & 1) * 8) % tileSize;
          const joint = y === 0 || x === 0;
          out[(row * 8 + y) * tileSize + px] = joint ? -3 : value + 0.3 * random.normal();
        }
      }
    }
  }
  return out;
}

function marks(random: Random): Float32Array {
  const out = new Float32Array(tileSize * tileSize);
  for (let row = 0; row < tileSize; row += 12) {
    for (let x = 4; x < tileSize - 8; x += random.chance(0.2) ? 9 : 5) {
      for (let stroke = 0; stroke < 3; stroke++) {
        const vertical = random.chance(0.6);
        const [w, h] = vertical ? [1, 2 + random.integer(6)] : [1 + random.integer(4), 1];
        const [dx, dy] = [random.integer(4), random.integer(3)];
        for (let v = 0; v < h; v++)
          for (let u = 0; u < w; u++)
            out[((row + dy + v) & (tileSize - 1)) * tileSize + ((x + dx + u) & (tileSize - 1))] = -3;
      }
    }
  }
  return out;
}
