import { closeSync, fstatSync, openSync, readSync, unlinkSync } from "node:fs";
import { SmhdrError } from "../errors.js";
import type { Encoding, PixelData } from "../image.js";
import type { PixelStore } from "./bracket.js";

/** What a store's pixels are: enough to know their size in bytes. */
export interface PixelFormat {
  readonly width: number;
  readonly height: number;
  readonly depth: PixelStore["depth"];
  readonly encoding: Encoding;
}

const sampleBytes = { uint8: 1, uint16: 2, float32: 4 } as const;

/** Bytes of an interleaved RGB image. */
export function pixelBytes({ width, height, depth }: Omit<PixelFormat, "encoding">): number {
  return width * height * 3 * sampleBytes[depth];
}

/** Names the depth of an array of samples. */
export function depthOf(data: PixelData): PixelStore["depth"] {
  if (data instanceof Uint8Array) return "uint8";
  return data instanceof Uint16Array ? "uint16" : "float32";
}

/** Pixels held in memory; `rows` gives views of them. */
export function memoryPixels(format: PixelFormat, pixels: PixelData): PixelStore {
  let data: PixelData | undefined = pixels;
  const stride = format.width * 3;
  return {
    ...format,
    channels: 3,
    rows(y0, y1) {
      checkRows(format, y0, y1);
      if (!data) throw closed();
      return data.subarray(y0 * stride, y1 * stride);
    },
    close() {
      data = undefined;
    },
  };
}

/**
 * Takes over a file whose rows begin at byte `offset`, in the machine's byte order. The file is unlinked at once, so that
 * it vanishes with the process whatever happens; `rows` reads into one buffer that it uses again.
 */
export function filePixels(format: PixelFormat, path: string, offset: number): PixelStore {
  let file: number | undefined = openSync(path, "r");
  unlinkSync(path);
  const stride = format.width * 3 * sampleBytes[format.depth];
  if (fstatSync(file).size < offset + stride * format.height) {
    closeSync(file);
    throw new SmhdrError("IO", `The temporary file ${path} is shorter than its pixels: is the disk full?`);
  }
  let buffer = new ArrayBuffer(0);
  return {
    ...format,
    channels: 3,
    rows(y0, y1) {
      checkRows(format, y0, y1);
      if (file === undefined) throw closed();
      const bytes = (y1 - y0) * stride;
      if (buffer.byteLength < bytes) buffer = new ArrayBuffer(bytes);
      const view = new Uint8Array(buffer, 0, bytes);
      for (let done = 0; done < bytes; ) {
        const got = readSync(file, view, done, bytes - done, offset + y0 * stride + done);
        if (got === 0) throw new SmhdrError("IO", "A temporary file of pixels ended early.");
        done += got;
      }
      if (format.depth === "uint8") return view;
      const samples = bytes / sampleBytes[format.depth];
      return format.depth === "uint16" ? new Uint16Array(buffer, 0, samples) : new Float32Array(buffer, 0, samples);
    },
    close() {
      if (file !== undefined) closeSync(file);
      file = undefined;
      buffer = new ArrayBuffer(0);
    },
  };
}

/** Throws INVALID_ARGUMENT where a store of this height has no such rows. */
export function checkRows({ height }: Pick<PixelFormat, "height">, y0: number, y1: number): void {
  if (!(Number.isInteger(y0) && Number.isInteger(y1) && 0 <= y0 && y0 <= y1 && y1 <= height)) {
    throw new SmhdrError("INVALID_ARGUMENT", `rows(${y0}, ${y1}): expected 0 <= y0 <= y1 <= ${height}.`);
  }
}

const closed = () => new SmhdrError("INVALID_ARGUMENT", "The bracket's pixels were read after close().");
