import type { SceneObject } from "./mesh.js";
import { cellHash, clamp, fractal2, mix, noise2, noise3, smoothStep } from "./noise.js";

/** What things are made of: colour, relief and gloss from noise alone, no picture files. */
export const MATERIAL = {
  wall: 0,
  sideWall: 1,
  ceiling: 2,
  floor: 3,
  paint: 4,
  beam: 5,
  oak: 6,
  walnut: 7,
  book: 8,
  linen: 9,
  rug: 10,
  velvet: 11,
  cushion: 12,
  leaf: 13,
  bark: 14,
  terracotta: 15,
  soil: 16,
  ceramic: 17,
  glaze: 18,
  brass: 19,
  picture: 20,
  shade: 21,
  shadeInside: 22,
  wicker: 23,
  fur: 24,
} as const;

/** A point of a surface as light sees it; evaluate() fills one in. */
export class Surface {
  /** Diffuse reflectance. */
  r = 0;
  g = 0;
  b = 0;
  /** Shading normal. */
  nx = 0;
  ny = 0;
  nz = 0;
  /** Reflectance at normal incidence of the glossy layer; 0 = none. */
  gloss = 0;
  /** Tint of the glossy layer: metals colour what they mirror. */
  tintR = 1;
  tintG = 1;
  tintB = 1;
  /** Light that goes through, relative to what is scattered back. */
  through = 0;
  /** Emitted radiance. */
  er = 0;
  eg = 0;
  eb = 0;

  colour(r: number, g: number, b: number): void {
    this.r = r;
    this.g = g;
    this.b = b;
  }

  tint(t: number, r: number, g: number, b: number): void {
    this.r = mix(this.r, r, t);
    this.g = mix(this.g, g, t);
    this.b = mix(this.b, b, t);
  }

  scale(k: number): void {
    this.r *= k;
    this.g *= k;
    this.b *= k;
  }

  bend(x: number, y: number, z: number): void {
    const nx = this.nx + x;
    const ny = this.ny + y;
    const nz = this.nz + z;
    const s = 1 / Math.sqrt(nx * nx + ny * ny + nz * nz);
    this.nx = nx * s;
    this.ny = ny * s;
    this.nz = nz * s;
  }
}

/** Mean colours of what is costly to evaluate: enough for light on its way from wall to wall. */
const MEANS = new Map<number, readonly [number, number, number]>([
  [MATERIAL.wall, [0.095, 0.155, 0.15]],
  [MATERIAL.sideWall, [0.66, 0.62, 0.54]],
  [MATERIAL.ceiling, [0.76, 0.73, 0.67]],
  [MATERIAL.floor, [0.32, 0.2, 0.105]],
  [MATERIAL.paint, [0.67, 0.65, 0.59]],
  [MATERIAL.beam, [0.105, 0.06, 0.037]],
  [MATERIAL.oak, [0.35, 0.225, 0.12]],
  [MATERIAL.walnut, [0.12, 0.066, 0.037]],
  [MATERIAL.rug, [0.19, 0.062, 0.05]],
  [MATERIAL.velvet, [0.37, 0.125, 0.046]],
]);

/** As evaluate(), with mean colours and no relief. */
export function evaluateRoughly(
  s: Surface,
  object: SceneObject,
  px: number,
  py: number,
  pz: number,
  nx: number,
  ny: number,
  nz: number,
): void {
  const mean = MEANS.get(object.material);
  if (!mean) {
    evaluate(s, object, px, py, pz, nx, ny, nz);
    return;
  }
  s.colour(mean[0], mean[1], mean[2]);
  s.through = 0;
}

/** How sharply a material mirrors (standard deviation of the facets' slopes); the gloss pass draws from it. */
export function roughnessOf(material: number): number {
  const M = MATERIAL;
  if (material === M.floor) return 0.11;
  if (material === M.oak) return 0.16;
  if (material === M.ceramic || material === M.glaze) return 0.07;
  if (material === M.picture) return 0.02;
  if (material === M.brass) return 0.18;
  if (material === M.leaf) return 0.25;
  return 0.3;
}

