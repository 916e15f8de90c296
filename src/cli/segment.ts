import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { SmhdrError, throwIfAborted } from "../errors.js";
import { replaceFile } from "../output/replace-file.js";
import { encodeNpy } from "../segment/npy.js";
import { type Photograph, SamSegmenter, type SegmentOptions } from "../segment/sam/segmenter.js";
import { type SegmentMap, segmentPhotograph } from "../segment/segment-map.js";
import { findScenes, readPhotograph, type SceneFiles, splitsOf } from "../train/dataset.js";
import { parseCount, parseThreads } from "./arguments.js";
import { runCommand } from "./run-command.js";

interface SegmentCommandOptions {
  readonly sam?: readonly string[];
  readonly samInput: "auto" | "raw" | "normalised";
  readonly samBatch?: number;
  readonly predictedIou?: number;
  readonly stability?: number;
  readonly pointsPerSide?: number;
  readonly cache: string | false | undefined;
  readonly threads?: number;
  readonly json?: boolean;
}

export function registerSegment(program: Command): void {
  program
    .command("segment")
    .description("make the segment maps (masks.npy) of a data set's scenes, from their middle exposures")
    .argument("[dir]", "folder of the data set, with Training and Test or one of them")
    .option(
      "--sam <onnx...>",
      "encoder.onnx decoder.onnx of a Segment Anything model (default: the built-in segmenter)",
    )
    .addOption(
      new Option(
        "--sam-input <kind>",
        "what the encoder takes: 8-bit codes (raw) or normalised colours; auto asks its graph",
      )
        .choices(["auto", "raw", "normalised"])
        .default("auto"),
    )
    .option("--sam-batch <n>", "points asked for at once, where the decoder takes several (default: 64)", parseCount(1))
    .option("--points-per-side <n>", "side of the grid of points, for --sam (default: 32)", parseCount(1))
    .option("--predicted-iou <least>", "least predicted IoU of a mask, for --sam (default: 0.9)", parseFraction)
    .option("--stability <least>", "least stability of a mask, for --sam (default: 0.92)", parseFraction)
    .option("--cache <dir>", "where --sam keeps maps for the next time (default: DIR/.segments)")
    .option("--no-cache", "keep none")
    .option("--threads <n>", "threads of ONNX Runtime, for --sam", parseThreads)
    .option("--json", "print one JSON object a line")
    .addHelpText(
      "after",
      "\nScenes that have a masks.npy get another. Ids are unique over the data set once all of it is done.\n" +
        "\nExamples:\n  smhdr segment data\n  smhdr segment data --sam sam_encoder.onnx sam_decoder.onnx",
    )
    .action((directory: string | undefined, options: SegmentCommandOptions) =>
      runCommand(options, async (reporter, signal) => {
        const { folder, segment, close } = chooseSegmenter(directory, options);
        try {
          const scenes = await findAllScenes(folder);
          const progress = reporter.stage("Segment");
          let ids = 0;
          for (const [i, scene] of scenes.entries()) {
            throwIfAborted(signal);
            const path = scene.exposures[scene.exposures.length >> 1];
            const photograph = await readPhotograph(path);
            const map = await segment(photograph, {
              firstId: ids,
              signal,
              onProgress: (fraction) => progress((i + fraction) / scenes.length),
            });
            ids += map.count;
            const file = encodeNpy(map.ids, [map.height, map.width, 1]);
            await replaceFile(join(dirname(path), "masks.npy"), signal, (temporary) => writeFile(temporary, file));
            progress((i + 1) / scenes.length);
          }
          const segments = ids - scenes.length; // each has a background
          reporter.result(
            `${scenes.length} ${scenes.length === 1 ? "scene" : "scenes"} of ${folder}: ${segments} segments`,
            {
              folder,
              scenes: scenes.length,
              segments,
              method: options.sam ? "sam" : "graph",
            },
          );
        } finally {
          await close();
        }
      }),
    );
}

function parseFraction(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError("Expected a number from 0 to 1.");
  return value;
}

interface Segmenter {
  readonly folder: string;
  readonly segment: (photograph: Photograph, options: SegmentOptions) => Promise<SegmentMap>;
  readonly close: () => Promise<void>;
}

function chooseSegmenter(directory: string | undefined, options: SegmentCommandOptions): Segmenter {
  // "--sam encoder decoder DIR" leaves the folder to --sam.
  const [encoder, decoder, third, ...rest] = options.sam ?? [];
  const folder = directory ?? third;
  if (folder === undefined) throw new SmhdrError("INVALID_ARGUMENT", "segment: the folder of the data set is missing.");
  if (options.sam && (decoder === undefined || rest.length > 0 || (directory !== undefined && third !== undefined)))
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `--sam: expected two files, encoder.onnx and decoder.onnx, got ${options.sam.join(" ")}.`,
    );
  if (!options.sam) {
    return {
      folder,
      segment: async ({ codes, width, height }, { firstId }) => segmentPhotograph(codes, width, height, firstId),
      close: async () => {},
    };
  }
  const { samInput, samBatch, predictedIou, stability, pointsPerSide, threads, cache } = options;
  const segmenter = new SamSegmenter(
    { encoder, decoder },
    {
      input: samInput,
      ...(samBatch !== undefined && { batch: samBatch }),
      ...(predictedIou !== undefined && { predictedIou }),
      ...(stability !== undefined && { stability }),
      ...(pointsPerSide !== undefined && { pointsPerSide }),
      ...(threads !== undefined && { threads }),
      cache: cache === false ? undefined : typeof cache === "string" ? cache : join(folder, ".segments"),
    },
  );
  return {
    folder,
    segment: (photograph, segmentOptions) => segmenter.segment(photograph, segmentOptions),
    close: () => segmenter.close(),
  };
}

async function findAllScenes(folder: string): Promise<SceneFiles[]> {
  const splits = await splitsOf(folder);
  if (splits.length === 0)
    throw new SmhdrError("BAD_INPUT", `${folder}: expected a data set with a folder Training, Test or both.`);
  return (await Promise.all(splits.map((split) => findScenes(folder, split)))).flat();
}
