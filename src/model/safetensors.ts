import { readFile } from "node:fs/promises";
import { halfValues } from "../codec/half.js";
import { SmhdrError, shown, unreadable } from "../errors.js";

/** A float32 tensor and its shape. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface TensorFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The header's `__metadata__`: text by key. */
  readonly metadata: Readonly<Record<string, string>>;
}

const bytesOf: Record<string, number> = { F32: 4, F16: 2, BF16: 2, F64: 8 };
/** The format's own limit on the header. */
const MAX_HEADER = 100_000_000;

/**
 * Reads a safetensors file's floating-point tensors as float32 (format: 8 bytes of little-endian header length, a JSON
 * header, raw little-endian data).
 * @throws SmhdrError BAD_INPUT when the bytes are not such a file; the message says where they stop making sense.
 */
export function decodeSafetensors(bytes: Uint8Array, name = "the file"): TensorFile {
  const refuse = (why: string) => new SmhdrError("BAD_INPUT", `${name} is no usable safetensors file: ${why}.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8) throw refuse(`it has ${bytes.length} bytes`);
  const length = Number(view.getBigUint64(0, true));
  if (length > MAX_HEADER || 8 + length > bytes.length) {
    throw refuse(`its header claims ${length} bytes of ${bytes.length}`);
  }
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch (error) {
    throw refuse(`its header is not JSON (${(error as Error).message})`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) throw refuse("its header is no object");
  const tensors = new Map<string, StoredTensor>();
  const metadata: Record<string, string> = {};
  let claimed = 0;
  for (const [key, value] of Object.entries(header)) {
    if (key === "__metadata__") {
      for (const [k, v] of Object.entries(value ?? {})) {
        if (typeof v !== "string") throw refuse(`its metadata ${shown(k)} is no text`);
        metadata[k] = v;
      }
      continue;
    }
    const { dtype, shape, data_offsets: range } = (value ?? {}) as Partial<Record<string, unknown>>;
    const whole = (list: unknown): list is number[] =>
      Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
    if (typeof dtype !== "string" || !whole(shape) || !whole(range) || range.length !== 2) {
      throw refuse(`its entry ${shown(key)} is malformed`);
    }
    if (!Object.hasOwn(bytesOf, dtype)) continue; // integer buffers: nothing of ours
    const count = shape.reduce((product, size) => product * size, 1);
    const [begin, end] = range;
    if (end - begin !== count * bytesOf[dtype] || 8 + length + end > bytes.length) {
      throw refuse(`the bytes ${begin} to ${end} of ${shown(key)} do not fit ${shown(shape)} ${dtype}`);
    }
    // Tensors that share bytes would let a small file hold any amount of numbers; the format forbids them.
    claimed += end - begin;
    if (claimed > bytes.length) throw refuse("its tensors claim more bytes than it has");
    tensors.set(key, { shape, data: toFloats(bytes.subarray(8 + length + begin, 8 + length + end), dtype, count) });
  }
  return { tensors, metadata };
}

function toFloats(bytes: Uint8Array, dtype: string, count: number): Float32Array {
  const out = new Float32Array(count);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (dtype === "F32") new Uint8Array(out.buffer).set(bytes);
  else if (dtype === "F64") for (let i = 0; i < count; i++) out[i] = view.getFloat64(8 * i, true);
  else if (dtype === "F16") {
    const values = halfValues();
    for (let i = 0; i < count; i++) out[i] = values[view.getUint16(2 * i, true)];
  } else {
    // bfloat16 is the upper half of a float32.
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < count; i++) bits[i] = view.getUint16(2 * i, true) << 16;
  }
  return out;
}

/** The bytes of a safetensors file of float32 tensors, in the map's order. */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (new TextEncoder().encode(text).length % 8)) % 8); // data starts aligned
  const head = new TextEncoder().encode(text);
  const out = new Uint8Array(8 + head.length + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(head.length), true);
  out.set(head, 8);
  at = 8 + head.length;
  for (const { data } of tensors.values()) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

/** Reads a safetensors file from disk; see decodeSafetensors. */
export async function readSafetensors(path: string): Promise<TensorFile> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  return decodeSafetensors(bytes, path);
}
