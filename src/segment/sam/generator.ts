import { readFile } from "node:fs/promises";
import type { InferenceSession, Tensor } from "onnxruntime-node";
import { SmhdrError, unreadable } from "../../errors.js";
import type { Segmentation } from "../graph.js";
import { encoderInput, enlargeLogits, type Pixels, type Placement } from "./image.js";
import {
  type Mask,
  type MaskOptions,
  paintMasks,
  pointGrid,
  selectMask,
  suppressDuplicates,
} from "./mask-generator.js";
import {
  type DecoderContract,
  describeDecoder,
  describeEncoder,
  type EncoderContract,
  type TensorDescription,
} from "./models.js";
import { normalisesInside } from "./normalisation.js";

/** The two ONNX files of a Segment Anything model. */
export interface SamModels {
  readonly encoder: string;
  readonly decoder: string;
}

export interface GeneratorOptions {
  /** What the encoder takes: 8-bit codes as they are, or normalised colours. Default: what its graph tells. */
  readonly input?: "auto" | "raw" | "normalised";
  /** Points asked for at once, where the decoder takes several. Default: 64, fewer for large images. */
  readonly batch?: number;
  /** Threads of ONNX Runtime. Default: as many as it likes. */
  readonly threads?: number;
}

const POINTS_AT_ONCE = 64;
/** For the masks of the points asked for at once. */
const MASK_BYTES = 2 ** 28;
/** Of the encoder's share in the time, for progress. */
const ENCODER_SHARE = 0.1;

type Runtime = typeof import("onnxruntime-node");

/** Segments images with a Segment Anything model. Its runs block the event loop: see SamSegmenter, which has a process for it. */
export class SamGenerator {
  private constructor(
    private readonly runtime: Runtime,
    private readonly encoder: { session: InferenceSession; contract: EncoderContract; raw: boolean },
    private readonly decoder: { session: InferenceSession; contract: DecoderContract },
    private readonly batch: number | undefined,
  ) {}

  /**
   * @throws SmhdrError UNSUPPORTED without ONNX Runtime or for models of another contract, IO and BAD_INPUT for files that cannot be
   * read or are no ONNX models.
   */
  static async load(models: SamModels, options: GeneratorOptions = {}): Promise<SamGenerator> {
    const runtime = await loadRuntime();
    const { input = "auto", batch, threads } = options;
    const errorsOnly = 3;
    const settings = {
      logSeverityLevel: errorsOnly,
      ...(threads !== undefined && { intraOpNumThreads: threads }),
    } as const;
    const open = async (file: string) => {
      const bytes = await readFile(file).catch((error: Error) => {
        throw unreadable(file, error);
      });
      // By its path: the weights of large models lie in files beside it.
      const session = await runtime.InferenceSession.create(file, settings).catch((error: Error) => {
        throw new SmhdrError("BAD_INPUT", `${file}: ONNX Runtime cannot load it (${error.message}).`, { cause: error });
      });
      const [inputs, outputs] = [session.inputMetadata, session.outputMetadata].map((list) =>
        list.map(
          (tensor): TensorDescription =>
            tensor.isTensor ? tensor : { name: tensor.name, type: "no tensor", shape: [] },
        ),
      );
      return { bytes, session, description: { file, inputs, outputs } };
    };
    const encoder = await open(models.encoder);
    const contract = describeEncoder(encoder.description);
    const raw =
      contract.type === "uint8" ||
      (input === "auto" ? normalisesInside(encoder.bytes, contract.input) : input === "raw");
    const decoder = await open(models.decoder);
    return new SamGenerator(
      runtime,
      { session: encoder.session, contract, raw },
      { session: decoder.session, contract: describeDecoder(decoder.description) },
      batch,
    );
  }

  /** Label 0 is the background. `onProgress` takes a fraction after every batch of points and may throw to end the work. */
  async segment(image: Pixels, options: MaskOptions, onProgress: (fraction: number) => void): Promise<Segmentation> {
    onProgress(0);
    const { placement, embeddings } = await this.encode(image);
    onProgress(ENCODER_SHARE);
    const grid = pointGrid(options.pointsPerSide);
    const count = grid.length / 2;
    const step = this.pointsAtOnce(image);
    const masks: Mask[] = [];
    for (let first = 0; first < count; first += step) {
      const points = grid.slice(2 * first, 2 * Math.min(count, first + step));
      masks.push(...(await this.ask(points, image, placement, embeddings, options)));
      onProgress(ENCODER_SHARE + (1 - ENCODER_SHARE) * Math.min(1, (first + step) / count));
      await new Promise(setImmediate); // lets messages be sent between runs
    }
    return paintMasks(suppressDuplicates(masks, options.boxOverlap), image.width, image.height);
  }

  private pointsAtOnce({ width, height }: Pixels): number {
    const { batch } = this.decoder.contract;
    if (batch !== undefined) return batch;
    const fit = Math.floor(MASK_BYTES / (4 * 4 * width * height));
    return this.batch ?? Math.max(1, Math.min(POINTS_AT_ONCE, fit));
  }

  private async encode(image: Pixels) {
    const { session, contract, raw } = this.encoder;
    const { data, dims, placement } = await encoderInput(image, contract, raw);
    const input = new this.runtime.Tensor(contract.type, data, dims);
    const outputs = await run("encoder", session, { [contract.input]: input });
    const embeddings: Record<string, Tensor> = { [this.decoder.contract.embeddings]: outputs[contract.embeddings] };
    const { positions } = this.decoder.contract;
    if (positions) {
      if (!contract.positions)
        throw new SmhdrError(
          "UNSUPPORTED",
          `The decoder takes ${positions}, which the encoder does not give: use files of one export.`,
        );
      embeddings[positions] = outputs[contract.positions];
    }
    return { placement, embeddings };
  }

