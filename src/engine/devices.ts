import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { SmhdrError } from "../errors.js";
import { type Addon, loadAddon } from "./addon.js";
import type { Precision } from "./engine.js";
import { listOnnxProviders } from "./onnx.js";
import { type DeviceName, usableDevices } from "./select.js";

/** Something that can do the computing. */
export interface Device {
  /** As --device takes it. */
  readonly name: DeviceName;
  /** What the maker calls it. */
  readonly model: string;
  readonly threads?: number;
  /** See instructionSet(). */
  readonly instructionSet?: string;
  /** What --precision can ask of it. */
  readonly precisions?: readonly Precision[];
  /** A GPU's compute capability, such as 9, and bytes of memory. */
  readonly capability?: number;
  readonly memory?: number;
  /** Why it cannot be used; then it is listed only for that. */
  readonly unavailable?: string;
}

/** CUDA's devices, or one line that says why there is none. */
export function cudaDevices(addon: Pick<Addon, "cudaDevices">): Device[] {
  const machine = addon.cudaDevices();
  const { absence, devices } = machine;
  if (absence) return [{ name: "cuda", model: "none", unavailable: absence }];
  const each = devices.map(
    ({ name, capability, memory, refusal, bf16 }, index): Device => ({
      name: `cuda:${index}`,
      model: name,
      ...(capability > 0 && { capability, memory }),
      precisions: bf16 ? ["fp32", "bf16"] : ["fp32"],
      ...(refusal && { unavailable: refusal }),
    }),
  );
  const usable = usableDevices(machine);
  if (usable.length < 2) return each;
  const bf16 = usable.every((name) => devices[Number(name.slice(5))].bf16);
  return [
    ...each,
    { name: "cuda:all", model: `${usable.join(", ")} together`, precisions: bf16 ? ["fp32", "bf16"] : ["fp32"] },
  ];
}

/** What the kernels are made of: "generic", "avx2", "neon", "avx512" or "avx512 and amx". */
export function instructionSet(addon: Addon): string {
  const { isa, matrixUnit } = addon.cpuInfo();
  return matrixUnit ? `${isa} and amx` : isa;
}

/** The devices this machine has for the work, and what kept CUDA's from it. Throws ADDON_MISSING, as loadAddon does, where there is none at all. */
export async function listDevices(): Promise<Device[]> {
  const processor = cpus()[0]?.model.trim() ?? "unknown";
  const devices: Device[] = [];
  let missing: unknown;
  try {
    const addon = loadAddon();
    const { bf16, processors } = addon.cpuInfo();
    const precisions: Precision[] = bf16 ? ["fp32", "bf16"] : ["fp32"];
    devices.push({
      name: "cpu",
      model: processor,
      threads: processors,
      instructionSet: instructionSet(addon),
      precisions,
    });
    devices.push(...cudaDevices(addon));
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
