import { writeFile } from "node:fs/promises";
import type { TrainerState } from "../engine/trainer.js";
import { SmhdrError, shown } from "../errors.js";
import { encodeSafetensors, readSafetensors, type StoredTensor, type TensorFile } from "../model/safetensors.js";
import { replaceFile } from "../output/replace-file.js";
import type { TrainConfig } from "./config.js";
import type { LocalQuality } from "./local-quality.js";

/** How far a run has come. */
export interface Position {
  /** From 1. */
  readonly epoch: number;
  /** Batches of this epoch that are done. */
  readonly batches: number;
  /** Batches done in all; those that the guard skipped count. */
  readonly steps: number;
  readonly skipped: number;
  /** Spent in training, over all its parts. */
  readonly seconds: number;
  /** The epoch whose local-quality pass was the last one done; 0: none yet. */
  readonly measured: number;
  /** The last validation done. */
  readonly validated?: { readonly epoch: number; readonly psnrMu: number; readonly psnrL: number };
}

/** Everything a run needs to go on as if it had never stopped. */
export interface Checkpoint {
  readonly config: TrainConfig;
  readonly fingerprint: string;
  readonly position: Position;
  readonly state: TrainerState;
  /** By scene, where measured. */
  readonly quality: ReadonlyMap<number, LocalQuality>;
}

const FORMAT = "smhdr training checkpoint 1";
const parts = ["parameters", "averages", "first", "second"] as const;

/**
 * Writes a checkpoint; the one before it stays until this one is complete.
 * @param write how bytes become a file, for tests
 * @throws SmhdrError IO, naming the file
 */
export async function writeCheckpoint(
  path: string,
  { config, fingerprint, position, state, quality }: Checkpoint,
  write: (file: string, bytes: Uint8Array) => Promise<void> = (file, bytes) => writeFile(file, bytes, { flush: true }),
): Promise<void> {
  const tensors = new Map<string, StoredTensor>();
  for (const part of parts)
    for (const [name, tensor] of Object.entries(state[part])) tensors.set(`${part}/${name}`, tensor);
  const bytes = encodeSafetensors(tensors, {
    format: FORMAT,
    config: JSON.stringify(config),
    fingerprint,
    position: JSON.stringify(position),
    steps: String(state.steps),
    random: String(state.random),
    quality: JSON.stringify([...quality].map(([scene, segments]) => [scene, [...segments]])),
  });
  await replaceFile(path, undefined, (temporary) => write(temporary, bytes));
}

function number(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${shown(value)} where a number belongs`);
  return value;
}

const pair = ([segment, quality]: readonly unknown[]): [number, number] => [number(segment), number(quality)];

function checkPosition(position: unknown): asserts position is Position {
  const { validated, ...counts } = (position ?? {}) as Partial<Position>;
  for (const key of ["epoch", "batches", "steps", "skipped", "seconds", "measured"] as const) number(counts[key]);
  if (validated !== undefined) number(validated?.epoch);
}

/** Reads a checkpoint. Throws IO or BAD_INPUT, naming the file. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  return understandCheckpoint(await readSafetensors(path), path);
}

/** What a file of tensors, named `path` in errors, says as a checkpoint. Throws BAD_INPUT. */
export function understandCheckpoint({ tensors, metadata }: TensorFile, path: string): Checkpoint {
  if (metadata.format !== FORMAT)
    throw new SmhdrError(
      "BAD_INPUT",
      `${path}: expected a training checkpoint of smhdr, found another safetensors file.`,
    );
  const values = Object.fromEntries(parts.map((part) => [part, {} as Record<string, StoredTensor>]));
  for (const [key, tensor] of tensors) {
    const slash = key.indexOf("/");
    const part = values[key.slice(0, slash)];
    if (part) part[key.slice(slash + 1)] = tensor;
  }
  try {
    const quality: [number, [number, number][]][] = JSON.parse(metadata.quality);
    const position = JSON.parse(metadata.position);
    checkPosition(position);
    return {
      config: JSON.parse(metadata.config),
      fingerprint: metadata.fingerprint,
      position,
      state: {
        ...(values as unknown as Pick<TrainerState, (typeof parts)[number]>),
        steps: number(Number(metadata.steps)),
        random: BigInt(metadata.random),
      },
      quality: new Map(quality.map(([scene, segments]) => [number(scene), new Map(segments.map(pair))])),
    };
  } catch (error) {
    throw new SmhdrError("BAD_INPUT", `${path}: the checkpoint is damaged (${(error as Error).message}).`, {
      cause: error,
    });
  }
}
