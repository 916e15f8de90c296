import type { LightBuffer } from "./frame.js";

/**
 * Takes the remaining grain out of gathered light: an edge-stopping wavelet filter over irradiance without texture
 * (Dammertz et al. 2010), guided by position and normal, and by the brightness difference in units of its noise.
 */
export function smoothLight(light: LightBuffer, samples: number): void {
  const { width, height } = light;
  const variance = noiseOf(light, light.irradiance, light.irradianceSquare, samples);
  const mirroredVariance = noiseOf(light, light.mirrored, light.mirroredSquare, samples);
  for (let level = 0; level < 5; level++) {
    filter(light, [light.irradiance, light.direction], variance, 1 << level, 24, false);
    if (level < 4) filter(light, [light.mirrored], mirroredVariance, 1 << level, 90, true);
  }
  if (light.irradiance.length !== width * height * 3) throw new Error("light buffer changed size");
}

const luminance = (a: Float32Array, i: number) => 0.2126 * a[i * 3] + 0.7152 * a[i * 3 + 1] + 0.0722 * a[i * 3 + 2];

/** Variance of each pixel's mean luminance, averaged over 3x3 pixels. */
function noiseOf(light: LightBuffer, mean: Float32Array, square: Float32Array, samples: number): Float32Array {
  const { width, height } = light;
  const raw = square.map((v, i) => Math.max(0, v - luminance(mean, i) ** 2) / samples);
  const smooth = new Float32Array(raw.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      let n = 0;
      for (let j = Math.max(0, y - 1); j <= Math.min(height - 1, y + 1); j++)
        for (let i = Math.max(0, x - 1); i <= Math.min(width - 1, x + 1); i++, n++) sum += raw[j * width + i];
      smooth[y * width + x] = sum / n;
    }
  return smooth;
}

const KERNEL = [1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16];

function filter(
  light: LightBuffer,
  planes: Float32Array[],
  variance: Float32Array,
  step: number,
  sharpness: number,
  sameObject: boolean,
): void {
  const { width, height, normal, position, owner } = light;
  const sources = planes.map((p) => p.slice());
  const noise = variance.slice();
  const guide = sources[0];
  const sums = new Float64Array(planes.length * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (owner[i] < 0) continue;
      const li = luminance(guide, i);
      const tolerance = 6 * Math.sqrt(noise[i]) + 0.02 * li + 1e-7;
      const nx = normal[i * 3];
      const ny = normal[i * 3 + 1];
      const nz = normal[i * 3 + 2];
      let total = 0;
      let totalNoise = 0;
      sums.fill(0);
      for (let b = -2; b <= 2; b++) {
        const yy = y + b * step;
        if (yy < 0 || yy >= height) continue;
        for (let a = -2; a <= 2; a++) {
          const xx = x + a * step;
          if (xx < 0 || xx >= width) continue;
          const j = yy * width + xx;
          if (owner[j] < 0 || (sameObject && owner[j] !== owner[i])) continue;
          const dot = nx * normal[j * 3] + ny * normal[j * 3 + 1] + nz * normal[j * 3 + 2];
          if (dot < 0.5) continue;
          const px = position[j * 3] - position[i * 3];
          const py = position[j * 3 + 1] - position[i * 3 + 1];
          const pz = position[j * 3 + 2] - position[i * 3 + 2];
          const off = Math.abs(px * nx + py * ny + pz * nz);
          const away = Math.abs(luminance(guide, j) - li) / tolerance;
          const w =
            KERNEL[a + 2] *
            KERNEL[b + 2] *
            Math.exp(-sharpness * (1 - dot) - off / 0.012 - away - (px * px + py * py + pz * pz) / 0.25);
          total += w;
          totalNoise += w * w * noise[j];
          for (let p = 0; p < planes.length; p++)
            for (let c = 0; c < 3; c++) sums[p * 3 + c] += w * sources[p][j * 3 + c];
        }
      }
      for (let p = 0; p < planes.length; p++)
        for (let c = 0; c < 3; c++) planes[p][i * 3 + c] = sums[p * 3 + c] / total;
      variance[i] = totalNoise / (total * total);
    }
}
