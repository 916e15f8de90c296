import { Bvh, type Tree } from "./bvh.js";
import { Camera, EYE, SHOTS } from "./camera.js";
import { buildCat, CAT_POSES } from "./cat.js";
import { landscape, SUN_IRRADIANCE } from "./landscape.js";
import { Gather, type Point } from "./light.js";
import { evaluate, isGlossy, MATERIAL, Surface } from "./materials.js";
import { clamp, hashInts, Random } from "./noise.js";
import { buildRoom } from "./scene.js";

/**
 * From the room to pictures, in two passes. Light is gathered once, on a coarser grid over the reference view, for the
 * three moments together; then every shot is drawn at full size with exact edges, texture and sun shadows, taking its
 * soft light from the grid. The camera only turns between shots, so all shots see the same surfaces.
 */

export interface Settings {
  readonly width: number;
  readonly height: number;
  /** Pixels per cell of the light grid. */
  readonly coarseness: number;
  /** Paths per cell. */
  readonly paths: number;
  /** Every pixel gets 4 samples, one with detail this squared more, one with a strong edge four times that more. */
  readonly grid: number;
  readonly seed: number;
  /** Cell of the cat's surface in metres. */
  readonly catCell: number;
}

/** Light on the grid at one moment; `owner` is -1 where the view goes out of the window. */
export interface LightBuffer {
  readonly width: number;
  readonly height: number;
  readonly owner: Int32Array;
  readonly position: Float32Array;
  readonly normal: Float32Array;
  readonly irradiance: Float32Array;
  readonly direction: Float32Array;
  readonly irradianceSquare: Float32Array;
  readonly mirrored: Float32Array;
  readonly mirroredSquare: Float32Array;
}

/** Cells around the reference view, for what the other shots see beyond its edge. */
const MARGIN = 9;
const FAR = 1e3;
const CAT = 1 << 20;
const MOMENTS = SHOTS.map((_, k) => k);

export function gridSize(settings: Settings): { width: number; height: number } {
  return {
    width: Math.ceil(settings.width / settings.coarseness) + 2 * MARGIN,
    height: Math.ceil(settings.height / settings.coarseness) + 2 * MARGIN,
  };
}

/** Turns a uniform number into one of a triangle over [-1, 1]: the pixel's filter, as soft as a lens. */
const tent = (u: number) => (u < 0.5 ? Math.sqrt(2 * u) - 1 : 1 - Math.sqrt(2 - 2 * u));

/** A light buffer in memory that workers can share. */
export function allocateLight(settings: Settings): LightBuffer {
  const { width, height } = gridSize(settings);
  const floats = (channels: number) => new Float32Array(new SharedArrayBuffer(width * height * channels * 4));
  return {
    width,
    height,
    owner: new Int32Array(new SharedArrayBuffer(width * height * 4)),
    position: floats(3),
    normal: floats(3),
    irradiance: floats(3),
    direction: floats(3),
    irradianceSquare: floats(1),
    mirrored: floats(3),
    mirroredSquare: floats(1),
  };
}

/** All surfaces: the room's, and the cat's at each moment. */
export interface Scene {
  readonly room: Tree;
  readonly cats: readonly Tree[];
}

export function buildScene(settings: Settings): Scene {
  return { room: buildRoom(), cats: CAT_POSES.map((pose) => buildCat(pose, settings.catCell)) };
}

export class Renderer {
  private readonly room: Bvh;
  private readonly cats: readonly Bvh[];
  private readonly gather: Gather;
  private readonly cameras: readonly Camera[];
  private readonly surface = new Surface();

  constructor(
    private readonly settings: Settings,
    scene: Scene,
  ) {
    this.room = new Bvh(scene.room);
    this.cats = scene.cats.map((cat) => new Bvh(cat));
    this.gather = new Gather(this.room, this.cats);
    this.cameras = MOMENTS.map((k) => new Camera(settings.width, settings.height, k));
  }

  /** Fills row `row` of the light grid of every moment. */
  gatherRow(row: number, lights: readonly LightBuffer[]): void {
    const { coarseness, paths, seed } = this.settings;
    const { room } = this;
    const width = lights[0].width;
    for (let column = 0; column < width; column++) {
      const [dx, dy, dz] = this.cameras[1].direction(
        (column - MARGIN + 0.5) * coarseness,
        (row - MARGIN + 0.5) * coarseness,
      );
      const i = row * width + column;
      const random = new Random(hashInts(seed, column, row));
      const hit = room.intersect(EYE[0], EYE[1], EYE[2], dx, dy, dz, FAR);
      const distance = hit ? room.distance : FAR;
      const normal = [room.nx, room.ny, room.nz];
      const owner = room.owner;
      const withCat = MOMENTS.filter((k) => this.cats[k].intersect(EYE[0], EYE[1], EYE[2], dx, dy, dz, distance));
      const without = MOMENTS.filter((k) => !withCat.includes(k));
      if (without.length) {
        if (!hit) for (const k of without) lights[k].owner[i] = -1;
        else this.fill(i, lights, without, owner, distance, normal, dx, dy, dz, paths, random);
      }
      for (const k of withCat) {
        const cat = this.cats[k];
        cat.intersect(EYE[0], EYE[1], EYE[2], dx, dy, dz, distance);
        this.fill(i, lights, [k], CAT, cat.distance, [cat.nx, cat.ny, cat.nz], dx, dy, dz, paths, random);
      }
    }
  }

