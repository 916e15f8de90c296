import { SmhdrError } from "../errors.js";

export const EXR_COMPRESSIONS = ["none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab"] as const;
export type ExrCompression = (typeof EXR_COMPRESSIONS)[number];

export interface ExrChannel {
  readonly name: string;
  readonly type: "uint" | "half" | "float";
  /** Set on channels that are already perceptual: B44 then stores them through an exponential. */
  readonly perceptuallyLinear: boolean;
  readonly xSampling: number;
  readonly ySampling: number;
}

/** What the header of (the first part of) an OpenEXR file says. */
export interface ExrHeader {
  readonly channels: readonly ExrChannel[];
  readonly compression: ExrCompression;
  /** Left, top, right, bottom, inclusive. */
  readonly dataWindow: readonly [number, number, number, number];
  readonly chromaticities?: readonly number[];
  /** Width and height of a tile; absent in files of scan lines. */
  readonly tileSize?: readonly [number, number];
  readonly deep: boolean;
  readonly multiPart: boolean;
  /** Text and number attributes, by name: what writers store as metadata. */
  readonly attributes: ReadonlyMap<string, string | number>;
  /** Just after the header: the chunk offset table of a single-part file. */
  readonly end: number;
}

const MAGIC = 20000630;
const MOST_CHANNELS = 1024;

/** Attribute types of a fixed size; other readers take them for granted. */
const SIZES: ReadonlyMap<string, number> = new Map([
  ["box2i", 16],
  ["chromaticities", 32],
  ["compression", 1],
  ["envmap", 1],
  ["float", 4],
  ["int", 4],
  ["lineOrder", 1],
  ["rational", 8],
  ["tiledesc", 9],
  ["timecode", 8],
  ["v2f", 8],
  ["v3f", 12],
]);

export function isOpenExr(bytes: Uint8Array): boolean {
  return bytes[0] === 0x76 && bytes[1] === 0x2f && bytes[2] === 0x31 && bytes[3] === 0x01;
}

type Part = Omit<ExrHeader, "deep" | "multiPart" | "end">;

/**
 * Reads an OpenEXR header (openexr.com, "OpenEXR File Layout"). Throws BAD_INPUT when it, or the header of a further
 * part, is damaged.
 */
export function readExrHeader(bytes: Uint8Array): ExrHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (view.getUint32(0, true) !== MAGIC) throw badExr("does not begin with OpenEXR's magic number");
    const flags = view.getUint32(4, true);
    const multiPart = (flags & 0x1000) !== 0;
    const reader = new HeaderReader(bytes, view);
    const part = reader.part();
    if (multiPart) while (!reader.atEnd()) reader.part();
    return { ...part, deep: (flags & 0x800) !== 0, multiPart, end: reader.offset };
  } catch (error) {
    if (error instanceof RangeError) throw badExr("is cut off in its header");
    throw error;
  }
}

/** Goes through the headers of a file's parts. A RangeError means that they run over its end. */
class HeaderReader {
  offset = 8;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly view: DataView,
  ) {}

  /** Whether the byte is here that ends the headers of several parts; moves past it. */
  atEnd(): boolean {
    if (this.view.getUint8(this.offset) !== 0) return false;
    this.offset++;
    return true;
  }

  private text(): string {
    const { bytes, offset } = this;
    const end = bytes.indexOf(0, offset);
    if (end < 0 || end - offset > 255) throw badExr("has a damaged header");
    this.offset = end + 1;
    return Buffer.from(bytes.buffer, bytes.byteOffset + offset, end - offset).toString("latin1");
  }

  part(): Part {
    const { bytes, view } = this;
    let channels: ExrChannel[] | undefined;
    let compression: ExrCompression | undefined;
    let dataWindow: [number, number, number, number] | undefined;
    let chromaticities: number[] | undefined;
    let tileSize: [number, number] | undefined;
    const attributes = new Map<string, string | number>();
    for (let name = this.text(); name !== ""; name = this.text()) {
      const type = this.text();
      const size = view.getInt32(this.offset, true);
      const start = this.offset + 4;
      const end = start + size;
      if (size < 0 || end > bytes.length || size !== (SIZES.get(type) ?? size)) throw badExr("has a damaged header");
      if (type === "chlist") {
        channels = this.channels(start, end);
      } else if (type === "compression") {
        compression = EXR_COMPRESSIONS[bytes[start]];
        if (!compression) throw unsupportedExr(`compression number ${bytes[start]}`);
      } else if (name === "dataWindow" && type === "box2i") {
        dataWindow = [0, 4, 8, 12].map((i) => view.getInt32(start + i, true)) as [number, number, number, number];
      } else if (type === "tiledesc") {
        tileSize = [view.getUint32(start, true), view.getUint32(start + 4, true)];
        if (tileSize[0] === 0 || tileSize[1] === 0) throw badExr("has tiles of no size");
      } else if (type === "chromaticities") {
        chromaticities = Array.from({ length: 8 }, (_, i) => view.getFloat32(start + 4 * i, true));
      } else if (type === "string") {
        attributes.set(name, Buffer.from(bytes.subarray(start, end)).toString("utf8"));
      } else if (type === "float") {
        attributes.set(name, view.getFloat32(start, true));
      } else if (type === "int") {
        attributes.set(name, view.getInt32(start, true));
      }
      this.offset = end;
    }
    if (!channels || !compression || !dataWindow) throw badExr("lacks its channels, compression or dataWindow");
    const [left, top, right, bottom] = dataWindow;
    if (right < left || bottom < top) throw badExr(`has an empty dataWindow (${dataWindow})`);
    return {
      channels,
      compression,
      dataWindow,
      ...(chromaticities && { chromaticities }),
      ...(tileSize && { tileSize }),
      attributes,
    };
  }

  private channels(start: number, end: number): ExrChannel[] {
    const { bytes, view } = this;
    const channels: ExrChannel[] = [];
    const known = new Set<string>();
    this.offset = start;
    for (let channel = this.text(); channel !== ""; channel = this.text()) {
      const kind = (["uint", "half", "float"] as const)[view.getInt32(this.offset, true)];
      const xSampling = view.getInt32(this.offset + 8, true);
      const ySampling = view.getInt32(this.offset + 12, true);
      if (!kind || xSampling < 1 || ySampling < 1 || known.has(channel))
        throw badExr(`has a damaged channel "${channel}"`);
      if (known.add(channel).size > MOST_CHANNELS) throw unsupportedExr(`more than ${MOST_CHANNELS} channels`);
      channels.push({
        name: channel,
        type: kind,
        perceptuallyLinear: bytes[this.offset + 4] !== 0,
        xSampling,
        ySampling,
      });
      this.offset += 16;
    }
    if (this.offset !== end) throw badExr("has a damaged list of channels");
    return channels;
  }
}