/** Whether the gloss pass follows this material's mirrored rays. */
export function isGlossy(material: number): boolean {
  const M = MATERIAL;
  return (
    material === M.floor ||
    material === M.oak ||
    material === M.ceramic ||
    material === M.glaze ||
    material === M.picture ||
    material === M.brass ||
    material === M.leaf ||
    material === M.walnut ||
    material === M.paint
  );
}

/** Fills `s` for a point of `object` with geometric normal n. */
export function evaluate(
  s: Surface,
  object: SceneObject,
  px: number,
  py: number,
  pz: number,
  nx: number,
  ny: number,
  nz: number,
): void {
  s.nx = nx;
  s.ny = ny;
  s.nz = nz;
  s.gloss = 0;
  s.tintR = s.tintG = s.tintB = 1;
  s.through = 0;
  s.er = s.eg = s.eb = 0;
  const cos = Math.cos(object.angle);
  const sin = Math.sin(object.angle);
  const wx = px - object.centre[0];
  const wz = pz - object.centre[2];
  const x = wx * cos - wz * sin;
  const y = py - object.centre[1];
  const z = wx * sin + wz * cos;
  const lnx = nx * cos - nz * sin;
  const lnz = nx * sin + nz * cos;
  if (object.half) roundEdges(s, object.half, x, y, z, lnx, ny, lnz, cos, sin);
  const seed = object.seed;
  const M = MATERIAL;
  switch (object.material) {
    case M.wall:
      s.colour(0.095, 0.155, 0.15);
      plaster(s, px + pz, py, 0.16);
      return;
    case M.sideWall:
      s.colour(0.66, 0.62, 0.54);
      plaster(s, px + pz, py, 0.07);
      return;
    case M.ceiling:
      s.colour(0.76, 0.73, 0.67);
      plaster(s, px, pz, 0.05);
      return;
    case M.floor:
      floor(s, px, pz);
      return;
    case M.paint:
      s.colour(0.68, 0.66, 0.6);
      s.scale(0.94 + 0.1 * noise2(px * 9 + pz * 4, py * 9, 3));
      s.gloss = 0.03;
      return;
    case M.beam:
      wood(s, pz * 0.9, px * 1.2 + py, seed, 0.11, 0.065, 0.04, 1.6);
      return;
    case M.oak:
      if (Math.abs(ny) > 0.5 || seed === 3) wood(s, x, z + y, seed, 0.36, 0.235, 0.125, 1);
      else wood(s, y, x + z, seed, 0.36, 0.235, 0.125, 1);
      s.gloss = 0.04 * (0.7 + 0.3 * noise2(x * 60, z * 200 + y * 60, 9));
      return;
    case M.walnut:
      if (object.half && object.half[1] > object.half[0]) wood(s, y, x + z, seed, 0.125, 0.07, 0.04, 1);
      else wood(s, x, z + y, seed, 0.125, 0.07, 0.04, 1);
      s.gloss = 0.008;
      return;
    case M.book:
      book(s, object, x, y, z, lnx, ny, lnz);
      return;
    case M.linen: {
      s.colour(0.56, 0.53, 0.46);
      const weave = noise2(px * 520, py * 60, 1) + noise2(px * 70, py * 520, 2) - 1;
      const slub = fractal2(px * 18, py * 240, 3, 4) - 0.5;
      s.scale(1 + 0.12 * weave + 0.16 * slub);
      s.through = 0.5 * (1 - 0.25 * weave - 0.3 * slub) * (Math.abs(y - 0.05) < 0.006 || y < 0.04 ? 0.5 : 1);
      return;
    }
    case M.rug:
      rug(s, x, z, object.half?.[0] ?? 1, object.half?.[2] ?? 1, ny > 0.5);
      return;
    case M.velvet: {
      const pile = fractal2(x * 60 + y * 22, z * 60 - y * 31, 4, 6);
      const worn = fractal2(x * 7 + 3 * y, z * 7 + 5 * y, 3, 8);
      s.colour(0.4, 0.135, 0.05);
      s.scale(0.72 + 0.4 * pile + 0.25 * (worn - 0.5));
      const k = 0.22;
      s.bend(
        k * (noise3(x * 150, y * 150, z * 150, 1) - 0.5),
        k * (noise3(x * 150, y * 150, z * 150, 2) - 0.5),
        k * (noise3(x * 150, y * 150, z * 150, 3) - 0.5),
      );
      return;
    }
    case M.cushion: {
      s.colour(0.55, 0.5, 0.4);
      const u = Math.abs(((((x * 14) % 1) + 1) % 1) - 0.5);
      const v = Math.abs(((((y * 14) % 1) + 1) % 1) - 0.5);
      s.tint(smoothStep(0.36, 0.44, Math.max(u, v)), 0.07, 0.11, 0.16);
      s.tint(smoothStep(0.1, 0.06, Math.max(u, v)), 0.32, 0.12, 0.06);
      s.scale(0.85 + 0.3 * noise2(x * 420, y * 420, 5));
      return;
    }
    case M.leaf: {
      const green = cellHash(seed, 3);
      s.colour(0.05 + 0.05 * green, 0.13 + 0.06 * green, 0.03);
      s.scale(0.7 + 0.6 * fractal2(px * 40, py * 40 + pz * 30, 3, seed));
      s.through = 0.75;
      s.gloss = 0.04;
      return;
    }
    case M.bark:
      s.colour(0.13, 0.09, 0.06);
      s.scale(0.6 + 0.8 * noise2(px * 300, py * 90, 2));
      return;
    case M.terracotta:
      s.colour(0.44, 0.2, 0.115);
      s.scale(0.8 + 0.4 * fractal2(Math.atan2(x, z) * 4, y * 30, 5, 12));
      s.tint(0.35 * smoothStep(0.5, 0.75, fractal2(Math.atan2(x, z) * 2, y * 9, 4, 3)), 0.6, 0.56, 0.5);
      return;
    case M.soil:
      s.colour(0.05, 0.035, 0.025);
      s.scale(0.4 + 1.2 * noise2(px * 120, pz * 120, 3));
      return;
    case M.ceramic: {
      const hue = cellHash(seed, 8);
      if (hue < 0.35) s.colour(0.62, 0.58, 0.5);
      else if (hue < 0.7) s.colour(0.16, 0.24, 0.28);
      else s.colour(0.48, 0.3, 0.2);
      s.scale(0.9 + 0.2 * fractal2(Math.atan2(x, z) * 3, y * 60, 3, seed));
      s.gloss = 0.045;
      return;
    }
    case M.glaze: {
      const run = y + 0.03 * fractal2(Math.atan2(x, z) * 5, 2, 4, 6);
      s.colour(0.07, 0.16, 0.2);
      s.tint(smoothStep(0.1, 0.06, run), 0.42, 0.3, 0.2);
      s.scale(0.8 + 0.4 * fractal2(Math.atan2(x, z) * 6, y * 40, 4, 16));
      s.gloss = 0.05;
      return;
    }
    case M.brass:
      s.colour(0.06, 0.04, 0.015);
      s.gloss = 0.55;
      s.tintR = 1;
      s.tintG = 0.76;
      s.tintB = 0.36;
      return;
    case M.picture:
      picture(s, x, y, object.half?.[0] ?? 1, object.half?.[1] ?? 1, seed);
      s.gloss = 0.04;
      return;
    case M.shade: {
      const t = clamp(y / 0.28);
      const glow =
        0.064 *
        (0.62 + 0.75 * Math.exp(-(((t - 0.42) / 0.3) ** 2))) *
        (0.93 + 0.14 * noise2(px * 90 + pz * 90, py * 500, 3));
      s.colour(0.5, 0.42, 0.3);
      s.er = glow;
      s.eg = glow * 0.6;
      s.eb = glow * 0.27;
      return;
    }
    case M.shadeInside:
      s.colour(0.5, 0.42, 0.3);
      s.er = 0.28;
      s.eg = 0.17;
      s.eb = 0.08;
      return;
    case M.wicker: {
      const u = (x + z) * 55;
      const v = y * 62;
      const over = Math.sin(u * Math.PI) * Math.sin(v * Math.PI);
      s.colour(0.34, 0.22, 0.12);
      s.scale(0.55 + 0.5 * Math.abs(over) + 0.2 * noise2(u * 3, v * 3, 5));
      return;
    }
    case M.fur: {
      fur(s, x, y, z);
      return;
    }
  }
}

