import { buildTree, type Tree } from "./bvh.js";
import { MATERIAL } from "./materials.js";
import { Mesh, type Vec3 } from "./mesh.js";
import { clamp, noise2, Random } from "./noise.js";

/** The room, in metres: x to the right, y up, the window wall at z = 0, the camera at greater z. */
export const ROOM = { width: 5.1, height: 2.72, depth: 5.6 } as const;
export const WINDOW = { left: 1.95, right: 4.0, bottom: 0.86, top: 2.38, outside: -0.28 } as const;
export const BENCH_TOP = 0.8;
/** The lamp's shade glows: a cylinder around the vertical through (x, z). */
export const LAMP = { x: 4.62, z: 0.62, bottom: 1.3, top: 1.58, radius: 0.17 } as const;

const M = MATERIAL;

export function buildRoom(): Tree {
  const mesh = new Mesh();
  walls(mesh);
  windowFrame(mesh);
  curtain(mesh, WINDOW.left - 0.24, WINDOW.left + 0.2, 0.4);
  curtain(mesh, WINDOW.right - 0.18, WINDOW.right + 0.24, 2.1);
  bookcase(mesh);
  bench(mesh);
  pictures(mesh);
  lamp(mesh);
  armchair(mesh);
  plant(mesh);
  table(mesh);
  mesh.span(M.rug, [0.95, 0, 0.78], [3.55, 0.012, 2.32]);
  return buildTree(mesh);
}

function walls(mesh: Mesh): void {
  const { width, height, depth } = ROOM;
  const w = WINDOW;
  const t = 0.3;
  mesh.span(M.floor, [0, -0.1, -t], [width, 0, depth]);
  mesh.span(M.ceiling, [-t, height, -t], [width + t, height + 0.1, depth]);
  mesh.span(M.sideWall, [-t, -0.1, -t], [0, height, depth]);
  mesh.span(M.sideWall, [width, -0.1, -t], [width + t, height, depth]);
  mesh.span(M.sideWall, [0, 0, depth], [width, height, depth + 0.1]);
  mesh.span(M.wall, [0, 0, -t], [w.left, height, 0]);
  mesh.span(M.wall, [w.right, 0, -t], [width, height, 0]);
  mesh.span(M.wall, [w.left, 0, -t], [w.right, w.bottom, 0]);
  mesh.span(M.wall, [w.left, w.top, -t], [w.right, height, 0]);
  mesh.span(M.paint, [0, 0, 0], [width, 0.12, 0.018]);
  mesh.span(M.paint, [0, 0, 0], [0.018, 0.12, depth]);
  mesh.span(M.paint, [width - 0.018, 0, 0], [width, 0.12, depth]);
  mesh.span(M.paint, [0, height - 0.07, 0], [width, height, 0.05]);
  for (const x of [0.85, 2.55, 4.25])
    mesh.span(M.beam, [x - 0.075, height - 0.16, 0], [x + 0.075, height + 0.02, depth]);
}

function windowFrame(mesh: Mesh): void {
  const { left, right, bottom, top } = WINDOW;
  // Casing on the wall, lining of the reveal, frame and bars.
  mesh.span(M.paint, [left - 0.09, bottom - 0.06, 0], [left, top + 0.09, 0.022]);
  mesh.span(M.paint, [right, bottom - 0.06, 0], [right + 0.09, top + 0.09, 0.022]);
  mesh.span(M.paint, [left - 0.09, top, 0], [right + 0.09, top + 0.09, 0.022]);
  mesh.span(M.paint, [left, bottom - 0.06, -0.28], [right, bottom, 0.05]);
  mesh.span(M.paint, [left, bottom, -0.28], [left + 0.012, top, 0.01]);
  mesh.span(M.paint, [right - 0.012, bottom, -0.28], [right, top, 0.01]);
  mesh.span(M.paint, [left, top - 0.012, -0.28], [right, top, 0.01]);
  const middle = (left + right) / 2;
  const z0 = -0.16;
  const z1 = -0.1;
  for (const [x, half] of [
    [left + 0.03, 0.03],
    [right - 0.03, 0.03],
    [middle, 0.045],
  ])
    mesh.span(M.paint, [x - half, bottom, z0], [x + half, top, z1]);
  mesh.span(M.paint, [left, bottom, z0], [right, bottom + 0.06, z1]);
  mesh.span(M.paint, [left, top - 0.06, z0], [right, top, z1]);
  const barHeight = bottom + (top - bottom) * 0.66;
  mesh.span(M.paint, [left, barHeight - 0.015, z0 + 0.015], [right, barHeight + 0.015, z1 - 0.012]);
  for (const x of [(left + middle) / 2, (right + middle) / 2])
    mesh.span(M.paint, [x - 0.013, bottom, z0 + 0.015], [x + 0.013, top, z1 - 0.012]);
  mesh.box(M.brass, [middle + 0.03, 1.45, z1 + 0.012], [0.009, 0.06, 0.012]);
  // The curtain rod.
  const rod = mesh.addObject(M.brass, [middle, 2.52, 0.1]);
  mesh.sheet(rod, 12, 1, (u, v) => [
    left - 0.4 + (right - left + 0.8) * v,
    2.52 + 0.011 * Math.sin(2 * Math.PI * u),
    0.1 + 0.011 * Math.cos(2 * Math.PI * u),
  ]);
}

