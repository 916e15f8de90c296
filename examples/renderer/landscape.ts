import { cellHash, clamp, fractal2, mix, noise2, smoothStep } from "./noise.js";

/**
 * What lies outside the window, as radiance by direction: a summer sky, hazy mountains, a village on a hill and trees
 * near the house. Azimuth 0 looks out of the window (-z), positive to the right (+x).
 */

/** Towards the sun. */
export const SUN = unit(0.43, 0.58, -0.66);
/** What the sun gives to a surface facing it, relative to the same unit of radiance. */
export const SUN_IRRADIANCE = [2.6, 2.25, 1.75] as const;

type Colour = [number, number, number];
const out: Colour = [0, 0, 0];

function set(r: number, g: number, b: number): void {
  out[0] = r;
  out[1] = g;
  out[2] = b;
}

function blend(r: number, g: number, b: number, t: number): void {
  out[0] = mix(out[0], r, t);
  out[1] = mix(out[1], g, t);
  out[2] = mix(out[2], b, t);
}

/** Radiance from direction (x, y, z); the returned array is reused by the next call. */
export function landscape(x: number, y: number, z: number): readonly [number, number, number] {
  const azimuth = Math.atan2(x, -z);
  const elevation = Math.atan2(y, Math.hypot(x, z));
  sky(azimuth, elevation);
  if (elevation > 0.24) return out;

  const haze = (t: number) => blend(0.5, 0.52, 0.52, t);

  // Three ranges of mountains, the farther the bluer.
  const ranges = [
    { base: 0.062, height: 0.075, scale: 5, seed: 11, fog: 0.7 },
    { base: 0.042, height: 0.05, scale: 7, seed: 23, fog: 0.48 },
  ];
  for (const range of ranges) {
    const rough = fractal2(azimuth * range.scale + 3, range.seed, 6, range.seed);
    const ridge = range.base + range.height * (rough - 0.42) + 0.012 * Math.abs(fractal2(azimuth * 30, 1, 4, 5) - 0.5);
    const covered = smoothStep(-0.0007, 0.0007, ridge - elevation);
    if (covered <= 0) continue;
    const relief = fractal2(azimuth * 60 + elevation * 40, elevation * 90 - azimuth * 20, 5, range.seed);
    const sky: Colour = [out[0], out[1], out[2]];
    set(0.1 + 0.12 * relief, 0.13 + 0.12 * relief, 0.13 + 0.08 * relief);
    blend(0.4, 0.5, 0.62, range.fog - 0.15 * clamp((ridge - elevation) * 20));
    const [r, g, b] = out;
    set(sky[0], sky[1], sky[2]);
    blend(r, g, b, covered);
  }

  // Wooded hills, one behind the other, with pastures and hedges.
  for (let layer = 0; layer < 4; layer++) {
    const seed = 40 + layer * 7;
    const ridge =
      [0.03, 0.012, -0.012, -0.042][layer] +
      [0.034, 0.03, 0.026, 0.02][layer] * (fractal2(azimuth * (4 + 1.2 * layer) + layer * 3.1, 0.5, 3, seed) - 0.5) +
      (layer === 1 ? 0.016 * Math.exp(-(((azimuth - 0.17) / 0.09) ** 2)) : 0);
    const size = [0.004, 0.006, 0.01, 0.017][layer];
    if (layer === 2) village(azimuth, elevation);
    // Crowns of trees lift the line of the hill here and there.
    const wood = smoothStep(0.42, 0.58, fractal2(azimuth * 9 + layer * 5, elevation * 16, 3, seed + 1));
    const crown = treeTop(azimuth, size, seed) * size * 1.3 * wood;
    const below = ridge + crown - elevation;
    if (below < -0.001) continue;
    const covered = smoothStep(-0.0006, 0.0006, below);
    const before: Colour = [out[0], out[1], out[2]];
    ground(azimuth, elevation, size, wood, seed, below / size);
    haze([0.42, 0.26, 0.12, 0.03][layer]);
    const [r, g, b] = out;
    set(before[0], before[1], before[2]);
    blend(r, g, b, covered);
  }
  return out;
}

