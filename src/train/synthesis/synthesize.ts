import { SmhdrError } from "../../errors.js";
import { expose, ISO, ISO_RANGE, randomNoise, randomResponse } from "./camera.js";
import { throughJpeg } from "./jpeg.js";
import { oversampling, type Plate, probe, randomLook, randomView, renderPlate, type View } from "./plate.js";
import { Random } from "./random.js";
import { type PreparedSource, prepare, type SourceImage } from "./source.js";
import { compositeSprite, createSprite, type Pose, type Sprite } from "./sprite.js";

export type { SourceImage } from "./source.js";

/** What is drawn at random, and from which ranges. Lengths are in output pixels, probabilities in [0, 1]. */
export interface SynthesisOptions {
  readonly width: number;
  readonly height: number;
  /** Photographs per bracket, 2 to 9. */
  readonly exposures: number;
  /** Stops between neighbouring exposures, one drawn evenly per bracket. Default mostly 2, sometimes 1, 1.5 or 3; at most 10 stops in all. */
  readonly evSpacing?: readonly number[];
  /** Probability that anything in the scene moves (objects or foliage). Default 0.9. */
  readonly motion?: number;
  /** Fewest and most objects. Default [0, 4]. */
  readonly objects?: readonly [number, number];
  /** Smallest and largest object, as a share of the frame. Default [0.01, 0.33]. */
  readonly objectArea?: readonly [number, number];
  /** Longest movement of an object over the bracket, as a share of the frame's shorter side. Default 0.5 to either side. */
  readonly reach?: number;
  /** Probability of foliage-like non-rigid motion of the background. Default 0.25. */
  readonly foliage?: number;
  /** Probability that the camera was held by hand. Default 0.6. */
  readonly handheld?: number;
  /** Largest shift by hand shake. Default 6. */
  readonly shake?: number;
  /** Multiplies the noise's standard deviation; 0 is none. Default 1. */
  readonly noise?: number;
  /** ISO setting, drawn evenly in its logarithm. Default ISO. */
  readonly iso?: readonly [number, number];
  /** Share of brackets whose camera curve is not gamma 2.2 but sRGB or filmic. Default 0.1. */
  readonly response?: number;
  /** Bits per sample of the files; "mixed" draws one per bracket. Default "mixed". */
  readonly bits?: 8 | 16 | "mixed";
  /** Share of the 8-bit brackets that went through JPEG, of quality 70 to 98. Default 0.3. */
  readonly jpeg?: number;
  /** Share of the frame that the reference clips, drawn evenly in its logarithm. Default [0.03, 0.4], and a quarter of the references are
   * exposed for the median instead, whatever that clips. */
  readonly clipped?: readonly [number, number];
  /** Probability of fine procedural texture on the scene. Default 0.3. */
  readonly texture?: number;
  /** Whether to photograph the reference's moment at every exposure, too. Default false. */
  readonly still?: boolean;
}

/** A bracket with its truth. Everything is interleaved RGB, rows top to bottom. */
export interface SyntheticBracket {
  readonly width: number;
  readonly height: number;
  /** Stops, shortest first, the shortest 0. The reference is index floor(n / 2). */
  readonly exposureValues: readonly number[];
  /** Codes 0 .. 65535 as the camera wrote them; 8-bit ones are multiples of 257. */
  readonly exposures: readonly Uint16Array[];
  /** Linear in [0, 1], 1.0 = the shortest exposure's clipping point; the scene at the reference's moment and place. */
  readonly truth: Float32Array;
  /** 1 where anything moved, in the reference's geometry (hand shake does not count). */
  readonly moving: Uint8Array;
  /** With the option `still`: codes of 16 bits that the camera would give if nothing moved, nor its hands, without noise. */
  readonly still?: readonly Uint16Array[];
}

/**
 * Photographs a random scene made of `sources`. The same sources, options and seed give the same bracket.
 * @throws SmhdrError INVALID_ARGUMENT where an option is out of range or there is no source.
 */
