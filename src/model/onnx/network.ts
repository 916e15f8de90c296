import { SmhdrError } from "../../errors.js";
import { channelParts, exposureHeads } from "../exposure-slots.js";
import { bodySlots, FOLD_WEIGHT } from "../fold.js";
import type { Model } from "../model.js";
import { hasPrior, PRIOR_BLACK, PRIOR_WHITE } from "../prior.js";
import { elementTypeCode, type GraphBuilder, type Value } from "./graph.js";

// SMNet (method.md section 2) as ONNX operations. Tokens are the rows of [batch * height * width, C], so that linear
// layers are Gemm on the published [out, in] weights; convolutions see [batch, C, height, width].

const WINDOW = 8;
const TOKENS = WINDOW * WINDOW;
const SHIFT = WINDOW / 2;
const NORM_EPSILON = 1e-5;

/** How the image-wide sums are had: the values of the input `sums_mode`. */
export const SUMS_MODE = { own: 0, shared: 1, given: 2 } as const;

/** Adds the whole network: inputs, operations, outputs. Returns its most heads. Throws as exportOnnx does. */
export function addNetwork(graph: GraphBuilder, model: Model): { readonly heads: number } {
  const network = new Network(graph, model);
  network.build();
  return { heads: Math.max(...network.stages.map(({ heads }) => heads)) };
}

interface Stage {
  readonly blocks: number;
  readonly heads: number;
}

/** Blocks and heads of every stage, as the weights' names and shapes tell. */
function readStages({ tensors, name }: Model): Stage[] {
  const stages: Stage[] = [];
  for (;;) {
    const prefix = `layers.${stages.length}.residual_group.blocks`;
    const table = (block: number) => tensors.get(`${prefix}.${block}.attn.relative_position_bias_table`);
    const heads = table(0)?.shape[1];
    if (heads === undefined) break;
    let blocks = 1;
    while (table(blocks)) blocks++;
    stages.push({ blocks, heads });
  }
  if (stages.length === 0) throw new SmhdrError("BAD_INPUT", `${name} holds no SMNet model: layers.0 is missing.`);
  return stages;
}

class Network {
  private readonly channels: number;
  private readonly exposures: number;
  private readonly hasPrior: boolean;
  /** The exposures, and the merge where there is a prior. */
  private readonly inputs: number;
  /** Slots of the body's features. */
  private readonly slots: number;
  readonly stages: readonly Stage[];
  /** Sums taken so far, and those given for them. */
  private readonly sums: Value[] = [];
  private given: Value[] = [];
  private mix: Value = "";
  private image: Value = ""; // shape [batch, height, width, C]
  private rowLength: Value = ""; // width, as a real number
  private batchShape: Value = ""; // [batch, -1, C]
  /** Of windows that lie on the grid, and of shifted ones. */
  private windows: { readonly take: Value; readonly put: Value }[] = [];
  private shiftMask: Value = "";
  private positionIndex: Value = "";
  /** [C, slot]: which channel of the reference's slot each channel of the query reads. */
  private tiling: Value = "";
  /** [C, C]: 0 within a head of the attention between exposures, so low elsewhere that softmax gives exactly 0. */
  private headMask: Value = "";

  constructor(
    private readonly graph: GraphBuilder,
    private readonly model: Model,
  ) {
    this.channels = model.width;
    this.exposures = model.exposures;
    this.hasPrior = hasPrior(model.tensors);
    this.inputs = model.exposures + Number(this.hasPrior);
    this.slots = bodySlots(model.tensors, model.exposures);
    this.stages = readStages(model);
    if (this.exposures > this.channels) {
      throw new SmhdrError(
        "UNSUPPORTED",
        `exposures: a network of width ${this.channels} takes at most ${this.channels}; got ${this.exposures}.`,
      );
    }
  }

