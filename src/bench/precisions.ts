import { loadAddon } from "../engine/addon.js";
import type { Precision } from "../engine/engine.js";

/** Those that this processor has and that are raced. */
export function racedPrecisions(): readonly Precision[] {
  return loadAddon().cpuInfo().bf16 ? ["fp32", "bf16"] : ["fp32"];
}