/** Boxes get edges rounded by 3 mm: the normal leans over near an edge. */
function roundEdges(
  s: Surface,
  half: readonly [number, number, number],
  x: number,
  y: number,
  z: number,
  nx: number,
  ny: number,
  nz: number,
  cos: number,
  sin: number,
): void {
  const lean = (p: number, h: number, n: number) => {
    if (Math.abs(n) > 0.7) return 0;
    const radius = Math.min(0.004, h * 0.45);
    const t = 1 - (h - Math.abs(p)) / radius;
    return t > 0 ? Math.sign(p) * t * t : 0;
  };
  const bx = lean(x, half[0], nx);
  const by = lean(y, half[1], ny);
  const bz = lean(z, half[2], nz);
  if (bx !== 0 || by !== 0 || bz !== 0) s.bend(bx * cos + bz * sin, by, -bx * sin + bz * cos);
}

function plaster(s: Surface, u: number, v: number, mottling: number): void {
  s.scale(1 + mottling * (fractal2(u * 2.2, v * 2.2, 5, 31) - 0.5));
  const e = 0.004;
  const h = fractal2(u * 28, v * 28, 3, 33);
  const a = (fractal2((u + e) * 28, v * 28, 3, 33) - h) * 0.55;
  const b = (fractal2(u * 28, (v + e) * 28, 3, 33) - h) * 0.55;
  if (Math.abs(s.nz) > 0.5) s.bend(-a, -b, 0);
  else if (Math.abs(s.nx) > 0.5) s.bend(0, -b, -a);
  else s.bend(-a, 0, -b);
}

