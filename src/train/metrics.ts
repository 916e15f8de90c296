import { appendFile, readFile, writeFile } from "node:fs/promises";
import { SmhdrError, unreadable } from "../errors.js";
import { replaceFile } from "../output/replace-file.js";

/** One line of metrics.jsonl. `step` counts all batches from the start of the run. */
export type Metric =
  | {
      readonly event: "step";
      readonly epoch: number;
      readonly step: number;
      /** Means over the steps since the last line. */
      readonly loss: number | null;
      readonly pixelLoss: number | null;
      readonly perceptualLoss: number | null;
      readonly gradientNorm: number | null;
      readonly rate: number;
      readonly maskRatio: number;
      /** Steps that the guard skipped, in all. */
      readonly skipped: number;
      readonly secondsPerStep: number;
    }
  | {
      readonly event: "validation";
      readonly epoch: number;
      readonly step: number;
      /** In dB, means over the scenes. */
      readonly psnrMu: number;
      readonly psnrL: number;
      readonly scenes: readonly { readonly name: string; readonly psnrMu: number; readonly psnrL: number }[];
    }
  | {
      readonly event: "quality";
      readonly epoch: number;
      readonly step: number;
      /** Of the segments' local quality in dB: the mean, and its tenth and ninetieth percentiles. */
      readonly mean: number;
      readonly low: number;
      readonly high: number;
      readonly segments: number;
    };

/** The metrics of a run; lines that are no metrics (a half-written last one) are left out. Empty where there is no file. */
export async function readMetrics(path: string): Promise<Metric[]> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw unreadable(path, error);
  });
  return text.split("\n").flatMap((line): Metric[] => {
    try {
      const metric = JSON.parse(line) as Metric;
      return typeof metric.step === "number" && typeof metric.event === "string" ? [metric] : [];
    } catch {
      return [];
    }
  });
}

/** Drops what was written after `step`: a run that goes on writes it again. */
export async function cutMetrics(path: string, step: number): Promise<void> {
  const kept = (await readMetrics(path)).filter((metric) => metric.step <= step);
  await replaceFile(path, undefined, (temporary) =>
    writeFile(temporary, kept.map((metric) => `${JSON.stringify(metric)}\n`).join("")),
  );
}

export async function appendMetric(path: string, metric: Metric): Promise<void> {
  await appendFile(path, `${JSON.stringify(metric)}\n`).catch((error: Error) => {
    throw new SmhdrError("IO", `${path}: cannot be written (${error.message}).`, { cause: error });
  });
}
