import { crc32 } from "node:zlib";

/** Writers of the few pickle operations that torch.save uses, and of both containers, for making odd checkpoints. */

const bytes = (...parts: (number | Uint8Array)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part)));
const u32 = (value: number) => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
};

export class Name {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
}
export class Call {
  constructor(
    readonly callee: Name,
    readonly args: readonly unknown[],
  ) {}
}
export class Persistent {
  constructor(readonly id: unknown) {}
}

/** The operations that make `value`: text, numbers, booleans, null, Map (dictionary), arrays (tuples), Name, Call, Persistent. */
export function operations(value: unknown): Buffer {
  if (value === null) return bytes(0x4e);
  if (typeof value === "boolean") return bytes(value ? 0x88 : 0x89);
  if (typeof value === "string") {
    const text = Buffer.from(value);
    return bytes(0x58, u32(text.length), text);
  }
  if (typeof value === "number") {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) {
      const out = Buffer.alloc(4);
      out.writeInt32LE(value);
      return bytes(0x4a, out);
    }
    if (Number.isSafeInteger(value)) {
      const out = Buffer.alloc(8);
      out.writeBigInt64LE(BigInt(value));
      return bytes(0x8a, 8, out);
    }
    const out = Buffer.alloc(8);
    out.writeDoubleBE(value);
    return bytes(0x47, out);
  }
  if (value instanceof Map)
    return bytes(0x7d, 0x28, ...[...value].flatMap(([k, v]) => [operations(k), operations(v)]), 0x75);
  if (Array.isArray(value)) return bytes(0x28, ...value.map(operations), 0x74);
  if (value instanceof Name) return bytes(0x63, Buffer.from(`${value.module}\n${value.name}\n`));
  if (value instanceof Call) return bytes(operations(value.callee), operations(value.args), 0x52);
  if (value instanceof Persistent) return bytes(operations(value.id), 0x51);
  throw new Error(`cannot pickle ${String(value)}`);
}

export const pickle = (value: unknown): Buffer => bytes(0x80, 2, operations(value), 0x2e);

/** An uncompressed zip archive. */
export function zip(files: readonly (readonly [name: string, content: Uint8Array])[]): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [name, content] of files) {
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt32LE(crc32(content), 10);
    shared.writeUInt32LE(content.length, 14);
    shared.writeUInt32LE(content.length, 18);
    shared.writeUInt16LE(Buffer.byteLength(name), 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    central.push(bytes(Buffer.from("PK\x01\x02\x14\x00", "latin1"), shared, rest, Buffer.from(name)));
    local.push(bytes(Buffer.from("PK\x03\x04", "latin1"), shared, Buffer.from(name), content));
    at += 30 + Buffer.byteLength(name) + content.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...local, directory, end]);
}

export interface Stored {
  readonly type: string;
  readonly count: number;
  readonly content: Uint8Array;
}

/** torch._utils._rebuild_tensor_v2 over the storage called `key`. */
export function tensor(
  key: string,
  { type, count }: Stored,
  shape: readonly number[],
  strides: readonly number[],
  offset = 0,
): Call {
  const storage = ["storage", new Name("torch", type), key, "cpu", count];
  const hooks = new Call(new Name("collections", "OrderedDict"), []);
  return new Call(new Name("torch._utils", "_rebuild_tensor_v2"), [
    new Persistent(storage),
    offset,
    shape,
    strides,
    false,
    hooks,
  ]);
}

export function zipCheckpoint(root: unknown, storages: Readonly<Record<string, Stored>>): Buffer {
  return zipWithPickle(pickle(root), storages);
}

export function zipWithPickle(data: Uint8Array, storages: Readonly<Record<string, Stored>>): Buffer {
  return zip([
    ["archive/data.pkl", data],
    ["archive/byteorder", Buffer.from("little")],
    ...Object.entries(storages).map(([key, { content }]) => [`archive/data/${key}`, content] as const),
  ]);
}

const legacyMagic = Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex");

export function legacyWithPickle(data: Uint8Array, storages: Readonly<Record<string, Stored>>): Buffer {
  const machine = new Map<string, unknown>([["little_endian", true]]);
  const contents = Object.values(storages).flatMap(({ count, content }) => {
    const length = Buffer.alloc(8);
    length.writeBigInt64LE(BigInt(count));
    return [length, content];
  });
  const keys = bytes(0x80, 2, 0x5d, 0x28, ...Object.keys(storages).map(operations), 0x65, 0x2e); // a list
  return Buffer.concat([legacyMagic, pickle(1001), pickle(machine), data, keys, ...contents]);
}

export function legacyCheckpoint(root: unknown, storages: Readonly<Record<string, Stored>>): Buffer {
  return legacyWithPickle(pickle(root), storages);
}

export function floats(...values: number[]): Stored {
  return { type: "FloatStorage", count: values.length, content: Buffer.from(Float32Array.from(values).buffer) };
}
