// How sharp a moved exposure stays: npx tsx bench/quality/resample.ts
// A photograph is made half as large twice, from blocks that lie a photograph's pixel apart: half a pixel of the small pictures.
// One of them resampled onto the other, as merging does it (src/reconstruct/sampler.ts) and bilinearly in linear light, PSNR of gamma-2.2
// values. Data: the middle exposures of $SMHDR_DATA/brackets or ../shared/data/brackets; skipped, saying so, where absent.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { bracketFromImages } from "../../src/bracket/read-bracket.js";
import { psnr } from "../../src/measure/psnr.js";
import { exposureSampler } from "../../src/reconstruct/sampler.js";

const brackets = join(process.env.SMHDR_DATA ?? new URL("../../../shared/data", import.meta.url).pathname, "brackets");
const scenes = ["airport_ghost", "arch", "horse", "ssarcandy_taipei", "stack_room"];
const BORDER = 4;

console.log(`${"photograph".padEnd(30)}    cubic bilinear`);
for (const scene of scenes) {
  const folder = join(brackets, scene);
  if (!existsSync(folder)) {
    console.log(`skipped: no photographs at ${folder}`);
    continue;
  }
  const files = readdirSync(folder).filter((name) => /^\d+\.(jpg|png)$/.test(name));
  const file = files.sort()[files.length >> 1];
  const { data, info } = await sharp(join(folder, file)).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const [width, height] = [(info.width >> 1) - 1, (info.height >> 1) - 1];
  const small = (offset: number) =>
    Float32Array.from({ length: width * height * 3 }, (_, i) => {
      const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
      const light = (dx: number, dy: number) =>
        (data[((2 * y + dy + offset) * info.width + 2 * x + dx + offset) * 3 + c] / 255) ** 2.2;
      return (light(0, 0) + light(1, 0) + light(0, 1) + light(1, 1)) / 4;
    });
  const [truth, moved] = [small(0), small(1)];
  const image = {
    width,
    height,
    channels: 3,
    data: moved,
    encoding: { transfer: "linear", primaries: "srgb" },
  } as const;
  const bracket = await bracketFromImages([image, image], { ev: [0, 1], align: "none" });
  const values = new Float32Array(width * height * 6);
  await exposureSampler({ ...bracket.exposures[0], alignment: [1, 0, -0.5, 0, 1, -0.5, 0, 0, 1] }).read(
    { x: 0, y: 0, width, height },
    values,
  );
  bracket.close();
  const within = (at: (x: number, y: number, c: number) => number) => {
    const out: number[] = [];
    for (let y = BORDER; y < height - BORDER; y++)
      for (let x = BORDER; x < width - BORDER; x++) for (let c = 0; c < 3; c++) out.push(at(x, y, c) ** (1 / 2.2));
    return Float32Array.from(out);
  };
  const place = (x: number, y: number, c: number) => (y * width + x) * 3 + c;
  const expected = within((x, y, c) => truth[place(x, y, c)]);
  const cubic = within((x, y, c) => values[(y * width + x) * 6 + c]);
  const bilinear = within(
    (x, y, c) =>
      (moved[place(x, y, c)] + moved[place(x - 1, y, c)] + moved[place(x, y - 1, c)] + moved[place(x - 1, y - 1, c)]) /
      4,
  );
  const decibels = [cubic, bilinear].map((picture) => psnr(picture, expected).toFixed(2).padStart(8));
  console.log(`${`${scene}/${file}`.padEnd(30)} ${decibels.join(" ")}`);
}
