import { toSrgb } from "../../bracket/transfer.js";
import { normalTable, type Random } from "./random.js";

/** ISO settings that can be synthesised, and those that are where nothing else is asked for. */
export const ISO_RANGE = [25, 409600] as const;
export const ISO = [100, 6400] as const;

/** How a camera turns light into codes: the table holds encoded values over sqrt(linear), linearly interpolated. */
export type ResponseCurve = Float32Array;

const size = 4096;

function tabulate(encode: (linear: number) => number): ResponseCurve {
  return Float32Array.from({ length: size + 2 }, (_, i) => encode(Math.min(1, (i / size) ** 2)));
}

const gamma = tabulate((v) => v ** (1 / 2.2));
const srgb = tabulate(toSrgb);

/** A curve: gamma 2.2, or with probability `share` sRGB or a filmic one (S-shaped over gamma 2.2: contrast, toe and shoulder). */
export function randomResponse(random: Random, share: number): ResponseCurve {
  if (!random.chance(share)) return gamma;
  if (random.chance(0.5)) return srgb;
  const strength = random.uniform(0.15, 0.6);
  const shoulder = random.uniform(0.1, 1.5);
  return tabulate((v) => {
    // Shoulder as in Reinhard's curve normalised to reach 1 at 1, then an S-curve on the encoded value.
    const compressed = (v * (1 + shoulder)) / (1 + shoulder * v);
    const g = compressed ** (1 / 2.2);
    return g + strength * (g * g * (3 - 2 * g) - g);
  });
}

/** Noise of one exposure: variance = shot * signal + read, signal 1.0 = clipping. */
export interface SensorNoise {
  readonly shot: number;
  readonly read: number;
}

/**
 * A sensor at an ISO setting: full well 30,000 to 80,000 electrons at ISO 100, shrinking in proportion; read noise 2 to 6 electrons.
 * `strength` scales the standard deviation.
 */
export function randomNoise(random: Random, iso: readonly [number, number], strength: number): SensorNoise {
  const electrons = (random.uniform(30000, 80000) * 100) / random.logUniform(iso[0], iso[1]);
  const read = random.uniform(2, 6) / electrons;
  return { shot: (strength * strength) / electrons, read: (strength * read) ** 2 };
}

/**
 * Photographs linear light: gain, noise, clipping, response, quantisation. Codes span 0 .. 65535; 8-bit ones are multiples of 257.
 */
export function expose(
  light: Float32Array,
  gain: number,
  noise: SensorNoise | undefined,
  response: ResponseCurve,
  bits: 8 | 16,
  random: Random,
): Uint16Array {
  const out = new Uint16Array(light.length);
  const normal = normalTable();
  const highest = bits === 8 ? 255 : 65535;
  const unit = bits === 8 ? 257 : 1;
  const shot = noise?.shot ?? 0;
  const read = noise?.read ?? 0;
  const noisy = noise !== undefined && shot + read > 0;
  // One draw of 32 bits serves two samples.
  let draw = 0;
  let unused = false;
  for (let i = 0; i < light.length; i++) {
    let v = light[i] * gain;
    if (noisy) {
      // Beyond twice the clipping point no noise brings a value back.
      if (v < 2) {
        draw = unused ? draw >>> 16 : random.next();
        unused = !unused;
        v += Math.sqrt(shot * v + read) * normal[draw & 0xffff];
      }
    }
    if (v <= 0) continue;
    if (v >= 1) {
      out[i] = 65535;
      continue;
    }
    const at = Math.sqrt(v) * size;
    const k = at | 0;
    const encoded = response[k] + (at - k) * (response[k + 1] - response[k]);
    out[i] = ((encoded * highest + 0.5) | 0) * unit;
  }
  return out;
}
