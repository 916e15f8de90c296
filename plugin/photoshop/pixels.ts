import { imaging } from "photoshop";
import { PanelError } from "../panel/client.js";
import type { RowSource } from "../panel/host.js";
import type { Document, Layer, Rectangle } from "./layers.js";

type Samples = Uint8Array | Uint16Array | Float32Array;

/** How a document's pixels are asked for, and what they are then. */
export interface PixelFormat {
  readonly componentSize: 8 | 16 | 32;
  readonly format: RowSource["format"];
  /** As getPixels takes it. */
  readonly profile: string;
  readonly encoding: RowSource["encoding"];
}

/** Bytes that one strip may take in the plug-in's memory: UXP warns near 600 MB. */
const STRIP_BYTES = 16 << 20;

const SRGB = "sRGB IEC61966-2.1";
const encodings: Readonly<Record<string, RowSource["encoding"]>> = {
  [SRGB]: { transfer: "srgb", primaries: "srgb" },
  "Display P3": { transfer: "srgb", primaries: "display-p3" },
  "Adobe RGB (1998)": { transfer: "gamma2.2", primaries: "adobe-rgb" },
  "ProPhoto RGB": { transfer: { gamma: 1.8 }, primaries: "prophoto" },
};

/** A document's own depth; its own profile where that is known, else Photoshop converts to sRGB, as from grey, CMYK and Lab. */
export function formatOf(document: Document): PixelFormat {
  const own = document.mode === "RGBColorMode" ? document.colorProfileName.replace(/ \(Linear RGB Profile\)$/, "") : "";
  const profile = own in encodings ? own : SRGB;
  const { transfer, primaries } = encodings[profile];
  if (document.bitsPerChannel === "bitDepth32") {
    return { componentSize: 32, format: "float32", profile, encoding: { transfer: "linear", primaries } };
  }
  const deep = document.bitsPerChannel === "bitDepth16";
  return {
    componentSize: deep ? 16 : 8,
    format: deep ? "uint16" : "uint8",
    profile,
    encoding: { transfer, primaries },
  };
}

/** The name of Photoshop's profile for primaries of the service. */
export function profileFor(primaries: unknown): string {
  return Object.keys(encodings).find((name) => encodings[name].primaries === primaries) ?? SRGB;
}

/** Rows of a strip, with alpha perhaps, within STRIP_BYTES. */
export function stripRowsFor(width: number, { componentSize }: PixelFormat): number {
  return Math.max(1, Math.floor(STRIP_BYTES / (width * 4 * (componentSize / 8))));
}

/**
 * Reads an area of a layer as interleaved RGB; `target`: reduced to at most that many pixels a side.
 * @throws PanelError where the layer has holes there, or is gone.
 */
export async function readArea(
  document: Document,
  layer: Layer,
  area: Rectangle,
  format: PixelFormat,
  target?: number,
): Promise<{ readonly width: number; readonly height: number; readonly data: Samples }> {
  const width = area.right - area.left;
  const height = area.bottom - area.top;
  const reduce = target !== undefined && target < Math.max(width, height);
  let pixels: Awaited<ReturnType<typeof imaging.getPixels>>;
  try {
    pixels = await imaging.getPixels({
      documentID: document.id,
      layerID: layer.id,
      sourceBounds: { ...area },
      componentSize: format.componentSize,
      colorSpace: "RGB",
      colorProfile: format.profile,
      ...(reduce ? { targetSize: width >= height ? { width: target } : { height: target } } : {}),
    });
  } catch (error) {
    throw new PanelError(
      "BAD_INPUT",
      `The layer ${layer.name} could not be read: was it deleted, or the document closed? Nothing was changed. (${(error as Error).message})`,
    );
  }
  const { imageData, sourceBounds } = pixels;
  try {
    // What Photoshop returns is trimmed to where there are pixels: less than was asked for means holes.
    const trimmed = reduce
      ? Math.abs(imageData.width * height - imageData.height * width) > Math.max(width, height)
      : sourceBounds.left !== area.left ||
        sourceBounds.top !== area.top ||
        imageData.width !== width ||
        imageData.height !== height;
    if (trimmed) throw holes(layer);
    const raw = await imageData.getData({ chunky: true, fullRange: true });
    return { width: imageData.width, height: imageData.height, data: toRgb(raw, imageData.components, layer) };
  } finally {
    await imageData.dispose();
  }
}

function toRgb(raw: Samples, components: number, layer: Layer): Samples {
  const count = raw.length / components;
  const top = raw instanceof Float32Array ? 1 : raw instanceof Uint16Array ? 65535 : 255;
  if (components === 4) {
    for (let i = 3; i < raw.length; i += 4) if (raw[i] < top) throw holes(layer);
  } else if (components !== 3) {
    throw new PanelError("UNSUPPORTED", `The layer ${layer.name} came with ${components} components instead of RGB.`);
  }
  const data = components === 3 ? raw : new (raw.constructor as new (length: number) => Samples)(count * 3);
  if (components === 4) {
    for (let from = 0, to = 0; from < raw.length; from += 4, to += 3) {
      data[to] = raw[from];
      data[to + 1] = raw[from + 1];
      data[to + 2] = raw[from + 2];
    }
  }
  // Layers of 32 bits may hold more than white; an exposure does not.
  if (data instanceof Float32Array)
    for (let i = 0; i < data.length; i++) data[i] = data[i] > 0 ? Math.min(data[i], 1) : 0;
  return data;
}

function holes({ name }: Layer): PanelError {
  return new PanelError(
    "UNSUPPORTED",
    `The layer ${name} has transparent pixels where the layers overlap. Crop the document to where all of them are opaque, or fill the holes.`,
  );
}
