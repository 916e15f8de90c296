import { SmhdrError } from "../../errors.js";
import type { StoredTensor } from "../safetensors.js";
import { type CheckpointFile, isLegacy, isZip, openLegacy, openZip } from "./archive.js";
import { damaged, PickleDictionary } from "./pickle.js";
import { CheckpointTensor, readTensor } from "./tensors.js";

export interface Checkpoint {
  /** PyTorch's zip format (1.6 and later), or the one before. */
  readonly format: "zip" | "legacy";
  /** The network's parameters by their published names, float32, in the checkpoint's order. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The numbers and words that lay beside the weights, such as epoch. */
  readonly facts: Readonly<Record<string, string>>;
}

/** Under which keys training programs keep the weights beside other things. */
const weightKeys = ["state_dict", "model_state_dict", "model", "params", "net", "network", "weights"];
/** Computed from the sizes, whatever the file says. */
const derivedBuffers = /(^|\.)(attn_mask|relative_position_index)$/;

/**
 * Reads the weights of a PyTorch checkpoint (torch.save of a state dictionary, alone or beside an optimiser's state). Executes nothing of
 * it; needs at most a few times the file's size.
 * @throws SmhdrError BAD_INPUT where it is damaged or holds no weights, UNSUPPORTED naming what is not read.
 */
export async function decodeCheckpoint(bytes: Uint8Array): Promise<Checkpoint> {
  if (!isZip(bytes) && !isLegacy(bytes))
    throw new SmhdrError(
      "BAD_INPUT",
      "This is no PyTorch checkpoint: it begins neither as a zip archive nor as one of before 1.6.",
    );
  const file = isZip(bytes) ? await openZip(bytes) : openLegacy(bytes);
  const { weights, facts } = findWeights(file.root);
  return { format: file.format, tensors: await readWeights(file, weights, bytes.length), facts };
}

/** The dictionary of tensors: the root itself, or below one of the usual keys. */
function findWeights(root: unknown): { weights: PickleDictionary; facts: Record<string, string> } {
  const facts: [string, string][] = [];
  let here = root;
  for (let depth = 0; depth < 4 && here instanceof PickleDictionary; depth++) {
    const { entries } = here;
    for (const value of entries.values())
      if (value instanceof CheckpointTensor) return { weights: here, facts: Object.fromEntries(facts) };
    for (const [key, value] of entries)
      if (typeof key === "string" && (typeof value === "number" || typeof value === "string") && facts.length < 20)
        facts.push([key.slice(0, 100), String(value).slice(0, 200)]);
    const below = weightKeys.find((name) => entries.get(name) instanceof PickleDictionary);
    if (!below) break;
    here = entries.get(below);
  }
  const names =
    here instanceof PickleDictionary ? [...here.entries.keys()].filter((key) => typeof key === "string") : [];
  const shown = names.slice(0, 8).map((name) => JSON.stringify(name.slice(0, 40)));
  throw new SmhdrError(
    "BAD_INPUT",
    `The checkpoint holds no dictionary of tensors; expected one, or one under ${weightKeys.slice(0, 4).join(", ")}; found ` +
      `${shown.length > 0 ? `the keys ${shown.join(", ")}` : "no dictionary with names"}.`,
  );
}

async function readWeights(
  file: CheckpointFile,
  { entries }: PickleDictionary,
  size: number,
): Promise<Map<string, StoredTensor>> {
  const tensors = new Map<string, StoredTensor>();
  // Views may repeat the numbers they are made of: weights have no more numbers than the file has bytes.
  let left = size;
  for (const [key, value] of entries) {
    if (typeof key !== "string" || !(value instanceof CheckpointTensor)) continue;
    const name = key.replace(/^(module\.)+/, "");
    if (derivedBuffers.test(name)) continue;
    if (tensors.has(name)) throw damaged(`${JSON.stringify(name.slice(0, 80))} is there with and without "module."`);
    left -= value.count;
    if (left < 0) throw damaged("its tensors claim more numbers than the file has bytes");
    tensors.set(name, readTensor(value, await file.storageBytes(value.storage)));
  }
  return tensors;
}
