import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { SmhdrError } from "../errors.js";
import { loadAddon } from "./addon.js";
import type { Precision } from "./engine.js";
import { listOnnxProviders } from "./onnx.js";
import type { DeviceName } from "./select.js";

/** Something that can do the computing. */
export interface Device {
  /** As --device takes it. */
  readonly name: DeviceName;
  /** What the maker calls it. */
  readonly model: string;
  readonly threads?: number;
  /** The instruction set the kernels use: "generic", "avx2", "avx512" or "neon". */
  readonly instructionSet?: string;
  /** What --precision can ask of it. */
  readonly precisions?: readonly Precision[];
}

/** The devices this machine has for the work. Throws ADDON_MISSING, as loadAddon does, where there is none at all. */
export async function listDevices(): Promise<Device[]> {
  const processor = cpus()[0]?.model.trim() ?? "unknown";
  const devices: Device[] = [];
  let missing: unknown;
  try {
    const { isa, bf16, processors } = loadAddon().cpuInfo();
    const precisions: Precision[] = bf16 ? ["fp32", "bf16"] : ["fp32"];
    devices.push({ name: "cpu", model: processor, threads: processors, instructionSet: isa, precisions });
  } catch (error) {
    if (!(error instanceof SmhdrError && error.code === "ADDON_MISSING")) throw error;
    missing = error;
  }
  for (const provider of await listOnnxProviders()) {
    const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json");
    const model = `ONNX Runtime ${version}`;
    if (provider !== "cpu") devices.push({ name: `onnx:${provider}`, model });
    else devices.push({ name: "onnx:cpu", model: `${model} on ${processor}`, threads: availableParallelism() });
  }
  if (devices.length === 0) throw missing;
  return devices;
}
