import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";

/** A scene that spans eight stops, smooth with texture: linear light, RGB, row by row. */
function scene(width: number, height: number): Float64Array {
  const light = new Float64Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const texture = 1 + 0.3 * Math.sin(x * 0.7) * Math.cos(y * 0.45) + 0.2 * Math.sin((x * y) / 97);
      const level = 2 ** ((8 * x) / width - 7 + Math.sin((y * 5) / height)) * texture;
      for (let c = 0; c < 3; c++) light[(y * width + x) * 3 + c] = level * (1 - 0.15 * c);
    }
  }
  return light;
}

const encode = (v: number) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

export interface BracketOptions {
  width?: number;
  height?: number;
  stops?: readonly number[];
  exif?: boolean;
}

/** Photographs of the scene as sRGB files `0.<format>`, ... in `folder`; returns their paths, shortest first. */
export async function photograph(
  folder: string,
  format: "jpg" | "png" | "tif",
  { width = 96, height = 64, stops = [0, 2, 4], exif = true }: BracketOptions = {},
): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const light = scene(width, height);
  return Promise.all(
    stops.map(async (stop, index) => {
      const gain = 2 ** stop;
      const deep = format === "tif";
      const top = deep ? 65535 : 255;
      const pixels = deep ? new Uint16Array(light.length) : new Uint8Array(light.length);
      for (let i = 0; i < light.length; i++) pixels[i] = Math.round(top * encode(Math.min(1, light[i] * gain)));
      let image = sharp(pixels, { raw: { width, height, channels: 3 } });
      if (deep) image = image.toColourspace("rgb16");
      if (exif) {
        image = image.withExif({ IFD2: { ExposureTime: `${gain}/400`, FNumber: "8/1", ISOSpeedRatings: "100" } });
      }
      const encoded =
        format === "jpg"
          ? image.jpeg({ quality: 95 })
          : format === "png"
            ? image.png()
            : image.tiff({ compression: "lzw" });
      const path = join(folder, `${index}.${format}`);
      await writeFile(path, await encoded.toBuffer());
      return path;
    }),
  );
}
