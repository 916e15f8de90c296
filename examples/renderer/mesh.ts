/** Triangles with smooth normals, grouped in objects that carry a material and a place. */

export type Vec3 = readonly [number, number, number];

/** One thing in the room: its material and the frame its texture lives in (turned by `angle` about the vertical). */
export interface SceneObject {
  readonly material: number;
  readonly centre: Vec3;
  readonly angle: number;
  /** Half sizes of a box, whose edges are then rounded in shading; absent for other shapes. */
  readonly half?: Vec3;
  /** A number of its own, to vary colour and grain. */
  readonly seed: number;
}

export class Mesh {
  readonly positions: number[] = [];
  readonly normals: number[] = [];
  readonly indices: number[] = [];
  /** Object of each triangle. */
  readonly owners: number[] = [];
  readonly objects: SceneObject[] = [];

  addObject(material: number, centre: Vec3, angle = 0, half?: Vec3, seed = this.objects.length): number {
    this.objects.push(half ? { material, centre, angle, half, seed } : { material, centre, angle, seed });
    return this.objects.length - 1;
  }

  vertex(p: Vec3, n: Vec3): number {
    this.positions.push(p[0], p[1], p[2]);
    this.normals.push(n[0], n[1], n[2]);
    return this.positions.length / 3 - 1;
  }

  triangle(owner: number, a: number, b: number, c: number): void {
    this.indices.push(a, b, c);
    this.owners.push(owner);
  }

  /** A box given by centre and half sizes, turned by `angle` about the vertical and leaning by `lean` about its own z axis. */
  box(material: number, centre: Vec3, half: Vec3, angle = 0, lean = 0, seed?: number): void {
    const owner = this.addObject(material, centre, angle, lean === 0 ? half : undefined, seed);
    const place = (x: number, y: number, z: number): Vec3 => {
      const lx = x * Math.cos(lean) - y * Math.sin(lean);
      const ly = x * Math.sin(lean) + y * Math.cos(lean);
      return [lx * Math.cos(angle) + z * Math.sin(angle), ly, -lx * Math.sin(angle) + z * Math.cos(angle)];
    };
    for (let axis = 0; axis < 3; axis++) {
      for (const side of [-1, 1]) {
        const corner = (u: number, v: number): Vec3 => {
          const p = [0, 0, 0];
          p[axis] = side * half[axis];
          p[(axis + 1) % 3] = u * half[(axis + 1) % 3];
          p[(axis + 2) % 3] = v * half[(axis + 2) % 3];
          const q = place(p[0], p[1], p[2]);
          return [centre[0] + q[0], centre[1] + q[1], centre[2] + q[2]];
        };
        const n = [0, 0, 0];
        n[axis] = side;
        const normal = place(n[0], n[1], n[2]);
        const base = this.vertex(corner(-1, -1), normal);
        this.vertex(corner(1, -1), normal);
        this.vertex(corner(1, 1), normal);
        this.vertex(corner(-1, 1), normal);
        this.triangle(owner, base, base + 1, base + 2);
        this.triangle(owner, base, base + 2, base + 3);
      }
    }
  }

