import type { Bvh } from "./bvh.js";
import { landscape, landscapeBlurred, SUN, SUN_IRRADIANCE } from "./landscape.js";
import { evaluate, evaluateRoughly, MATERIAL, roughnessOf, Surface } from "./materials.js";
import type { Random } from "./noise.js";
import { LAMP, ROOM, WINDOW } from "./scene.js";

/** Light in the room by Monte Carlo: paths through the room, with the window, the sun and the lamp sampled at each turn. */

const LIFT = 2e-4;
const FAR = 1e3;
const SUN_RADIUS = 0.007;
const PORTAL_AREA = (WINDOW.right - WINDOW.left) * (WINDOW.top - WINDOW.bottom);
const SIDE_AREA = 2 * Math.PI * LAMP.radius * (LAMP.top - LAMP.bottom);
const CAP_AREA = Math.PI * LAMP.radius ** 2;
const LAMP_AREA = SIDE_AREA + 2 * CAP_AREA;
/** Average glow of the shade and of its openings, as the materials have it. */
const SIDE_GLOW = [0.064, 0.0384, 0.0173] as const;
const CAP_GLOW = [0.28, 0.17, 0.08] as const;
/** Roughly what falls on the cat: it matters only where a ray from elsewhere meets the cat. */
const AMBIENT = 0.003;
const CAT_COLOUR = [0.35, 0.2, 0.1] as const;
const MAX_TURNS = 5;

export interface Point {
  x: number;
  y: number;
  z: number;
  nx: number;
  ny: number;
  nz: number;
  /** Share that shines through from behind, relative to what is reflected. */
  through: number;
}

/** Light falling on a point, seen at up to three moments (the cat stands elsewhere in each). */
export class Gather {
  /** Per moment: irradiance over pi (3), its luminance-weighted direction (3), sum of squared luminance. */
  readonly sums: Float64Array[];
  private readonly surface = new Surface();
  private readonly radiance = new Float64Array(3);
  private readonly direct = new Float64Array(3);

  constructor(
    private readonly room: Bvh,
    private readonly cats: readonly Bvh[],
  ) {
    this.sums = cats.map(() => new Float64Array(7));
  }

  /** Gathers `samples` paths at `p` for the moments listed; sums are means on return. */
  irradiance(p: Point, moments: readonly number[], samples: number, random: Random): void {
    for (const k of moments) this.sums[k].fill(0);
    const columns = Math.max(1, Math.round(Math.sqrt(samples)));
    const rows = Math.ceil(samples / columns);
    const total = columns * rows;
    for (let i = 0; i < total; i++) {
      const u = ((i % columns) + random.next()) / columns;
      const v = (Math.floor(i / columns) + random.next()) / rows;
      // A thin material gathers on one side or the other.
      const behind = p.through > 0 && random.next() < 0.5;
      const weight = p.through > 0 ? 2 * (behind ? p.through : 1) : 1;
      const sign = behind ? -1 : 1;
      const nx = p.nx * sign;
      const ny = p.ny * sign;
      const nz = p.nz * sign;
      const ox = p.x + nx * LIFT;
      const oy = p.y + ny * LIFT;
      const oz = p.z + nz * LIFT;
      this.portal(ox, oy, oz, nx, ny, nz, u, v, (r, g, b, dx, dy, dz, d) =>
        this.add(moments, r * weight, g * weight, b * weight, ox, oy, oz, dx, dy, dz, d, 0),
      );
      this.lamp(ox, oy, oz, nx, ny, nz, random.next(), random.next(), (r, g, b, dx, dy, dz, d) =>
        this.add(moments, r * weight, g * weight, b * weight, ox, oy, oz, dx, dy, dz, d, 0),
      );
      const [dx, dy, dz] = cosineDirection(nx, ny, nz, (v + 0.37) % 1, (u + 0.61) % 1);
      const distance = this.follow(ox, oy, oz, dx, dy, dz, random, false);
      const [r, g, b] = this.radiance;
      this.add(moments, r * weight, g * weight, b * weight, ox, oy, oz, dx, dy, dz, distance, AMBIENT * weight);
    }
    for (const k of moments) for (let c = 0; c < 7; c++) this.sums[k][c] /= total;
  }

