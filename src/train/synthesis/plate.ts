import type { Random } from "./random.js";
import type { Level, PreparedSource } from "./source.js";
import { textureTiles, tileSize } from "./texture.js";

/** Plates and sprites have two pixels per output pixel: the reference is their 2x2 mean, other exposures interpolate. */
export const oversampling = 2;

/** What the camera saw where nothing moved: linear RGB, `margin` output pixels larger than the frame on every side. */
export interface Plate {
  readonly width: number;
  readonly height: number;
  readonly margin: number;
  readonly data: Float32Array;
}

/** Colour and tone change of one scene or object. */
export interface Look {
  /** 3x3, row by row. */
  readonly matrix: Float64Array;
  /** Luminance is raised to this power around `pivot`. */
  readonly contrast: number;
  readonly pivot: number;
  /** Multiplies the detail signal before it is added to the logarithm. */
  readonly sharpening: number;
}

export function randomLook(random: Random, pivot: number, upsampling: number): Look {
  const saturation = random.uniform(0.6, 1.35);
  const hue = random.chance(0.3) ? random.normal(0, 0.5) : random.normal(0, 0.05);
  const gains = [2 ** random.normal(0, 0.25), 2 ** random.normal(0, 0.1), 2 ** random.normal(0, 0.3)];
  // A rotation of the chroma about grey, scaled by the saturation, then the white balance.
  const c = Math.cos(hue) * saturation;
  const s = (Math.sin(hue) * saturation) / Math.sqrt(3);
  const matrix = new Float64Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      const grey = 1 / 3;
      const turn = i === j ? 0 : (j - i + 3) % 3 === 1 ? -s : s;
      matrix[i * 3 + j] = gains[i] * (grey + c * ((i === j ? 1 : 0) - grey) + turn);
    }
  }
  return {
    matrix,
    contrast: random.chance(0.5) ? random.uniform(0.85, 1.3) : 1,
    pivot,
    sharpening: random.chance(0.6) ? random.uniform(0, 1.4) * Math.min(1.5, Math.max(0.5, upsampling)) : 0,
  };
}

/** Maps plate pixels (continuous) to level 0 pixels of a source (continuous); writes out[0], out[1]. */
export interface View {
  readonly map: (x: number, y: number, out: Float64Array) => void;
  /** Output pixels per source pixel at the centre. */
  readonly upsampling: number;
}

const grid = 16;

