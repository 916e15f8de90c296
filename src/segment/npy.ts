import { SmhdrError, shown } from "../errors.js";

/** A numeric array of a .npy file, in C order. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly data:
    | Float32Array
    | Float64Array
    | Int32Array
    | Uint32Array
    | Int16Array
    | Uint16Array
    | Int8Array
    | Uint8Array;
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY

const types = {
  "<f4": Float32Array,
  "<f8": Float64Array,
  "<i4": Int32Array,
  "<u4": Uint32Array,
  "<i2": Int16Array,
  "<u2": Uint16Array,
  "|i1": Int8Array,
  "|u1": Uint8Array,
  "|b1": Uint8Array,
} as const;

/** Bytes of a .npy file, version 1.0 (numpy.lib.format), float32 in C order. */
export function encodeNpy(data: Float32Array, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${tuple}), }`;
  // Header and magic together fill multiples of 64 bytes, the last of which is a newline.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const bytes = new Uint8Array(length + data.length * 4);
  bytes.set([...magic, 1, 0, (length - 10) & 255, (length - 10) >> 8]);
  bytes.set(Buffer.from(`${text.padEnd(length - 11)}\n`, "latin1"), 10);
  const view = new DataView(bytes.buffer, length);
  for (let i = 0; i < data.length; i++) view.setFloat32(i * 4, data[i], true);
  return bytes;
}

/**
 * Reads a .npy file of numbers, little endian, C order, versions 1 to 3.
 * @throws SmhdrError BAD_INPUT for anything damaged, UNSUPPORTED for other types.
 */
export function decodeNpy(bytes: Uint8Array): NpyArray {
  const bad = (what: string) => new SmhdrError("BAD_INPUT", `Not a readable .npy file: ${what}.`);
  if (bytes.length < 12 || magic.some((v, i) => bytes[i] !== v)) throw bad("it does not begin with \\x93NUMPY");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wide = bytes[6] >= 2;
  const start = (wide ? 12 : 10) + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  if (start > bytes.length) throw bad("the header is cut off");
  const header = Buffer.from(bytes.subarray(wide ? 12 : 10, start)).toString("latin1");
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const tuple = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (descr === undefined || order === undefined || tuple === undefined)
    throw bad(`the header is ${shown(header.trim())}`);
  const type = Object.hasOwn(types, descr) ? types[descr as keyof typeof types] : undefined;
  if (!type || order === "True")
    throw new SmhdrError(
      "UNSUPPORTED",
      `.npy of type ${shown(descr)}${order === "True" ? " in Fortran order" : ""} is not read; save it as float32 in C order.`,
    );
  const shape = tuple
    .split(",")
    .filter((part) => part.trim() !== "")
    .map(Number);
  const count = shape.reduce((product, n) => product * n, 1);
  if (bytes.length - start !== count * type.BYTES_PER_ELEMENT)
    throw bad(
      `shape (${shape.slice(0, 8).join(", ")}) of ${descr} needs ${count * type.BYTES_PER_ELEMENT} bytes, ${bytes.length - start} follow`,
    );
  return { shape, data: new type(new Uint8Array(bytes.subarray(start)).buffer) };
}
