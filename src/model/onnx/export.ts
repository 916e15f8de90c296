import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, OperatorSetIdProtoSchema, StringStringEntryProtoSchema } from "onnx-buf";
import type { Model } from "../model.js";
import { GraphBuilder } from "./graph.js";
import { addNetwork } from "./network.js";

/** 20 is the first with Gelu as an operator; IR version 9 came with it. */
const OPSET = 20n;
const IR_VERSION = 9n;

/**
 * The bytes of an ONNX file of the network, for any batch and any height and width that are multiples of 8, and for as
 * many exposures as the model says. Weights keep their published names and shapes.
 *
 * Inputs: `exposures` [batch, 6 n, height, width], and optionally `sums_mode` and `given_sums`, with which the tiles of
 * one picture use the same image-wide sums. Outputs: `radiance` [batch, 3, height, width] and `sums`.
 * @throws SmhdrError BAD_INPUT naming the weight that is missing or does not fit, UNSUPPORTED for a number of exposures
 * that the width cannot take.
 */
export function exportOnnx(model: Model): Uint8Array {
  const graph = new GraphBuilder();
  const { heads } = addNetwork(graph, model);
  const facts: Record<string, string> = {
    ...model.metadata,
    model: model.name,
    exposures: String(model.exposures),
    width: String(model.width),
    heads: String(heads),
  };
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      opsetImport: [create(OperatorSetIdProtoSchema, { version: OPSET })],
      producerName: "smhdr",
      docString: `SMNet: ${model.exposures} exposures in, ghost-free high dynamic range radiance out.`,
      metadataProps: Object.entries(facts).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
      graph: graph.finish("smnet"),
    }),
  );
}
