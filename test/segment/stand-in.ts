import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, OperatorSetIdProtoSchema } from "onnx-buf";
import { elementTypeCode, GraphBuilder, type Value } from "../../src/model/onnx/graph.js";

// Stand-ins for Segment Anything's models with its contract and answers that can be told from the picture's colours:
// red names a group of pieces, green is the predicted IoU of 255ths, blue below 100 makes a mask unstable.

export const mean = [123.675, 116.28, 103.53];
export const deviation = [58.395, 57.12, 57.375];

function model(graph: GraphBuilder): Uint8Array {
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 9n,
      opsetImport: [create(OperatorSetIdProtoSchema, { version: 17n })],
      graph: graph.finish("stand-in"),
    }),
  );
}

export interface EncoderStyle {
  readonly size?: number;
  readonly layout?: "NCHW" | "HWC";
  /** Normalises within. */
  readonly raw?: boolean;
  /** Takes any height and width, and fills up to the square within. */
  readonly anySize?: boolean;
  readonly positions?: boolean;
}

/** An encoder whose embeddings are the normalised picture itself, [1, 3, size, size]. */
export function encoder({
  size = 128,
  layout = "NCHW",
  raw = false,
  anySize = false,
  positions = false,
}: EncoderStyle) {
  const graph = new GraphBuilder();
  const sides = anySize ? ["height", "width"] : [size, size];
  let image: Value = graph.input("image", "float32", layout === "HWC" ? [...sides, 3] : [1, 3, ...sides], "");
  if (layout === "HWC") {
    image = graph.node("Transpose", [image], { perm: [2, 0, 1] });
    image = graph.node("Unsqueeze", [image, graph.int64([0])]);
  }
  if (raw) {
    const constant = (name: string, values: number[]) => graph.float32(name, [1, 3, 1, 1], Float32Array.from(values));
    image = graph.node("Sub", [image, constant("mean", mean)]);
    image = graph.node("Div", [image, constant("deviation", deviation)]);
  }
  if (anySize) {
    const missing = graph.node("Sub", [graph.int64([1, 3, size, size]), graph.node("Shape", [image])]);
    image = graph.node("Pad", [image, graph.node("Concat", [graph.int64([0, 0, 0, 0]), missing], { axis: 0 })]);
  }
  // A 1x1 convolution with the identity: what comes after it is not normalising.
  const identity = Float32Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  image = graph.node("Conv", [image, graph.float32("identity", [3, 3, 1, 1], identity)]);
  if (positions) graph.output("image_positional_embeddings", graph.node("Neg", [image]), [1, 3, size, size], "");
  graph.output("image_embeddings", graph.node("Mul", [image, graph.number(1)]), [1, 3, size, size], "");
  return model(graph);
}

export interface DecoderStyle {
  readonly size?: number;
  /** sam: masks at the image's size; small: masks at a quarter of the encoder's; transformers: that, and its names. */
  readonly style?: "sam" | "small" | "transformers";
  /** Points at once: any number, or just this one. */
  readonly batch?: number | "batch";
}

/**
 * A decoder that answers a point with, in this order, everything (predicted IoU 1; left out by "transformers"), the piece under the
 * point, the group under the point (predicted IoU 0.95), and the piece again, one hundredth worse. Logits are +20 and -20; +0.5 within
 * unstable pieces.
 */
