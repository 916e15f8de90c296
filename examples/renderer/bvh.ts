import type { Mesh, SceneObject } from "./mesh.js";

const BINS = 12;
const LEAF = 4;
const MISS = 1e30;

/** A bounding volume hierarchy over triangles, as plain data that a worker can be sent. */
export interface Tree {
  readonly objects: readonly SceneObject[];
  /** Per node: low xyz, high xyz. */
  readonly bounds: Float32Array;
  /** Per node: first triangle or left child, number of triangles (0 = inner). */
  readonly links: Int32Array;
  /** Per triangle: corner, edge 1, edge 2. */
  readonly corners: Float32Array;
  /** Per triangle: its corners' normals. */
  readonly normals: Float32Array;
  /** Per triangle: index of its object. */
  readonly owners: Int32Array;
}

/** Meets rays with a tree. */
export class Bvh {
  readonly objects: readonly SceneObject[];
  /** Written by intersect(): distance, object and interpolated normal of the nearest hit. */
  distance = MISS;
  owner = -1;
  nx = 0;
  ny = 0;
  nz = 0;

  private readonly bounds: Float32Array;
  private readonly links: Int32Array;
  private readonly corners: Float32Array;
  private readonly normals: Float32Array;
  private readonly owners: Int32Array;
  private readonly stack = new Int32Array(64);

  constructor(readonly tree: Tree) {
    this.objects = tree.objects;
    this.bounds = tree.bounds;
    this.links = tree.links;
    this.corners = tree.corners;
    this.normals = tree.normals;
    this.owners = tree.owners;
  }
  /** The nearest hit within `limit`; fills distance, owner and the normal, turned against the ray. */
  intersect(ox: number, oy: number, oz: number, dx: number, dy: number, dz: number, limit: number): boolean {
    return this.walk(ox, oy, oz, dx, dy, dz, limit, false);
  }

  /** Whether anything lies within `limit`. */
  occluded(ox: number, oy: number, oz: number, dx: number, dy: number, dz: number, limit: number): boolean {
    return this.walk(ox, oy, oz, dx, dy, dz, limit, true);
  }

  private walk(
    ox: number,
    oy: number,
    oz: number,
    dx: number,
    dy: number,
    dz: number,
    limit: number,
    any: boolean,
  ): boolean {
    const { bounds, links, corners, stack } = this;
    const ix = 1 / (dx === 0 ? 1e-12 : dx);
    const iy = 1 / (dy === 0 ? 1e-12 : dy);
    const iz = 1 / (dz === 0 ? 1e-12 : dz);
    let nearest = limit;
    let hit = -1;
    let hitU = 0;
    let hitV = 0;
    let top = 0;
    if (boxEntry(bounds, 0, ox, oy, oz, ix, iy, iz, nearest) >= MISS) return false;
    let node = 0;
    for (;;) {
      const count = links[node * 2 + 1];
      const first = links[node * 2];
      let next = -1;
      if (count === 0) {
        const a = boxEntry(bounds, first * 6, ox, oy, oz, ix, iy, iz, nearest);
        const b = boxEntry(bounds, first * 6 + 6, ox, oy, oz, ix, iy, iz, nearest);
        if (a < MISS) {
          if (b < MISS) {
            next = a < b ? first : first + 1;
            stack[top++] = a < b ? first + 1 : first;
          } else next = first;
        } else if (b < MISS) next = first + 1;
      } else {
        for (let t = first; t < first + count; t++) {
          const c = t * 9;
          const e1x = corners[c + 3];
          const e1y = corners[c + 4];
          const e1z = corners[c + 5];
          const e2x = corners[c + 6];
          const e2y = corners[c + 7];
          const e2z = corners[c + 8];
          const px = dy * e2z - dz * e2y;
          const py = dz * e2x - dx * e2z;
          const pz = dx * e2y - dy * e2x;
          const det = e1x * px + e1y * py + e1z * pz;
          if (det > -1e-14 && det < 1e-14) continue;
          const inverse = 1 / det;
          const sx = ox - corners[c];
          const sy = oy - corners[c + 1];
          const sz = oz - corners[c + 2];
          const u = (sx * px + sy * py + sz * pz) * inverse;
          if (u < 0 || u > 1) continue;
          const qx = sy * e1z - sz * e1y;
          const qy = sz * e1x - sx * e1z;
          const qz = sx * e1y - sy * e1x;
          const v = (dx * qx + dy * qy + dz * qz) * inverse;
          if (v < 0 || u + v > 1) continue;
          const distance = (e2x * qx + e2y * qy + e2z * qz) * inverse;
          if (distance <= 1e-5 || distance >= nearest) continue;
          if (any) return true;
          nearest = distance;
          hit = t;
          hitU = u;
          hitV = v;
        }
      }
      if (next < 0) {
        if (top === 0) break;
        next = stack[--top];
      }
      node = next;
    }
    if (hit < 0) return false;
    const n = this.normals;
    const k = hit * 9;
    const w = 1 - hitU - hitV;
    let nx = n[k] * w + n[k + 3] * hitU + n[k + 6] * hitV;
    let ny = n[k + 1] * w + n[k + 4] * hitU + n[k + 7] * hitV;
    let nz = n[k + 2] * w + n[k + 5] * hitU + n[k + 8] * hitV;
    const scale = (nx * dx + ny * dy + nz * dz > 0 ? -1 : 1) / (Math.sqrt(nx * nx + ny * ny + nz * nz) || 1);
    nx *= scale;
    ny *= scale;
    nz *= scale;
    this.distance = nearest;
    this.owner = this.owners[hit];
    this.nx = nx;
    this.ny = ny;
    this.nz = nz;
    return true;
  }
}