  /** A box from its least to its greatest corner. */
  span(material: number, low: Vec3, high: Vec3, seed?: number): void {
    const centre: Vec3 = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2];
    this.box(material, centre, [(high[0] - low[0]) / 2, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2], 0, 0, seed);
  }

  /** A surface over the unit square, its normals found from neighbouring points. */
  sheet(owner: number, columns: number, rows: number, at: (u: number, v: number) => Vec3): void {
    const first = this.positions.length / 3;
    const e = 1e-3;
    for (let j = 0; j <= rows; j++) {
      for (let i = 0; i <= columns; i++) {
        const u = i / columns;
        const v = j / rows;
        const a = at(Math.min(u + e, 1), v);
        const b = at(Math.max(u - e, 0), v);
        const c = at(u, Math.min(v + e, 1));
        const d = at(u, Math.max(v - e, 0));
        const n = normalize(cross([a[0] - b[0], a[1] - b[1], a[2] - b[2]], [c[0] - d[0], c[1] - d[1], c[2] - d[2]]));
        this.vertex(at(u, v), n);
      }
    }
    for (let j = 0; j < rows; j++) {
      for (let i = 0; i < columns; i++) {
        const a = first + j * (columns + 1) + i;
        this.triangle(owner, a, a + 1, a + columns + 2);
        this.triangle(owner, a, a + columns + 2, a + columns + 1);
      }
    }
  }

  /** A turned shape: radius and height along a profile, around the vertical through `centre`. */
  lathe(
    material: number,
    centre: Vec3,
    profile: readonly (readonly [number, number])[],
    segments = 40,
    seed?: number,
  ): void {
    const owner = this.addObject(material, centre, 0, undefined, seed);
    for (let k = 0; k + 1 < profile.length; k++) {
      const [r0, y0] = profile[k];
      const [r1, y1] = profile[k + 1];
      this.sheet(owner, segments, 1, (u, v) => {
        const r = r0 + (r1 - r0) * v;
        const phi = 2 * Math.PI * u;
        return [centre[0] + r * Math.cos(phi), centre[1] + y0 + (y1 - y0) * v, centre[2] - r * Math.sin(phi)];
      });
    }
  }

  /**
   * The zero surface of a signed distance `distance` (in the object's frame), by surface nets: one vertex per cell that
   * the surface crosses, at the mean of the crossings on the cell's edges (Gibson 1998).
   */
  surface(
    owner: number,
    low: Vec3,
    high: Vec3,
    cell: number,
    distance: (x: number, y: number, z: number) => number,
  ): void {
    const object = this.objects[owner];
    const size = [0, 1, 2].map((k) => Math.ceil((high[k] - low[k]) / cell) + 1);
    const [sx, sy, sz] = size;
    const values = new Float32Array(sx * sy * sz);
    const at = (i: number, j: number, k: number) => (k * sy + j) * sx + i;
    // Bricks far from the surface need one value only.
    const brick = 8;
    for (let k0 = 0; k0 < sz; k0 += brick)
      for (let j0 = 0; j0 < sy; j0 += brick)
        for (let i0 = 0; i0 < sx; i0 += brick) {
          const point = (i: number, j: number, k: number) =>
            distance(low[0] + i * cell, low[1] + j * cell, low[2] + k * cell);
          const middle = point(i0 + brick / 2, j0 + brick / 2, k0 + brick / 2);
          const far = Math.abs(middle) > brick * cell * 1.2;
          for (let k = k0; k < Math.min(sz, k0 + brick); k++)
            for (let j = j0; j < Math.min(sy, j0 + brick); j++)
              for (let i = i0; i < Math.min(sx, i0 + brick); i++) values[at(i, j, k)] = far ? middle : point(i, j, k);
        }
    const cos = Math.cos(object.angle);
    const sin = Math.sin(object.angle);
    const turn = (p: Vec3): Vec3 => [p[0] * cos + p[2] * sin, p[1], -p[0] * sin + p[2] * cos];
    const vertexOf = new Int32Array(values.length).fill(-1);
    for (let k = 0; k + 1 < sz; k++)
      for (let j = 0; j + 1 < sy; j++)
        for (let i = 0; i + 1 < sx; i++) {
          const sum = [0, 0, 0];
          let crossings = 0;
          for (let corner = 0; corner < 8; corner++) {
            const c = [corner & 1, (corner >> 1) & 1, corner >> 2];
            const a = values[at(i + c[0], j + c[1], k + c[2])];
            for (let axis = 0; axis < 3; axis++) {
              if (c[axis]) continue;
              const d = [...c];
              d[axis] = 1;
              const b = values[at(i + d[0], j + d[1], k + d[2])];
              if (a < 0 === b < 0) continue;
              for (let m = 0; m < 3; m++) sum[m] += c[m] + (m === axis ? a / (a - b) : 0);
              crossings++;
            }
          }
          if (!crossings) continue;
          const x = low[0] + (i + sum[0] / crossings) * cell;
          const y = low[1] + (j + sum[1] / crossings) * cell;
          const z = low[2] + (k + sum[2] / crossings) * cell;
          const e = cell / 3;
          const gradient = normalize([
            distance(x + e, y, z) - distance(x - e, y, z),
            distance(x, y + e, z) - distance(x, y - e, z),
            distance(x, y, z + e) - distance(x, y, z - e),
          ]);
          const p = turn([x, y, z]);
          vertexOf[at(i, j, k)] = this.vertex(
            [p[0] + object.centre[0], p[1] + object.centre[1], p[2] + object.centre[2]],
            turn(gradient),
          );
        }
    const quad = (a: number, b: number, c: number, d: number) => {
      if (a < 0 || b < 0 || c < 0 || d < 0) return;
      this.triangle(owner, a, b, c);
      this.triangle(owner, a, c, d);
    };
    for (let k = 1; k + 1 < sz; k++)
      for (let j = 1; j + 1 < sy; j++)
        for (let i = 1; i + 1 < sx; i++) {
          const inside = values[at(i, j, k)] < 0;
          const v = (a: number, b: number, c: number) => vertexOf[at(i + a, j + b, k + c)];
          if (inside !== values[at(i + 1, j, k)] < 0) quad(v(0, -1, -1), v(0, 0, -1), v(0, 0, 0), v(0, -1, 0));
          if (inside !== values[at(i, j + 1, k)] < 0) quad(v(-1, 0, -1), v(0, 0, -1), v(0, 0, 0), v(-1, 0, 0));
          if (inside !== values[at(i, j, k + 1)] < 0) quad(v(-1, -1, 0), v(0, -1, 0), v(0, 0, 0), v(-1, 0, 0));
        }
  }
}

export function cross(a: Vec3, b: Vec3): Vec3 {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function normalize(v: Vec3): Vec3 {
  const length = Math.hypot(v[0], v[1], v[2]) || 1;
  return [v[0] / length, v[1] / length, v[2] / length];
}
