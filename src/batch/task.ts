import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { AlphaPolicy } from "../bracket/decode.js";
import type { ReconstructorOptions } from "../reconstruct/reconstructor.js";
import type { PlannedBracket } from "./plan.js";

/** How brackets are merged: all that decides a result's pixels besides the photographs. */
export interface MergeSettings
  extends Pick<ReconstructorOptions, "method" | "model" | "device" | "precision" | "tile"> {
  readonly align?: "auto" | "none" | undefined;
  readonly follow?: "auto" | "none" | undefined;
  readonly alpha?: AlphaPolicy | undefined;
  readonly reference?: number | undefined;
}

/** One absolute scale for all results: how much light each photograph collected, and what shall be 1.0. */
export interface AbsoluteScale {
  /** In stops, in the order of the task's photographs. */
  readonly light: readonly number[];
  /** In stops: the light at which the clipping point is 1.0. */
  readonly one: number;
}

/** One bracket to merge, complete in itself: it can be sent to another process or machine. */
export interface BracketTask {
  /** Of the photographs (path, size, time of change), the settings and the outputs' names: 32 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  /** Absolute. */
  readonly photographs: readonly string[];
  readonly ev?: readonly number[] | undefined;
  readonly settings: MergeSettings;
  /** Absolute. */
  readonly outputs: readonly string[];
  readonly scale?: AbsoluteScale | undefined;
}

/** What a merged bracket tells. */
export interface TaskResult {
  /** Sizes of the outputs, in their order. */
  readonly bytes: readonly number[];
  readonly seconds: number;
  readonly notes: readonly string[];
}

/** The task of a planned bracket; `names` are its outputs, from the folder `output`. */
export async function makeTask(
  bracket: PlannedBracket,
  names: readonly string[],
  output: string,
  settings: MergeSettings,
  scale: AbsoluteScale | undefined,
): Promise<BracketTask> {
  const { name, photographs, ev } = bracket;
  const own = bracket.reference === undefined ? settings : { ...settings, reference: bracket.reference };
  const facts = await Promise.all(
    photographs.map(async (path) => {
      const found = await stat(path).catch(() => undefined); // merging will say what is wrong with it
      return [path, found?.size ?? -1, found?.mtimeMs ?? -1];
    }),
  );
  const { method, model, device, precision, tile, align, follow, alpha, reference } = own;
  const content = [2, facts, ev, names, scale, method, model, device, precision, tile, align, follow, alpha, reference];
  const id = createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 32);
  return { id, name, photographs, ev, settings: own, outputs: names.map((each) => join(output, each)), scale };
}
