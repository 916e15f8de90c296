import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { SmhdrError } from "../errors.js";
import { temporaryName } from "../output/replace-file.js";
import { writeRadianceHdr } from "../output/write-radiance-hdr.js";
import { encodeNpy } from "../segment/npy.js";
import type { SegmentMap } from "../segment/segment-map.js";
import type { SyntheticBracket } from "./synthesis/synthesize.js";

/**
 * Writes a scene's folder in the data set layout: 0.tif .. n-1.tif (16-bit RGB), exposure.txt, HDRImg.hdr, masks.npy. The folder
 * appears only when it is complete.
 * @throws SmhdrError IO, naming the folder.
 */
export async function writeScene(folder: string, bracket: SyntheticBracket, segments: SegmentMap): Promise<void> {
  const { width, height, exposures, exposureValues, truth } = bracket;
  const temporary = temporaryName(folder);
  try {
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(temporary);
    for (let i = 0; i < exposures.length; i++) {
      await sharp(exposures[i], { raw: { width, height, channels: 3 } })
        .toColourspace("rgb16")
        .tiff({ compression: "deflate", predictor: "horizontal" })
        .toFile(join(temporary, `${i}.tif`));
    }
    await writeFile(join(temporary, "exposure.txt"), exposureValues.map((ev) => `${ev}\n`).join(""));
    await writeRadianceHdr(
      {
        width,
        height,
        channels: 3,
        data: truth,
        encoding: { transfer: "linear", primaries: "srgb" },
        metadata: { exposureValues },
      },
      join(temporary, "HDRImg.hdr"),
    );
    await writeFile(join(temporary, "masks.npy"), encodeNpy(segments.ids, [height, width, 1]));
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {}); // the first error is the one to tell
    if (error instanceof SmhdrError) throw error;
    throw new SmhdrError("IO", `${folder}: cannot be written (${(error as Error).message}).`, { cause: error });
  }
}