export function synthesizeBracket(
  sources: readonly SourceImage[],
  options: SynthesisOptions,
  seed: number,
): SyntheticBracket {
  validateOptions(sources, options, seed);
  const { width, height, exposures: count } = options;
  const random = new Random(seed);
  const reference = count >> 1;

  const spacings = options.evSpacing ?? [1, 1.5, 2, 2, 2, 2, 2, 3];
  const drawn = random.pick(spacings);
  const spacing = options.evSpacing || drawn * (count - 1) <= 10 ? drawn : 1;
  const exposureValues = Array.from({ length: count }, (_, i) => i * spacing);

  const shakes = randomShakes(random, options, count, reference);
  const moves = random.chance(options.motion ?? 0.9);
  const foliage = moves && random.chance(options.foliage ?? 0.25) ? randomFoliage(random, width, height) : undefined;
  const margin = marginFor(shakes, width, height) + (foliage ? Math.ceil(foliage.amplitude * 2) : 0);

  const [source, view] = interestingView(random, sources, width, height, margin);
  const look = randomLook(random, source.median, view.upsampling);
  const texture = random.chance(options.texture ?? 0.3) ? random.logUniform(0.08, 0.6) : 0;
  const plate = renderPlate(random, source, view, look, texture, width, height, margin);
  normaliseExposure(random, plate, options, spacing * reference);

  const actors = moves ? randomActors(random, sources, plate, options, count, reference, foliage === undefined) : [];
  const moving = new Uint8Array(width * height);
  if (foliage) markFoliage(moving, foliage, width, height);

  const noise =
    (options.noise ?? 1) > 0 && (options.noise !== undefined || random.chance(0.95))
      ? randomNoise(random, options.iso ?? ISO, options.noise ?? 1)
      : undefined;
  const response = randomResponse(random, options.response ?? 0.1);
  const bits = options.bits === 8 || options.bits === 16 ? options.bits : random.chance(0.5) ? 8 : 16;

  const quality = bits === 8 && random.chance(options.jpeg ?? 0.3) ? Math.round(random.uniform(70, 98)) : undefined;
  const subsampled = random.chance(0.5);

  const frame = new Float32Array(width * height * 3);
  let truth = frame;
  let still: Uint16Array[] | undefined;
  const gain = (ev: number) => 2 ** (ev - exposureValues[reference]);
  const exposures = exposureValues.map((ev, i) => {
    const sway = foliage && i !== reference ? { foliage, waves: foliage.fields[i] } : undefined;
    renderBackground(frame, plate, width, height, shakes[i], sway);
    for (const actor of actors) {
      const pose = actor.poses[i];
      if (pose) compositeSprite(frame, width, height, actor.sprite, pose, shakes[i], actor.moves ? moving : undefined);
    }
    if (i === reference) {
      const scale = 2 ** -exposureValues[reference];
      truth = new Float32Array(frame.length);
      for (let k = 0; k < frame.length; k++) truth[k] = Math.min(1, frame[k] * scale);
      if (options.still)
        still = exposureValues.map((other) => expose(frame, gain(other), undefined, response, 16, random));
    }
    const codes = expose(frame, gain(ev), noise, response, bits, random);
    if (quality !== undefined) throughJpeg(codes, width, height, quality, subsampled);
    return codes;
  });
  return { width, height, exposureValues, exposures, truth, moving, ...(still && { still }) };
}

function validateOptions(sources: readonly SourceImage[], options: SynthesisOptions, seed: number): void {
  const fail = (what: string) => {
    throw new SmhdrError("INVALID_ARGUMENT", `${what}.`);
  };
  if (sources.length === 0) fail("sources must hold at least one image, got none");
  if (!Number.isFinite(seed)) fail(`seed must be a finite number, got ${seed}`);
  for (const name of ["width", "height"] as const)
    if (!Number.isInteger(options[name]) || options[name] < 16 || options[name] > 8192)
      fail(`${name} must be a whole number from 16 to 8192, got ${options[name]}`);
  if (!Number.isInteger(options.exposures) || options.exposures < 2 || options.exposures > 9)
    fail(`exposures must be a whole number from 2 to 9, got ${options.exposures}`);
  if (options.evSpacing && (options.evSpacing.length === 0 || options.evSpacing.some((v) => !(v > 0 && v <= 6))))
    fail(`evSpacing must be stops above 0 and up to 6, got [${options.evSpacing.join(", ")}]`);
  for (const name of ["motion", "foliage", "handheld", "response", "jpeg", "texture"] as const) {
    const value = options[name];
    if (value !== undefined && !(value >= 0 && value <= 1))
      fail(`${name} must be a probability in [0, 1], got ${value}`);
  }
  for (const name of ["noise", "shake", "reach"] as const) {
    const value = options[name];
    if (value !== undefined && !(value >= 0 && value <= 64)) fail(`${name} must be from 0 to 64, got ${value}`);
  }
  const range = (name: "iso" | "clipped" | "objects" | "objectArea", low: number, high: number) => {
    const value = options[name];
    if (value && !(value.length === 2 && value[0] >= low && value[0] <= value[1] && value[1] <= high))
      fail(`${name} must be [low, high] within ${low} to ${high}, got [${value.join(", ")}]`);
  };
  range("iso", ...ISO_RANGE);
  range("clipped", 1e-4, 0.9);
  range("objects", 0, 32);
  range("objectArea", 1e-4, 1);
}

