import { basename, resolve } from "node:path";
import { checkThreads } from "../check-threads.js";
import { DEFAULT_MEMORY } from "../default-memory.js";
import { SmhdrError, shown, throwIfAborted } from "../errors.js";
import type { Image } from "../image.js";
import { alignBracket } from "./align.js";
import type { Bracket, Note, PixelStore } from "./bracket.js";
import {
  type AlphaPolicy,
  decodePhotograph,
  type PhotographHeader,
  type PhotographSource,
  readHeader,
} from "./decode.js";
import { type Candidate, checkGiven, findExposureValues } from "./exposure-value.js";
import { followBracket, followedPixels } from "./motion.js";
import { depthOf, memoryPixels, pixelBytes } from "./pixels.js";
import { buildProxy } from "./proxy.js";

export const MAX_EXPOSURES = 16;
/** The part of the memory that a bracket's pixels may hold; the result and the work on it need the rest. */
const MEMORY_SHARE = 1 / 4;
/** The part of the time that decoding takes; aligning and following take the rest. */
const DECODING_SHARE = 0.8;
/** And of that, aligning; following what moved takes what is left. */
const ALIGNING_SHARE = 0.4;

export interface BracketOptions {
  /** Exposure values in stops, one for each image in the order given; only their differences count. */
  readonly ev?: readonly number[] | undefined;
  /** Which exposure's moment is shown: an index into the exposures sorted shortest first. Default floor(n / 2). */
  readonly reference?: number | undefined;
  /** "auto" finds and undoes the movement of a hand-held camera. Default "auto". */
  readonly align?: "auto" | "none" | undefined;
  /**
   * "auto" follows what moved: where an exposure shows a thing somewhere else than the reference, and it is clear where,
   * its pixels are taken from there. Default: as `align`.
   */
  readonly follow?: "auto" | "none" | undefined;
  /** Threads for aligning and following. Default: one per processor. */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction done, 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface ReadOptions extends BracketOptions {
  /** Images with an alpha channel are refused, or flattened onto black. Default "refuse". */
  readonly alpha?: AlphaPolicy | undefined;
  /**
   * Bytes of memory for the whole job, default 2 GiB. A bracket whose pixels take more than a quarter of it is kept in
   * unlinked temporary files (in the folder of the environment's TMPDIR).
   */
  readonly memory?: number | undefined;
}

/**
 * Reads photographs (paths, or the bytes of files) of one scene into a bracket, shortest exposure first whatever the order
 * of the files. Pixels stay as decoded: 8- or 16-bit RGB, upright, with their encoding named. Close the bracket after use.
 *
 * @throws SmhdrError INVALID_ARGUMENT, BAD_INPUT, UNSUPPORTED, IO or CANCELLED; nothing stays open or on disk then.
 */
export async function readBracket(files: readonly PhotographSource[], options: ReadOptions = {}): Promise<Bracket> {
  const { alpha = "refuse", memory = DEFAULT_MEMORY, signal, onProgress } = options;
  checkFiles(files);
  if (alpha !== "refuse" && alpha !== "flatten") {
    throw new SmhdrError("INVALID_ARGUMENT", `alpha: expected "refuse" or "flatten"; got ${JSON.stringify(alpha)}.`);
  }
  if (!(memory > 0)) throw new SmhdrError("INVALID_ARGUMENT", `memory: expected bytes above 0; got ${memory}.`);

  // All headers first: what does not fit together is refused before anything large is decoded.
  const headers: PhotographHeader[] = [];
  for (const [i, file] of files.entries()) {
    throwIfAborted(signal);
    headers.push(await readHeader(file, nameOf(file, i), alpha));
  }
  // Now, for a path that does not exist explains a wrong number of them best.
  checkCount(files.length);
  checkOptions(files.length, options);
  checkAlike(headers);
  const spill = headers.reduce((sum, header) => sum + pixelBytes(header), 0) > memory * MEMORY_SHARE;

  const members: Member[] = [];
  try {
    for (const [i, header] of headers.entries()) {
      throwIfAborted(signal);
      const { pixels, proxy } = await decodePhotograph(header, spill);
      members.push({ name: header.name, settings: header.settings, pixels, proxy });
      onProgress?.((DECODING_SHARE * (i + 1)) / headers.length);
    }
    throwIfAborted(signal);
    const remarks = headers.flatMap(colourRemark);
    return await assemble(members, remarks, {
      ...options,
      onProgress: (fraction) => onProgress?.(DECODING_SHARE + (1 - DECODING_SHARE) * fraction),
    });
  } catch (error) {
    for (const { pixels } of members) pixels.close();
    throw error;
  }
}

/**
 * Makes a bracket of images in memory, as readBracket does of files. The pixels are not copied: leave them as they are
 * until the bracket is closed.
 *
 * @throws SmhdrError INVALID_ARGUMENT (not RGB, a wrong length, values that make no sense), BAD_INPUT or CANCELLED.
 */
export async function bracketFromImages(images: readonly Image[], options: BracketOptions = {}): Promise<Bracket> {
  checkCount(images.length);
  checkOptions(images.length, options);
  for (const [i, image] of images.entries()) checkImage(image, `image ${i + 1}`);
  const formats = images.map((image, i) => ({ ...image, name: `image ${i + 1}`, depth: depthOf(image.data) }));
  checkAlike(formats);
  const members = formats.map(({ name, width, height, depth, encoding, data }) => {
    const pixels = memoryPixels({ width, height, depth, encoding }, data);
    return { name, pixels, settings: {}, proxy: buildProxy(pixels) };
  });
  return assemble(members, [], options);
}

/** An exposure that was decoded, or came as pixels, before its place in a bracket is known. */
export interface Member extends Candidate {
  readonly pixels: PixelStore;
}

export interface MemberOptions extends Omit<BracketOptions, "reference"> {
  /** Which of the members is the reference, an index into them as given. Default: the middle one by exposure value. */
  readonly referenceMember?: number | undefined;
}

/**
 * Makes a bracket of members in any order. Their pixels stay the caller's: whoever wants to use them again does not close
 * the bracket.
 *
 * @throws SmhdrError as readBracket.
 */
export async function bracketFromMembers(members: readonly Member[], options: MemberOptions = {}): Promise<Bracket> {
  checkCount(members.length);
  checkOptions(members.length, { ...options, reference: options.referenceMember });
  checkAlike(members.map(({ name, pixels }) => ({ ...pixels, name })));
  return assemble(members, [], options);
}

/** What must be said of a photograph whose colours could not be read as they were meant. */
export function colourRemark({ name, remark }: PhotographHeader): Note[] {
  return remark === undefined ? [] : [{ code: "colour", message: `${name} ${remark}.` }];
}

async function assemble(
  members: readonly Member[],
  remarks: readonly Note[],
  options: BracketOptions & MemberOptions,
): Promise<Bracket> {
  const { ev, align = "auto", follow = align, threads, signal, onProgress, referenceMember } = options;
  const { order, values, source, notes } = findExposureValues(members, ev);
  const chosen = referenceMember === undefined ? options.reference : order.indexOf(referenceMember);
  const reference = chosen ?? Math.floor(members.length / 2);
  throwIfAborted(signal);
  const sorted = order.map((index) => members[index]);
  const proxies = sorted.map(({ proxy }) => proxy);
  const names = sorted.map(({ name }) => basename(name));
  const aligningShare = follow === "auto" ? ALIGNING_SHARE : 1;
  const alignment =
    align === "auto"
      ? await alignBracket(proxies, values, reference, {
          names,
          threads,
          signal,
          onProgress: (fraction) => onProgress?.(aligningShare * fraction),
        })
      : undefined;
  const homographies = alignment?.homographies ?? [];
  const motion =
    follow === "auto"
      ? await followBracket(proxies, values, reference, {
          homographies,
          names,
          threads,
          signal,
          onProgress: (fraction) => onProgress?.(aligningShare + (1 - aligningShare) * fraction),
        })
      : undefined;
  throwIfAborted(signal);
  const { width, height } = members[0].pixels;
  const stores = sorted.map(({ pixels }, i) => {
    const field = motion?.fields[i];
    return field ? followedPixels(pixels, field) : pixels;
  });
  onProgress?.(1);
  return {
    width,
    height,
    exposures: sorted.map(({ name }, i) => {
      const exposure = { name, pixels: stores[i], exposureValue: values[i], exposureSource: source };
      const homography = homographies[i];
      return homography ? { ...exposure, alignment: homography } : exposure;
    }),
    reference,
    notes: [...remarks, ...notes, ...(alignment?.notes ?? []), ...(motion?.notes ?? [])],
    close() {
      for (const pixels of stores) pixels.close();
    },
  };
}

const nameOf = (file: PhotographSource, i: number) => (typeof file === "string" ? file : `image ${i + 1}`);

/** What TypeScript would have refused, and too many to look at. */
function checkFiles(files: readonly PhotographSource[]): void {
  if (!Array.isArray(files))
    throw new SmhdrError("INVALID_ARGUMENT", `files: expected an array of paths or Buffers; got ${shown(files)}.`);
  const wrong = files.find((file) => typeof file !== "string" && !Buffer.isBuffer(file));
  if (wrong !== undefined)
    throw new SmhdrError("INVALID_ARGUMENT", `files: expected paths or Buffers; got ${shown(wrong)}.`);
  if (files.length > MAX_EXPOSURES) checkCount(files.length);
  const paths = files.map((file) => (typeof file === "string" ? resolve(file) : undefined));
  const twice = files.find((_, i) => paths[i] !== undefined && paths.indexOf(paths[i]) < i);
  if (twice !== undefined)
    throw new SmhdrError("INVALID_ARGUMENT", `${twice} was given twice; expected each photograph once.`);
}

function checkCount(count: number): void {
  if (count < 2 || count > MAX_EXPOSURES) {
    throw new SmhdrError("INVALID_ARGUMENT", `A bracket has 2 to ${MAX_EXPOSURES} exposures; got ${count}.`);
  }
}

function checkOptions(count: number, { reference, ev, align, follow, threads }: BracketOptions): void {
  if (reference !== undefined && !(Number.isInteger(reference) && reference >= 0 && reference < count)) {
    const range = `0 (the shortest exposure) to ${count - 1}`;
    throw new SmhdrError("INVALID_ARGUMENT", `reference: expected a whole number from ${range}; got ${reference}.`);
  }
  if (ev !== undefined) checkGiven(ev, count);
  checkThreads(threads);
  for (const [name, value] of Object.entries({ align, follow })) {
    if (value !== undefined && value !== "auto" && value !== "none")
      throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected "auto" or "none"; got ${shown(value)}.`);
  }
}

type Described = Pick<PhotographHeader, "name" | "width" | "height" | "encoding"> & {
  readonly depth: PixelStore["depth"];
};

function checkAlike(images: readonly Described[]): void {
  const [first] = images;
  for (const other of images) {
    if (other.width !== first.width || other.height !== first.height) {
      const sizes = `${first.name} is ${first.width} x ${first.height}, ${other.name} is ${other.width} x ${other.height}`;
      throw new SmhdrError("BAD_INPUT", `The images of a bracket must have one size: ${sizes}.`);
    }
    if (other.depth !== first.depth) {
      const depths = `${first.name} is ${first.depth}, ${other.name} is ${other.depth}`;
      throw new SmhdrError("BAD_INPUT", `The images of a bracket must have one bit depth: ${depths}.`);
    }
    if (!sameEncoding(first, other)) {
      throw new SmhdrError(
        "BAD_INPUT",
        `The images of a bracket must have one colour encoding: ${first.name} and ${other.name} differ in their profiles.`,
      );
    }
  }
}

function sameEncoding({ encoding: a }: Described, { encoding: b }: Described): boolean {
  if (JSON.stringify(a.primaries) !== JSON.stringify(b.primaries)) return false;
  if (typeof a.transfer === "string" || typeof b.transfer === "string") return a.transfer === b.transfer;
  const { table } = b.transfer;
  return a.transfer.table.length === table.length && a.transfer.table.every((value, i) => value === table[i]);
}

function checkImage({ width, height, channels, data }: Image, name: string): void {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0)) {
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `${name}: expected a width and height of at least 1; got ${width} x ${height}.`,
    );
  }
  if (channels !== 3) throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected 3 channels (RGB); got ${channels}.`);
  if (data.length !== width * height * 3) {
    const wanted = `${width} x ${height} x 3 = ${width * height * 3}`;
    throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected ${wanted} samples; got ${data.length}.`);
  }
  if (data instanceof Float32Array && !data.every(Number.isFinite)) {
    throw new SmhdrError("INVALID_ARGUMENT", `${name}: expected finite samples; found NaN or infinity.`);
  }
}