/** Scan lines of one block of each compression. */
export const EXR_LINES_PER_BLOCK: Readonly<Record<ExrCompression, number>> = {
  none: 1,
  rle: 1,
  zips: 1,
  zip: 16,
  piz: 32,
  pxr24: 16,
  b44: 32,
  b44a: 32,
  dwaa: 32,
  dwab: 256,
};

/**
 * By how much each compression can shrink samples at most, rounded up: deflate 1032 times, PIZ's runs 255 samples to 9
 * bits, B44A's flat blocks 32 bytes to 3, DWA blocks of 128 bytes by such runs.
 */
const LARGEST_RATIO: Readonly<Record<ExrCompression, number>> = {
  none: 1,
  rle: 64,
  zips: 1032,
  zip: 1032,
  piz: 512,
  pxr24: 1376,
  b44: 3,
  b44a: 11,
  dwaa: 32768,
  dwab: 32768,
};

/** Throws BAD_INPUT where a file has too few bytes for its pixels, however well they shrank: before memory is taken. */
export function checkExrSize({ length }: Uint8Array, { dataWindow, channels, compression }: ExrHeader): void {
  const [left, top, right, bottom] = dataWindow;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const raw = channels.reduce(
    (sum, { type, xSampling, ySampling }) =>
      sum + (type === "half" ? 2 : 4) * Math.floor(width / xSampling) * Math.floor(height / ySampling),
    0,
  );
  if (raw > length * LARGEST_RATIO[compression])
    throw badExr(`is cut off: ${width}x${height} pixels cannot lie in ${length} bytes`);
}

/** Throws BAD_INPUT unless every block of a single-part file (of its largest level, if tiled) lies inside the file. */
export function checkExrBlocks(bytes: Uint8Array, { dataWindow, tileSize, compression, end }: ExrHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [left, top, right, bottom] = dataWindow;
  const [tileWidth, tileHeight] = tileSize ?? [right - left + 1, EXR_LINES_PER_BLOCK[compression]];
  const count = Math.ceil((right - left + 1) / tileWidth) * Math.ceil((bottom - top + 1) / tileHeight);
  const head = tileSize ? 20 : 8; // the last four bytes of which are the size
  if (end + 8 * count > bytes.length) throw badExr("is cut off");
  for (let i = 0; i < count; i++) {
    const start = Number(view.getBigUint64(end + 8 * i, true));
    if (start + head > bytes.length || start + head + view.getUint32(start + head - 4, true) > bytes.length) {
      throw badExr("is cut off or damaged");
    }
  }
}

export function badExr(what: string, cause?: unknown): SmhdrError {
  return new SmhdrError("BAD_INPUT", `OpenEXR file ${what}.`, { cause });
}

export function unsupportedExr(what: string): SmhdrError {
  return new SmhdrError("UNSUPPORTED", `OpenEXR file: ${what} cannot be read.`);
}