/** Homographies, frame pixel -> reference pixel, for each exposure. */
function randomShakes(random: Random, options: SynthesisOptions, count: number, reference: number): Float64Array[] {
  const { width, height } = options;
  const largest = options.shake ?? 6;
  const handheld = largest > 0 && random.chance(options.handheld ?? 0.6);
  const amplitude = handheld ? random.logUniform(0.2, 1) * random.uniform(0.2, 1) * largest : 0;
  const turn = random.chance(0.6) ? random.uniform(0, 1) : 0;
  return Array.from({ length: count }, (_, i) => {
    if (!handheld || i === reference) return Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
    // Shift, then rotation and perspective that move the corners by about as much as the shift at most.
    const radius = Math.hypot(width, height) / 2;
    const direction = random.uniform(0, 2 * Math.PI);
    const length = amplitude * random.uniform(0.3, 1);
    const angle = Math.max(-0.02, Math.min(0.02, (random.normal(0, 0.4) * turn * amplitude) / radius));
    const zoom = 1 + Math.max(-0.02, Math.min(0.02, (random.normal(0, 0.15) * turn * amplitude) / radius));
    const px = (random.normal(0, 0.2) * turn * amplitude) / (radius * radius);
    const py = (random.normal(0, 0.2) * turn * amplitude) / (radius * radius);
    const [c, s] = [Math.cos(angle) * zoom, Math.sin(angle) * zoom];
    const [cx, cy] = [width / 2, height / 2];
    const [tx, ty] = [length * Math.cos(direction), length * Math.sin(direction)];
    // About the centre: q = C T R P C^-1, with C the move of the centre to the origin.
    const w = 1 - px * cx - py * cy;
    const a = [c + (cx + tx) * px, -s + (cx + tx) * py, s + (cy + ty) * px, c + (cy + ty) * py];
    const e = (cx + tx) * w - c * cx + s * cy;
    const f = (cy + ty) * w - s * cx - c * cy;
    return Float64Array.of(a[0], a[1], e, a[2], a[3], f, px, py, w);
  });
}

function marginFor(shakes: readonly Float64Array[], width: number, height: number): number {
  let margin = 0;
  for (const h of shakes) {
    for (const x of [0, width]) {
      for (const y of [0, height]) {
        const w = h[6] * x + h[7] * y + h[8];
        margin = Math.max(
          margin,
          Math.abs((h[0] * x + h[1] * y + h[2]) / w - x),
          Math.abs((h[3] * x + h[4] * y + h[5]) / w - y),
        );
      }
    }
  }
  return Math.ceil(margin) + 1;
}

/** A view with some contrast in it: empty sky and bare walls mostly give way to another try. */
function interestingView(
  random: Random,
  sources: readonly SourceImage[],
  width: number,
  height: number,
  margin: number,
): [PreparedSource, View] {
  for (let attempt = 0; ; attempt++) {
    const source = prepare(random.pick(sources));
    const view = randomView(random, source, width, height, margin);
    const values = probe(view, source, (width + 2 * margin) * oversampling, (height + 2 * margin) * oversampling);
    const stops = Math.log2((values[243] + 1e-3 * source.median) / (values[12] + 1e-3 * source.median));
    if (attempt >= 4 || stops > 2.5 || random.chance(stops > 1.2 ? 0.5 : 0.05)) return [source, view];
  }
}

