import type { Note } from "../bracket/bracket.js";
import type { NativeDevice } from "../engine/addon.js";
import type { Engine, Precision } from "../engine/engine.js";
import { type DeviceName, selectEngine } from "../engine/select.js";
import { exposureCounts, modelFor } from "../model/extractors.js";
import type { Model } from "../model/model.js";
import type { OnnxModel } from "../model/onnx/read.js";
import { hasPrior } from "../model/prior.js";

/** A model on a device: one engine for every number of exposures that it has weights for, made when first needed. */
export class LoadedNetwork {
  private readonly engines = new Map<number, Promise<Engine>>();

  private constructor(
    readonly name: string,
    /** The numbers of exposures it takes, ascending. */
    readonly counts: readonly number[],
    /** Whether it takes a merge beside the exposures. */
    readonly prior: boolean,
    /** The devices that work on it together, where there are several. */
    readonly devices: readonly NativeDevice[],
    private readonly makeEngine: (count: number) => Promise<Engine>,
  ) {}

  /** Makes the engine of the model's own number of exposures, so that what is missing is known; throws as selectEngine. */
  static async load(
    model: Model | OnnxModel,
    device: DeviceName,
    threads?: number,
    precision: Precision | "auto" = "auto",
  ): Promise<{ readonly network: LoadedNetwork; readonly notes: readonly Note[] }> {
    const weights = (count: number) => ("tensors" in model ? modelFor(model, count) : model);
    const { engine, notes } = await selectEngine(weights(model.exposures), device, threads, precision);
    const counts = "tensors" in model ? exposureCounts(model) : [model.exposures];
    const network = new LoadedNetwork(
      model.name,
      counts,
      "tensors" in model ? hasPrior(model.tensors) : model.prior,
      engine.devices ?? [],
      async (count) => (await selectEngine(weights(count), device, threads, precision)).engine,
    );
    network.engines.set(model.exposures, Promise.resolve(engine));
    return { network, notes };
  }

  engineFor(count: number): Promise<Engine> {
    let engine = this.engines.get(count);
    if (!engine) {
      engine = this.makeEngine(count);
      this.engines.set(count, engine);
      engine.catch(() => this.engines.delete(count)); // tried again the next time
    }
    return engine;
  }
}