  build(): void {
    const { graph, channels: c } = this;
    const input = graph.input(
      "exposures",
      "float32",
      ["batch", 6 * this.inputs, "height", "width"],
      `Per exposure, shortest first: linearised radiance RGB, then pixel values RGB in [0, 1]. ${this.hasPrior ? "Then a merge: radiance RGB in [0, 1], then its mu-law. " : ""}Height and width are multiples of 8.`,
    );
    const blocks = this.stages.reduce((sum, stage) => sum + stage.blocks, 0);
    const sizes = this.stages.flatMap((stage) => [...new Array<number>(stage.blocks).fill(c), c * c]);
    const sumsCount = blocks * c + this.stages.length * c * c;
    const mode = graph.optionalInput(
      "sums_mode",
      "int64",
      [],
      [SUMS_MODE.own],
      "Image-wide sums: 0 each image's own, 1 the batch's mean, 2 those of the input given_sums.",
    );
    const givenSums = graph.optionalInput("given_sums", "float32", ["sums"], [0], "A row of the output sums.");

    const [batch, , height, width] = graph.split(graph.node("Shape", [input]), [1, 1, 1, 1], 0);
    this.addSizes(batch, height, width);
    this.addChannelConstants();
    this.addMix(batch, mode);
    const expanded = graph.node("Expand", [givenSums, graph.int64([sumsCount])]);
    const isGiven = graph.node("Equal", [mode, graph.int64(SUMS_MODE.given)]);
    this.given = graph.split(graph.node("Where", [isGiven, expanded, graph.number(0)]), sizes, 0);

    const { features, anchor } = this.extractor(input, height, width);
    const entry = this.norm(features, "patch_embed.norm");
    let x = this.mlp(entry, "mlp", c);
    for (const [s, { blocks: count, heads }] of this.stages.entries()) {
      let y = x;
      for (let b = 0; b < count; b++) y = this.maskedBlock(y, `layers.${s}.residual_group.blocks.${b}.`, b % 2, heads);
      y = this.toTokens(this.convolution(this.toImage(y), `layers.${s}.conv`, [c, c, 3, 3]));
      x = this.add(this.add(y, x), entry);
      x = this.exposureBlock(x, `channel_layers.${s}.`);
      x = this.mlp(x, `mlps.${s}`, c);
    }
    const body = this.convolution(this.toImage(this.norm(x, "norm")), "conv_after_body", [c, c, 3, 3]);
    const tail = this.add(body, this.convolution(anchor, "conv_skip", [c, c, 3, 3]));
    const logits = this.hasPrior
      ? this.choose(this.convolution(tail, "conv_end", [4, c, 3, 3]), this.prior(input))
      : this.convolution(tail, "conv_end", [3, c, 3, 3]);
    const radiance = graph.node("Sigmoid", [logits]);
    graph.output("radiance", radiance, ["batch", 3, "height", "width"], "Linear radiance RGB in [0, 1].");
    const sums = graph.node("Concat", this.sums, { axis: 1 });
    graph.output(
      "sums",
      sums,
      ["batch", sumsCount],
      "The image-wide sums each image used: give a row of it to the tiles of a picture, and they have no seams.",
    );
  }

  /** Logits of the radiance: from own ones and their gate [batch, 4, height, width] and the prior's (PriorArgs). */
  private choose(own: Value, prior: Value): Value {
    const { graph } = this;
    const [z, shut] = graph.split(own, [3, 1], 1);
    return this.add(z, graph.node("Mul", [graph.node("Sigmoid", [shut]), graph.node("Sub", [prior, z])]));
  }

  /** Logits of the prior radiance, [batch, 3, height, width] (PriorArgs in native/ops/ops.h). */
  private prior(input: Value): Value {
    const { graph, exposures: n } = this;
    const h = graph.node("Clip", [this.slice(input, 6 * n, 6 * n + 3, 1), graph.number(0), graph.number(1)]);
    const above = graph.node("Sub", [graph.number(1 + PRIOR_WHITE), h]);
    return graph.node("Log", [graph.node("Div", [this.add(h, graph.number(PRIOR_BLACK)), above])]);
  }

  /** Initialiser of a weight under its published name and shape. */
  private weight(name: string, shape: readonly number[]): Value {
    const found = this.model.tensors.get(name);
    if (!found) throw new SmhdrError("BAD_INPUT", `${this.model.name}: ${name} [${shape.join(", ")}] is missing.`);
    if (found.shape.length !== shape.length || found.shape.some((size, i) => size !== shape[i])) {
      throw new SmhdrError(
        "BAD_INPUT",
        `${this.model.name}: ${name} must be [${shape.join(", ")}], not [${found.shape.join(", ")}].`,
      );
    }
    if (!found.data.every(Number.isFinite)) {
      throw new SmhdrError("BAD_INPUT", `${this.model.name}: ${name} holds values that are not finite.`);
    }
    return this.graph.float32(name, shape, found.data);
  }

