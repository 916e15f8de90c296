import { SmhdrError } from "../errors.js";
import { bodySlots, FOLD_WEIGHT } from "./fold.js";
import type { Model } from "./model.js";
import { hasPrior } from "./prior.js";
import type { StoredTensor } from "./safetensors.js";

// One file may serve several numbers of exposures: beside the network trained for `exposures` of them it holds extractors,
// tensors "extractors.N.<parameter>", each in the place of <parameter> when N exposures come. What an extractor does not
// name is the network's own, but for fold.weight, which fits one number of exposures only. Fine-tuning names conv_first and
// fold.weight, a few hundredths of the weights (docs/exposures.md).

const PREFIX = "extractors.";

/** Splits "extractors.5.conv_first.0.weight"; undefined for any other name. */
function parse(name: string): { readonly exposures: number; readonly parameter: string } | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const [count, ...parameter] = name.slice(PREFIX.length).split(".");
  return { exposures: /^[1-9]\d?$/.test(count) ? Number(count) : Number.NaN, parameter: parameter.join(".") };
}

/** The numbers of exposures that a model has weights for, ascending. */
export function exposureCounts({ tensors, exposures }: Model): number[] {
  const counts = new Set([exposures]);
  for (const name of tensors.keys()) {
    const extractor = parse(name);
    if (extractor) counts.add(extractor.exposures);
  }
  return [...counts].sort((a, b) => a - b);
}

/**
 * The plain network for this number of exposures: the extractor's weights in place of the network's, no extractors beside.
 * @throws SmhdrError UNSUPPORTED where the model has none.
 */
export function modelFor(model: Model, exposures: number): Model {
  if (!exposureCounts(model).includes(exposures)) {
    throw new SmhdrError(
      "UNSUPPORTED",
      `exposures: the model ${model.name} takes ${exposureCounts(model).join(", ")}; got ${exposures}. Another extractor can be trained with smhdr finetune.`,
    );
  }
  const tensors = new Map<string, StoredTensor>();
  const own = exposures === model.exposures;
  for (const [name, tensor] of model.tensors)
    if (!parse(name) && (own || name !== FOLD_WEIGHT)) tensors.set(name, tensor);
  for (const [name, tensor] of model.tensors) {
    const extractor = parse(name);
    if (extractor?.exposures === exposures) tensors.set(extractor.parameter, tensor);
  }
  return { ...model, tensors, exposures };
}

/** The model with these weights (by their names in the network) as its extractor for `exposures`, instead of any it had. */
export function withExtractor(model: Model, exposures: number, weights: ReadonlyMap<string, StoredTensor>): Model {
  const prefix = `${PREFIX}${exposures}.`;
  const tensors = new Map([...model.tensors].filter(([name]) => !name.startsWith(prefix)));
  for (const [name, tensor] of weights) tensors.set(prefix + name, tensor);
  const extended = { ...model, tensors };
  checkExtractors(extended);
  return extended;
}

/** @throws SmhdrError BAD_INPUT naming the tensor of an extractor that fits nothing in the network. */
export function checkExtractors({ name: model, tensors, width, exposures }: Model): void {
  for (const [name, { shape }] of tensors) {
    const extractor = parse(name);
    if (!extractor) continue;
    const refuse = (why: string) => new SmhdrError("BAD_INPUT", `${model}: ${name} ${why}.`);
    if (!(extractor.exposures <= width)) throw refuse(`is no extractor for 1 to ${Math.min(width, 99)} exposures`);
    if (extractor.exposures === exposures)
      throw refuse(`is an extractor for the ${exposures} exposures that the network itself takes`);
    if (extractor.parameter === FOLD_WEIGHT) {
      const slots = bodySlots(tensors, exposures);
      const inputs = extractor.exposures + Number(hasPrior(tensors));
      const expected = [slots, Math.ceil(width / slots), inputs, width];
      if (expected.join() !== shape.join()) throw refuse(`must be [${expected.join(", ")}], not [${shape.join(", ")}]`);
      continue;
    }
    const replaced = tensors.get(extractor.parameter);
    if (!replaced || parse(extractor.parameter)) throw refuse("stands for a parameter that the network does not have");
    if (replaced.shape.join() !== shape.join())
      throw refuse(`must be [${replaced.shape.join(", ")}], not [${shape.join(", ")}]`);
  }
}