/** Linen in folds, gathered at the top, a little irregular. */
function curtain(mesh: Mesh, x0: number, x1: number, phase: number): void {
  const owner = mesh.addObject(M.linen, [x0, BENCH_TOP, 0.1]);
  mesh.sheet(owner, 110, 10, (u, v) => {
    const drop = 1 - v;
    const s = u + 0.05 * Math.sin(7 * u + phase) * drop;
    const fold = Math.sin(2 * Math.PI * (7 * s) + phase + 0.5 * Math.sin(3 * drop + 9 * u));
    const depth = 0.022 + 0.012 * Math.sin(11 * u + phase) + 0.008 * drop;
    return [
      x0 + (x1 - x0) * u + 0.008 * Math.sin(30 * u + 2 * drop),
      BENCH_TOP + 0.02 + 1.7 * v,
      0.1 + depth * fold * (0.6 + 0.4 * drop),
    ];
  });
}

function bookcase(mesh: Mesh): void {
  const random = new Random(20);
  const [x0, x1, top, depth] = [0.1, 1.3, 2.24, 0.3];
  mesh.span(M.walnut, [x0, 0, 0.02], [x0 + 0.028, top, depth]);
  mesh.span(M.walnut, [x1 - 0.028, 0, 0.02], [x1, top, depth]);
  mesh.span(M.walnut, [x0, 0, 0.02], [x1, top, 0.035]);
  const levels = [0.07, 0.46, 0.82, 1.16, 1.5, 1.84, top];
  for (const y of levels) mesh.span(M.walnut, [x0, y - 0.028, 0.02], [x1, y, depth + 0.004]);
  mesh.span(M.walnut, [x0 + 0.01, 0, 0.03], [x1 - 0.01, 0.06, depth - 0.02]);
  for (let shelf = 0; shelf + 1 < levels.length; shelf++) {
    const room = levels[shelf + 1] - levels[shelf] - 0.028;
    let x = x0 + 0.034;
    let kind = random.next();
    while (x < x1 - 0.06) {
      kind = random.next();
      if (kind < 0.09 && x < x1 - 0.3) {
        // A pile lying flat.
        let y = levels[shelf];
        const wide = random.between(0.17, 0.23);
        for (let n = 2 + Math.floor(random.next() * 3); n > 0; n--) {
          const thick = random.between(0.014, 0.035);
          const half = wide / 2 - random.next() * 0.02;
          mesh.box(
            M.book,
            [x + wide / 2, y + thick / 2, 0.19],
            [half, thick / 2 - 0.0006, 0.075],
            random.between(-0.06, 0.06),
          );
          y += thick;
        }
        x += wide + 0.012;
      } else if (kind < 0.13 && x < x1 - 0.2) {
        ornament(mesh, random, [x + 0.075, levels[shelf], 0.19]);
        x += 0.16;
      } else if (kind < 0.17) x += random.between(0.03, 0.08);
      else {
        const run = 3 + Math.floor(random.next() * 8);
        const height = room * random.between(0.66, 0.9);
        for (let n = 0; n < run && x < x1 - 0.06; n++) {
          const thick = random.between(0.013, 0.042);
          const tall = Math.min(room - 0.01, height * random.between(0.9, 1.07));
          const deep = random.between(0.1, 0.125);
          const lean = n === run - 1 && random.next() < 0.5 ? random.between(0.06, 0.16) : 0;
          const shift = (lean * tall) / 2;
          const z = 0.285 - deep - random.next() * random.next() * 0.04;
          mesh.box(
            M.book,
            [x + thick / 2 + shift, levels[shelf] + tall / 2 + 0.001, z],
            [thick / 2 - 0.0007, tall / 2, deep],
            0,
            -lean,
          );
          x += thick + 2 * shift;
        }
      }
    }
  }
  ornament(mesh, random, [0.42, top, 0.17]);
  mesh.box(M.wicker, [0.95, top + 0.1, 0.16], [0.2, 0.1, 0.12]);
}

