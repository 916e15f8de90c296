import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { extname, join, relative, resolve, sep } from "node:path";
import sharp from "sharp";
import { type Capture, readCapture } from "../bracket/capture.js";
import { throwIfAborted, unreadable } from "../errors.js";
import { byName } from "./by-name.js";

/** A file that may belong to a bracket. */
export interface FoundPhotograph {
  /** Absolute. */
  readonly path: string;
  /** From the folder that was searched, with "/" between its parts. */
  readonly relative: string;
  /** Upright. */
  readonly width: number;
  readonly height: number;
  readonly capture: Capture;
}

/** A file that takes part in no bracket, and why. */
export interface LeftPhotograph {
  readonly path: string;
  readonly reason: string;
}

export interface SearchOptions {
  /** Folders and files not to look at, absolute. */
  readonly exclude?: ReadonlySet<string> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction of the files read. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

const PHOTOGRAPHS = new Set([".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif"]);

/**
 * Every photograph in the folders (and the files) named, with what its header says; hidden files and folders are passed over.
 * Files that cannot be read are left, with the reason. Sorted by path, numbers by their value.
 * @throws SmhdrError IO where a folder cannot be read, CANCELLED.
 */
export async function findPhotographs(
  paths: readonly string[],
  { exclude = new Set(), signal, onProgress }: SearchOptions = {},
): Promise<{ readonly photographs: FoundPhotograph[]; readonly left: LeftPhotograph[] }> {
  const files = new Map<string, string>();
  for (const path of paths) for (const [file, name] of await listFiles(resolve(path), exclude)) files.set(file, name);
  const sorted = [...files].sort(([a], [b]) => byName(a, b));
  const found: (FoundPhotograph | LeftPhotograph)[] = [];
  let next = 0;
  let done = 0;
  const read = async () => {
    while (next < sorted.length) {
      throwIfAborted(signal);
      const index = next++;
      const [path, name] = sorted[index];
      found[index] = await readFacts(path, name);
      onProgress?.(++done / sorted.length);
    }
  };
  await Promise.all(Array.from({ length: 2 * availableParallelism() }, read));
  return {
    photographs: found.filter((file) => "capture" in file),
    left: found.filter((file) => "reason" in file),
  };
}

/** Photographs under a folder: absolute path and the path from that folder. */
async function listFiles(start: string, exclude: ReadonlySet<string>): Promise<[string, string][]> {
  const kind = await stat(start).catch((cause) => {
    throw unreadable(start, cause);
  });
  if (kind.isFile()) return [[start, start.slice(start.lastIndexOf(sep) + 1)]];
  const found: [string, string][] = [];
  const seen = new Set<string>(); // a link may lead back to where it came from
  const visit = async (folder: string) => {
    const real = await realpath(folder);
    if (seen.has(real) || exclude.has(folder)) return;
    seen.add(real);
    const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
      throw unreadable(folder, cause);
    });
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue;
      const path = join(folder, entry.name);
      const target = entry.isSymbolicLink() ? await stat(path).catch(() => undefined) : entry;
      if (target?.isDirectory()) await visit(path);
      else if (target?.isFile() && PHOTOGRAPHS.has(extname(path).toLowerCase()) && !exclude.has(path))
        found.push([path, relative(start, path).split(sep).join("/")]);
    }
  };
  await visit(start);
  return found;
}

/** What the header of a file says, or why it cannot be read. */
export async function readFacts(path: string, name: string): Promise<FoundPhotograph | LeftPhotograph> {
  try {
    const { width, height, orientation = 1, exif, format } = await sharp(path, { limitInputPixels: false }).metadata();
    const block = exif ?? (format === "tiff" ? await readFile(path) : undefined);
    const capture = block ? readCapture(block) : { settings: {} };
    const turned = orientation >= 5;
    return { path, relative: name, width: turned ? height : width, height: turned ? width : height, capture };
  } catch (error) {
    return { path, reason: `cannot be read (${(error as Error).message.split("\n")[0].trim()})` };
  }
}
