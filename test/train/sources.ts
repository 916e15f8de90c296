import type { SourceImage } from "../../src/train/synthesis/source.js";

/** A source made up of shaded boxes, discs and lamps over a gradient: about 12 stops, sharp edges, fine texture. */
export function madeUpSource(name: string, width: number, height: number): SourceImage {
  const data = new Float32Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const p = (y * width + x) * 3;
      const base = 0.02 * 2 ** ((6 * y) / height) * (1 + 0.2 * Math.sin(x * 1.3) * Math.sin(y * 0.9));
      const box = (Math.floor(x / 37) * 7 + Math.floor(y / 29) * 5) % 11;
      const lamp = (x % 150) - 75;
      const light = lamp * lamp + ((y % 120) - 60) ** 2 < 200 ? 60 : 1;
      data[p] = base * (0.4 + box / 8) * light;
      data[p + 1] = base * (0.4 + ((box * 3) % 11) / 8) * light;
      data[p + 2] = base * (0.4 + ((box * 5) % 11) / 8) * light;
    }
  }
  return { name, width, height, data, panorama: width === 2 * height };
}

export const madeUpSources: readonly SourceImage[] = [
  madeUpSource("panorama", 512, 256),
  madeUpSource("photograph", 300, 240),
];
