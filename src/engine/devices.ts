import { cpus } from "node:os";
import { loadAddon } from "./addon.js";

/** Something that can do the computing. */
export interface Device {
  readonly name: "cpu";
  /** What the maker calls it. */
  readonly model: string;
  readonly threads: number;
  /** The instruction set the kernels use: "generic", "avx2" or "avx512". */
  readonly instructionSet: string;
}

/** The devices this machine has for the work. Throws ADDON_MISSING as loadAddon does. */
export function listDevices(): Device[] {
  const { isa, processors } = loadAddon().cpuInfo();
  return [{ name: "cpu", model: cpus()[0]?.model.trim() ?? "unknown", threads: processors, instructionSet: isa }];
}