  /** Radiance mirrored towards `p` about direction (dx, dy, dz), spread by `roughness`. Fills sums[k][0..2] and [6]. */
  mirrored(
    p: Point,
    dx: number,
    dy: number,
    dz: number,
    material: number,
    moments: readonly number[],
    samples: number,
    random: Random,
  ): void {
    for (const k of moments) this.sums[k].fill(0);
    const roughness = roughnessOf(material);
    const ox = p.x + p.nx * LIFT;
    const oy = p.y + p.ny * LIFT;
    const oz = p.z + p.nz * LIFT;
    for (let i = 0; i < samples; i++) {
      // A facet of slope drawn from a Gaussian.
      let mx = p.nx + roughness * random.gaussian() * 0.7;
      let my = p.ny + roughness * random.gaussian() * 0.7;
      let mz = p.nz + roughness * random.gaussian() * 0.7;
      const s = 1 / Math.sqrt(mx * mx + my * my + mz * mz);
      mx *= s;
      my *= s;
      mz *= s;
      const c = 2 * (dx * mx + dy * my + dz * mz);
      const rx = dx - c * mx;
      const ry = dy - c * my;
      const rz = dz - c * mz;
      if (rx * p.nx + ry * p.ny + rz * p.nz <= 0) continue;
      const distance = this.follow(ox, oy, oz, rx, ry, rz, random, true);
      const [r, g, b] = this.radiance;
      this.add(moments, r, g, b, ox, oy, oz, rx, ry, rz, distance, AMBIENT);
    }
    for (const k of moments) for (let c = 0; c < 7; c++) this.sums[k][c] /= samples;
  }

  /** Irradiance over pi of the sun at a point, shadow included; 0 where none. `cat` is the moment's, if it matters. */
  sunlight(
    x: number,
    y: number,
    z: number,
    nx: number,
    ny: number,
    nz: number,
    through: number,
    cat: Bvh | undefined,
    random: Random,
  ): number {
    let cos = nx * SUN[0] + ny * SUN[1] + nz * SUN[2];
    let factor = 1;
    if (cos <= 0) {
      if (through === 0) return 0;
      factor = through;
      cos = -cos;
    }
    if (z > 0) {
      const t = -z / SUN[2];
      const wx = x + t * SUN[0];
      const wy = y + t * SUN[1];
      if (wx < WINDOW.left - 0.05 || wx > WINDOW.right + 0.05 || wy < WINDOW.bottom - 0.1 || wy > WINDOW.top + 0.05)
        return 0;
    }
    const dx = SUN[0] + SUN_RADIUS * (2 * random.next() - 1);
    const dy = SUN[1] + SUN_RADIUS * (2 * random.next() - 1);
    const dz = SUN[2];
    const side = factor === 1 && nx * dx + ny * dy + nz * dz > 0 ? LIFT : -LIFT;
    const ox = x + nx * side;
    const oy = y + ny * side;
    const oz = z + nz * side;
    if (this.room.occluded(ox, oy, oz, dx, dy, dz, FAR)) return 0;
    if (cat?.occluded(ox, oy, oz, dx, dy, dz, FAR)) return 0;
    return (factor * cos) / Math.PI;
  }

  /** Adds one contribution to every moment whose cat is not in its way. */
  private add(
    moments: readonly number[],
    r: number,
    g: number,
    b: number,
    ox: number,
    oy: number,
    oz: number,
    dx: number,
    dy: number,
    dz: number,
    distance: number,
    ambient: number,
  ): void {
    for (const k of moments) {
      const blocked = this.cats[k].occluded(ox, oy, oz, dx, dy, dz, distance);
      const sums = this.sums[k];
      const cr = blocked ? CAT_COLOUR[0] * ambient : r;
      const cg = blocked ? CAT_COLOUR[1] * ambient : g;
      const cb = blocked ? CAT_COLOUR[2] * ambient : b;
      const light = 0.2126 * cr + 0.7152 * cg + 0.0722 * cb;
      sums[0] += cr;
      sums[1] += cg;
      sums[2] += cb;
      sums[3] += light * dx;
      sums[4] += light * dy;
      sums[5] += light * dz;
      sums[6] += light * light;
    }
  }