  /** Length of a vector of weights. */
  private sizeOf(name: string): number {
    const size = this.model.tensors.get(name)?.shape[0];
    if (size === undefined) throw new SmhdrError("BAD_INPUT", `${this.model.name}: ${name} is missing.`);
    return size;
  }

  private add(a: Value, b: Value): Value {
    return this.graph.node("Add", [a, b]);
  }

  private reshape(x: Value, shape: readonly number[] | Value): Value {
    return this.graph.node("Reshape", [x, typeof shape === "string" ? shape : this.graph.int64(shape)]);
  }

  private transpose(x: Value, ...perm: number[]): Value {
    return this.graph.node("Transpose", [x], { perm });
  }

  private slice(x: Value, from: number, to: number, axis: number): Value {
    const { graph } = this;
    return graph.node("Slice", [x, graph.int64([from]), graph.int64([to]), graph.int64([axis])]);
  }

  private norm(x: Value, name: string): Value {
    const shape = [this.channels];
    const weights = [this.weight(`${name}.weight`, shape), this.weight(`${name}.bias`, shape)];
    return this.graph.node("LayerNormalization", [x, ...weights], { axis: -1, epsilon: NORM_EPSILON });
  }

  private linear(x: Value, name: string, outputs: number, inputs: number): Value {
    const weights = [this.weight(`${name}.weight`, [outputs, inputs]), this.weight(`${name}.bias`, [outputs])];
    return this.graph.node("Gemm", [x, ...weights], { transB: 1 });
  }

  private mlp(x: Value, name: string, hidden: number): Value {
    const inner = this.graph.node("Gelu", [this.linear(x, `${name}.fc1`, hidden, this.channels)]); // exact by default
    return this.linear(inner, `${name}.fc2`, this.channels, hidden);
  }

  /** Same size, zero-padded; [outputs, inputs / groups, k, k]. */
  private convolution(x: Value, name: string, shape: readonly number[], group = 1, padded = true): Value {
    const weights = [this.weight(`${name}.weight`, shape), this.weight(`${name}.bias`, [shape[0]])];
    const pad = padded ? (shape[2] - 1) / 2 : 0;
    return this.graph.node("Conv", [x, ...weights], { group, pads: [pad, pad, pad, pad] });
  }

  private toImage(tokens: Value): Value {
    return this.transpose(this.reshape(tokens, this.image), 0, 3, 1, 2);
  }

  private toTokens(image: Value): Value {
    return this.reshape(this.transpose(image, 0, 2, 3, 1), [-1, this.channels]);
  }

