import { createReadStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { SmhdrError } from "../errors.js";
import type { Radiance } from "../image.js";
import { writeImage } from "../output/write-image.js";
import { ServiceError } from "./errors.js";

export const ROWS_TYPE = "application/octet-stream";

/** Media types of the files that a result can be written as, by the name that `format` gives them. */
export const FILE_TYPES: Readonly<Record<string, string>> = {
  exr: "image/x-exr",
  hdr: "image/vnd.radiance",
  tif: "image/tiff",
  jpg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  avif: "image/avif",
};

/**
 * What a result is to be sent as: "rows" or a file's format.
 * @throws ServiceError INVALID_ARGUMENT, with status 406 where `Accept` names nothing known.
 */
export function chooseFormat(accept: string | undefined, format: string | undefined): string {
  const known = ["rows", ...Object.keys(FILE_TYPES)];
  if (format !== undefined) {
    if (known.includes(format)) return format;
    throw new ServiceError("INVALID_ARGUMENT", `format: expected ${known.join(", ")}; got ${JSON.stringify(format)}.`);
  }
  const types = (accept ?? "*/*").split(",").map((type) => type.split(";")[0].trim().toLowerCase());
  for (const type of types) {
    if (type === ROWS_TYPE || type === "*/*" || type === "application/*") return "rows";
    const file = known.find((name) => FILE_TYPES[name] === type);
    if (file) return file;
  }
  const offered = [ROWS_TYPE, ...Object.values(FILE_TYPES)].join(", ");
  throw new ServiceError("INVALID_ARGUMENT", `Accept: expected one of ${offered}; got ${accept}.`, 406);
}

const BYTES_AT_ONCE = 4 << 20;

/** Rows [first, first + count) as bytes, every value times `scale`; nothing is copied where that is 1. */
export function streamRows({ width, data }: Radiance, first: number, count: number, scale: number): Readable {
  const rows = data.subarray(first * width * 3, (first + count) * width * 3);
  const step = BYTES_AT_ONCE / 4;
  function* chunks() {
    for (let at = 0; at < rows.length; at += step) {
      const part = rows.subarray(at, at + step);
      const scaled = scale === 1 ? part : part.map((value) => value * scale);
      yield Buffer.from(scaled.buffer, scaled.byteOffset, scaled.byteLength);
    }
  }
  return Readable.from(chunks(), { objectMode: false, highWaterMark: BYTES_AT_ONCE });
}

/** Writes the result to a temporary file and gives its bytes; the file is gone when they have been read or given up. */
export async function streamFile(
  radiance: Radiance,
  format: string,
  options: { readonly precision: "half" | "float"; readonly signal: AbortSignal },
): Promise<{ readonly stream: Readable; readonly length: number }> {
  const folder = await mkdtemp(join(tmpdir(), "smhdr-serve-")).catch((cause) => {
    throw new SmhdrError("IO", `No temporary file can be made in ${tmpdir()} (${cause.message}).`, { cause });
  });
  const clean = () => rm(folder, { recursive: true, force: true });
  try {
    const path = join(folder, `result.${format}`);
    await writeImage(radiance, path, options);
    const stream = createReadStream(path);
    stream.once("close", clean);
    return { stream, length: (await stat(path)).size };
  } catch (error) {
    await clean();
    throw error;
  }
}