function ornament(mesh: Mesh, random: Random, at: Vec3): void {
  const r = random.between(0.04, 0.065);
  const h = random.between(0.12, 0.2);
  const profile: [number, number][] = [];
  for (let i = 0; i <= 18; i++) {
    const t = i / 18;
    profile.push([Math.max(0.001, r * (0.55 + 0.75 * Math.sin(Math.PI * (0.12 + 0.78 * t)) - 0.35 * t)), h * t]);
  }
  mesh.lathe(M.ceramic, at, profile);
}

function bench(mesh: Mesh): void {
  const [x0, x1, depth] = [1.55, 4.95, 0.46];
  mesh.span(M.oak, [x0, BENCH_TOP - 0.035, 0.02], [x1, BENCH_TOP, depth], 3);
  mesh.span(M.oak, [x0 + 0.03, 0.1, 0.03], [x1 - 0.03, BENCH_TOP - 0.035, depth - 0.05], 4);
  mesh.span(M.walnut, [x0 + 0.06, 0, 0.06], [x1 - 0.06, 0.1, depth - 0.09]);
  const doors = 5;
  const width = (x1 - x0 - 0.06) / doors;
  for (let i = 0; i < doors; i++) {
    const left = x0 + 0.03 + i * width;
    mesh.span(
      M.oak,
      [left + 0.004, 0.108, depth - 0.05],
      [left + width - 0.004, BENCH_TOP - 0.043, depth - 0.03],
      30 + i,
    );
    const x = i % 2 ? left + 0.05 : left + width - 0.05;
    mesh.box(M.brass, [x, 0.6, depth - 0.012], [0.006, 0.05, 0.006]);
    for (const y of [0.56, 0.64]) mesh.box(M.brass, [x, y, depth - 0.022], [0.005, 0.005, 0.012]);
  }
  // What lies on it: a few books, a vase with dry grass, a bowl.
  let y = BENCH_TOP;
  for (const [w, h, d, a] of [
    [0.125, 0.017, 0.09, 0.1],
    [0.115, 0.012, 0.082, -0.15],
    [0.1, 0.02, 0.075, 0.22],
  ]) {
    mesh.box(M.book, [4.8, y + h, 0.28], [w, h, d], a, 0, 901 + Math.round(w * 1000));
    y += 2 * h;
  }
  const profile: [number, number][] = [];
  for (let i = 0; i <= 24; i++) {
    const t = i / 24;
    profile.push([
      0.012 + 0.075 * Math.sin(Math.PI * Math.min(1, 0.18 + 0.62 * t)) ** 1.4 - (t > 0.8 ? 0.02 * (t - 0.8) : 0),
      0.25 * t,
    ]);
  }
  mesh.lathe(M.glaze, [1.78, BENCH_TOP, 0.2], profile, 48);
}

function pictures(mesh: Mesh): void {
  const frame = (x0: number, x1: number, y0: number, y1: number, material: number, seed: number) => {
    const b = 0.022;
    mesh.span(material, [x0, y0, 0], [x0 + b, y1, 0.028]);
    mesh.span(material, [x1 - b, y0, 0], [x1, y1, 0.028]);
    mesh.span(material, [x0, y0, 0], [x1, y0 + b, 0.028]);
    mesh.span(material, [x0, y1 - b, 0], [x1, y1, 0.028]);
    mesh.span(M.picture, [x0 + 0.01, y0 + 0.01, 0], [x1 - 0.01, y1 - 0.01, 0.012], seed);
  };
  frame(4.36, 4.98, 1.68, 2.32, M.brass, 1);
  frame(1.4, 1.66, 1.95, 2.3, M.walnut, 2);
  frame(1.4, 1.66, 1.5, 1.85, M.walnut, 3);
}

