import { SmhdrError } from "../../errors.js";

/** What a session says of an input or output: a dimension is a number, or a name where any size goes. */
export interface TensorDescription {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

export interface ModelDescription {
  readonly file: string;
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
}

/** How an encoder takes the image. */
export interface EncoderContract {
  readonly input: string;
  readonly type: "float32" | "uint8";
  /** Order of the axes, such as [1, 3, height, width]. */
  readonly layout: "NCHW" | "NHWC" | "CHW" | "HWC";
  /** Rows and columns it was made for; undefined takes any. */
  readonly height: number | undefined;
  readonly width: number | undefined;
  readonly embeddings: string;
  /** Transformers' exports hand these on to the decoder. */
  readonly positions: string | undefined;
}

/** How a decoder is asked for masks. */
export interface DecoderContract {
  readonly embeddings: string;
  readonly positions: string | undefined;
  readonly points: TensorDescription;
  readonly labels: TensorDescription;
  /** Axis of `points` that counts the questions asked at once, and how many fit: any number where undefined. */
  readonly batchAxis: 0 | 1;
  readonly batch: number | undefined;
  /** Whether each question carries a padding point, label -1, as SAM's own exports need it in place of a box. */
  readonly padded: boolean;
  readonly maskInput: TensorDescription | undefined;
  readonly hasMaskInput: TensorDescription | undefined;
  readonly imageSize: TensorDescription | undefined;
  readonly scores: string;
  /** Logits at the image's own size (needs imageSize). */
  readonly masks: string | undefined;
  /** Logits at a quarter of the encoder's size. */
  readonly lowResolutionMasks: string | undefined;
}

const list = (tensors: readonly TensorDescription[]) =>
  tensors.map(({ name, type, shape }) => `${name} ${type} [${shape.join(", ")}]`).join("; ");

/**
 * Finds out from names, types and shapes how an image encoder is used.
 * @throws SmhdrError UNSUPPORTED listing what the model has.
 */
export function describeEncoder({ file, inputs, outputs }: ModelDescription): EncoderContract {
  const refuse = (what: string) =>
    new SmhdrError("UNSUPPORTED", `${file}: ${what}; its inputs are ${list(inputs)}, its outputs ${list(outputs)}.`);
  const image = inputs.length === 1 ? inputs[0] : inputs.find(({ name }) => /image|pixel/i.test(name));
  if (!image) throw refuse("expected an image encoder with one input");
  const { shape, type } = image;
  if (type !== "float32" && type !== "uint8") throw refuse("expected an image of float32 or uint8");
  const candidates =
    shape.length === 4 ? (["NCHW", "NHWC"] as const) : shape.length === 3 ? (["HWC", "CHW"] as const) : [];
  const channels = (layout: EncoderContract["layout"]) => shape[layout.indexOf("C")];
  // Some exports give every axis a name: then the usual order.
  const layout =
    candidates.find((order) => channels(order) === 3) ??
    candidates.find((order) => typeof channels(order) === "string");
  if (!layout) throw refuse("expected an image [1, 3, height, width] or [height, width, 3]");
  const rows = layout.indexOf("H");
  const sizes = [shape[rows], shape[rows + 1]].map((size) => (typeof size === "number" && size > 0 ? size : undefined));
  const embeddings =
    outputs.find(({ name }) => name === "image_embeddings") ?? (outputs.length === 1 ? outputs[0] : undefined);
  if (!embeddings) throw refuse("expected the output image_embeddings");
  return {
    input: image.name,
    type,
    layout,
    height: sizes[0],
    width: sizes[1],
    embeddings: embeddings.name,
    positions: outputs.find(({ name }) => name === "image_positional_embeddings")?.name,
  };
}

/**
 * Finds out from names, types and shapes how a mask decoder is used.
 * @throws SmhdrError UNSUPPORTED listing what the model has.
 */
export function describeDecoder({ file, inputs, outputs }: ModelDescription): DecoderContract {
  const pick = (from: readonly TensorDescription[], ...names: string[]) =>
    names.map((wanted) => from.find(({ name }) => name === wanted)).find((tensor) => tensor !== undefined);
  const embeddings = pick(inputs, "image_embeddings");
  const points = pick(inputs, "point_coords", "input_points");
  const labels = pick(inputs, "point_labels", "input_labels");
  const imageSize = pick(inputs, "orig_im_size");
  const scores = pick(outputs, "iou_predictions", "iou_scores", "scores");
  const masks = pick(outputs, "masks", "pred_masks");
  // Without orig_im_size the decoder cannot know the image's size: its masks are the small ones.
  const small = pick(outputs, "low_res_masks") ?? (imageSize ? undefined : masks);
  const known = [embeddings, points, labels, imageSize, pick(inputs, "mask_input"), pick(inputs, "has_mask_input")];
  const positions = pick(inputs, "image_positional_embeddings");
  const unknown = inputs.find((input) => input !== positions && !known.includes(input));
  const rank = points?.shape.length;
  if (!embeddings || !points || !labels || !scores || !(masks || small) || unknown || (rank !== 3 && rank !== 4))
    throw new SmhdrError(
      "UNSUPPORTED",
      `${file}: expected a mask decoder with the inputs image_embeddings, point_coords and point_labels and the outputs masks and ` +
        `iou_predictions; its inputs are ${list(inputs)}, its outputs ${list(outputs)}.`,
    );
  const batchAxis = rank === 4 ? 1 : 0;
  const batch = points.shape[batchAxis];
  return {
    embeddings: embeddings.name,
    positions: positions?.name,
    points,
    labels,
    batchAxis,
    batch: typeof batch === "number" && batch > 0 ? batch : undefined,
    padded: points.name === "point_coords" && points.shape[batchAxis + 1] !== 1,
    maskInput: pick(inputs, "mask_input"),
    hasMaskInput: pick(inputs, "has_mask_input"),
    imageSize,
    scores: scores.name,
    masks: imageSize ? masks?.name : undefined,
    lowResolutionMasks: small?.name,
  };
}