/** Scales the plate so that 1.0 is the reference's clipping point, with under- and overexposed regions. */
function normaliseExposure(random: Random, plate: Plate, options: SynthesisOptions, shortestBelow: number): void {
  const { data } = plate;
  const pixels = data.length / 3;
  const stride = Math.max(1, Math.floor(pixels / 3000));
  const sample = new Float32Array(Math.ceil(pixels / stride));
  for (let i = 0, p = 0; p < pixels; p += stride) sample[i++] = Math.max(data[p * 3], data[p * 3 + 1], data[p * 3 + 2]);
  sample.sort();
  const at = (share: number) => Math.max(1e-9, sample[Math.min(sample.length - 1, Math.floor(share * sample.length))]);
  // Either the clipped share decides, or the median does (a mid exposure, rather dark than bright): scenes of little contrast are
  // then not clipped at all, and scenes of much contrast drown in shadow.
  const [least, most] = options.clipped ?? [0.03, 0.4];
  const share = random.logUniform(least, most);
  let scale = 1 / at(1 - share);
  const middle = 0.18 * 2 ** random.normal(-1.2, 1.3);
  if (!options.clipped) {
    const ratio = (at(0.5) * scale) / middle;
    if (random.chance(0.25)) scale /= ratio;
    else if (ratio > 8) scale *= 8 / ratio;
    else if (ratio < 1 / 16) scale /= 16 * ratio;
  }
  // What even the shortest exposure clips has no truth to learn: keep it to lamps and the sun.
  const beyond = at(0.985) * scale * 2 ** -shortestBelow;
  if (beyond > 1 && random.chance(0.8)) scale /= beyond;
  for (let i = 0; i < data.length; i++) data[i] *= scale;
}

interface Foliage {
  readonly amplitude: number;
  /** Centre and radii of the region that moves. */
  readonly region: readonly [number, number, number, number];
  /** Per exposure: waves [kx, ky, phase, ax, ay]. */
  readonly fields: readonly (readonly number[][])[];
}

function randomFoliage(random: Random, width: number, height: number): Foliage {
  const amplitude = random.logUniform(0.5, 4);
  const waves = Array.from({ length: 3 }, () => {
    const k = (2 * Math.PI) / random.logUniform(16, 90);
    const angle = random.uniform(0, 2 * Math.PI);
    return [k * Math.cos(angle), k * Math.sin(angle)];
  });
  const fields = Array.from({ length: 9 }, () =>
    waves.map(([kx, ky]) => [
      kx,
      ky,
      random.uniform(0, 2 * Math.PI),
      random.normal(0, amplitude / 2),
      random.normal(0, amplitude / 3),
    ]),
  );
  const whole = random.chance(0.25);
  return {
    amplitude,
    region: [
      random.uniform(0, width),
      random.uniform(0, height),
      width * (whole ? 4 : random.uniform(0.25, 0.7)),
      height * (whole ? 4 : random.uniform(0.25, 0.7)),
    ],
    fields,
  };
}

/** 1 in the middle of the moving region, falling smoothly to 0 at its rim. */
function foliageWeight(foliage: Foliage, x: number, y: number): number {
  const [cx, cy, rx, ry] = foliage.region;
  const d = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2;
  return d >= 1 ? 0 : Math.min(1, 2.5 * (1 - d));
}

/** Marks the whole region and the cells around it, which interpolation lets move a little. */
function markFoliage(moving: Uint8Array, foliage: Foliage, width: number, height: number): void {
  const [cx, cy, rx, ry] = foliage.region;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (((x - cx) / (rx + 1.5 * cell)) ** 2 + ((y - cy) / (ry + 1.5 * cell)) ** 2 < 1) moving[y * width + x] = 1;
}

/** Displacements and hand shake are computed every `cell` pixels and interpolated between. */
const cell = 8;