  /** One sample of the light that enters by the window, given to `use` with its direction and distance. */
  private portal(
    ox: number,
    oy: number,
    oz: number,
    nx: number,
    ny: number,
    nz: number,
    u: number,
    v: number,
    use: (r: number, g: number, b: number, dx: number, dy: number, dz: number, d: number) => void,
  ): void {
    let dx = WINDOW.left + (WINDOW.right - WINDOW.left) * u - ox;
    let dy = WINDOW.bottom + (WINDOW.top - WINDOW.bottom) * v - oy;
    let dz = WINDOW.outside - oz;
    const square = dx * dx + dy * dy + dz * dz;
    const d = Math.sqrt(square);
    dx /= d;
    dy /= d;
    dz /= d;
    const cos = nx * dx + ny * dy + nz * dz;
    if (cos <= 0 || dz >= 0) return;
    if (this.room.occluded(ox, oy, oz, dx, dy, dz, d)) return;
    const k = (cos * -dz * PORTAL_AREA) / (Math.PI * Math.max(square, 0.02));
    const light = landscapeBlurred(dx, dy, dz);
    use(light[0] * k, light[1] * k, light[2] * k, dx, dy, dz, d);
  }

  /** One sample of the lamp's light. */
  private lamp(
    ox: number,
    oy: number,
    oz: number,
    nx: number,
    ny: number,
    nz: number,
    u: number,
    v: number,
    use: (r: number, g: number, b: number, dx: number, dy: number, dz: number, d: number) => void,
  ): void {
    const side = u * LAMP_AREA < SIDE_AREA;
    const phi = 2 * Math.PI * v;
    let px: number;
    let py: number;
    let pz: number;
    let lx = 0;
    let ly = 0;
    let lz = 0;
    if (side) {
      const t = (u * LAMP_AREA) / SIDE_AREA;
      lx = Math.cos(phi);
      lz = Math.sin(phi);
      px = LAMP.x + (LAMP.radius + 1e-3) * lx;
      py = LAMP.bottom + (LAMP.top - LAMP.bottom) * t;
      pz = LAMP.z + (LAMP.radius + 1e-3) * lz;
    } else {
      let t = (u * LAMP_AREA - SIDE_AREA) / CAP_AREA;
      ly = t < 1 ? -1 : 1;
      t %= 1;
      const r = LAMP.radius * 0.98 * Math.sqrt(t);
      px = LAMP.x + r * Math.cos(phi);
      py = ly < 0 ? LAMP.bottom + 0.019 : LAMP.top - 0.019;
      pz = LAMP.z + r * Math.sin(phi);
    }
    let dx = px - ox;
    let dy = py - oy;
    let dz = pz - oz;
    const square = dx * dx + dy * dy + dz * dz;
    const d = Math.sqrt(square);
    dx /= d;
    dy /= d;
    dz /= d;
    const cos = nx * dx + ny * dy + nz * dz;
    const lightCos = -(lx * dx + ly * dy + lz * dz);
    if (cos <= 0 || lightCos <= 0) return;
    if (this.room.occluded(ox, oy, oz, dx, dy, dz, d - 1e-3)) return;
    const k = (cos * lightCos * LAMP_AREA) / (Math.PI * Math.max(square, 0.01));
    const glow = side ? SIDE_GLOW : CAP_GLOW;
    use(glow[0] * k, glow[1] * k, glow[2] * k, dx, dy, dz, d);
  }

