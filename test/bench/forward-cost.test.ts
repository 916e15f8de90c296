import assert from "node:assert/strict";
import { test } from "node:test";
import { forwardMultiplyAdds, PUBLISHED_MULTIPLY_ADDS, publishedModel } from "../../src/bench/forward-cost.js";
import { modelFor } from "../../src/model/extractors.js";
import { loadModel } from "../../src/model/model.js";

test("counts the published multiply-adds of configuration A", async () => {
  const model = publishedModel(modelFor(await loadModel("smhdr"), 3));
  assert.equal(forwardMultiplyAdds(model), PUBLISHED_MULTIPLY_ADDS);
});