/** The plate as one exposure sees it: through hand shake (frame -> reference) and, where given, a displacement field. */
function renderBackground(
  frame: Float32Array,
  plate: Plate,
  width: number,
  height: number,
  shake: Float64Array,
  sway?: { readonly foliage: Foliage; readonly waves: readonly number[][] },
): void {
  const { data, margin } = plate;
  const stride = plate.width * 3;
  const still = !sway && shake.every((v, i) => v === (i % 4 === 0 ? 1 : 0));
  if (still) {
    for (let y = 0; y < height; y++) {
      let p = ((y + margin) * 2 * plate.width + margin * 2) * 3;
      let o = y * width * 3;
      for (let x = 0; x < width; x++, p += 6, o += 3) {
        const q = p + stride;
        frame[o] = 0.25 * (data[p] + data[p + 3] + data[q] + data[q + 3]);
        frame[o + 1] = 0.25 * (data[p + 1] + data[p + 4] + data[q + 1] + data[q + 4]);
        frame[o + 2] = 0.25 * (data[p + 2] + data[p + 5] + data[q + 2] + data[q + 5]);
      }
    }
    return;
  }
  const columns = Math.ceil(width / cell) + 1;
  const rows = Math.ceil(height / cell) + 1;
  const nodes = new Float64Array(columns * rows * 2);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const [px, py] = [i * cell + 0.5, j * cell + 0.5];
      const w = shake[6] * px + shake[7] * py + shake[8];
      let x = (shake[0] * px + shake[1] * py + shake[2]) / w;
      let y = (shake[3] * px + shake[4] * py + shake[5]) / w;
      if (sway) {
        const weight = foliageWeight(sway.foliage, x, y);
        if (weight > 0) {
          let dx = 0;
          let dy = 0;
          for (const [kx, ky, phase, ax, ay] of sway.waves) {
            const wave = weight * Math.sin(kx * x + ky * y + phase);
            dx += ax * wave;
            dy += ay * wave;
          }
          x += dx;
          y += dy;
        }
      }
      nodes[(j * columns + i) * 2] = (x + margin) * oversampling - 0.5;
      nodes[(j * columns + i) * 2 + 1] = (y + margin) * oversampling - 0.5;
    }
  }
  const right = plate.width - 1.001;
  const bottom = plate.height - 1.001;
  for (let y = 0; y < height; y++) {
    const t = (y % cell) / cell;
    const row = Math.floor(y / cell) * columns;
    for (let i = 0; i * cell < width; i++) {
      const a = (row + i) * 2;
      const b = a + columns * 2;
      const u0 = nodes[a] * (1 - t) + nodes[b] * t;
      const v0 = nodes[a + 1] * (1 - t) + nodes[b + 1] * t;
      const du = (nodes[a + 2] * (1 - t) + nodes[b + 2] * t - u0) / cell;
      const dv = (nodes[a + 3] * (1 - t) + nodes[b + 3] * t - v0) / cell;
      const end = Math.min(cell, width - i * cell);
      let o = (y * width + i * cell) * 3;
      for (let k = 0; k < end; k++, o += 3) {
        let u = u0 + du * k;
        let v = v0 + dv * k;
        u = Math.max(0, Math.min(right, u));
        v = Math.max(0, Math.min(bottom, v));
        const x0 = u | 0;
        const y0 = v | 0;
        const s = u - x0;
        const r = v - y0;
        const w11 = s * r;
        const w01 = s - w11;
        const w10 = r - w11;
        const w00 = 1 - s - w10;
        const p = y0 * stride + x0 * 3;
        const q = p + stride;
        frame[o] = w00 * data[p] + w01 * data[p + 3] + w10 * data[q] + w11 * data[q + 3];
        frame[o + 1] = w00 * data[p + 1] + w01 * data[p + 4] + w10 * data[q + 1] + w11 * data[q + 4];
        frame[o + 2] = w00 * data[p + 2] + w01 * data[p + 5] + w10 * data[q + 2] + w11 * data[q + 5];
      }
    }
  }
}

/** An object of the scene: where it stands in each exposure, or undefined where it is not there. */
interface Actor {
  readonly sprite: Sprite;
  readonly poses: readonly (Pose | undefined)[];
  readonly moves: boolean;
}

function randomActors(
  random: Random,
  sources: readonly SourceImage[],
  plate: Plate,
  options: SynthesisOptions,
  count: number,
  reference: number,
  needed: boolean,
): Actor[] {
  const { width, height } = options;
  const [fewest, most] = options.objects ?? [0, 4];
  const number = Math.min(most, Math.max(fewest, needed ? 1 : 0, fewest + random.integer(most - fewest + 1)));
  const [smallest, largest] = options.objectArea ?? [0.01, 0.33];
  const extremes = extremeMap(plate, width, height);
  return Array.from({ length: number }, () => {
    const share = random.logUniform(smallest, number > 2 ? Math.max(smallest, largest * 0.4) : largest);
    const sprite = createSprite(
      random,
      prepare(random.pick(sources)),
      share * width * height,
      randomBrightness(random, plate),
    );
    const moves = random.chance(0.9);
    // Of a few paths, often the one that meets what the reference clips or drowns: there the network has to decide.
    const paths = Array.from({ length: random.chance(0.6) ? 5 : 1 }, () =>
      randomPath(random, options, count, reference, moves),
    );
    const score = (poses: Actor["poses"]) =>
      poses.reduce((sum, pose) => sum + (pose ? extremeAt(extremes, pose, width, height) : 0), 0);
    const poses = paths.reduce((best, path) => (score(path) > score(best) ? path : best));
    return { sprite, poses, moves };
  });
}