  private fill(
    i: number,
    lights: readonly LightBuffer[],
    moments: readonly number[],
    owner: number,
    distance: number,
    normal: readonly number[],
    dx: number,
    dy: number,
    dz: number,
    paths: number,
    random: Random,
  ): void {
    const { gather, surface } = this;
    const object = owner === CAT ? this.cats[moments[0]].objects[0] : this.room.objects[owner];
    const p: Point = {
      x: EYE[0] + dx * distance,
      y: EYE[1] + dy * distance,
      z: EYE[2] + dz * distance,
      nx: normal[0],
      ny: normal[1],
      nz: normal[2],
      through: 0,
    };
    evaluate(surface, object, p.x, p.y, p.z, p.nx, p.ny, p.nz);
    p.through = surface.through;
    gather.irradiance(p, moments, paths, random);
    for (const k of moments) {
      const light = lights[k];
      const sums = gather.sums[k];
      light.owner[i] = owner;
      light.position.set([p.x, p.y, p.z], i * 3);
      light.normal.set(normal, i * 3);
      light.irradiance.set([sums[0], sums[1], sums[2]], i * 3);
      light.direction.set([sums[3], sums[4], sums[5]], i * 3);
      light.irradianceSquare[i] = sums[6];
    }
    if (!isGlossy(object.material)) return;
    gather.mirrored(p, dx, dy, dz, object.material, moments, Math.max(4, paths >> 1), random);
    for (const k of moments) {
      lights[k].mirrored.set([gather.sums[k][0], gather.sums[k][1], gather.sums[k][2]], i * 3);
      lights[k].mirroredSquare[i] = gather.sums[k][6];
    }
  }

  /** Draws row `row` of shot `shot` into `picture` (linear RGB). */
  drawRow(shot: number, row: number, light: LightBuffer, picture: Float32Array): void {
    const { width, grid, seed } = this.settings;
    const pixel = new Float64Array(3);
    const seen = [-1, 0, 1].map((step) =>
      Int32Array.from({ length: width + 2 }, (_, i) => this.ownerAt(shot, i - 0.5, row + step + 0.5)),
    );
    for (let column = 0; column < width; column++) {
      const around = seen.flatMap((line) => [line[column], line[column + 1], line[column + 2]]);
      const edge = around.some((owner) => owner !== around[4]);
      const skyline =
        edge && around.some((owner) => owner < 0 !== around[4] < 0 || (owner === CAT) !== (around[4] === CAT));
      const random = new Random(hashInts(seed + 1, column, row));
      const sum = [0, 0, 0];
      let count = 0;
      let least = 1;
      let most = 0;
      const draw = (cells: number) => {
        for (let j = 0; j < cells; j++)
          for (let i = 0; i < cells; i++) {
            const [dx, dy, dz] = this.cameras[shot].direction(
              column + 0.5 + tent((i + random.next()) / cells),
              row + 0.5 + tent((j + random.next()) / cells),
            );
            this.sample(shot, dx, dy, dz, light, random, pixel);
            for (let c = 0; c < 3; c++) sum[c] += pixel[c];
            least = Math.min(least, pixel[1]);
            most = Math.max(most, pixel[1]);
            count++;
          }
      };
      draw(2);
      // Edges and fine texture get more samples, edges against the bright window most.
      if (edge || most > 1.25 * least) draw(grid);
      if (skyline || most > 2.5 * least) draw(2 * grid);
      picture.set(
        sum.map((v) => clamp(v / count)),
        (row * width + column) * 3,
      );
    }
  }

  /** The object seen at a position of a shot: -1 out of the window. */
  private ownerAt(shot: number, x: number, y: number): number {
    const { room } = this;
    const cat = this.cats[shot];
    const [dx, dy, dz] = this.cameras[shot].direction(x, y);
    const hit = room.intersect(EYE[0], EYE[1], EYE[2], dx, dy, dz, FAR);
    if (cat.occluded(EYE[0], EYE[1], EYE[2], dx, dy, dz, hit ? room.distance : FAR)) return CAT;
    return hit ? room.owner : -1;
  }