/** Builds the hierarchy (binned surface-area heuristic; Wald 2007). */
export function buildTree(mesh: Mesh): Tree {
  const count = mesh.owners.length;
  const order = new Int32Array(count).map((_, i) => i);
  const low = new Float32Array(count * 3);
  const high = new Float32Array(count * 3);
  for (let t = 0; t < count; t++) {
    for (let k = 0; k < 3; k++) {
      const [a, b, c] = [0, 1, 2].map((m) => mesh.positions[mesh.indices[t * 3 + m] * 3 + k]);
      low[t * 3 + k] = Math.min(a, b, c);
      high[t * 3 + k] = Math.max(a, b, c);
    }
  }
  const bounds: number[] = [];
  const links: number[] = [];
  const addNode = () => {
    bounds.push(0, 0, 0, 0, 0, 0);
    links.push(0, 0);
    return links.length / 2 - 1;
  };
  const build = (node: number, begin: number, end: number) => {
    const lo = [MISS, MISS, MISS];
    const hi = [-MISS, -MISS, -MISS];
    const clo = [MISS, MISS, MISS];
    const chi = [-MISS, -MISS, -MISS];
    for (let i = begin; i < end; i++) {
      for (let k = 0; k < 3; k++) {
        const a = low[order[i] * 3 + k];
        const b = high[order[i] * 3 + k];
        lo[k] = Math.min(lo[k], a);
        hi[k] = Math.max(hi[k], b);
        clo[k] = Math.min(clo[k], a + b);
        chi[k] = Math.max(chi[k], a + b);
      }
    }
    for (let k = 0; k < 3; k++) {
      bounds[node * 6 + k] = lo[k];
      bounds[node * 6 + 3 + k] = hi[k];
    }
    let best = MISS;
    let bestAxis = -1;
    let bestBin = 0;
    const bin = (t: number, axis: number) =>
      Math.min(
        BINS - 1,
        Math.floor(((low[t * 3 + axis] + high[t * 3 + axis] - clo[axis]) / (chi[axis] - clo[axis])) * BINS),
      );
    if (end - begin > LEAF) {
      for (let axis = 0; axis < 3; axis++) {
        if (chi[axis] - clo[axis] < 1e-9) continue;
        const counts = new Float64Array(BINS);
        const boxes = Array.from({ length: BINS }, () => [MISS, MISS, MISS, -MISS, -MISS, -MISS]);
        for (let i = begin; i < end; i++) {
          const b = bin(order[i], axis);
          counts[b]++;
          grow(boxes[b], low, high, order[i]);
        }
        const rightArea = new Float64Array(BINS);
        const rightCount = new Float64Array(BINS);
        let box = [MISS, MISS, MISS, -MISS, -MISS, -MISS];
        for (let b = BINS - 1, n = 0; b > 0; b--) {
          merge(box, boxes[b]);
          n += counts[b];
          rightArea[b] = area(box);
          rightCount[b] = n;
        }
        box = [MISS, MISS, MISS, -MISS, -MISS, -MISS];
        for (let b = 0, n = 0; b < BINS - 1; b++) {
          merge(box, boxes[b]);
          n += counts[b];
          if (n === 0 || rightCount[b + 1] === 0) continue;
          const cost = n * area(box) + rightCount[b + 1] * rightArea[b + 1];
          if (cost < best) {
            best = cost;
            bestAxis = axis;
            bestBin = b;
          }
        }
      }
    }
    if (bestAxis < 0) {
      links[node * 2] = begin;
      links[node * 2 + 1] = end - begin;
      return;
    }
    let middle = begin;
    for (let i = begin; i < end; i++) {
      if (bin(order[i], bestAxis) > bestBin) continue;
      const t = order[i];
      order[i] = order[middle];
      order[middle++] = t;
    }
    const left = addNode();
    addNode();
    links[node * 2] = left;
    links[node * 2 + 1] = 0;
    build(left, begin, middle);
    build(left + 1, middle, end);
  };
  build(addNode(), 0, count);
  const corners = new Float32Array(count * 9);
  const normals = new Float32Array(count * 9);
  const owners = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const t = order[i];
    owners[i] = mesh.owners[t];
    for (let k = 0; k < 3; k++) {
      const a = mesh.positions[mesh.indices[t * 3] * 3 + k];
      corners[i * 9 + k] = a;
      corners[i * 9 + 3 + k] = mesh.positions[mesh.indices[t * 3 + 1] * 3 + k] - a;
      corners[i * 9 + 6 + k] = mesh.positions[mesh.indices[t * 3 + 2] * 3 + k] - a;
      for (let m = 0; m < 3; m++) normals[i * 9 + m * 3 + k] = mesh.normals[mesh.indices[t * 3 + m] * 3 + k];
    }
  }
  return {
    objects: mesh.objects,
    bounds: new Float32Array(bounds),
    links: new Int32Array(links),
    corners,
    normals,
    owners,
  };
}

