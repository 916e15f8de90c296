import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import sharp from "sharp";

/** What a camera writes beside a made-up photograph. */
export interface Take {
  /** From the folder, such as "day/IMG_1.jpg". */
  readonly name: string;
  /** Seconds after noon. */
  readonly at?: number;
  /** Stops of light, and so the exposure time: 2^stops / 400 s. */
  readonly stops: number;
  /** Which scene is seen. */
  readonly scene?: number;
  readonly camera?: string;
  readonly size?: readonly [width: number, height: number];
  readonly exif?: boolean;
  readonly automaticBracket?: boolean;
  readonly iso?: number;
}

const encode = (v: number) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

/** Writes the photographs and returns their paths: smooth light over eight stops, with texture to align by. */
export function take(folder: string, takes: readonly Take[]): Promise<string[]> {
  return Promise.all(
    takes.map(async ({ name, at = 0, stops, scene = 0, camera = "Test", size = [96, 64], exif = true, ...more }) => {
      const [width, height] = size;
      const pixels = new Uint8Array(width * height * 3);
      for (let y = 0, i = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const texture =
            1 + 0.3 * Math.sin(x * 0.7 + scene) * Math.cos(y * 0.45) + 0.2 * Math.sin((x * y) / 97 + scene);
          const level = 2 ** ((8 * x) / width - 7 + Math.sin((y * 5) / height + scene)) * texture;
          for (let c = 0; c < 3; c++, i++)
            pixels[i] = Math.round(255 * encode(Math.min(1, level * (1 - 0.15 * c) * 2 ** stops)));
        }
      }
      const image = sharp(pixels, { raw: { width, height, channels: 3 } });
      if (exif) {
        const clock = new Date(Date.UTC(2026, 4, 1, 12) + Math.round(1000 * at)).toISOString();
        image.withExif({
          IFD0: { Make: camera, Model: "One" },
          IFD2: {
            ExposureTime: `${Math.round(1000 * 2 ** stops)}/400000`,
            FNumber: "8/1",
            ISOSpeedRatings: `${more.iso ?? 100}`,
            DateTimeOriginal: `${clock.slice(0, 10).replaceAll("-", ":")} ${clock.slice(11, 19)}`,
            SubSecTimeOriginal: clock.slice(20, 23),
            ...(more.automaticBracket !== undefined && { ExposureMode: more.automaticBracket ? "2" : "0" }),
          },
        });
      }
      const path = join(folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, await (name.endsWith(".png") ? image.png() : image.jpeg({ quality: 95 })).toBuffer());
      return path;
    }),
  );
}

/** Brackets of three, `IMG_0001.jpg` on, ten seconds apart, each of another scene. */
export function brackets(count: number, size?: readonly [number, number]): Take[] {
  return Array.from({ length: count }, (_, bracket) =>
    [0, 2, 4].map((stops, i) => ({
      name: `IMG_${String(3 * bracket + i + 1).padStart(4, "0")}.jpg`,
      at: 10 * bracket + 0.3 * i,
      stops,
      scene: bracket,
      ...(size && { size }),
    })),
  ).flat();
}