function lamp(mesh: Mesh): void {
  const { x, z, bottom, top, radius } = LAMP;
  const shade = mesh.addObject(M.shade, [x, bottom, z]);
  mesh.sheet(shade, 48, 1, (u, v) => [
    x + radius * Math.cos(2 * Math.PI * u),
    bottom + (top - bottom) * v,
    z - radius * Math.sin(2 * Math.PI * u),
  ]);
  for (const y of [bottom + 0.02, top - 0.02]) {
    const cap = mesh.addObject(M.shadeInside, [x, y, z]);
    mesh.sheet(cap, 32, 1, (u, v) => [
      x + radius * 0.985 * v * Math.cos(2 * Math.PI * u),
      y,
      z + radius * 0.985 * v * Math.sin(2 * Math.PI * u),
    ]);
  }
  mesh.lathe(
    M.brass,
    [x, 0, z],
    [
      [0.16, 0],
      [0.16, 0.015],
      [0.03, 0.025],
      [0.0105, 0.04],
      [0.0105, bottom + 0.05],
    ],
    32,
  );
}

/** Distance to a box with rounded edges. */
function roundBox(x: number, y: number, z: number, hx: number, hy: number, hz: number, r: number): number {
  const qx = Math.abs(x) - hx + r;
  const qy = Math.abs(y) - hy + r;
  const qz = Math.abs(z) - hz + r;
  return Math.hypot(Math.max(qx, 0), Math.max(qy, 0), Math.max(qz, 0)) + Math.min(Math.max(qx, qy, qz), 0) - r;
}

/** The chair looks along its own +z. */
function chairDistance(x: number, y: number, z: number): number {
  // The back leans.
  const t = (y - 0.4) * 0.22;
  const back = roundBox(x, y - 0.62, z + 0.33 + t, 0.31, 0.3, 0.075, 0.055);
  const arm = roundBox(Math.abs(x) - 0.36, y - 0.4, z - 0.02, 0.055, 0.2, 0.37, 0.045);
  const base = roundBox(x, y - 0.26, z, 0.35, 0.075, 0.36, 0.03);
  const puff = 0.03 * (1 - (x / 0.31) ** 2) * (1 - (z / 0.4) ** 2);
  const seat = roundBox(x, y - 0.4 - puff, z - 0.05, 0.295, 0.075, 0.33, 0.05);
  return Math.min(back, arm, base, seat);
}

/** A cushion: thick in the middle, thin at the seam. */
function cushionDistance(x: number, y: number, z: number): number {
  const u = clamp(1 - (x / 0.23) ** 4) * clamp(1 - (y / 0.2) ** 4);
  const thickness = 0.012 + 0.075 * Math.sqrt(u) + 0.006 * (noise2(x * 18 + 9, y * 18, 4) - 0.5);
  return Math.max(Math.abs(z) - thickness, roundBox(x, y, z, 0.225, 0.195, 0.2, 0.02)) * 0.6;
}

function armchair(mesh: Mesh): void {
  const angle = -0.62;
  const at: Vec3 = [4.2, 0, 1.55];
  const owner = mesh.addObject(M.velvet, at, angle);
  mesh.surface(owner, [-0.46, 0.14, -0.62], [0.46, 0.98, 0.44], 0.022, chairDistance);
  for (const sx of [-1, 1])
    for (const sz of [-1, 1]) {
      const lx = sx * 0.3;
      const lz = sz * 0.29;
      const leg: Vec3 = [
        at[0] + lx * Math.cos(angle) + lz * Math.sin(angle),
        0,
        at[2] - lx * Math.sin(angle) + lz * Math.cos(angle),
      ];
      mesh.lathe(
        M.walnut,
        leg,
        [
          [0.014, 0],
          [0.024, 0.19],
        ],
        16,
      );
    }
  const cushion = mesh.addObject(M.cushion, [at[0] + 0.1, 0.66, at[2] - 0.1], angle + 0.25);
  mesh.surface(cushion, [-0.25, -0.22, -0.12], [0.25, 0.22, 0.12], 0.014, (x, y, z) =>
    cushionDistance(x, y, z + y * 0.3),
  );
}

