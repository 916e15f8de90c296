import { SmhdrError } from "../errors.js";
import { withExtractor } from "../model/extractors.js";
import type { Model } from "../model/model.js";
import type { StoredTensor } from "../model/safetensors.js";
import type { TrainConfig } from "./config.js";

const isTrained = (name: string, { trained }: TrainConfig) =>
  trained.length === 0 || trained.some((beginning) => name.startsWith(beginning));

/**
 * What a run saves: the network it trained, or, where it adapted the model `base`, that model with the trained weights as its
 * extractor for the run's number of exposures (in the place of its own where that is the same number).
 */
export function savedModel(
  weights: ReadonlyMap<string, StoredTensor>,
  config: TrainConfig,
  training: Readonly<Record<string, unknown>>,
  base?: Model,
): Pick<Model, "tensors" | "metadata"> {
  const { exposures } = config;
  const story = JSON.stringify(training);
  if (!base) return { tensors: weights, metadata: { exposures: String(exposures), training: story } };
  const trained = new Map([...weights].filter(([name]) => isTrained(name, config)));
  const tensors =
    exposures === base.exposures
      ? new Map([...base.tensors, ...trained])
      : withExtractor(base, exposures, trained).tensors;
  const metadata = { ...base.metadata, exposures: String(base.exposures), [`training_${exposures}`]: story };
  return { tensors, metadata };
}

/**
 * A run that adapts `base` must have left the rest of it alone.
 * @throws SmhdrError INVALID_ARGUMENT naming the parameter in which they differ: the run began with another model
 */
export function checkBase(base: Model, parameters: Readonly<Record<string, StoredTensor>>, config: TrainConfig): void {
  for (const [name, { data }] of Object.entries(parameters)) {
    if (isTrained(name, config)) continue;
    const own = base.tensors.get(name)?.data;
    if (own?.length !== data.length || data.some((value, i) => value !== own[i]))
      throw new SmhdrError(
        "INVALID_ARGUMENT",
        `model: the run was begun with another model than ${base.name}: ${name} differs.`,
      );
  }
}