/** A random view of a source for a frame of width x height output pixels. */
export function randomView(
  random: Random,
  source: PreparedSource,
  width: number,
  height: number,
  margin: number,
): View {
  const plateWidth = (width + 2 * margin) * oversampling;
  const plateHeight = (height + 2 * margin) * oversampling;
  const [cx, cy] = [plateWidth / 2, plateHeight / 2];
  const { width: sourceWidth, height: sourceHeight } = source.levels[0];
  const flip = random.sign();
  let upsampling = random.logUniform(0.45, 1.5);
  if (source.panorama && (random.chance(0.7) || height / upsampling > sourceHeight / 2)) {
    // Perspective: focal length so that `upsampling` holds at the centre, but never wider than 100 degrees.
    const pixelAngle = (2 * Math.PI) / sourceWidth;
    const focal = Math.max(upsampling / pixelAngle, Math.max(width, height) / 2 / Math.tan((50 * Math.PI) / 180));
    upsampling = focal * pixelAngle;
    const halfDiagonal = Math.atan(Math.hypot(width, height) / 2 / focal);
    const limit = Math.max(0, (85 * Math.PI) / 180 - halfDiagonal);
    const pitch = Math.max(-limit, Math.min(limit, random.normal(0, 0.3)));
    const roll = random.normal(0, random.chance(0.2) ? 0.5 : 0.05);
    const yaw = random.uniform(0, sourceWidth);
    const [cp, sp, cr, sr] = [Math.cos(pitch), Math.sin(pitch), Math.cos(roll), Math.sin(roll)];
    const scale = 1 / (oversampling * focal);
    return {
      upsampling,
      map(x, y, out) {
        const px = (x - cx) * scale * flip;
        const py = (y - cy) * scale;
        const u = px * cr - py * sr;
        const v = px * sr + py * cr;
        // Camera looks along +z with v down; pitch turns it up.
        const down = v * cp - sp;
        const forward = v * sp + cp;
        const longitude = Math.atan2(u, forward);
        const latitude = Math.atan2(-down, Math.hypot(u, forward));
        out[0] = yaw + longitude / pixelAngle;
        out[1] = (0.5 - latitude / Math.PI) * sourceHeight;
      },
    };
  }
  // A crop: panoramas only within 45 degrees of the horizon, where they are hardly distorted.
  const transposed = !source.panorama && random.chance(0.15);
  const [boxWidth, boxHeight] = transposed ? [height, width] : [width, height];
  const usableHeight = source.panorama ? sourceHeight / 2 : sourceHeight;
  upsampling = Math.max(upsampling, boxWidth / sourceWidth, boxHeight / usableHeight);
  const scale = 1 / (upsampling * oversampling);
  const angle = random.chance(0.5) ? 0 : random.normal(0, 0.06);
  const free = { x: sourceWidth - boxWidth / upsampling, y: usableHeight - boxHeight / upsampling };
  const sx = sourceWidth / 2 + (random.uniform() - 0.5) * (source.panorama ? sourceWidth : free.x);
  const sy = sourceHeight / 2 + (random.uniform() - 0.5) * free.y;
  const flipY = transposed ? random.sign() : 1;
  const [c, s] = [Math.cos(angle) * scale, Math.sin(angle) * scale];
  return {
    upsampling,
    map(x, y, out) {
      const px = (x - cx) * flip;
      const py = (y - cy) * flipY;
      const u = px * c - py * s;
      const v = px * s + py * c;
      out[0] = sx + (transposed ? v : u);
      out[1] = sy + (transposed ? u : v);
    },
  };
}

/** The pyramid level whose pixels are about as large as a step of `step` level 0 pixels. */
export function levelFor(source: PreparedSource, step: number): number {
  return Math.max(0, Math.min(source.levels.length - 1, Math.floor(Math.log2(Math.max(1, step)) + 0.35)));
}

const bits = new Float32Array(1);
const bitsAsInteger = new Int32Array(bits.buffer);
const powersOfTwo = new Float64Array(256).map((_, i) => 2 ** (i - 128));

/** log2 of a positive normal float, absolute error below 0.01, continuous. */
export function fastLog2(value: number): number {
  bits[0] = value;
  const i = bitsAsInteger[0];
  bitsAsInteger[0] = (i & 0x7fffff) | 0x3f800000;
  const m = bits[0];
  return (i >> 23) - 128 + (2 - m / 3) * m - 2 / 3;
}

/** 2^x for |x| < 127, relative error below 0.2 %, continuous. */
export function fastExp2(x: number): number {
  const n = Math.floor(x);
  const f = x - n;
  return powersOfTwo[n + 128] * (1 + f * (0.6565 + 0.3435 * f));
}

/** Statistics of a view before it is rendered: luminances on a coarse grid, sorted. */
export function probe(view: View, source: PreparedSource, width: number, height: number): Float32Array {
  const level = source.levels[Math.min(source.levels.length - 1, 1)];
  const shrink = source.levels[0].width / level.width;
  const at = new Float64Array(2);
  const n = 16;
  const values = new Float32Array(n * n);
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < n; i++) {
      view.map(((i + 0.5) / n) * width, ((j + 0.5) / n) * height, at);
      let x = Math.floor(at[0] / shrink) % level.width;
      if (x < 0) x = source.panorama ? x + level.width : 0;
      const y = Math.max(0, Math.min(level.height - 1, Math.floor(at[1] / shrink)));
      const p = (y * level.width + x) * 3;
      values[j * n + i] = 0.2126 * level.data[p] + 0.7152 * level.data[p + 1] + 0.0722 * level.data[p + 2];
    }
  }
  return values.sort();
}

