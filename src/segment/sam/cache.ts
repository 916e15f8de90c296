import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { makeFolder } from "../../output/make-folder.js";
import { replaceFile } from "../../output/replace-file.js";
import type { Segmentation } from "../graph.js";
import { decodeNpy, encodeNpy } from "../npy.js";

/** Segmentations with the background's label 0 by key, one compressed .npy file each. */
export class SegmentCache {
  constructor(private readonly folder: string) {}

  /** Undefined where there is none, or none that can be read. */
  async get(key: string, width: number, height: number): Promise<Segmentation | undefined> {
    const compressed = await readFile(this.path(key)).catch(() => undefined);
    if (!compressed) return undefined;
    try {
      const bytes = await promisify(gunzip)(compressed, { maxOutputLength: 4 * width * height + 1024 });
      const { shape, data } = decodeNpy(bytes);
      if (shape[0] !== height || shape[1] !== width) return undefined;
      const labels = Int32Array.from(data);
      let last = 0;
      for (const label of labels) {
        if (!(label >= 0 && label <= labels.length)) return undefined;
        if (label > last) last = label;
      }
      return { width, height, labels, count: last + 1, background: 0 };
    } catch {
      return undefined; // damaged: it is made anew
    }
  }

  async put(key: string, { width, height, labels }: Segmentation): Promise<void> {
    await makeFolder(this.folder);
    const bytes = await promisify(gzip)(encodeNpy(Float32Array.from(labels), [height, width, 1]));
    await replaceFile(this.path(key), undefined, (temporary) => writeFile(temporary, bytes));
  }

  private path(key: string): string {
    return join(this.folder, `${key}.npy.gz`);
  }
}
