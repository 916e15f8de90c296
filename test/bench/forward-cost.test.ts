import assert from "node:assert/strict";
import { test } from "node:test";
import { forwardMultiplyAdds, PUBLISHED_MULTIPLY_ADDS } from "../../src/bench/forward-cost.js";
import { modelFor } from "../../src/model/extractors.js";
import { FOLD_WEIGHT } from "../../src/model/fold.js";
import { loadModel } from "../../src/model/model.js";
import { withoutPrior } from "../../src/model/prior.js";

test("counts the published multiply-adds of configuration A", async () => {
  const { tensors, ...model } = modelFor(await loadModel("smhdr"), 3);
  const plain = new Map(withoutPrior(tensors));
  plain.delete(FOLD_WEIGHT);
  assert.equal(forwardMultiplyAdds({ ...model, tensors: plain }), PUBLISHED_MULTIPLY_ADDS);
});
