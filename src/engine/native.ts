import type { Model } from "../model/model.js";
import { loadAddon, type NativeDevice } from "./addon.js";
import type { Engine, Precision } from "./engine.js";
import { finishTask } from "./task.js";

/** What a forward pass holds for a pixel: four tensors of width C; conv_end's outputs twice (3, with a prior 4), the local branch's three planes. */
const liveFloats = (width: number) => 4 * width + 11;
/** What goes in and comes out for a pixel. */
const carriedFloats = (exposures: number) => 6 * exposures + 3;

/** Runs of a CUDA device at once: one computes while what another brings or takes is copied (native/network/session.cpp). */
const RUNS = 2;

/** Of a CUDA device's free memory: kernels need some of their own. */
const SHARE = 0.7;

/**
 * The network on the processor's own kernels, or on a CUDA device. `threads` 0 means one per processor.
 * @throws SmhdrError ADDON_MISSING, INVALID_ARGUMENT naming the weight that does not fit, or UNSUPPORTED for a device that
 * is not there or bf16 on one without it.
 */
export function createNativeEngine(
  model: Model,
  threads = 0,
  precision: Precision = "fp32",
  device: NativeDevice = "cpu",
): Engine {
  const addon = loadAddon();
  const created = addon.createSession(Object.fromEntries(model.tensors), threads, precision, device);
  const { handle, width } = created;
  const engine: Engine = {
    device: `${device} (${created.device})`,
    bytesPerPixel: (exposures) => 4 * (liveFloats(width) + carriedFloats(exposures)),
    run: (input, { signal, onProgress } = {}) =>
      finishTask(() => addon.runSession(handle, { record: false, ...input }, onProgress), signal),
    clearSums: () => addon.clearSums(handle),
  };
  if (device === "cpu") return engine;
  return {
    ...engine,
    cuda: device,
    parallel: RUNS,
    bytesPerPixel: (exposures) => 4 * carriedFloats(exposures),
    pixelsAtOnce(exposures) {
      const free = addon.availableMemory(handle);
      const bytesPerPixel = 4 * (liveFloats(width) + RUNS * carriedFloats(exposures));
      return free < 0 ? Number.POSITIVE_INFINITY : Math.floor((SHARE * free) / bytesPerPixel);
    },
    substitute: () => createNativeEngine(model, threads, addon.cpuInfo().bf16 ? precision : "fp32"),
  };
}