function boxEntry(
  b: Float32Array,
  k: number,
  ox: number,
  oy: number,
  oz: number,
  ix: number,
  iy: number,
  iz: number,
  limit: number,
): number {
  const x0 = (b[k] - ox) * ix;
  const x1 = (b[k + 3] - ox) * ix;
  let near = x0 < x1 ? x0 : x1;
  let far = x0 < x1 ? x1 : x0;
  const y0 = (b[k + 1] - oy) * iy;
  const y1 = (b[k + 4] - oy) * iy;
  if (y0 < y1) {
    if (y0 > near) near = y0;
    if (y1 < far) far = y1;
  } else {
    if (y1 > near) near = y1;
    if (y0 < far) far = y0;
  }
  const z0 = (b[k + 2] - oz) * iz;
  const z1 = (b[k + 5] - oz) * iz;
  if (z0 < z1) {
    if (z0 > near) near = z0;
    if (z1 < far) far = z1;
  } else {
    if (z1 > near) near = z1;
    if (z0 < far) far = z0;
  }
  return near <= far * 1.0000004 && far > 0 && near < limit ? near : MISS;
}

function grow(box: number[], low: Float32Array, high: Float32Array, t: number): void {
  for (let k = 0; k < 3; k++) {
    box[k] = Math.min(box[k], low[t * 3 + k]);
    box[k + 3] = Math.max(box[k + 3], high[t * 3 + k]);
  }
}

function merge(box: number[], other: readonly number[]): void {
  for (let k = 0; k < 3; k++) {
    box[k] = Math.min(box[k], other[k]);
    box[k + 3] = Math.max(box[k + 3], other[k + 3]);
  }
}

function area(box: readonly number[]): number {
  const x = Math.max(0, box[3] - box[0]);
  const y = Math.max(0, box[4] - box[1]);
  const z = Math.max(0, box[5] - box[2]);
  return x * y + y * z + z * x;
}