function sky(azimuth: number, elevation: number): void {
  const up = clamp(elevation / 1.2);
  const t = up ** 0.55;
  set(mix(0.5, 0.07, t), mix(0.6, 0.18, t), mix(0.7, 0.46, t));
  const glow = Math.exp(-((azimuth - 0.66) ** 2 * 2 + (elevation - 0.62) ** 2 * 3));
  blend(0.8, 0.78, 0.72, 0.35 * glow);
  if (elevation < -0.02) return;
  // Cumulus on a plane overhead: closer together towards the horizon.
  const distance = 1 / (Math.max(elevation, 0) + 0.09);
  const u = azimuth * 4.2 + 0.7;
  const v = distance * 0.75;
  const warp = fractal2(u * 1.5, v * 1.5, 3, 77) * 0.9;
  const shape = fractal2(u * 1.25 + warp, v * 1.6 + warp * 0.6, 7, 91);
  const cover = smoothStep(0.5, 0.58, shape);
  if (cover <= 0) return;
  const lit = fractal2(u * 1.25 + warp + 0.11, v * 1.6 + warp * 0.6 - 0.16, 6, 91);
  const shade = clamp(0.62 + (shape - lit) * 3.4 - (shape - 0.55) * 1.2, 0.12, 1);
  blend(mix(0.5, 0.94, shade), mix(0.54, 0.92, shade), mix(0.62, 0.88, shade), cover * 0.96);
}

/** Height of the tree line in crowns: rounded bumps of varying size. */
function treeTop(azimuth: number, size: number, seed: number): number {
  let top = 0;
  for (let octave = 0; octave < 2; octave++) {
    const u = azimuth / (size * (octave ? 0.55 : 1));
    const cell = Math.floor(u);
    for (let i = cell - 1; i <= cell + 1; i++) {
      const offset = u - i - 0.2 - 0.6 * cellHash(i, seed, octave);
      const height = 0.5 + 0.6 * cellHash(i, seed + 1, octave);
      const w = offset / 0.62;
      if (w * w < 1) top = Math.max(top, height * Math.sqrt(1 - w * w));
    }
  }
  return top + 0.12 * noise2(azimuth / size / 0.08, 3, seed);
}

/** Pasture and wood on a hill: crowns are lit from the upper right, where the sun stands. */
function ground(azimuth: number, elevation: number, size: number, wood: number, seed: number, depth: number): void {
  const field = noise2(azimuth * 26 + elevation * 30, elevation * 110, seed + 4);
  const grain = fractal2(azimuth / size / 0.9, (elevation / size) * 3.2, 4, seed + 5);
  if (field > 0.56) set(0.46 + 0.12 * grain, 0.4 + 0.1 * grain, 0.15 + 0.05 * grain);
  else set(0.2 + 0.14 * grain, 0.29 + 0.15 * grain, 0.07 + 0.05 * grain);
  if (wood <= 0) return;
  let light = 0.12;
  let hue = 0.5;
  let best = -1;
  // Branches fray the outline.
  const u = azimuth / size + 0.55 * (fractal2((azimuth / size) * 4, (elevation / size) * 5, 4, seed + 12) - 0.5);
  const v =
    elevation / (size * 0.72) + 0.7 * (fractal2((azimuth / size) * 4 + 9, (elevation / size) * 5, 4, seed + 13) - 0.5);
  for (let j = Math.floor(v) - 1; j <= Math.floor(v) + 1; j++) {
    for (let i = Math.floor(u) - 1; i <= Math.floor(u) + 1; i++) {
      const cx = i + 0.2 + 0.6 * cellHash(i, j, seed);
      const cy = j + 0.2 + 0.6 * cellHash(i, j, seed + 9);
      const radius = 0.62 + 0.25 * cellHash(i, j, seed + 3);
      const x = (u - cx) / radius;
      const y = (v - cy) / radius;
      const r2 = x * x + y * y;
      // The lower a crown stands, the nearer it is.
      const near = 10 - cy;
      if (r2 > 1 || near <= best) continue;
      best = near;
      const nz = Math.sqrt(1 - r2);
      light = clamp(0.1 + 0.5 * x + 0.62 * y + 0.18 * nz, 0.03, 1);
      hue = cellHash(i, j, seed + 6);
    }
  }
  const leaves = fractal2((azimuth / size) * 6, (elevation / size) * 6, 4, seed + 8);
  const l = clamp(light * (0.2 + 1.5 * leaves) + 0.25 * (leaves - 0.5), 0.02, 1) * (depth < 1 ? 1.1 : 1);
  blend(0.03 + (0.3 + 0.12 * hue) * l, 0.05 + 0.4 * l, 0.022 + 0.1 * l, wood);
}

