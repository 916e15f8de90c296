import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";

/** Operations that move pixels about without computing with their values. */
const moves = new Set([
  "Cast",
  "Concat",
  "Identity",
  "Pad",
  "Reshape",
  "Resize",
  "Slice",
  "Squeeze",
  "Transpose",
  "Unsqueeze",
]);
/** Operations that normalise. */
const normalises = new Set(["Add", "BatchNormalization", "Div", "InstanceNormalization", "Mul", "Sub"]);

/**
 * Whether an ONNX model normalises the image it is given: whether the first operation that computes with the pixels adds, subtracts,
 * multiplies or divides (it does) or is a convolution or anything else (it does not).
 */
export function normalisesInside(model: Uint8Array, input: string): boolean {
  const nodes = fromBinary(ModelProtoSchema, model).graph?.node ?? [];
  const pixels = new Set([input]);
  // Nodes are in topological order.
  for (const { opType, input: from, output } of nodes) {
    if (!from.some((name) => pixels.has(name))) continue;
    if (normalises.has(opType)) return true;
    if (moves.has(opType)) for (const name of output) pixels.add(name);
    else if (opType !== "Shape") return false;
  }
  return false;
}