/** Grain along u: growth rings cut lengthwise, pores as fine dashes. */
function wood(s: Surface, u: number, v: number, seed: number, r: number, g: number, b: number, contrast: number): void {
  const shift = cellHash(seed, 1) * 40;
  const bow = fractal2(u * 1.1 + shift, v * 4 + shift, 3, 51) * 1.5;
  const rings = v * 26 + bow * 2.4 + shift;
  const ring = rings - Math.floor(rings);
  const late = smoothStep(0.35, 0.95, ring) * (1 - smoothStep(0.95, 1, ring));
  const pores = smoothStep(0.62, 0.85, noise2(u * 45 + shift, v * 900, 52));
  const streak = fractal2(u * 5 + shift, v * 110, 3, 53);
  s.colour(r, g, b);
  s.scale(1.1 + contrast * (0.34 * (streak - 0.5) - 0.26 * late - 0.16 * pores) + 0.16 * (cellHash(seed, 2) - 0.5));
  s.tint(0.16 * late, r * 0.8, g * 0.55, b * 0.4);
}

/** Oak boards along z, with joints and a worn lacquer. */
function floor(s: Surface, x: number, z: number): void {
  const width = 0.145;
  const board = Math.floor(x / width);
  const length = 1.5;
  const along = z / length + cellHash(board, 4) * 5;
  const piece = Math.floor(along);
  const seed = board * 37 + piece * 11;
  wood(s, z, x, seed, 0.36, 0.225, 0.12, 1);
  s.scale(0.78 + 0.46 * cellHash(seed, 9));
  s.tint(0.25 * cellHash(seed, 10), 0.23, 0.15, 0.085);
  const fx = x / width - board;
  const edge = Math.min(fx, 1 - fx) * width;
  const end = Math.min(along - piece, 1 - along + piece) * length;
  const gap = smoothStep(0.0028, 0.0008, Math.min(edge, end));
  s.scale(1 - 0.8 * gap);
  // Boards are slightly cupped, the lacquer slightly uneven.
  s.bend(
    0.012 * (fx - 0.5) + 0.006 * (noise2(x * 20, z * 6, 7) - 0.5) + (edge < 0.004 ? 0.1 * Math.sign(fx - 0.5) : 0),
    0,
    0.006 * (noise2(x * 16, z * 7, 8) - 0.5),
  );
  s.gloss = 0.045 * (0.55 + 0.6 * fractal2(x * 3.5, z * 2.2, 4, 15)) * (1 - gap);
}

