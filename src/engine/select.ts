import type { Note } from "../bracket/bracket.js";
import { SmhdrError } from "../errors.js";
import type { Model } from "../model/model.js";
import { exportOnnx } from "../model/onnx/export.js";
import { decodeOnnx, type OnnxModel } from "../model/onnx/read.js";
import { buildCommand, loadAddon } from "./addon.js";
import type { Engine, Precision } from "./engine.js";
import { createNativeEngine } from "./native.js";
import { createOnnxEngine, hasOnnxRuntime, ONNX_PROVIDERS, type OnnxProvider } from "./onnx.js";

/** What can be asked to compute: "onnx" is the best that ONNX Runtime finds, "onnx:..." one of its providers. */
export type DeviceName = "auto" | "cpu" | "cuda" | "onnx" | `onnx:${OnnxProvider}`;
export const DEVICE_NAMES: readonly DeviceName[] = [
  "auto",
  "cpu",
  "cuda",
  "onnx",
  ...ONNX_PROVIDERS.map((provider) => `onnx:${provider}` as const),
];

/** What "onnx" tries before the processor, by operating system. */
const preferred: Readonly<Partial<Record<NodeJS.Platform, readonly OnnxProvider[]>>> = {
  win32: ["directml", "webgpu"],
  darwin: ["webgpu", "coreml"],
  linux: ["cuda", "webgpu"],
};

/**
 * The engine for a model: the native one, or ONNX Runtime where that was asked for, where the model is an ONNX file or
 * where the native addon is missing; the notes say why it is not what was asked for.
 * @throws SmhdrError ADDON_MISSING where there is neither addon nor ONNX Runtime; UNSUPPORTED for a device that this
 * version or this model cannot use, or a precision that it cannot; else as createNativeEngine and createOnnxEngine do.
 */
export async function selectEngine(
  model: Model | OnnxModel,
  device: DeviceName = "auto",
  threads = 0,
  precision: Precision | "auto" = "auto",
): Promise<{ readonly engine: Engine; readonly notes: readonly Note[] }> {
  if (!DEVICE_NAMES.includes(device)) {
    throw new SmhdrError("INVALID_ARGUMENT", `device: expected ${DEVICE_NAMES.join(", ")}; got "${device}".`);
  }
  if (device === "cuda") {
    throw new SmhdrError("UNSUPPORTED", 'device: this version computes on "cpu" and "onnx"; got "cuda".');
  }
  const notes: Note[] = [];
  const note = (message: string) => notes.push({ code: "engine", message });
  if ("tensors" in model && (device === "auto" || device === "cpu")) {
    try {
      return { engine: createNativeEngine(model, threads, choosePrecision(precision)), notes };
    } catch (error) {
      if (!(error instanceof SmhdrError && error.code === "ADDON_MISSING" && hasOnnxRuntime())) throw error;
      note(
        `The native part of smhdr could not be loaded; ONNX Runtime computes instead, on the processor, about three times slower. To build the native part: ${buildCommand()}`,
      );
    }
  }
  if (precision === "bf16") {
    throw new SmhdrError(
      "UNSUPPORTED",
      'precision: "bf16" needs the native part on the "cpu"; ONNX Runtime takes "fp32".',
    );
  }
  const providers =
    device === "onnx" ? preferred[process.platform] : ONNX_PROVIDERS.filter((name) => device === `onnx:${name}`);
  const onnx = "tensors" in model ? decodeOnnx(exportOnnx(model), model.name) : model;
  const { engine, provider, refusals } = await createOnnxEngine(onnx, { providers, threads });
  if (refusals.length > 0) note(`ONNX Runtime computes on ${provider}. ${refusals.join("; ")}.`);
  return { engine, notes };
}

/** "auto" is bf16 where the processor multiplies it: faster, and above 60 dB from fp32 (bench/quality/precision.ts). */
function choosePrecision(precision: Precision | "auto"): Precision {
  return precision === "auto" ? (loadAddon().cpuInfo().bf16 ? "bf16" : "fp32") : precision;
}
