import { readFile } from "node:fs/promises";
import { SmhdrError, unreadable } from "../errors.js";
import type { Image } from "../image.js";
import { isOpenExr } from "./openexr-header.js";
import { decodeRadianceHdr, isRadianceHdr } from "./radiance-hdr.js";

/**
 * Reads a linear picture, OpenEXR or Radiance, told apart by its first bytes and not by its name: float32 RGB.
 * Throws IO where the file cannot be read, BAD_INPUT where it is neither or damaged.
 */
export async function readRadiance(path: string): Promise<Image> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    // Loaded when first needed: the library behind it is large.
    if (isOpenExr(bytes)) return await (await import("./openexr.js")).decodeOpenExr(bytes);
    if (isRadianceHdr(bytes)) return decodeRadianceHdr(bytes);
  } catch (error) {
    if (error instanceof SmhdrError) throw new SmhdrError(error.code, `${path}: ${error.message}`, { cause: error });
    throw error;
  }
  throw new SmhdrError("BAD_INPUT", `${path}: neither an OpenEXR nor a Radiance file.`);
}
