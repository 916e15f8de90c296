import type { Note } from "../bracket/bracket.js";
import { SmhdrError } from "../errors.js";
import type { Model } from "../model/model.js";
import { exportOnnx } from "../model/onnx/export.js";
import { decodeOnnx, type OnnxModel } from "../model/onnx/read.js";
import { hasPrior } from "../model/prior.js";
import { type Addon, buildCommand, loadAddon, type NativeDevice, type NativeDevices } from "./addon.js";
import { checkAgreement } from "./agreement.js";
import type { Engine, Precision } from "./engine.js";
import { createNativeEngine } from "./native.js";
import { createOnnxEngine, hasOnnxRuntime, ONNX_PROVIDERS, type OnnxProvider } from "./onnx.js";
import { joinDevices } from "./several.js";
import { asSmhdrError } from "./task.js";

const ALL = "cuda:all";

/**
 * What can be asked to compute: "cuda" is the first CUDA device that can be used, "cuda:1" the one of that index, "cuda:all" all that
 * can be used; "onnx" is the best that ONNX Runtime finds, "onnx:..." one of its providers.
 */
export type DeviceName = "auto" | NativeDevices | "onnx" | `onnx:${OnnxProvider}`;
export const DEVICE_NAMES: readonly DeviceName[] = [
  "auto",
  "cpu",
  "cuda",
  "onnx",
  ...ONNX_PROVIDERS.map((provider) => `onnx:${provider}` as const),
];

/** Whether `text` is a device's name; whether there is such a device is another question. */
export function isDeviceName(text: string): text is DeviceName {
  return (DEVICE_NAMES as readonly string[]).includes(text) || /^cuda:(\d{1,3}|all)$/.test(text);
}

/** The names in words. */
export const deviceNames = DEVICE_NAMES.join(", ").replace("cuda,", "cuda (cuda:1, ..., cuda:all),");

/** What "onnx" tries before the processor, by operating system. */
const preferred: Readonly<Partial<Record<NodeJS.Platform, readonly OnnxProvider[]>>> = {
  win32: ["directml", "webgpu"],
  darwin: ["webgpu", "coreml"],
  linux: ["cuda", "webgpu"],
};

/**
 * The engine for a model: the native one, on the CUDA devices where there are any, or ONNX Runtime where that was asked for, where the model is an ONNX file or
 * where the native addon is missing; the notes say why it is not what was asked for.
 * @throws SmhdrError ADDON_MISSING where there is neither addon nor ONNX Runtime; INVALID_ARGUMENT for a native device and an ONNX model; UNSUPPORTED for a device that this
 * version cannot use, or a precision that it cannot; else as createNativeEngine and createOnnxEngine do.
 */
export async function selectEngine(
  model: Model | OnnxModel,
  device: DeviceName = "auto",
  threads = 0,
  precision: Precision | "auto" = "auto",
): Promise<{ readonly engine: Engine; readonly notes: readonly Note[] }> {
  if (!isDeviceName(device)) {
    throw new SmhdrError("INVALID_ARGUMENT", `device: expected ${deviceNames}; got "${device}".`);
  }
  const notes: Note[] = [];
  const note = (message: string) => notes.push({ code: "engine", message });
  const native = isNative(device) ? device : undefined;
  const make = (name: NativeDevices) =>
    name === ALL
      ? allDevices(model as Model, threads, precision, note)
      : nativeEngine(model as Model, threads, precision, name);
  if (native && native !== "cpu") {
    if (!("tensors" in model))
      throw new SmhdrError("INVALID_ARGUMENT", `device: an ONNX model is computed on "onnx" devices; got "${device}".`);
    return { engine: await make(native), notes };
  }
  if ("tensors" in model && (device === "auto" || native)) {
    try {
      const found = native ?? chooseDevice();
      try {
        return { engine: await make(found), notes };
      } catch (error) {
        if (found === "cpu" || !(error instanceof SmhdrError) || error.code === "INVALID_ARGUMENT") throw error;
        note(`The processor computes, not ${found}: ${error.message}`);
        return { engine: await make("cpu"), notes };
      }
    } catch (error) {
      if (!(error instanceof SmhdrError && error.code === "ADDON_MISSING" && hasOnnxRuntime())) throw error;
      note(
        `The native part of smhdr could not be loaded; ONNX Runtime computes the model ${model.name} instead, on the processor, at a third of the speed or less, and smhdr-s, the quick one, cannot be used. To build the native part: ${buildCommand()}`,
      );
    }
  }
  if (precision === "bf16") {
    throw new SmhdrError(
      "UNSUPPORTED",
      'precision: "bf16" needs the native part, on "cpu" or "cuda"; ONNX Runtime takes "fp32".',
    );
  }
  const providers =
    device === "onnx" ? preferred[process.platform] : ONNX_PROVIDERS.filter((name) => device === `onnx:${name}`);
  const onnx = "tensors" in model ? decodeOnnx(exportOnnx(model), model.name) : model;
  const { engine, provider, refusals } = await createOnnxEngine(onnx, { providers, threads });
  if (refusals.length > 0) note(`ONNX Runtime computes on ${provider}. ${refusals.join("; ")}.`);
  return { engine, notes };
}

