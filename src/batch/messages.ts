import type { NativeDevice } from "../engine/addon.js";
import type { ErrorCode } from "../errors.js";
import type { BracketTask, MergeSettings, TaskResult } from "./task.js";

/** To a process that merges: load what the settings need; merge; stop what you do; the engine is yours. */
export type ToProcess =
  | { readonly kind: "load"; readonly settings: MergeSettings; readonly limits: ProcessLimits }
  | { readonly kind: "merge"; readonly task: BracketTask; readonly limits: ProcessLimits; readonly spill: boolean }
  | { readonly kind: "cancel" }
  | { readonly kind: "turn" };

export interface ProcessLimits {
  readonly threads: number;
  /** Bytes for the reconstructor. */
  readonly memory: number;
  /** Of several that the settings mean, the one that is this process's. */
  readonly device?: NativeDevice | undefined;
}

/** "wait": for the engine; "computed": it is free again; failed to "load": before there was a bracket to fail. */
export type FromProcess =
  | { readonly kind: "loaded"; readonly notes: readonly string[]; readonly devices: readonly NativeDevice[] }
  | { readonly kind: "progress"; readonly fraction: number }
  | { readonly kind: "wait" }
  | { readonly kind: "computed"; readonly seconds: number }
  | { readonly kind: "merged"; readonly result: TaskResult }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string; readonly load?: boolean };