/** A fiddle-leaf fig in a pot. */
function plant(mesh: Mesh): void {
  const random = new Random(7);
  const at: Vec3 = [1.5, 0, 0.72];
  const pot: [number, number][] = [
    [0.001, 0],
    [0.12, 0],
    [0.125, 0.01],
    [0.165, 0.28],
    [0.17, 0.3],
    [0.16, 0.303],
    [0.15, 0.28],
  ];
  mesh.lathe(M.terracotta, at, pot, 48);
  mesh.lathe(
    M.soil,
    [at[0], 0.27, at[2]],
    [
      [0.151, 0],
      [0.001, 0.012],
    ],
    24,
  );
  for (let stem = 0; stem < 4; stem++) {
    const lean = random.between(0.05, 0.16);
    const turn = stem * 1.7 + random.next();
    const height = [1.28, 1.02, 0.85, 1.12][stem];
    const along = (t: number): Vec3 => [
      at[0] + Math.cos(turn) * (0.03 + lean * t * (0.6 + t)),
      0.28 + (height - 0.28) * t,
      at[2] + Math.sin(turn) * (0.03 + lean * t * (0.6 + t)),
    ];
    const bark = mesh.addObject(M.bark, at);
    mesh.sheet(bark, 8, 8, (u, v) => {
      const p = along(v);
      const r = 0.009 - 0.004 * v;
      return [p[0] + r * Math.cos(2 * Math.PI * u), p[1], p[2] + r * Math.sin(2 * Math.PI * u)];
    });
    const leaves = 13;
    for (let i = 0; i < leaves; i++) {
      const t = 0.25 + (0.75 * i) / (leaves - 1);
      const root = along(t);
      const phi = i * 2.4 + stem;
      const length = random.between(0.15, 0.23) * (1.1 - 0.35 * t);
      const rise = random.between(0.15, 0.6) + 0.7 * t * t;
      const droop = random.between(0.5, 1.1);
      const wide = length * random.between(0.26, 0.34);
      const leaf = mesh.addObject(M.leaf, root, 0, undefined, stem * 100 + i);
      const [c, s] = [Math.cos(phi), Math.sin(phi)];
      const wave = random.between(0, 6);
      mesh.sheet(leaf, 8, 6, (u, v) => {
        const a = 0.03 + length * u;
        // Widest beyond the middle, as a fiddle.
        const half = wide * Math.sin(Math.PI * clamp(u, 0.002, 0.998) ** 1.3) ** 0.8 * (0.85 + 0.15 * Math.cos(9 * u));
        const side = (2 * v - 1) * half;
        const lift =
          rise * a - droop * a * a * 2 + Math.abs(2 * v - 1) * half * 0.35 + 0.006 * Math.sin(14 * u + wave + 5 * v);
        return [root[0] + c * a - s * side, root[1] + lift, root[2] + s * a + c * side];
      });
    }
  }
}

/** A low round table on the rug with a book and a cup. */
function table(mesh: Mesh): void {
  const at: Vec3 = [2.9, 0, 1.55];
  mesh.lathe(
    M.walnut,
    at,
    [
      [0.001, 0.395],
      [0.3, 0.395],
      [0.325, 0.405],
      [0.33, 0.415],
      [0.325, 0.425],
      [0.001, 0.425],
    ],
    72,
    60,
  );
  for (let i = 0; i < 3; i++) {
    const phi = 0.5 + (i * 2 * Math.PI) / 3;
    const leg = mesh.addObject(M.walnut, at);
    mesh.sheet(leg, 10, 1, (u, v) => {
      const r = 0.2 + 0.08 * (1 - v);
      const w = 0.012 + 0.006 * v;
      return [
        at[0] + r * Math.cos(phi) + w * Math.cos(2 * Math.PI * u),
        0.012 + 0.385 * v,
        at[2] + r * Math.sin(phi) + w * Math.sin(2 * Math.PI * u),
      ];
    });
  }
  mesh.box(M.book, [2.83, 0.437, 1.63], [0.1, 0.012, 0.14], 0.5, 0, 912);
  mesh.box(M.book, [2.84, 0.456, 1.62], [0.085, 0.007, 0.12], 0.2, 0, 955);
  const cup: [number, number][] = [
    [0.001, 0.002],
    [0.026, 0],
    [0.034, 0.012],
    [0.041, 0.075],
    [0.038, 0.075],
    [0.032, 0.014],
    [0.001, 0.01],
  ];
  mesh.lathe(M.ceramic, [3.05, 0.425, 1.48], cup, 36, 77);
  const saucer: [number, number][] = [
    [0.001, 0.002],
    [0.045, 0],
    [0.075, 0.012],
    [0.072, 0.013],
    [0.001, 0.006],
  ];
  mesh.lathe(M.ceramic, [3.05, 0.424, 1.48], saucer, 36, 77);
}
