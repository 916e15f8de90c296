import { halfValues } from "../../codec/half.js";
import { SmhdrError } from "../../errors.js";
import type { StoredTensor } from "../safetensors.js";
import { damaged, PickleDictionary, type PickleGlobal } from "./pickle.js";

/** Numbers of one type, in one piece of the file. */
export class Storage {
  constructor(
    readonly type: StorageType,
    readonly key: string,
    /** In elements. */
    readonly count: number,
  ) {}
}

/** A view of a storage; sizes in elements. */
export class CheckpointTensor {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
  get count(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }
}

export interface StorageType extends PickleGlobal {
  readonly bytes: number;
  readonly read: (view: DataView, at: number) => number;
}

const word = new DataView(new ArrayBuffer(4));
/** bfloat16 is the upper half of a float32. */
function bfloat16(bits: number): number {
  word.setUint16(0, bits);
  return word.getFloat32(0);
}

const storageTypes: Record<string, Omit<StorageType, "name">> = {
  FloatStorage: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  DoubleStorage: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  HalfStorage: { bytes: 2, read: (view, at) => halfValues()[view.getUint16(at, true)] },
  BFloat16Storage: { bytes: 2, read: (view, at) => bfloat16(view.getUint16(at, true)) },
  LongStorage: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  IntStorage: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  ShortStorage: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  CharStorage: { bytes: 1, read: (view, at) => view.getInt8(at) },
  ByteStorage: { bytes: 1, read: (view, at) => view.getUint8(at) },
  BoolStorage: { bytes: 1, read: (view, at) => view.getUint8(at) },
};

/** PyTorch knows no more than 64 dimensions, this network 4. */
const MAX_RANK = 8;

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= MAX_RANK && value.every(isSize);
}

/** torch._utils._rebuild_tensor(storage, offset, shape, strides); _v2 has three more that say nothing of the values. */
function rebuildTensor([storage, offset, shape, strides]: readonly unknown[]): CheckpointTensor {
  if (!(storage instanceof Storage && isSize(offset) && isSizes(shape) && isSizes(strides)))
    throw damaged("a tensor whose storage, shape or strides make no sense");
  const { count } = storage;
  const tensor = new CheckpointTensor(storage, offset, shape, strides);
  // The furthest element lies within the storage; sizes that overflow fail this too.
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis], offset);
  if (shape.length !== strides.length || !(tensor.count === 0 ? offset <= count : last < count))
    throw damaged(`a tensor [${shape}] with strides [${strides}] that leaves its storage of ${count} numbers`);
  return tensor;
}

/** torch._utils._rebuild_parameter(tensor, requires_grad, hooks). */
function rebuildParameter([tensor]: readonly unknown[]): CheckpointTensor {
  if (!(tensor instanceof CheckpointTensor)) throw damaged("a parameter that is no tensor");
  return tensor;
}

function orderedDictionary(args: readonly unknown[]): PickleDictionary {
  if (args.length > 0) throw damaged("an OrderedDict made of something else than its entries");
  return new PickleDictionary();
}

function size(args: readonly unknown[]): unknown {
  return args[0];
}

const callables: Record<string, NonNullable<PickleGlobal["call"]>> = {
  "collections OrderedDict": orderedDictionary,
  "torch._utils _rebuild_tensor": rebuildTensor,
  "torch._utils _rebuild_tensor_v2": rebuildTensor,
  "torch._utils _rebuild_parameter": rebuildParameter,
  "torch Size": size,
};

/** Everything a checkpoint may name. */
export const checkpointGlobals: ReadonlyMap<string, PickleGlobal> = new Map([
  ...Object.entries(callables).map(([name, call]): [string, PickleGlobal] => [name, { name, call }]),
  ...Object.entries(storageTypes).map(([name, type]): [string, PickleGlobal] => [`torch ${name}`, { name, ...type }]),
]);

/** The storage of a persistent id ("storage", type, key, location, count[, view]). */
export function storageOf(id: unknown): Storage {
  if (!Array.isArray(id) || id[0] !== "storage") throw damaged("a persistent id that is no storage");
  const [, type, key, , count, view = null] = id;
  if (typeof (type as StorageType | null)?.read !== "function" || typeof key !== "string" || !isSize(count))
    throw damaged("a storage without type, key or size");
  if (view !== null) throw new SmhdrError("UNSUPPORTED", "The checkpoint's storages are views of each other.");
  return new Storage(type as StorageType, key, count);
}

/** A tensor's numbers in row-major order, as float32. `bytes` holds its whole storage. */
export function readTensor(
  { storage, offset, shape, strides, count }: CheckpointTensor,
  bytes: Uint8Array,
): StoredTensor {
  const { bytes: each, read } = storage.type;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = new Float32Array(count);
  const index = new Array<number>(shape.length).fill(0);
  let at = offset;
  for (let i = 0; i < count; i++) {
    data[i] = read(view, at * each);
    // Counts on like an odometer, the last axis fastest.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= shape[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return { shape: [...shape], data };
}