function rug(s: Surface, x: number, z: number, hx: number, hz: number, onTop: boolean): void {
  // The knots: colours change on a grid, as a weaver works.
  const k = 0.011;
  const jitter = 0.25 * (noise2(x * 60, z * 60, 2) - 0.5);
  const u = (Math.floor(x / k + jitter) + 0.5) * k;
  const v = (Math.floor(z / k + jitter) + 0.5) * k;
  const edge = Math.min(hx - Math.abs(u), hz - Math.abs(v));
  const red = [0.27, 0.045, 0.035] as const;
  const navy = [0.028, 0.042, 0.09] as const;
  const cream = [0.46, 0.38, 0.25] as const;
  const gold = [0.36, 0.2, 0.06] as const;
  const put = (c: readonly [number, number, number]) => s.colour(c[0], c[1], c[2]);
  if (edge < 0.03) put(navy);
  else if (edge < 0.045) put(gold);
  else if (edge < 0.075) put((Math.floor((u + v) / 0.03) & 1) === 0 ? red : cream);
  else if (edge < 0.09) put(navy);
  else if (edge < 0.24) {
    const alongX = hx - Math.abs(u) > hz - Math.abs(v);
    const t = alongX ? u : v;
    const w = (edge - 0.165) / 0.075;
    const period = 0.19;
    const c = (t / period - Math.round(t / period)) * 2;
    const flower = Math.abs(c) * 1.25 + Math.abs(w) * 0.95 + 0.12 * Math.cos(8 * Math.atan2(w, c));
    if (flower < 0.26) put(gold);
    else if (flower < 0.52) put(cream);
    else if (flower < 0.66) put(navy);
    else if (Math.abs(Math.abs(w) - 0.82) < 0.1) put(gold);
    else put(red);
    if (Math.abs(Math.abs(c) - 1) < 0.14 && Math.abs(w) < 0.4) put(navy);
  } else if (edge < 0.255) put(cream);
  else if (edge < 0.27) put(red);
  else {
    const a = Math.abs(u) / hx;
    const b = Math.abs(v) / hz;
    const medallion = a * 1.15 + b * 0.95 + 0.03 * Math.cos(14 * Math.atan2(b, a));
    const step = Math.floor(medallion * 28) / 28;
    if (step < 0.1) put(cream);
    else if (step < 0.17) put(red);
    else if (step < 0.2) put(gold);
    else if (step < 0.36) put(navy);
    else if (step < 0.39) put(cream);
    else if (a + b > 1.18) put(navy);
    else put(red);
    const cell = 0.125;
    const ci = Math.round(u / cell);
    const cj = Math.round(v / cell);
    const fu = u / cell - ci;
    const fv = v / cell - cj;
    const rosette = Math.hypot(fu, fv) + 0.06 * Math.cos(6 * Math.atan2(fv, fu));
    if (((ci + cj) & 1) === 0 && step > 0.39) {
      if (rosette < 0.1) put(gold);
      else if (rosette < 0.19) put(cream);
      else if (rosette < 0.24) put(navy);
    } else if (((ci + cj) & 1) === 0 && step > 0.2 && step < 0.36 && rosette < 0.14) put(gold);
  }
  const abrash = fractal2(x * 1.3, z * 7, 3, 71);
  s.scale((0.7 + 0.5 * abrash) * (0.72 + 0.5 * noise2(x * 340, z * 340, 73)) * (onTop ? 1 : 0.6));
  s.bend(0.3 * (noise2(x * 190, z * 190, 74) - 0.5), 0, 0.3 * (noise2(x * 190, z * 190, 75) - 0.5));
}