  /** What depends on nothing but the size: shapes, where windows take their tokens from, the shift mask. */
  private addSizes(batch: Value, height: Value, width: Value): void {
    const { graph, channels } = this;
    const concat = (...parts: Value[]) => graph.node("Concat", parts, { axis: 0 });
    const area = graph.node("Mul", [height, width]);
    this.image = concat(batch, height, width, graph.int64([channels]));
    this.batchShape = concat(batch, graph.int64([-1, channels]));
    this.rowLength = graph.node("Cast", [width], { to: elementTypeCode("float32") });

    const eight = graph.int64([WINDOW]);
    const rows = graph.node("Div", [height, eight]);
    const columns = graph.node("Div", [width, eight]);
    const scalar = (value: Value) => graph.node("Squeeze", [value]);
    const count = scalar(graph.node("Mul", [batch, area]));
    const all = graph.node("Range", [graph.int64(0), count, graph.int64(1)]);
    const pixels = this.reshape(all, concat(batch, height, width));
    const roll = (x: Value, by: number) =>
      [1, 2].reduce((value, axis) => {
        const parts = [this.slice(value, by, 2 ** 31, axis), this.slice(value, 0, by, axis)];
        return graph.node("Concat", parts, { axis });
      }, x);
    // Token number t of the windows is pixel take[t]; pixel p is token put[p].
    const flat = (x: Value) => graph.node("Cast", [this.reshape(x, [-1])], { to: elementTypeCode("int32") });
    const inWindows = concat(batch, rows, eight, columns, eight);
    const take = (x: Value) => this.reshape(this.transpose(this.reshape(x, inWindows), 0, 1, 3, 2, 4), [-1]);
    const windowShape = concat(batch, rows, columns, eight, eight);
    const tokens = this.transpose(this.reshape(all, windowShape), 0, 1, 3, 2, 4);
    const places = this.reshape(tokens, concat(batch, height, width));
    const onGrid = take(pixels);
    this.windows = [
      { take: flat(onGrid), put: flat(places) },
      { take: flat(take(roll(pixels, SHIFT))), put: flat(roll(places, -SHIFT)) },
    ];

    // Regions of an axis of the shifted image: [0, L - 8), [L - 8, L - 4), [L - 4, L).
    const region = (at: Value, length: Value) => {
      const beyond = (distance: number) => {
        const border = graph.node("Sub", [length, graph.int64([distance])]);
        const is = graph.node("GreaterOrEqual", [at, border]);
        return graph.node("Cast", [is], { to: elementTypeCode("float32") });
      };
      return this.add(beyond(WINDOW), beyond(SHIFT));
    };
    const x = graph.node("Mod", [onGrid, width]);
    const y = graph.node("Mod", [graph.node("Div", [onGrid, width]), height]);
    const regions = this.add(graph.node("Mul", [region(y, height), graph.number(3)]), region(x, width));
    const [ofQuery, ofKey] = [this.reshape(regions, [-1, 1, TOKENS, 1]), this.reshape(regions, [-1, 1, 1, TOKENS])];
    const together = graph.node("Equal", [ofQuery, ofKey]);
    this.shiftMask = graph.node("Where", [together, graph.number(0), graph.number(-100)]);

    const index = new Int32Array(TOKENS * TOKENS);
    for (let i = 0; i < TOKENS; i++) {
      for (let j = 0; j < TOKENS; j++) {
        const [down, across] = [(i >> 3) - (j >> 3), (i & 7) - (j & 7)];
        index[i * TOKENS + j] = (down + WINDOW - 1) * (2 * WINDOW - 1) + across + WINDOW - 1;
      }
    }
    this.positionIndex = graph.int32("relative_position_index", [TOKENS, TOKENS], index);
  }

  private addChannelConstants(): void {
    const { graph, channels: c, slots: n } = this;
    const [first, end] = channelParts(n, c)[n >> 1];
    const slot = end - first;
    const tiling = new Float32Array(c * slot);
    for (let i = 0; i < c; i++) tiling[i * slot + (i % slot)] = 1;
    this.tiling = graph.float32("query_tiling", [c, slot], tiling);
    const mask = new Float32Array(c * c).fill(-10_000);
    for (const [from, to] of channelParts(exposureHeads(c, n), c))
      for (let i = from; i < to; i++) mask.fill(0, i * c + from, i * c + to);
    this.headMask = graph.float32("exposure_head_mask", [c, c], mask);
  }

  /** [batch, batch]: what each image uses is this times what each image has, plus what was given. */
  private addMix(batch: Value, mode: Value): void {
    const { graph } = this;
    const size = graph.node("Squeeze", [batch]);
    const image = graph.node("Range", [graph.int64(0), size, graph.int64(1)]);
    const same = graph.node("Equal", [this.reshape(image, [-1, 1]), this.reshape(image, [1, -1])]);
    const own = graph.node("Cast", [same], { to: elementTypeCode("float32") });
    const share = graph.node("Reciprocal", [graph.node("Cast", [size], { to: elementTypeCode("float32") })]);
    const is = (value: number) => graph.node("Equal", [mode, graph.int64(value)]);
    const shared = graph.node("Where", [is(SUMS_MODE.shared), share, graph.number(0)]);
    this.mix = graph.node("Where", [is(SUMS_MODE.own), own, shared]);
  }

  /** The sums to use instead of [batch, size] `own`. */
  private shareSums(own: Value): Value {
    const used = this.graph.node("Gemm", [this.mix, own, this.given[this.sums.length]]);
    this.sums.push(used);
    return used;
  }