/** Median luminance of an object, 1.0 = the reference's clipping point. */
function randomBrightness(random: Random, plate: Plate): number {
  const kind = random.uniform();
  if (kind < 0.2) return 2 ** random.uniform(-0.5, 2.5);
  if (kind < 0.4) return 2 ** random.uniform(-9, -4.5);
  if (kind < 0.7) return 0.18 * 2 ** random.normal(0, 1.3);
  const p = random.integer(plate.data.length / 3) * 3;
  const local = 0.2126 * plate.data[p] + 0.7152 * plate.data[p + 1] + 0.0722 * plate.data[p + 2];
  return Math.max(1e-4, Math.min(64, local)) * 2 ** random.normal(0, 1);
}

function randomPath(
  random: Random,
  options: SynthesisOptions,
  count: number,
  reference: number,
  moves: boolean,
): (Pose | undefined)[] {
  const { width, height } = options;
  const x = random.uniform(-0.05, 1.05) * width;
  const y = random.uniform(-0.05, 1.05) * height;
  const start = { x, y, angle: random.normal(0, 0.15), scale: 1, bendX: 0, bendY: 0, shear: 0 };
  if (!moves) return Array.from({ length: count }, () => start);
  const longest = Math.max(0.6, (options.reach ?? 0.5) * Math.min(width, height));
  const reach = random.chance(0.2) ? random.logUniform(0.3, 2) : random.logUniform(Math.min(2, longest / 2), longest);
  const step = reach / Math.max(reference, count - 1 - reference);
  const direction = random.chance(0.5)
    ? random.normal(0, 0.3) + (random.chance(0.5) ? Math.PI : 0)
    : random.uniform(0, 2 * Math.PI);
  const wanders = random.chance(0.25);
  const spin = random.chance(0.5) ? random.normal(0, 0.12) : random.normal(0, 0.02);
  const growth = random.normal(0, 0.04);
  const deformation = random.chance(0.6) ? random.uniform(0, 0.15) : 0;
  const absent = random.chance(0.15) ? random.integer(count) : -1;
  return Array.from({ length: count }, (_, i) => {
    const time = i - reference;
    if (time === 0) return absent === i ? undefined : start;
    if (absent === i) return undefined;
    const along = wanders ? random.uniform(-reach, reach) : step * time * random.uniform(0.8, 1.2);
    const across = wanders ? random.uniform(-reach, reach) : random.normal(0, 0.1) * step;
    return {
      x: x + along * Math.cos(direction) - across * Math.sin(direction),
      y: y + along * Math.sin(direction) + across * Math.cos(direction),
      angle: start.angle + spin * time,
      scale: Math.max(0.6, Math.min(1.6, 1 + growth * time)),
      bendX: random.normal(0, deformation),
      bendY: random.normal(0, deformation),
      shear: random.normal(0, deformation),
    };
  });
}

const mapSize = 16;

/** Share of each of 16x16 cells that the reference clips or leaves nearly black. */
function extremeMap(plate: Plate, width: number, height: number): Float32Array {
  const map = new Float32Array(mapSize * mapSize);
  for (let j = 0; j < mapSize * 4; j++) {
    for (let i = 0; i < mapSize * 4; i++) {
      const x = Math.floor((((i + 0.5) / (mapSize * 4)) * width + plate.margin) * oversampling);
      const y = Math.floor((((j + 0.5) / (mapSize * 4)) * height + plate.margin) * oversampling);
      const p = (y * plate.width + x) * 3;
      const v = Math.max(plate.data[p], plate.data[p + 1], plate.data[p + 2]);
      if (v > 1 || v < 0.004) map[(j >> 2) * mapSize + (i >> 2)] += 1 / 16;
    }
  }
  return map;
}

function extremeAt(map: Float32Array, pose: Pose, width: number, height: number): number {
  const i = Math.floor((pose.x / width) * mapSize);
  const j = Math.floor((pose.y / height) * mapSize);
  return i < 0 || j < 0 || i >= mapSize || j >= mapSize ? 0 : map[j * mapSize + i];
}
