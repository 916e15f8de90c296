import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, OperatorSetIdProtoSchema, StringStringEntryProtoSchema } from "onnx-buf";
import type { Model } from "../model.js";
import { hasPrior } from "../prior.js";
import { GraphBuilder } from "./graph.js";
import { addNetwork } from "./network.js";

/** 20 is the first with Gelu as an operator; IR version 9 came with it. */
const OPSET = 20n;
const IR_VERSION = 9n;

/**
 * The bytes of an ONNX file of the network, for any batch and any height and width that are multiples of 8, and for as
 * many exposures as the model says. Weights keep their published names and shapes.
 *
 * Inputs: `exposures` [batch, 6 n, height, width], with 6 more channels for the merge that a network with a prior takes, and optionally `sums_mode` and `given_sums`, with which the tiles of
 * one picture use the same image-wide sums. Outputs: `radiance` [batch, 3, height, width] and `sums`.
 * @throws SmhdrError BAD_INPUT naming the weight that is missing or does not fit, UNSUPPORTED for a number of exposures
 * that the width cannot take.
 */
export function exportOnnx(model: Model): Uint8Array {
  const graph = new GraphBuilder();
  const { heads } = addNetwork(graph, model);
  const facts: Record<string, string> = {
    ...model.metadata,
    name: model.name,
    exposures: String(model.exposures),
    ...(hasPrior(model.tensors) && { prior: "true" }),
    width: String(model.width),
    heads: String(heads),
  };
  return encode(graph, `SMNet: ${model.exposures} exposures in, ghost-free high dynamic range radiance out.`, facts);
}

/** The bytes of a model of one operation, to find out whether anything runs somewhere. */
export function probeOnnx(): Uint8Array {
  const graph = new GraphBuilder();
  const input = graph.input("x", "float32", ["count"], "Any numbers.");
  graph.output("y", graph.node("Relu", [input]), ["count"], "Those above 0.");
  return encode(graph, "A test.", {});
}

function encode(graph: GraphBuilder, docString: string, facts: Readonly<Record<string, string>>): Uint8Array {
  const metadataProps = Object.entries(facts).map(([key, value]) =>
    create(StringStringEntryProtoSchema, { key, value }),
  );
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    opsetImport: [create(OperatorSetIdProtoSchema, { version: OPSET })],
    producerName: "smhdr",
    docString,
    metadataProps,
    graph: graph.finish("smnet"),
  });
  return toBinary(ModelProtoSchema, model);
}
