/**
 * Makes docs/example.jpg from the program's own output: the example's exposures above, the merged picture below.
 *
 *   npm run build && npx tsx scripts/make-readme-picture.ts --method radiance
 *
 * Options go on to smhdr merge.
 */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

const WIDTH = 1600;
const GAP = 10;
const path = (relative: string) => fileURLToPath(new URL(`../${relative}`, import.meta.url));
const exposures = [1, 2, 3].map((k) => path(`examples/bracket/exposure-${k}.jpg`));

const folder = await mkdtemp(join(tmpdir(), "smhdr-picture-"));
try {
  const merged = join(folder, "merged.png");
  execFileSync(
    process.execPath,
    [path("dist/cli/smhdr.js"), "merge", ...exposures, "-o", merged, ...process.argv.slice(2)],
    {
      stdio: "inherit",
    },
  );
  const large = await sharp(merged).resize({ width: WIDTH }).toBuffer({ resolveWithObject: true });
  const each = Math.floor((WIDTH - GAP * (exposures.length - 1)) / exposures.length);
  const small = await Promise.all(
    exposures.map((file) => sharp(file).resize({ width: each }).png().toBuffer({ resolveWithObject: true })),
  );
  const strip = small[0].info.height + GAP;
  await mkdir(path("docs"), { recursive: true });
  await sharp({ create: { width: WIDTH, height: strip + large.info.height, channels: 3, background: "white" } })
    .composite([
      ...small.map(({ data }, k) => ({ input: data, left: k * (each + GAP), top: 0 })),
      { input: large.data, left: 0, top: strip },
    ])
    .jpeg({ quality: 82, mozjpeg: true })
    .toFile(path("docs/example.jpg"));
} finally {
  await rm(folder, { recursive: true, force: true });
}