  private sample(
    shot: number,
    dx: number,
    dy: number,
    dz: number,
    light: LightBuffer,
    random: Random,
    pixel: Float64Array,
  ): void {
    const { room, surface: s, gather } = this;
    const cat = this.cats[shot];
    const [ex, ey, ez] = EYE;
    const hit = room.intersect(ex, ey, ez, dx, dy, dz, FAR);
    const onCat = cat.intersect(ex, ey, ez, dx, dy, dz, hit ? room.distance : FAR);
    if (!hit && !onCat) {
      pixel.set(landscape(dx, dy, dz));
      return;
    }
    const from = onCat ? cat : room;
    const object = from.objects[from.owner];
    const x = ex + dx * from.distance;
    const y = ey + dy * from.distance;
    const z = ez + dz * from.distance;
    const nx = from.nx;
    const ny = from.ny;
    const nz = from.nz;
    evaluate(s, object, x, y, z, nx, ny, nz);
    if (object.material === MATERIAL.shade) {
      pixel[0] = s.er;
      pixel[1] = s.eg;
      pixel[2] = s.eb;
    } else pixel.fill(0);
    const found = this.lookUp(light, onCat ? CAT : from.owner, x, y, z, nx, ny, nz, dx, dy, dz);
    // Relief turns the surface towards or away from where most light comes from.
    const away = found[3] * nx + found[4] * ny + found[5] * nz;
    const towards = found[3] * s.nx + found[4] * s.ny + found[5] * s.nz;
    const strength = Math.hypot(found[3], found[4], found[5]);
    const relief =
      s.through > 0 ? 1 : clamp((towards + 0.15 * strength) / (Math.max(away, 0) + 0.15 * strength + 1e-9), 0.4, 2);
    const sun = gather.sunlight(x, y, z, s.nx, s.ny, s.nz, s.through, cat, random);
    pixel[0] += s.r * (found[0] * relief + sun * SUN_IRRADIANCE[0]);
    pixel[1] += s.g * (found[1] * relief + sun * SUN_IRRADIANCE[1]);
    pixel[2] += s.b * (found[2] * relief + sun * SUN_IRRADIANCE[2]);
    if (s.gloss > 0 && isGlossy(object.material)) {
      const c = clamp(-(dx * s.nx + dy * s.ny + dz * s.nz));
      const fresnel = s.gloss + Math.min(0.6, s.gloss * 10) * (1 - s.gloss) * (1 - c) ** 5;
      pixel[0] += fresnel * s.tintR * found[6];
      pixel[1] += fresnel * s.tintG * found[7];
      pixel[2] += fresnel * s.tintB * found[8];
    }
  }

  private readonly found = new Float64Array(9);

  /** Light at a point from the grid cells around it that lie on the same surface. */
  private lookUp(
    light: LightBuffer,
    owner: number,
    x: number,
    y: number,
    z: number,
    nx: number,
    ny: number,
    nz: number,
    dx: number,
    dy: number,
    dz: number,
  ): Float64Array {
    const found = this.found;
    const [px, py] = this.cameras[1].project(dx, dy, dz);
    const u = px / this.settings.coarseness + MARGIN - 0.5;
    const v = py / this.settings.coarseness + MARGIN - 0.5;
    // A thin thing may have been missed by its nearest cells: then look farther.
    for (const reach of [1, 3, 6]) {
      found.fill(0);
      let total = 0;
      let mirroredTotal = 0;
      const i0 = Math.floor(u) - reach + 1;
      const j0 = Math.floor(v) - reach + 1;
      for (let j = Math.max(0, j0); j < Math.min(light.height, j0 + 2 * reach); j++)
        for (let i = Math.max(0, i0); i < Math.min(light.width, i0 + 2 * reach); i++) {
          const k = j * light.width + i;
          if (light.owner[k] < 0 || (light.owner[k] === CAT) !== (owner === CAT)) continue;
          const dot = nx * light.normal[k * 3] + ny * light.normal[k * 3 + 1] + nz * light.normal[k * 3 + 2];
          if (dot < 0.3 && reach === 1) continue;
          const ax = light.position[k * 3] - x;
          const ay = light.position[k * 3 + 1] - y;
          const az = light.position[k * 3 + 2] - z;
          const off = Math.abs(ax * nx + ay * ny + az * nz);
          let w = Math.max(0.001, 1 - Math.abs(i - u) / reach) * Math.max(0.001, 1 - Math.abs(j - v) / reach);
          w *= Math.exp(-Math.min(20, 8 * (1 - dot) + off / (0.012 * reach)));
          const same = light.owner[k] === owner;
          if (reach > 1 && same) w *= 20;
          total += w;
          for (let c = 0; c < 3; c++) {
            found[c] += w * light.irradiance[k * 3 + c];
            found[3 + c] += w * light.direction[k * 3 + c];
          }
          if (!same) continue;
          mirroredTotal += w;
          for (let c = 0; c < 3; c++) found[6 + c] += w * light.mirrored[k * 3 + c];
        }
      if (total < [0, 1e-3, 0, 1e-9][reach]) continue;
      for (let c = 0; c < 6; c++) found[c] /= total + 1e-30;
      for (let c = 6; c < 9; c++) found[c] /= mirroredTotal + 1e-30;
      break;
    }
    return found;
  }
}