  private extractor(input: Value, height: Value, width: Value): { features: Value; anchor: Value } {
    const { graph, channels: c, exposures, inputs: n } = this;
    const shaped = (...lead: number[]) => graph.node("Concat", [graph.int64(lead), height, width], { axis: 0 });
    let x = this.reshape(input, shaped(-1, 6));
    for (const i of [0, 1, 2]) {
      const padded = graph.node("Pad", [x, graph.int64([0, 0, 1, 1, 0, 0, 1, 1])], { mode: "reflect" });
      x = this.convolution(padded, `conv_first.${i}`, [c, i === 0 ? 6 : c, 3, 3], 1, false);
    }
    const anchor = graph.node("Gather", [this.reshape(x, shaped(-1, n, c)), graph.int64(exposures >> 1)], { axis: 1 });
    return { features: this.toTokens(this.fold(x, shaped)), anchor };
  }

  /** Channel j of a slot is the mean over the groups that have a channel j; a slot has the channels of its group. */
  private fold(x: Value, shaped: (...lead: number[]) => Value): Value {
    const { graph, channels: c, inputs: n } = this;
    if (this.model.tensors.has(FOLD_WEIGHT)) return this.learntFold(this.reshape(x, shaped(-1, n * c)));
    const parts = channelParts(n, c);
    const widest = Math.ceil(c / n);
    if (c % n === 0) {
      const groups = this.reshape(x, shaped(-1, n, widest));
      return this.reshape(graph.node("ReduceMean", [groups, graph.int64([1])], { keepdims: 0 }), shaped(-1, c));
    }
    const means = new Float32Array(widest * c);
    for (let j = 0; j < widest; j++) {
      const having = parts.filter(([start, end]) => start + j < end);
      for (const [start] of having) means[j * c + start + j] = 1 / having.length;
    }
    const folded = graph.node("Conv", [x, graph.float32("fold", [widest, c, 1, 1], means)]);
    const kept = parts.flatMap(([start, end], i) => Array.from({ length: end - start }, (_, j) => i * widest + j));
    return graph.node("Gather", [this.reshape(folded, shaped(-1, n * widest)), graph.int64(kept)], { axis: 1 });
  }

  /** A 1x1 convolution of all exposures' features [batch, n C, height, width]. */
  private learntFold(features: Value): Value {
    const { graph, channels: c, inputs: n, slots } = this;
    const widest = Math.ceil(c / slots);
    const shape = [slots, widest, n, c];
    const weight = this.reshape(this.weight(FOLD_WEIGHT, shape), [slots * widest, n * c, 1, 1]);
    const rows = channelParts(slots, c).flatMap(([start, end], slot) =>
      Array.from({ length: end - start }, (_, j) => slot * widest + j),
    );
    const used =
      rows.length === slots * widest ? weight : graph.node("Gather", [weight, graph.int64(rows)], { axis: 0 });
    return graph.node("Conv", [features, used]);
  }

  private maskedBlock(x: Value, name: string, shifted: number, heads: number): Value {
    const y = this.norm(x, `${name}norm1`);
    const local = this.localBranch(y, name);
    const attended = this.add(x, this.windowAttention(y, `${name}attn.`, shifted, heads));
    const hidden = this.sizeOf(`${name}mlp.fc1.bias`);
    const mixed = this.mlp(this.norm(attended, `${name}norm2`), `${name}mlp`, hidden);
    return this.add(this.add(attended, mixed), local);
  }

  private localBranch(y: Value, name: string): Value {
    const { graph, channels: c } = this;
    const f = this.convolution(this.toImage(y), `${name}conv_cnn1`, [c, 1, 3, 3], c);

    const pooled = this.shareSums(graph.node("ReduceMean", [f, graph.int64([2, 3])], { keepdims: 0 }));
    const reduced = this.sizeOf(`${name}cab.mlp.0.bias`);
    const squeezed = this.convolution(this.reshape(pooled, [-1, c, 1, 1]), `${name}cab.mlp.0`, [reduced, c, 1, 1]);
    const logits = this.convolution(graph.node("Relu", [squeezed]), `${name}cab.mlp.2`, [c, reduced, 1, 1]);
    const channelGate = graph.node("Sigmoid", [graph.node("Mul", [logits, graph.number(2)])]);

    const over = graph.int64([1]);
    const maps = [graph.node("ReduceMean", [f, over]), graph.node("ReduceMax", [f, over])];
    const map = graph.node("Concat", maps, { axis: 1 });
    const spatialGate = graph.node("Sigmoid", [this.convolution(map, `${name}sab.conv2d`, [1, 2, 7, 7])]);

    const gated = graph.node("Mul", [f, this.add(channelGate, spatialGate)]);
    return this.toTokens(this.convolution(gated, `${name}conv_cnn2`, [c, 1, 3, 3], c));
  }