/** Whether the native part computes on it. */
export function isNative(device: DeviceName): device is NativeDevices {
  return device === "cpu" || device.startsWith("cuda");
}

/** The CUDA devices that can be used. */
export function usableDevices({ devices }: ReturnType<Addon["cudaDevices"]>): NativeDevice[] {
  return devices.flatMap(({ refusal }, index) => (refusal === "" ? [`cuda:${index}` as const] : []));
}

/** "auto": the CUDA devices that can be used, where there are any. */
export function chooseDevice(machine = loadAddon().cudaDevices()): NativeDevices {
  const usable = usableDevices(machine);
  return usable.length > 1 ? ALL : (usable[0] ?? "cpu");
}

/** Those that cannot be used or disagree with the processor are left out. All compute in one precision, for one picture. */
async function allDevices(
  model: Model,
  threads: number,
  precision: Precision | "auto",
  note: (message: string) => void,
): Promise<Engine> {
  const machine = loadAddon().cudaDevices();
  const usable = usableDevices(machine);
  if (usable.length === 0) {
    const why = machine.absence || machine.devices.map(({ name, refusal }) => `${name}: ${refusal}`).join("; ");
    throw new SmhdrError("UNSUPPORTED", `device: "${ALL}" cannot be used: ${why}.`);
  }
  const chosen = precision !== "auto" ? precision : usable.every(gainsFromBf16) ? "bf16" : "fp32";
  return joinDevices(usable, (device) => nativeEngine(model, threads, chosen, device), note);
}

/**
 * Precision "auto" is bf16 where the device is faster with it; it is above 60 dB from fp32 (bench/quality/precision.ts). A GPU
 * is compared with the processor before it is trusted.
 */
async function nativeEngine(
  model: Model,
  threads: number,
  precision: Precision | "auto",
  device: NativeDevice,
): Promise<Engine> {
  const chosen = precision !== "auto" ? precision : gainsFromBf16(device) ? "bf16" : "fp32";
  try {
    const engine = createNativeEngine(model, threads, chosen, device);
    if (device === "cpu") return engine;
    const processor = createNativeEngine(model, threads);
    const inputs = model.exposures + Number(hasPrior(model.tensors));
    await checkAgreement(
      device,
      (input) => engine.run(input),
      (input) => processor.run(input),
      inputs,
    );
    return engine;
  } catch (error) {
    throw asSmhdrError(error);
  }
}

function gainsFromBf16(device: NativeDevice): boolean {
  const addon = loadAddon();
  if (device === "cpu") return addon.cpuInfo().gainsFromBf16;
  const { devices } = addon.cudaDevices();
  const found = device === "cuda" ? devices.find(({ refusal }) => refusal === "") : devices[Number(device.slice(5))];
  return found?.bf16 ?? false;
}