  /**
   * Radiance along a ray, left in this.radiance; returns the distance to what it meets. `seesLights`: whether a light
   * met head-on counts (it does for mirrored rays; elsewhere lights are sampled directly).
   */
  private follow(
    ox: number,
    oy: number,
    oz: number,
    dx: number,
    dy: number,
    dz: number,
    random: Random,
    seesLights: boolean,
  ): number {
    const { room, surface: s, radiance, direct } = this;
    radiance.fill(0);
    let tr = 1;
    let tg = 1;
    let tb = 1;
    let first = FAR;
    for (let turn = 0; turn < MAX_TURNS; turn++) {
      if (!room.intersect(ox, oy, oz, dx, dy, dz, FAR)) {
        if (turn === 0 && seesLights) {
          const light = dz < 0 ? landscape(dx, dy, dz) : [0, 0, 0];
          for (let c = 0; c < 3; c++) radiance[c] += light[c];
        }
        return first;
      }
      const distance = room.distance;
      if (turn === 0) first = distance;
      const x = ox + dx * distance;
      const y = oy + dy * distance;
      const z = oz + dz * distance;
      if (y < -0.05 || y > ROOM.height + 0.05 || x < -0.05 || x > ROOM.width + 0.05) return first;
      const object = room.objects[room.owner];
      let nx = room.nx;
      let ny = room.ny;
      let nz = room.nz;
      if (turn > 0 || !seesLights) evaluateRoughly(s, object, x, y, z, nx, ny, nz);
      else evaluate(s, object, x, y, z, nx, ny, nz);
      if (object.material === MATERIAL.shade || object.material === MATERIAL.shadeInside) {
        if (turn === 0 && seesLights) {
          radiance[0] += s.er;
          radiance[1] += s.eg;
          radiance[2] += s.eb;
        }
        return first;
      }
      tr *= s.r;
      tg *= s.g;
      tb *= s.b;
      const sun = this.sunlight(x, y, z, nx, ny, nz, s.through, undefined, random);
      const through = s.through;
      radiance[0] += tr * sun * SUN_IRRADIANCE[0];
      radiance[1] += tg * sun * SUN_IRRADIANCE[1];
      radiance[2] += tb * sun * SUN_IRRADIANCE[2];
      if (through > 0) {
        const behind = random.next() < 0.5;
        const w = 2 * (behind ? through : 1);
        tr *= w;
        tg *= w;
        tb *= w;
        if (behind) {
          nx = -nx;
          ny = -ny;
          nz = -nz;
        }
      }
      ox = x + nx * LIFT;
      oy = y + ny * LIFT;
      oz = z + nz * LIFT;
      direct.fill(0);
      const collect = (r: number, g: number, b: number) => {
        direct[0] += r;
        direct[1] += g;
        direct[2] += b;
      };
      this.portal(ox, oy, oz, nx, ny, nz, random.next(), random.next(), collect);
      this.lamp(ox, oy, oz, nx, ny, nz, random.next(), random.next(), collect);
      // Close to the window one sample can be far too bright.
      radiance[0] += tr * Math.min(direct[0], 0.5);
      radiance[1] += tg * Math.min(direct[1], 0.5);
      radiance[2] += tb * Math.min(direct[2], 0.5);
      // Go on with a probability that follows what is left to carry.
      const keep = Math.min(0.95, 1.6 * Math.max(tr, tg, tb));
      if (turn > 0) {
        if (random.next() >= keep) return first;
        tr /= keep;
        tg /= keep;
        tb /= keep;
      }
      [dx, dy, dz] = cosineDirection(nx, ny, nz, random.next(), random.next());
    }
    return first;
  }
}

function cosineDirection(nx: number, ny: number, nz: number, u: number, v: number): [number, number, number] {
  // A unit sphere's point added to the normal falls off with the cosine.
  const phi = 2 * Math.PI * u;
  const h = 2 * v - 1;
  const r = Math.sqrt(Math.max(0, 1 - h * h));
  let x = nx + r * Math.cos(phi) * 0.9999;
  let y = ny + r * Math.sin(phi) * 0.9999;
  let z = nz + h * 0.9999;
  const s = 1 / Math.sqrt(x * x + y * y + z * z);
  x *= s;
  y *= s;
  z *= s;
  return [x, y, z];
}