let scratch = new Float32Array(0);

/** Renders the plate: bilinear in the pyramid, look, and (texture > 0 stops) fine procedural texture in patches. Valid until the next call. */
export function renderPlate(
  random: Random,
  source: PreparedSource,
  view: View,
  look: Look,
  texture: number,
  width: number,
  height: number,
  margin: number,
): Plate {
  const plateWidth = (width + 2 * margin) * oversampling;
  const plateHeight = (height + 2 * margin) * oversampling;
  const columns = Math.ceil(plateWidth / grid) + 1;
  const rows = Math.ceil(plateHeight / grid) + 1;
  const index = levelFor(source, 1 / (view.upsampling * oversampling));
  const level = source.levels[index];
  const shrink = source.levels[0].width / level.width;
  const nodes = new Float64Array(columns * rows * 2);
  const amounts = new Float64Array(columns * rows);
  const at = new Float64Array(2);
  const waves = [0, 1, 2].map(() => {
    const length = random.uniform(40, 300) * oversampling;
    const angle = random.uniform(0, 2 * Math.PI);
    return [Math.cos(angle) / length, Math.sin(angle) / length, random.uniform(0, 6.28)].map((v) => v * (2 * Math.PI));
  });
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const n = j * columns + i;
      view.map(i * grid, j * grid, at);
      nodes[n * 2] = at[0] / shrink - 0.5;
      nodes[n * 2 + 1] = at[1] / shrink - 0.5;
      let wave = 0;
      for (const [kx, ky, phase] of waves) wave += Math.sin(kx * i * grid + ky * j * grid + phase);
      amounts[n] = texture * Math.max(0, Math.min(1, 0.5 + wave * 0.7));
    }
  }
  const tile = random.pick(textureTiles());
  const tileScale = random.logUniform(0.3, 1);
  const tileAngle = random.uniform(0, 2 * Math.PI);
  // One plate lives at a time: its memory serves the next one too.
  if (scratch.length < plateWidth * plateHeight * 3) scratch = new Float32Array(plateWidth * plateHeight * 3);
  const data = scratch.subarray(0, plateWidth * plateHeight * 3);
  shade(data, plateWidth, plateHeight, columns, nodes, amounts, level, source.panorama, look, texture > 0, tile, [
    Math.cos(tileAngle) * tileScale,
    Math.sin(tileAngle) * tileScale,
  ]);
  return { width: plateWidth, height: plateHeight, margin, data };
}

