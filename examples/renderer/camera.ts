import { hashInts, Random } from "./noise.js";

/** How the camera stood and moved, what it measured and how it wrote that down. */

export const EYE = [2.6, 1.24, 4.55] as const;
/** Focal length in image widths. */
const FOCAL = 0.77;
/** The lens is shifted, so that verticals stay vertical: height of the optical axis in image heights. */
const AXIS = 0.405;

/** Shots of the bracket, shortest first; the second is the reference. */
export interface Shot {
  /** Exposure time in seconds, as the fraction that EXIF holds. */
  readonly time: readonly [number, number];
  /** How the hands turned the camera about its optical centre since the second shot, in degrees. */
  readonly yaw: number;
  readonly pitch: number;
  readonly roll: number;
}

export const SHOTS: readonly Shot[] = [
  { time: [1, 512], yaw: -0.31, pitch: 0.17, roll: 0.26 },
  { time: [1, 64], yaw: 0, pitch: 0, roll: 0 },
  { time: [1, 8], yaw: 0.24, pitch: -0.21, roll: -0.19 },
];

export const F_NUMBER = [8, 1] as const;
export const ISO = 100;
export const CAMERA_MODEL = "smhdr example renderer";

/** Stops relative to the first shot. */
export function exposureValue(shot: number): number {
  const [a, b] = SHOTS[shot].time;
  const [c, d] = SHOTS[0].time;
  return Math.log2(a / b / (c / d));
}

/** A camera that looks along -z, turned as in one shot. */
export class Camera {
  private readonly turn: readonly number[];

  constructor(
    readonly width: number,
    readonly height: number,
    shot: number,
  ) {
    const { yaw, pitch, roll } = SHOTS[shot];
    this.turn = rotation(yaw, pitch, roll);
  }

  /** Unit direction through pixel position (x, y); pixel centres lie at half-integers. */
  direction(x: number, y: number): [number, number, number] {
    const f = FOCAL * this.width;
    const u = (x - this.width / 2) / f;
    const v = (AXIS * this.height - y) / f;
    const m = this.turn;
    const s = 1 / Math.sqrt(u * u + v * v + 1);
    return [(m[0] * u + m[1] * v - m[2]) * s, (m[3] * u + m[4] * v - m[5]) * s, (m[6] * u + m[7] * v - m[8]) * s];
  }

  /** Where a world direction (in front of the camera) falls. */
  project(dx: number, dy: number, dz: number): [number, number] {
    const m = this.turn;
    const x = m[0] * dx + m[3] * dy + m[6] * dz;
    const y = m[1] * dx + m[4] * dy + m[7] * dz;
    const z = -(m[2] * dx + m[5] * dy + m[8] * dz);
    const f = FOCAL * this.width;
    return [this.width / 2 + (f * x) / z, AXIS * this.height - (f * y) / z];
  }
}

function rotation(yaw: number, pitch: number, roll: number): readonly number[] {
  const [a, b, c] = [yaw, pitch, roll].map((degrees) => (degrees * Math.PI) / 180);
  const y = [Math.cos(a), 0, Math.sin(a), 0, 1, 0, -Math.sin(a), 0, Math.cos(a)];
  const p = [1, 0, 0, 0, Math.cos(b), -Math.sin(b), 0, Math.sin(b), Math.cos(b)];
  const r = [Math.cos(c), -Math.sin(c), 0, Math.sin(c), Math.cos(c), 0, 0, 0, 1];
  return multiply(multiply(y, p), r);
}

function multiply(a: readonly number[], b: readonly number[]): number[] {
  return a.map((_, k) => {
    const [i, j] = [Math.floor(k / 3), k % 3];
    return a[i * 3] * b[j] + a[i * 3 + 1] * b[3 + j] + a[i * 3 + 2] * b[6 + j];
  });
}

const FULL_WELL = 45000;
const READ_NOISE = 4;

/**
 * What the sensor makes of `radiance` in one shot: photon and read noise, clipping, the sRGB curve, 8 bits.
 * 1.0 is where the first shot clips.
 */
export function expose(radiance: Float32Array, shot: number, seed: number): Uint8Array {
  const gain = 2 ** exposureValue(shot);
  const random = new Random(hashInts(seed, shot, 77));
  return Uint8Array.from(radiance, (value) => {
    const electrons = value * gain * FULL_WELL;
    const noisy = electrons + Math.sqrt(electrons + READ_NOISE ** 2) * random.gaussian();
    const linear = Math.min(1, Math.max(0, noisy / FULL_WELL));
    const encoded = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.round(encoded * 255);
  });
}
