import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { readBracket } from "../../src/bracket/read-bracket.js";
import { writeImage } from "../../src/output/write-image.js";
import { Reconstructor } from "../../src/reconstruct/reconstructor.js";
import { photograph } from "../cli/photographs.js";

export interface Soak {
  readonly merges: number;
  /** Resident memory after every tenth merge, in bytes, garbage collected. */
  readonly resident: readonly number[];
  /** Growth of resident memory over the second half, in bytes a merge: a straight line's slope. */
  readonly slope: number;
  /** Open files at the end over those after the first tenth merge. */
  readonly moreFiles: number;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const openFiles = async () => (await readdir("/proc/self/fd").catch(() => [])).length;

/**
 * Merges the same bracket `merges` times in this process, into five formats in turn. Every tenth time something else
 * goes wrong besides: a photograph that is none, and a merge that is stopped.
 */
export async function soak(
  merges: number,
  size: { readonly width: number; readonly height: number },
  onProgress?: (done: number) => void,
): Promise<Soak> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-soak-"));
  try {
    const photographs = await photograph(folder, "png", size);
    const broken = join(folder, "broken.png");
    await writeFile(broken, "no picture");
    const reconstructor = await Reconstructor.load({ method: "radiance" });
    const resident: number[] = [];
    let files = 0;
    for (let i = 0; i < merges; i++) {
      const bracket = await readBracket(photographs);
      const radiance = await reconstructor.run(bracket);
      bracket.close();
      const extension = ["exr", "hdr", "tif", "jpg", "png"][i % 5];
      await writeImage(radiance, join(folder, `out.${extension}`));
      if (i % 10 !== 9) continue;
      await readBracket([...photographs, broken]).catch(() => {});
      const stopped = await readBracket(photographs);
      const controller = new AbortController();
      const run = reconstructor.run(stopped, { signal: controller.signal }).catch(() => {});
      controller.abort();
      await run;
      stopped.close();
      collect();
      resident.push(process.memoryUsage.rss());
      if (i === 9) files = await openFiles();
      onProgress?.(i + 1);
    }
    return {
      merges,
      resident,
      slope: slopeOf(resident.slice(resident.length >> 1)) / 10,
      moreFiles: (await openFiles()) - files,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Of the least-squares line through values at 0, 1, 2, ... */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let product = 0;
  let square = 0;
  for (const [i, value] of values.entries()) {
    product += (i - middle) * (value - mean);
    square += (i - middle) ** 2;
  }
  return product / square;
}