  private windowAttention(y: Value, name: string, shifted: number, heads: number): Value {
    const { graph, channels: c } = this;
    const depth = c / heads;
    const { take, put } = this.windows[shifted];
    const qkv = this.linear(graph.node("Gather", [y, take]), `${name}qkv`, 3 * c, c);
    const apart = this.transpose(this.reshape(qkv, [-1, TOKENS, 3, heads, depth]), 2, 0, 3, 1, 4);
    const [q, k, v] = graph.split(apart, [1, 1, 1], 0);
    const scaled = graph.node("Mul", [q, graph.number(1 / Math.sqrt(depth))]);
    let logits = graph.node("MatMul", [scaled, this.transpose(k, 0, 1, 2, 4, 3)]);
    const table = this.weight(`${name}relative_position_bias_table`, [(2 * WINDOW - 1) ** 2, heads]);
    logits = this.add(logits, this.transpose(graph.node("Gather", [table, this.positionIndex]), 2, 0, 1));
    if (shifted) logits = this.add(logits, this.shiftMask);
    const attended = graph.node("MatMul", [graph.node("Softmax", [logits]), v]);
    const tokens = this.reshape(this.transpose(attended, 0, 1, 3, 2, 4), [-1, c]);
    return graph.node("Gather", [this.linear(tokens, `${name}proj`, c, c), put]);
  }

  /** Everything between normalisation and result is one C x C product an image, which the Gram matrix of z tells. */
  private exposureBlock(x: Value, name: string): Value {
    const { graph, channels: c, slots: n } = this;
    const [first, end] = channelParts(n, c)[n >> 1];
    const z = this.norm(x, `${name}norm1_x.body`);
    // Row by row, then over the rows: float32 sums over all pixels at once would lose digits.
    const rows = this.reshape(z, this.image);
    const products = graph.node("MatMul", [this.transpose(rows, 0, 1, 3, 2), rows]);
    const mean = graph.node("ReduceMean", [products, graph.int64([1])], { keepdims: 0 });
    const own = this.reshape(graph.node("Div", [mean, this.rowLength]), [-1, c * c]);
    const gram = this.reshape(this.shareSums(own), [-1, 1, c, c]);

    const matrix = (part: string) => this.reshape(this.weight(`${name}attn.${part}.weight`, [c, c, 1, 1]), [c, c]);
    // The query reads the reference's channels, tiled: each of its weights acts on the channel it finds there.
    const query = graph.node("MatMul", [matrix("q"), this.tiling]);
    const key = matrix("k");
    const queryGram = graph.node("MatMul", [query, this.slice(gram, first, end, 2)]);
    const keyGram = graph.node("MatMul", [key, gram]);
    const length = (product: Value, weights: Value) => {
      const squared = graph.node("ReduceSum", [graph.node("Mul", [product, weights]), graph.int64([-1])]);
      return graph.node("Sqrt", [graph.node("Max", [squared, graph.number(1e-24)])]);
    };
    const queryNorm = length(this.slice(queryGram, first, end, 3), query);
    const keyNorm = this.transpose(length(keyGram, key), 0, 1, 3, 2);
    const dots = graph.node("MatMul", [queryGram, this.transpose(key, 1, 0)]);
    const cosines = graph.node("Div", [graph.node("Div", [dots, queryNorm]), keyNorm]);
    const attention = graph.node("Softmax", [this.add(cosines, this.headMask)]);
    const attended = graph.node("MatMul", [attention, matrix("v")]);
    const product = graph.node("MatMul", [matrix("project_out"), this.reshape(attended, [-1, c, c])]);
    const mixed = graph.node("MatMul", [this.reshape(z, this.batchShape), this.transpose(product, 0, 2, 1)]);
    const out = this.add(x, this.reshape(mixed, [-1, c]));
    const hidden = this.sizeOf(`${name}mlp.fc1.bias`);
    return this.add(out, this.mlp(this.norm(out, `${name}norm2`), `${name}mlp`, hidden));
  }
}