function shade(
  data: Float32Array,
  width: number,
  height: number,
  columns: number,
  nodes: Float64Array,
  amounts: Float64Array,
  level: Level,
  wraps: boolean,
  look: Look,
  textured: boolean,
  tile: Float32Array,
  turn: readonly [number, number],
): void {
  const [m0, m1, m2, m3, m4, m5, m6, m7, m8] = look.matrix;
  const { contrast, sharpening } = look;
  const toned = contrast !== 1;
  const pivot = Math.log2(look.pivot);
  const adjusts = toned || sharpening > 0 || textured;
  const source = level.data;
  const detail = level.detail;
  const w = level.width;
  const h = level.height;
  for (let y = 0; y < height; y++) {
    const t = (y % grid) / grid;
    const row = Math.floor(y / grid) * columns;
    for (let cell = 0; cell * grid < width; cell++) {
      const a = row + cell;
      const b = a + columns;
      const u0 = nodes[a * 2] * (1 - t) + nodes[b * 2] * t;
      const v0 = nodes[a * 2 + 1] * (1 - t) + nodes[b * 2 + 1] * t;
      const du = (nodes[a * 2 + 2] * (1 - t) + nodes[b * 2 + 2] * t - u0) / grid;
      const dv = (nodes[a * 2 + 3] * (1 - t) + nodes[b * 2 + 3] * t - v0) / grid;
      const a0 = amounts[a] * (1 - t) + amounts[b] * t;
      const da = (amounts[a + 1] * (1 - t) + amounts[b + 1] * t - a0) / grid;
      const end = Math.min(grid, width - cell * grid);
      let o = (y * width + cell * grid) * 3;
      for (let k = 0; k < end; k++, o += 3) {
        const u = u0 + du * k;
        let v = v0 + dv * k;
        if (v < 0) v = 0;
        else if (v > h - 1) v = h - 1;
        const fu = Math.floor(u);
        const s = u - fu;
        let x0 = fu;
        let x1 = fu + 1;
        if (x0 < 0 || x1 >= w) {
          if (wraps) {
            x0 = ((x0 % w) + w) % w;
            x1 = x0 + 1 === w ? 0 : x0 + 1;
          } else {
            x0 = x0 < 0 ? 0 : x0 >= w ? w - 1 : x0;
            x1 = x1 < 0 ? 0 : x1 >= w ? w - 1 : x1;
          }
        }
        const y0 = v | 0;
        const y1 = y0 + 1 < h ? y0 + 1 : y0;
        const r = v - y0;
        const w11 = s * r;
        const w01 = s - w11;
        const w10 = r - w11;
        const w00 = 1 - s - w10;
        const p00 = y0 * w + x0;
        const p01 = y0 * w + x1;
        const p10 = y1 * w + x0;
        const p11 = y1 * w + x1;
        const i00 = p00 * 3;
        const i01 = p01 * 3;
        const i10 = p10 * 3;
        const i11 = p11 * 3;
        const sr = w00 * source[i00] + w01 * source[i01] + w10 * source[i10] + w11 * source[i11];
        const sg = w00 * source[i00 + 1] + w01 * source[i01 + 1] + w10 * source[i10 + 1] + w11 * source[i11 + 1];
        const sb = w00 * source[i00 + 2] + w01 * source[i01 + 2] + w10 * source[i10 + 2] + w11 * source[i11 + 2];
        let red = m0 * sr + m1 * sg + m2 * sb;
        let green = m3 * sr + m4 * sg + m5 * sb;
        let blue = m6 * sr + m7 * sg + m8 * sb;
        if (red < 0) red = 0;
        if (green < 0) green = 0;
        if (blue < 0) blue = 0;
        if (adjusts) {
          let stops = 0;
          if (toned) stops = (contrast - 1) * (fastLog2(0.2126 * red + 0.7152 * green + 0.0722 * blue + 1e-12) - pivot);
          if (sharpening > 0)
            stops += sharpening * (w00 * detail[p00] + w01 * detail[p01] + w10 * detail[p10] + w11 * detail[p11]);
          if (textured) {
            const amount = a0 + da * k;
            if (amount > 0) {
              const px = cell * grid + k;
              const tu = px * turn[0] - y * turn[1] + 65536;
              const tv = px * turn[1] + y * turn[0] + 65536;
              const iu = tu | 0;
              const iv = tv | 0;
              const ft = tu - iu;
              const gt = tv - iv;
              const c0 = iu & (tileSize - 1);
              const c1 = (iu + 1) & (tileSize - 1);
              const r0 = (iv & (tileSize - 1)) * tileSize;
              const r1 = ((iv + 1) & (tileSize - 1)) * tileSize;
              stops +=
                amount *
                ((tile[r0 + c0] * (1 - ft) + tile[r0 + c1] * ft) * (1 - gt) +
                  (tile[r1 + c0] * (1 - ft) + tile[r1 + c1] * ft) * gt);
            }
          }
          const gain = fastExp2(Math.max(-20, Math.min(20, stops)));
          red *= gain;
          green *= gain;
          blue *= gain;
        }
        data[o] = red;
        data[o + 1] = green;
        data[o + 2] = blue;
      }
    }
  }
}
