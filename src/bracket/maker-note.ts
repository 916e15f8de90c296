import { bareExif, type ExifTags } from "./metadata.js";

/** What a maker's note says of bracketing. */
export interface MakerBracketing {
  readonly bracketing?: boolean;
  readonly sequence?: number;
}

/** A directory of TIFF entries: where it begins, what its offsets count from, and the order of its bytes. */
interface Directory {
  readonly at: number;
  readonly base: number;
  readonly littleEndian: boolean;
}

/**
 * Bracketing from the notes of Canon, Nikon, Sony, Panasonic and Fujifilm (tags and layouts as ExifTool documents them,
 * exiftool.org/TagNames). `data` is the block that `exif` was read from. Nothing is said where a note is of another kind or broken.
 */
export function bracketingOf(data: Uint8Array, exif: ExifTags, make: string | undefined): MakerBracketing {
  const value = exif.MakerNote?.value;
  if (!make || !Array.isArray(value) || value.length < 16) return {};
  const note = Uint8Array.from(value as number[]);
  try {
    const brand = make.toLowerCase();
    if (brand.startsWith("canon")) return canon(bareExif(data), note);
    if (brand.startsWith("nikon")) return nikon(note);
    if (brand.startsWith("sony")) return sony(bareExif(data), note);
    if (brand.startsWith("panasonic") || brand.startsWith("leica")) return panasonic(bareExif(data), note);
    if (brand.startsWith("fujifilm")) return fujifilm(note);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // an offset beyond the block
  }
  return {};
}

/** ShotInfo (0x0004), number 16: 0 off, -1 on, 1 to 3 which shot. Offsets count from the block's beginning. */
function canon(block: Uint8Array, note: Uint8Array): MakerBracketing {
  const view = viewOf(block);
  const entry = find(view, inBlock(block, note, 0), 0x0004);
  if (!entry || entry.count <= 16) return {};
  const state = view.getInt16(entry.valueAt + 2 * 16, entry.littleEndian);
  if (state === -1) return { bracketing: true };
  if (state >= 1 && state <= 3) return { bracketing: true, sequence: state };
  return state === 0 ? { bracketing: false } : {};
}

/** ShootingMode (0x0089), bit 4. The note is a TIFF file of its own after ten bytes. */
function nikon(note: Uint8Array): MakerBracketing {
  if (!startsWith(note, "Nikon\0")) return {};
  const view = viewOf(note);
  const littleEndian = view.getUint16(10) === 0x4949;
  const mode = read(view, { at: 10 + view.getUint32(14, littleEndian), base: 10, littleEndian }, 0x0089);
  return mode === undefined ? {} : { bracketing: (mode & 0x10) !== 0 };
}

/** ReleaseMode (0xb049): 5 is exposure bracketing; SequenceNumber (0xb04a). */
function sony(block: Uint8Array, note: Uint8Array): MakerBracketing {
  if (!startsWith(note, "SONY ")) return {};
  const [view, directory] = [viewOf(block), inBlock(block, note, 12)];
  const mode = read(view, directory, 0xb049);
  if (mode === undefined || mode === 0xffff) return {};
  const sequence = read(view, directory, 0xb04a);
  if (mode !== 5) return { bracketing: false };
  return { bracketing: true, ...(sequence && sequence < 1000 && { sequence }) };
}

/** BracketSettings (0x0045): 0 none; SequenceNumber (0x002b). */
function panasonic(block: Uint8Array, note: Uint8Array): MakerBracketing {
  if (!startsWith(note, "Panasonic\0")) return {};
  const [view, directory] = [viewOf(block), inBlock(block, note, 12)];
  const settings = read(view, directory, 0x0045);
  if (settings === undefined) return {};
  const sequence = read(view, directory, 0x002b);
  if (settings === 0) return { bracketing: false };
  return { bracketing: true, ...(sequence && sequence < 1000 && { sequence }) };
}

/** AutoBracketing (0x1100): 0 off, 1 on; SequenceNumber (0x1101). Little-endian, offsets count from the note. */
function fujifilm(note: Uint8Array): MakerBracketing {
  if (!startsWith(note, "FUJIFILM")) return {};
  const view = viewOf(note);
  const directory = { at: view.getUint32(8, true), base: 0, littleEndian: true };
  const state = read(view, directory, 0x1100);
  if (state === undefined) return {};
  const sequence = read(view, directory, 0x1101);
  if (state === 0) return { bracketing: false };
  return { bracketing: true, ...(sequence && sequence < 1000 && { sequence }) };
}

/** The directory `skip` bytes into a note that lies somewhere in the block. */
function inBlock(block: Uint8Array, note: Uint8Array, skip: number): Directory {
  const head = Buffer.from(note.subarray(0, 64));
  const at = Buffer.from(block.buffer, block.byteOffset, block.byteLength).indexOf(head);
  if (at < 0) throw new RangeError("the note is not in the block");
  return { at: at + skip, base: 0, littleEndian: block[0] === 0x49 };
}

interface Entry {
  readonly type: number;
  readonly count: number;
  readonly valueAt: number;
  readonly littleEndian: boolean;
}

const typeBytes = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];

function find(view: DataView, { at, base, littleEndian }: Directory, tag: number): Entry | undefined {
  const entries = view.getUint16(at, littleEndian);
  for (let i = 0; i < entries; i++) {
    const entry = at + 2 + 12 * i;
    if (view.getUint16(entry, littleEndian) !== tag) continue;
    const type = view.getUint16(entry + 2, littleEndian);
    const count = view.getUint32(entry + 4, littleEndian);
    const inPlace = count * (typeBytes[type] ?? 1) <= 4;
    const valueAt = inPlace ? entry + 8 : base + view.getUint32(entry + 8, littleEndian);
    return { type, count, valueAt, littleEndian };
  }
  return undefined;
}

/** The first number of a tag of 8, 16 or 32 bits. */
function read(view: DataView, directory: Directory, tag: number): number | undefined {
  const entry = find(view, directory, tag);
  if (!entry) return undefined;
  const { type, valueAt, littleEndian } = entry;
  if (type === 1) return view.getUint8(valueAt);
  if (type === 3) return view.getUint16(valueAt, littleEndian);
  if (type === 4) return view.getUint32(valueAt, littleEndian);
  if (type === 9) return view.getInt32(valueAt, littleEndian);
  return undefined;
}

const startsWith = (note: Uint8Array, word: string) => [...word].every((letter, i) => note[i] === letter.charCodeAt(0));
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