export function decoder({ size = 128, style = "sam", batch = "batch" }: DecoderStyle) {
  const graph = new GraphBuilder();
  const node = graph.node.bind(graph);
  const transformers = style === "transformers";
  const embeddings = graph.input("image_embeddings", "float32", [1, 3, size, size], "");
  const lead = transformers ? ["one", batch] : [batch];
  const names = transformers ? ["input_points", "input_labels"] : ["point_coords", "point_labels"];
  let points = graph.input(names[0], "float32", [...lead, "points", 2], "");
  let labels = graph.input(names[1], transformers ? "int64" : "float32", [...lead, "points"], "");
  let picture: Value = embeddings;
  if (transformers) {
    const positions = graph.input("image_positional_embeddings", "float32", [1, 3, size, size], "");
    // Half of each: wrong positions would show.
    picture = node("Mul", [node("Sub", [embeddings, positions]), graph.number(0.5)]);
    points = node("Squeeze", [points, graph.int64([0])]);
    labels = node("Cast", [node("Squeeze", [labels, graph.int64([0])])], { to: elementTypeCode("float32") });
  }
  const constant = (name: string, values: number[]) => graph.float32(name, [1, 3, 1, 1], Float32Array.from(values));
  // Back to whole codes.
  picture = node("Mul", [picture, constant("deviation", deviation)]);
  picture = node("Round", [node("Add", [picture, constant("mean", mean)])]);

  // The colour under the first point, [points, 3, 1, 1]. With labels that are not 1 (a padding point first) it would lie elsewhere.
  const first = node("Gather", [points, graph.int64(0)], { axis: 1 });
  const label = node("Gather", [labels, graph.int64([0])], { axis: 1 });
  const [x, y] = graph.split(node("Floor", [node("Mul", [first, label])]), [1, 1], 1);
  const at = node("Cast", [node("Add", [node("Mul", [y, graph.number(size)]), x])], { to: elementTypeCode("int64") });
  const flat = node("Reshape", [picture, graph.int64([3, size * size])]);
  const colour = node("Transpose", [node("Gather", [flat, node("Squeeze", [at, graph.int64([1])])], { axis: 1 })], {
    perm: [1, 0],
  });
  const under = node("Reshape", [colour, graph.int64([-1, 3, 1, 1])]);

  const [red, green, blue] = graph.split(under, [1, 1, 1], 1);
  const distance = node("Abs", [node("Sub", [picture, under])]);
  const [redDistance] = graph.split(distance, [1, 1, 1], 1);
  const half = graph.number(0.5);
  const samePiece = node("Less", [node("ReduceMax", [distance], { axes: [1] }), half]);
  const sameGroup = node("Less", [redDistance, half]);
  const stable = node("Less", [graph.number(99.5), blue]);
  const inside = node("Where", [stable, graph.number(20), graph.number(0.5)]);
  const outside = graph.number(-20);
  const piece = node("Where", [samePiece, inside, outside]);
  const group = node("Where", [sameGroup, graph.number(20), outside]);
  const everything = node("Add", [node("Mul", [piece, graph.number(0)]), graph.number(20)]);
  const masks = node("Concat", transformers ? [piece, group, piece] : [everything, piece, group, piece], { axis: 1 });

  const score = node("Div", [node("Squeeze", [green, graph.int64([2, 3])]), graph.number(255)]);
  const nothing = node("Mul", [node("Squeeze", [red, graph.int64([2, 3])]), graph.number(0)]);
  const always = (value: number) => node("Add", [nothing, graph.number(value)]);
  const worse = node("Sub", [score, graph.number(0.01)]);
  const scores = node("Concat", transformers ? [score, always(0.95), worse] : [always(1), score, always(0.95), worse], {
    axis: 1,
  });

  const quarter = (value: Value) =>
    node("Resize", [value, "", graph.float32("quarter", [4], Float32Array.of(1, 1, 0.25, 0.25))], {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    });
  const one = graph.int64([0]);
  if (style === "sam") {
    const original = graph.input("orig_im_size", "float32", [2], "");
    graph.input("mask_input", "float32", [1, 1, size / 4, size / 4], "");
    graph.input("has_mask_input", "float32", [1], "");
    const longest = node("ReduceMax", [original], { keepdims: 1 });
    const scale = node("Div", [graph.number(size), longest]);
    const shown = node("Floor", [node("Add", [node("Mul", [original, scale]), half])]);
    const whole = (value: Value) => node("Cast", [value], { to: elementTypeCode("int64") });
    const cut = node("Slice", [masks, graph.int64([0, 0]), whole(shown), graph.int64([2, 3])]);
    const counts = node("Slice", [node("Shape", [cut]), graph.int64([0]), graph.int64([2])]);
    const sizes = node("Concat", [counts, whole(original)], { axis: 0 });
    const full = node("Resize", [cut, "", "", sizes], { mode: "nearest", nearest_mode: "floor" });
    graph.output("masks", full, [batch, 4, "height", "width"], "");
    graph.output("iou_predictions", scores, [batch, 4], "");
    graph.output("low_res_masks", quarter(masks), [batch, 4, size / 4, size / 4], "");
  } else if (style === "small") {
    graph.output("scores", scores, [batch, 4], "");
    graph.output("masks", quarter(masks), [batch, 4, size / 4, size / 4], "");
  } else {
    graph.output("iou_scores", node("Unsqueeze", [scores, one]), ["one", batch, 3], "");
    graph.output("pred_masks", node("Unsqueeze", [quarter(masks), one]), ["one", batch, 3, size / 4, size / 4], "");
  }
  return model(graph);
}
