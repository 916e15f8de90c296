import { buildTree, type Tree } from "./bvh.js";
import { MATERIAL } from "./materials.js";
import { Mesh, type Vec3 } from "./mesh.js";
import { BENCH_TOP } from "./scene.js";

/** The cat that walks along the bench: where it is, in metres along the window wall, and where in its stride. */
export interface CatPose {
  readonly x: number;
  readonly stride: number;
}

/**
 * One pose per exposure. What the reference clips (the window) stays free in the shortest exposure, the only one that
 * sees it: the cat comes from the dark wall on the right, is before the window in the reference, and further on after.
 */
export const CAT_POSES: readonly CatPose[] = [
  { x: 4.3, stride: 0.1 },
  { x: 2.94, stride: 0.32 },
  { x: 2.3, stride: 0.62 },
];

export const CAT_DEPTH = 0.24;

/** Distance to a capsule whose radius runs from ra to rb (a close bound, enough for meshing). */
function limb(p: Vec3, a: Vec3, b: Vec3, ra: number, rb: number): number {
  const d = [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
  const q = [p[0] - a[0], p[1] - a[1], p[2] - a[2]];
  const t = Math.min(1, Math.max(0, (q[0] * d[0] + q[1] * d[1] + q[2] * d[2]) / (d[0] ** 2 + d[1] ** 2 + d[2] ** 2)));
  return Math.hypot(q[0] - t * d[0], q[1] - t * d[1], q[2] - t * d[2]) - (ra + (rb - ra) * t);
}

function ellipsoid(p: Vec3, c: Vec3, r: Vec3): number {
  const k = Math.hypot((p[0] - c[0]) / r[0], (p[1] - c[1]) / r[1], (p[2] - c[2]) / r[2]);
  return (k - 1) * Math.min(r[0], r[1], r[2]);
}

/** Union with a rounded seam of width k (polynomial smooth minimum). */
function join(a: number, b: number, k: number): number {
  const h = Math.max(k - Math.abs(a - b), 0) / k;
  return Math.min(a, b) - (h * h * k) / 4;
}

/** Signed distance to the cat in its own frame: it looks along +x and stands on y = 0. */
function catDistance(x: number, y: number, z: number, stride: number): number {
  const p: Vec3 = [x, y, z];
  const mirrored: Vec3 = [x, y, Math.abs(z)];
  let d = limb(p, [-0.13, 0.2, 0], [0.12, 0.195, 0], 0.06, 0.062);
  d = join(d, ellipsoid(p, [0, 0.18, 0], [0.15, 0.06, 0.06]), 0.03);
  d = join(d, ellipsoid(mirrored, [-0.125, 0.175, 0.03], [0.06, 0.075, 0.042]), 0.04);
  d = join(d, ellipsoid(mirrored, [0.12, 0.18, 0.024], [0.05, 0.07, 0.04]), 0.04);
  d = join(d, limb(p, [0.13, 0.21, 0], [0.205, 0.262, 0], 0.05, 0.038), 0.04);
  d = join(d, ellipsoid(p, [0.225, 0.277, 0], [0.046, 0.041, 0.044]), 0.025);
  d = join(d, ellipsoid(p, [0.263, 0.263, 0], [0.022, 0.017, 0.02]), 0.02);
  for (const side of [-1, 1]) {
    d = join(d, limb(p, [0.212, 0.3, side * 0.026], [0.206, 0.343, side * 0.036], 0.02, 0.0025), 0.012);
    // Front and hind leg of a side move half a stride apart; the two sides, a quarter.
    for (const hind of [0, 1]) {
      const phase = 2 * Math.PI * (stride + (side > 0 ? 0.5 : 0) + hind * 0.3);
      const swing = 0.055 * Math.sin(phase);
      const lift = 0.022 * Math.max(0, Math.cos(phase));
      if (hind) {
        const hip: Vec3 = [-0.13, 0.15, side * 0.034];
        const knee: Vec3 = [-0.1 + 0.4 * swing, 0.1 + 0.5 * lift, side * 0.036];
        const hock: Vec3 = [-0.165 + 0.8 * swing, 0.066 + lift, side * 0.034];
        const foot: Vec3 = [-0.145 + swing, 0.014 + lift, side * 0.034];
        d = join(d, limb(p, hip, knee, 0.04, 0.026), 0.03);
        d = join(d, limb(p, knee, hock, 0.024, 0.015), 0.012);
        d = join(d, limb(p, hock, foot, 0.014, 0.015), 0.008);
        d = join(d, limb(p, foot, [foot[0] + 0.022, foot[1] - 0.001, foot[2]], 0.015, 0.013), 0.008);
      } else {
        const shoulder: Vec3 = [0.12, 0.16, side * 0.032];
        const wrist: Vec3 = [0.112 + 0.7 * swing, 0.062 + lift, side * 0.03];
        const foot: Vec3 = [0.12 + swing, 0.014 + lift, side * 0.03];
        d = join(d, limb(p, shoulder, wrist, 0.03, 0.017), 0.02);
        d = join(d, limb(p, wrist, foot, 0.016, 0.014), 0.008);
        d = join(d, limb(p, foot, [foot[0] + 0.02, foot[1] - 0.001, foot[2]], 0.0155, 0.013), 0.008);
      }
    }
  }
  const sway = 0.02 * Math.sin(2 * Math.PI * stride);
  const tail: Vec3[] = [
    [-0.175, 0.215, 0],
    [-0.235, 0.225, sway * 0.4],
    [-0.29, 0.27, sway * 0.8],
    [-0.315, 0.34, sway],
    [-0.3, 0.405, sway * 1.1],
    [-0.265, 0.44, sway],
  ];
  for (let i = 0; i + 1 < tail.length; i++)
    d = join(d, limb(p, tail[i], tail[i + 1], 0.02 - 0.0015 * i, 0.02 - 0.0015 * (i + 1)), 0.012);
  return d;
}

/** The cat of one exposure as triangles of its own; `cell` is the size of the net in metres. */
export function buildCat(pose: CatPose, cell: number): Tree {
  const mesh = new Mesh();
  const owner = mesh.addObject(MATERIAL.fur, [pose.x, BENCH_TOP, CAT_DEPTH], Math.PI, undefined, 1);
  mesh.surface(owner, [-0.36, -0.02, -0.1], [0.31, 0.48, 0.1], cell, (x, y, z) => catDistance(x, y, z, pose.stride));
  return buildTree(mesh);
}
