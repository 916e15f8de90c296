import type { Engine } from "../engine/engine.js";
import { createNativeEngine } from "../engine/native.js";
import type { Model } from "../model/model.js";

/** How the native kernels may multiply, and be raced. */
export type Precision = "fp32" | "bf16";

/** Those that this version and this processor have. */
export function racedPrecisions(): readonly Precision[] {
  return ["fp32"];
}

/** The network in one of them, on the native engine. */
export function openNetwork(model: Model, threads: number, precision: Precision): Engine {
  if (precision !== "fp32") throw new RangeError(`No ${precision} here.`);
  return createNativeEngine(model, threads);
}