const BINDINGS = [
  [0.24, 0.05, 0.04],
  [0.06, 0.1, 0.16],
  [0.08, 0.14, 0.09],
  [0.4, 0.32, 0.2],
  [0.46, 0.43, 0.37],
  [0.13, 0.08, 0.05],
  [0.34, 0.17, 0.06],
  [0.05, 0.05, 0.055],
  [0.2, 0.24, 0.26],
  [0.32, 0.1, 0.05],
  [0.5, 0.42, 0.26],
  [0.1, 0.17, 0.2],
] as const;

/** A book: bound spine and boards, paper elsewhere. Lying books show their long spine. */
function book(
  s: Surface,
  object: SceneObject,
  x: number,
  y: number,
  z: number,
  nx: number,
  ny: number,
  nz: number,
): void {
  const seed = object.seed;
  const colour = BINDINGS[Math.floor(cellHash(seed, 21) * BINDINGS.length)];
  const fade = 0.75 + 0.5 * cellHash(seed, 22);
  s.colour(colour[0] * fade, colour[1] * fade, colour[2] * fade);
  const half = object.half;
  const lying = half !== undefined && half[1] < half[0];
  const spine = nz > 0.7;
  const paper = !spine && (lying ? Math.abs(ny) < 0.7 : Math.abs(nx) < 0.7);
  if (paper) {
    const sheets = noise2(lying ? y * 1500 : x * 1500, 3, seed);
    s.colour(0.52, 0.46, 0.35);
    s.scale(0.75 + 0.35 * sheets);
    return;
  }
  s.scale(0.86 + 0.28 * noise2((x + z) * 260, y * 260, seed));
  if (!spine) return;
  const length = lying ? (half?.[0] ?? 0.1) : (half?.[1] ?? 0.11);
  const width = lying ? (half?.[1] ?? 0.01) : (half?.[0] ?? 0.015);
  const t = (lying ? x : y) / length;
  const w = (lying ? y : x) / width;
  const foil = cellHash(seed, 23) < 0.5 ? ([0.45, 0.31, 0.1] as const) : ([0.52, 0.5, 0.44] as const);
  const style = cellHash(seed, 24);
  if (style < 0.4) {
    for (const band of [-0.82, -0.5, 0.5, 0.82])
      if (Math.abs(t - band) < 0.012) s.tint(0.85, foil[0], foil[1], foil[2]);
  } else if (style < 0.65 && t > 0.2 && t < 0.62) {
    const label = BINDINGS[Math.floor(cellHash(seed, 25) * BINDINGS.length)];
    s.colour(label[0], label[1], label[2]);
  }
  // The title: strokes in a line along the spine.
  const title = Math.abs(w) < 0.42 && t > -0.3 && t < 0.45 && style > 0.12;
  if (title && noise2(t * length * 420, w * 2.2, seed) > 0.56) s.tint(0.8, foil[0], foil[1], foil[2]);
  if (!lying) s.bend(0.9 * w * w * w * 0.6, 0, 0);
}