/** A church and houses on the hill: walls to the right catch the sun, walls towards us lie in open shade. */
function village(azimuth: number, elevation: number): void {
  const houses = [
    [0.118, 0.02, 0.021, 0.0105, 0],
    [0.146, 0.0235, 0.017, 0.012, 1],
    [0.17, 0.026, 0.011, 0.034, 2],
    [0.192, 0.0235, 0.026, 0.0135, 3],
    [0.222, 0.019, 0.019, 0.0105, 4],
    [0.134, 0.013, 0.024, 0.0115, 5],
    [0.176, 0.0135, 0.021, 0.012, 6],
    [0.208, 0.011, 0.027, 0.0115, 7],
  ];
  for (const [centre, bottom, width, height, id] of houses) {
    const x = (azimuth - centre) / width;
    const y = (elevation - bottom + 0.014) / height;
    if (x < -0.62 || x > 0.62 || y < -0.6 || y > 1.9) continue;
    const tower = id === 2;
    const roof = tower ? 0.42 : 0.55;
    const corner = 0.18;
    const wallTop = 1;
    const tone = 0.85 + 0.3 * cellHash(id, 5);
    if (Math.abs(x) <= 0.5 && y <= wallTop) {
      const side = x > corner;
      const stain = 0.88 + 0.24 * fractal2(x * 8, y * 9, 3, id);
      const l = (side ? 0.86 : 0.4) * tone * stain;
      set(l, l * (side ? 0.9 : 0.94), l * (side ? 0.74 : 0.98));
      const columns = tower ? 1.6 : 4;
      const wx = Math.abs(((x + 0.5) * columns) % 1) - 0.5;
      const wy = Math.abs(((y + 0.02) * (tower ? 4 : 2)) % 1) - 0.5;
      if (Math.abs(wx) < 0.16 && Math.abs(wy) < 0.22 && y > 0.06) blend(0.07, 0.07, 0.08, 0.85);
      continue;
    }
    const rise = (y - wallTop) / roof;
    const left = -0.58 + 0.16 * rise + (tower ? 0.4 * rise : 0.1 * rise);
    const right = 0.58 - 0.1 * rise - (tower ? 0.42 * rise : 0.12 * rise);
    if (rise > 0 && rise < (tower ? 1.3 : 1) && x > left && x < right) {
      const tiles = 0.75 + 0.5 * noise2(x * 40, y * 26, id);
      const l = (x > corner - 0.05 * rise ? 0.72 : 0.42) * tiles;
      set(l, l * 0.5, l * 0.3);
    }
  }
}

function unit(x: number, y: number, z: number): readonly [number, number, number] {
  const length = Math.hypot(x, y, z);
  return [x / length, y / length, z / length];
}

const COLUMNS = 192;
const ROWS = 160;
let table: Float32Array | undefined;

/** A coarse copy of the landscape in a table: fast, for the light that it throws into the room. */
export function landscapeBlurred(x: number, y: number, z: number): readonly [number, number, number] {
  table ??= tabulate();
  const u = clamp(Math.atan2(x, -z) / Math.PI + 0.5, 0, 0.9999);
  const v = clamp(Math.asin(clamp(y, -1, 1)) / Math.PI + 0.5, 0, 0.9999);
  const k = (Math.floor(v * ROWS) * COLUMNS + Math.floor(u * COLUMNS)) * 3;
  set(table[k], table[k + 1], table[k + 2]);
  return out;
}

function tabulate(): Float32Array {
  const values = new Float32Array(COLUMNS * ROWS * 3);
  for (let j = 0; j < ROWS; j++) {
    const elevation = ((j + 0.5) / ROWS - 0.5) * Math.PI;
    for (let i = 0; i < COLUMNS; i++) {
      const azimuth = ((i + 0.5) / COLUMNS - 0.5) * Math.PI;
      const c = Math.cos(elevation);
      // Far below the horizon lies the terrace in front of the house, plain sun-lit stone and grass.
      const colour =
        elevation < -0.25
          ? ([0.3, 0.29, 0.22] as const)
          : landscape(c * Math.sin(azimuth), Math.sin(elevation), -c * Math.cos(azimuth));
      values.set(colour, (j * COLUMNS + i) * 3);
    }
  }
  return values;
}
