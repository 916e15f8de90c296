import { crc32 } from "node:zlib";
import { type Entry, fromBufferPromise, type ZipFile } from "yauzl";
import { SmhdrError } from "../../errors.js";
import { damaged, PickleDictionary, PickleList, unpickle } from "./pickle.js";
import { checkpointGlobals, type Storage, storageOf } from "./tensors.js";

/** An unpickled checkpoint, its numbers still in the file. */
export interface CheckpointFile {
  readonly format: "zip" | "legacy";
  readonly root: unknown;
  /** The bytes of a storage, in full. */
  storageBytes(storage: Storage): Promise<Uint8Array>;
}

const host = { globals: checkpointGlobals, persistent: storageOf };

export function isZip(bytes: Uint8Array): boolean {
  return bytes.length > 4 && bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 3 && bytes[3] === 4;
}

/**
 * PyTorch's format since 1.6: an uncompressed zip archive of one folder with data.pkl and a file data/<key> for every storage.
 * @throws SmhdrError BAD_INPUT or UNSUPPORTED, saying why.
 */
export async function openZip(bytes: Uint8Array): Promise<CheckpointFile> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let zip: ZipFile;
  const entries = new Map<string, Entry>();
  try {
    zip = await fromBufferPromise(buffer);
    let total = 0;
    for await (const entry of zip.eachEntry()) {
      if (entry.compressionMethod !== 0 || entry.isEncrypted())
        throw new SmhdrError(
          "UNSUPPORTED",
          `${inside(entry)} is compressed or encrypted, which torch.save never does.`,
        );
      // Entries that share bytes would let a small file hold any amount of numbers.
      total += entry.uncompressedSize;
      if (total > bytes.length) throw damaged("its archive claims more bytes than the file has");
      if (entries.has(entry.fileName)) throw damaged(`its archive holds ${inside(entry)} twice`);
      entries.set(entry.fileName, entry);
    }
  } catch (error) {
    throw wrap(error);
  }
  const read = async (entry: Entry): Promise<Uint8Array> => {
    const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true }).catch((error) => {
      throw wrap(error);
    });
    const end = fileDataStart + entry.uncompressedSize;
    if (end > bytes.length) throw damaged(`${inside(entry)} is cut off`);
    const content = bytes.subarray(fileDataStart, end);
    if (crc32(content) !== entry.crc32) throw damaged(`${inside(entry)} does not match its checksum`);
    return content;
  };

  const pickles = [...entries.values()].filter((entry) => /^[^/]+\/data\.pkl$/.test(entry.fileName));
  if (pickles.length !== 1)
    throw new SmhdrError(
      "BAD_INPUT",
      `This zip archive is no PyTorch checkpoint: it holds ${pickles.length} files */data.pkl, not one.`,
    );
  const folder = pickles[0].fileName.slice(0, -"data.pkl".length);
  const order = entries.get(`${folder}byteorder`);
  if (order && Buffer.from(await read(order)).toString("latin1") !== "little")
    throw new SmhdrError("UNSUPPORTED", bigEndian);
  const { value } = unpickle(await read(pickles[0]), 0, host);

  const known = new Map<string, Promise<Uint8Array>>();
  return {
    format: "zip",
    root: value,
    async storageBytes({ key, count, type }) {
      const entry = entries.get(`${folder}data/${key}`);
      if (!entry) throw damaged(`the storage ${quote(key)} is missing`);
      if (entry.uncompressedSize < count * type.bytes)
        throw damaged(
          `${inside(entry)} has ${entry.uncompressedSize} bytes, not the ${count * type.bytes} of ${count} numbers`,
        );
      if (!known.has(key)) known.set(key, read(entry));
      return known.get(key) as Promise<Uint8Array>;
    },
  };
}

const bigEndian = "The checkpoint was written on a big-endian machine; save it anew on another.";
const quote = (name: string) => JSON.stringify(name.slice(-60));
const inside = (entry: Entry) => quote(entry.fileName);

function wrap(error: unknown): SmhdrError {
  return error instanceof SmhdrError ? error : damaged(`its archive cannot be read (${(error as Error).message})`);
}

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

export function isLegacy(bytes: Uint8Array): boolean {
  const magic = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
  return magic.every((byte, i) => bytes[i] === byte);
}

/**
 * PyTorch's format before 1.6: pickles of a magic number, a protocol number, facts about the machine, the object, and the keys of
 * its storages; then each storage as a 64-bit count of elements and its raw numbers.
 * @throws SmhdrError BAD_INPUT or UNSUPPORTED, saying why.
 */
export function openLegacy(bytes: Uint8Array): CheckpointFile {
  const storages = new Map<string, Storage>();
  let at = 0;
  const next = (): unknown => {
    const { value, end } = unpickle(bytes, at, {
      globals: checkpointGlobals,
      persistent(id) {
        const storage = storageOf(id);
        const { type, count } = storages.get(storage.key) ?? storage;
        if (type !== storage.type || count !== storage.count) throw damaged("a storage of two types or sizes");
        storages.set(storage.key, storage);
        return storage;
      },
    });
    at = end;
    return value;
  };
  if (next() !== LEGACY_MAGIC) throw damaged("its magic number is wrong");
  const protocol = next();
  if (protocol !== LEGACY_PROTOCOL)
    throw new SmhdrError("UNSUPPORTED", "Checkpoints of another protocol than 1001 are not read.");
  const machine = next();
  if (machine instanceof PickleDictionary && machine.entries.get("little_endian") === false)
    throw new SmhdrError("UNSUPPORTED", bigEndian);
  const root = next();
  const keys = next();
  if (!(keys instanceof PickleList)) throw damaged("its list of storages is missing");

  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const contents = new Map<string, Uint8Array>();
  for (const key of keys.items ?? []) {
    if (typeof key !== "string") throw damaged("a storage whose name is no text");
    const storage = storages.get(key);
    if (!storage || contents.has(key)) throw damaged("its list of storages does not fit its tensors");
    const length = storage.count * storage.type.bytes;
    if (at + 8 + length > bytes.length || view.getBigUint64(at, true) !== BigInt(storage.count))
      throw damaged(`the ${storage.count} numbers of ${quote(key)} are cut off or miscounted`);
    contents.set(key, bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return {
    format: "legacy",
    root,
    async storageBytes({ key }) {
      const content = contents.get(key);
      if (!content) throw damaged(`the storage ${quote(key)} is missing`);
      return content;
    },
  };
}