/** Framed works on paper: a passe-partout around a seascape, or around leaves. */
function picture(s: Surface, x: number, y: number, hx: number, hy: number, seed: number): void {
  const border = seed === 1 ? 0.1 : 0.045;
  const ix = hx - border;
  const iy = hy - border;
  s.colour(0.6, 0.58, 0.51);
  s.scale(0.95 + 0.1 * noise2(x * 400, y * 400, 3));
  const inside = Math.min(ix - Math.abs(x), iy - Math.abs(y));
  if (inside < 0) {
    if (inside > -0.004) s.scale(0.7);
    return;
  }
  const u = x / ix;
  const v = y / iy;
  if (seed === 1) {
    const horizon = 0.12 + 0.02 * noise2(u * 2, 1, 5);
    const brush = fractal2(u * 3 + v, v * 14, 5, 81);
    if (v > horizon) {
      const t = (v - horizon) / (1 - horizon);
      s.colour(mix(0.56, 0.2, t), mix(0.4, 0.27, t), mix(0.26, 0.32, t));
      s.tint(smoothStep(0.5, 0.66, fractal2(u * 1.6 + 4, v * 3.5, 5, 82)), 0.6, 0.52, 0.44);
      const sun = Math.hypot(u - 0.25, (v - 0.42) * 1.05);
      s.tint(smoothStep(0.17, 0.155, sun), 0.62, 0.2, 0.07);
    } else {
      s.colour(0.06, 0.14, 0.18);
      s.tint(smoothStep(0.45, 0.75, brush) * 0.8, 0.34, 0.32, 0.28);
      s.tint(
        0.7 * smoothStep(0.3, 0.02, Math.abs(u - 0.25)) * smoothStep(0.45, 0.6, noise2(u * 5, v * 30, 8)),
        0.6,
        0.25,
        0.1,
      );
    }
    s.scale(0.8 + 0.4 * brush);
    return;
  }
  s.colour(0.52, 0.48, 0.38);
  const stem = Math.abs(u - 0.1 * Math.sin(v * 2 + seed));
  if (stem < 0.03 && v < 0.75 && v > -0.85) s.tint(0.9, 0.08, 0.1, 0.05);
  for (let i = 0; i < 9; i++) {
    const side = i % 2 ? 1 : -1;
    const cy = -0.6 + i * 0.155;
    const tilt = 0.6 + 0.05 * seed;
    const du = (u - 0.1 * Math.sin(cy * 2 + seed)) * side;
    const dv = v - cy - du * tilt;
    const long = 0.62 - 0.035 * i;
    if (du < 0 || du > long) continue;
    const w = 0.11 * Math.sin((Math.PI * du) / long);
    if (Math.abs(dv) < w) s.colour(0.07 + 0.05 * (i % 3), 0.15 + 0.03 * (i % 2), 0.08);
    if (Math.abs(dv) < 0.008) s.scale(0.6);
  }
}

/** A ginger tabby with a white bib and socks. */
function fur(s: Surface, x: number, y: number, z: number): void {
  const warp = noise3(x * 22, y * 22, z * 22, 5) * 1.6;
  const band = Math.sin((x < -0.19 ? x * 0.6 + y : x) * 105 + warp * 2.4 + y * 12);
  s.colour(0.42, 0.19, 0.06);
  s.tint(smoothStep(0.05, 0.6, band) * smoothStep(0.08, 0.15, y) * 0.85, 0.2, 0.07, 0.02);
  const white = Math.max(
    smoothStep(0.06, 0.03, y),
    smoothStep(0.15, 0.13, y - 0.3 * Math.max(0, x - 0.08)) * smoothStep(-0.1, 0.02, x) * smoothStep(0.02, 0.0, -x),
    smoothStep(0.235, 0.25, x) * smoothStep(0.272, 0.258, y),
  );
  s.tint(white, 0.62, 0.57, 0.5);
  // Eyes and nose.
  if (Math.hypot(x - 0.257, y - 0.284, Math.abs(z) - 0.022) < 0.0085) s.colour(0.06, 0.07, 0.015);
  if (Math.hypot(x - 0.284, y - 0.268, z) < 0.007) s.colour(0.3, 0.1, 0.08);
  s.scale(0.65 + 0.7 * noise3(x * 160, y * 420, z * 300, 7));
  const k = 0.5;
  s.bend(
    k * (noise3(x * 240, y * 240, z * 240, 1) - 0.5),
    k * (noise3(x * 240, y * 240, z * 240, 2) - 0.5),
    k * (noise3(x * 240, y * 240, z * 240, 3) - 0.5),
  );
}