  /** The good masks of the points: pairs x, y in the unit square. */
  private async ask(
    points: Float64Array,
    image: Pixels,
    placement: Placement,
    embeddings: Record<string, Tensor>,
    options: MaskOptions,
  ): Promise<Mask[]> {
    const { session, contract } = this.decoder;
    const asked = points.length / 2;
    const count = contract.batch ?? asked; // a fixed batch is filled up
    const each = contract.padded ? 2 : 1;
    const coordinates = new Float32Array(2 * each * count);
    const labels = new Float32Array(each * count).fill(-1);
    for (let i = 0; i < asked; i++) {
      // In pixels of the resized image, as the published generator transforms them.
      coordinates[2 * each * i] = points[2 * i] * image.width * (placement.width / image.width);
      coordinates[2 * each * i + 1] = points[2 * i + 1] * image.height * (placement.height / image.height);
      labels[each * i] = 1;
    }
    const lead = contract.batchAxis === 1 ? [1, count] : [count];
    const feeds: Record<string, Tensor> = {
      ...embeddings,
      [contract.points.name]: this.tensor(contract.points, coordinates, [...lead, each, 2]),
      [contract.labels.name]: this.tensor(contract.labels, labels, [...lead, each]),
    };
    const { maskInput, hasMaskInput, imageSize } = contract;
    if (maskInput) {
      const dims = maskInput.shape.map((size, axis) =>
        typeof size === "number" && size > 0 ? size : axis < 2 ? 1 : 256,
      );
      feeds[maskInput.name] = this.tensor(maskInput, new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);
    }
    if (hasMaskInput) feeds[hasMaskInput.name] = this.tensor(hasMaskInput, Float32Array.of(0), [1]);
    if (imageSize) feeds[imageSize.name] = this.tensor(imageSize, Float32Array.of(image.height, image.width), [2]);

    // Decoders enlarge for images whose longest side the encoder saw at full length; others are enlarged here.
    const fills = Math.max(placement.width, placement.height) === placement.frame;
    const name = fills ? (contract.masks ?? contract.lowResolutionMasks) : contract.lowResolutionMasks;
    if (!name)
      throw new SmhdrError("UNSUPPORTED", "The decoder lacks low_res_masks, which an encoder of this size needs.");
    const outputs = await run("decoder", session, feeds, [contract.scores, name]);
    const scores = floats(outputs[contract.scores]);
    const { dims } = outputs[name];
    const logits = floats(outputs[name]);
    const [rows, columns] = dims.slice(-2);
    const answers = scores.length / count;
    const size = rows * columns;
    const large = name === contract.masks;
    if (
      !Number.isInteger(answers) ||
      logits.length !== scores.length * size ||
      (large && (rows !== image.height || columns !== image.width))
    )
      throw new SmhdrError(
        "UNSUPPORTED",
        `The decoder answered ${count} points with masks [${dims.join(", ")}] and ${scores.length} predicted IoUs for an image of ` +
          `${image.height} rows and ${image.width} columns.`,
      );
    const masks: Mask[] = [];
    for (let i = 0; i < asked; i++) {
      // Of four answers the first is the one for several points; a single point is answered by the others.
      for (let k = answers === 4 ? 1 : 0; k < answers; k++) {
        const at = i * answers + k;
        if (!(scores[at] >= Math.fround(options.predictedIou))) continue;
        const given = logits.subarray(at * size, (at + 1) * size);
        const full = large ? given : enlargeLogits(given, columns, rows, placement, image);
        const mask = selectMask(full, image.width, image.height, scores[at], options);
        if (mask) masks.push(mask);
      }
    }
    return masks;
  }

  private tensor({ name, type }: TensorDescription, values: Float32Array, dims: readonly number[]): Tensor {
    const { Tensor } = this.runtime;
    if (type === "float32") return new Tensor("float32", values, dims);
    if (type === "int64") return new Tensor("int64", BigInt64Array.from(values, BigInt), dims);
    if (type === "int32") return new Tensor("int32", Int32Array.from(values), dims);
    throw new SmhdrError("UNSUPPORTED", `The decoder's ${name} is of type ${type}; expected float32, int32 or int64.`);
  }
}

function floats({ data, type }: Tensor): Float32Array {
  if (data instanceof Float32Array) return data;
  throw new SmhdrError("UNSUPPORTED", `The decoder answers in ${type}; expected float32.`);
}

async function run(what: string, session: InferenceSession, feeds: Record<string, Tensor>, outputs?: string[]) {
  try {
    return await (outputs ? session.run(feeds, outputs) : session.run(feeds));
  } catch (error) {
    throw new SmhdrError("BAD_INPUT", `The ${what} failed: ${(error as Error).message}`, { cause: error });
  }
}

async function loadRuntime(): Promise<Runtime> {
  try {
    return await import("onnxruntime-node");
  } catch (error) {
    throw new SmhdrError(
      "UNSUPPORTED",
      `Segment Anything needs ONNX Runtime, which is not installed here (npm install onnxruntime-node): ${(error as Error).message.split("\n")[0]}`,
      { cause: error },
    );
  }
}
