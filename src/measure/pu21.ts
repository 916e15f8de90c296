import { psnr } from "./psnr.js";

/** Parameters "banding_glare" of PU21, as published by its authors (github.com/gfxdisp/pu21). */
const P = [0.353487901, 0.3734658629, 8.277049286e-5, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142];

/** The range of luminance, in cd/m2, that the encoding is made for. */
const DARKEST = 0.005;
const BRIGHTEST = 10000;

/**
 * Luminance in cd/m2 to perceptually uniform units: about 0 at 0.005 cd/m2, 256 at 100, 595 at 10000 (Mantiuk and
 * Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR", PCS 2021).
 */
export function pu21(luminance: number): number {
  const clamped = luminance > DARKEST ? Math.min(luminance, BRIGHTEST) : DARKEST;
  const power = clamped ** P[3];
  return Math.max(0, P[6] * (((P[0] + P[1] * power) / (1 + P[2] * power)) ** P[4] - P[5]));
}

/**
 * PSNR in dB of the PU21 codes of all channels, peak 256 as its authors use it. Photographs do not know their absolute
 * luminance: `whiteLuminance` says at how many cd/m2 radiance 1.0 is shown, and a figure holds for that display alone.
 */
export function pu21Psnr(a: Float32Array, b: Float32Array, whiteLuminance = 1000): number {
  return psnr(a, b, (value) => pu21(value * whiteLuminance), 256);
}
