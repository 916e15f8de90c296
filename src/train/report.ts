import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../output/replace-file.js";
import type { TrainConfig } from "./config.js";
import { type Metric, readMetrics } from "./metrics.js";
import { QUALITY_RANGE, WEIGHT_RANGE } from "./pictures.js";
import { escapeHtml, plot, type Series } from "./plot.js";
import { listPictures, type RunFolder, readRunConfig, runFolder } from "./run-folder.js";

type Of<E extends Metric["event"]> = Extract<Metric, { event: E }>;

/** The lines of one kind; of an epoch that was done twice (after a crash) the later one. */
function only<E extends "validation" | "quality">(metrics: readonly Metric[], event: E): Of<E>[] {
  const chosen = metrics.filter((metric): metric is Of<E> => metric.event === event);
  const byEpoch = new Map(chosen.map((metric) => [(metric as Metric).epoch, metric]));
  return [...byEpoch].sort(([a], [b]) => a - b).map(([, metric]) => metric);
}

const style = `
:root { color-scheme: light; --ink: #1c2330; --soft: #667085; --line: #e4e7ec; }
body { margin: 0 auto; max-width: 1320px; padding: 28px 24px 60px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 8px; } p { margin: 4px 0 12px; color: var(--soft); max-width: 90ch; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 8px; }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 120px; }
.tiles b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; } .tiles span { color: var(--soft); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 14px; }
.plots > svg { width: 100%; border: 1px solid var(--line); border-radius: 8px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); } svg .title { font-size: 14px; font-weight: 600; fill: var(--ink); }
svg .unit { font-weight: 400; fill: var(--soft); } svg .y { text-anchor: end; } svg .x, svg .none { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg line.mark { stroke: #98a2b3; stroke-dasharray: 3 3; } svg .legend { text-anchor: end; font-weight: 600; }
figure { margin: 0 0 22px; } figure img { width: 100%; display: block; border-radius: 4px; }
.labels { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; font-size: 13px; color: var(--soft); margin: 6px 0 3px; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 3px; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 3px 16px 3px 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td { font-variant-numeric: tabular-nums; } details { margin-top: 28px; } summary { cursor: pointer; }
.scale { display: inline-block; width: 120px; height: 10px; border-radius: 3px; vertical-align: middle; margin: 0 6px;
  background: linear-gradient(90deg, rgb(68,1,84), rgb(59,82,139), rgb(33,145,140), rgb(94,201,98), rgb(253,231,37)); }`;

/**
 * Writes a page about a run, finished or not: one HTML file that loads nothing.
 * @throws SmhdrError IO where the folder is no run or the file cannot be written, INVALID_ARGUMENT where its configuration is broken
 */
export async function writeReport(run: string, path: string, signal?: AbortSignal): Promise<void> {
  const folder = runFolder(run);
  const config = await readRunConfig(folder);
  const metrics = await readMetrics(folder.metrics);
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training run ${escapeHtml(run)}</title><style>${style}</style></head><body>
<h1>Training run</h1><p>${escapeHtml(run)}</p>
${summary(config, metrics)}
<h2>Course</h2><div class="plots">${plots(config, metrics)}</div>
${await pictures(folder, metrics)}
<details><summary>Configuration</summary><table>${rows(config, "")}</table></details>
</body></html>
`;
  await replaceFile(path, signal, (temporary) => writeFile(temporary, html));
}

function tile(value: string, name: string): string {
  return `<div><b>${escapeHtml(value)}</b><span>${escapeHtml(name)}</span></div>`;
}

function summary({ curriculum }: TrainConfig, metrics: readonly Metric[]): string {
  const last = metrics.at(-1);
  const steps = metrics.filter((metric) => metric.event === "step");
  const validations = only(metrics, "validation");
  const best = validations.reduce((a, b) => (a && a.psnrMu >= b.psnrMu ? a : b), validations[0]);
  const end = validations.at(-1);
  const epochs = curriculum.plain + curriculum.rising + curriculum.falling;
  const skipped = steps.at(-1)?.skipped ?? 0;
  const loss = steps.at(-1)?.loss;
  return `<div class="tiles">${[
    tile(`${last?.epoch ?? 0} of ${epochs}`, "epochs"),
    tile(String(last?.step ?? 0), "steps"),
    ...(typeof loss === "number" ? [tile(loss.toFixed(4), "loss, last")] : []),
    ...(end ? [tile(`${end.psnrMu.toFixed(2)} dB`, "PSNR-mu"), tile(`${end.psnrL.toFixed(2)} dB`, "PSNR-l")] : []),
    ...(best && best !== end ? [tile(`${best.psnrMu.toFixed(2)} dB`, `best PSNR-mu, epoch ${best.epoch}`)] : []),
    ...(skipped > 0 ? [tile(String(skipped), "steps skipped: not finite")] : []),
  ].join("")}</div>`;
}

function plots({ curriculum }: TrainConfig, metrics: readonly Metric[]): string {
  const steps = metrics.filter((metric) => metric.event === "step");
  const range: [number, number] = [0, Math.max(1, metrics.at(-1)?.step ?? 1)];
  const begin = (epoch: number) => steps.find((metric) => metric.epoch > epoch)?.step;
  const marks = [
    { x: begin(curriculum.plain), name: "masks" },
    { x: begin(curriculum.plain + curriculum.rising), name: "fewer" },
  ].flatMap(({ x, name }) => (x === undefined || steps[0]?.step === x ? [] : [{ x, name }]));
  const line = (
    name: string,
    colour: string,
    value: (metric: Of<"step">) => number | null,
    smoothed = false,
  ): Series => ({
    ...{ name, colour, smoothed },
    points: steps.map((metric) => [metric.step, value(metric) ?? Number.NaN] as const),
  });
  const perceptual = steps.some((metric) => (metric.perceptualLoss ?? 0) > 0);
  const validations = only(metrics, "validation");
  const psnr = (name: string, colour: string, key: "psnrMu" | "psnrL"): Series => ({
    ...{ name, colour, dots: true },
    points: validations.map((metric) => [metric.step, metric[key]] as const),
  });
  const quality = only(metrics, "quality");
  const common = { range, marks };
  return [
    plot(
      [
        line("loss", "#3056d3", (m) => m.loss, true),
        ...(perceptual ? [line("mu-law L1", "#d9480f", (m) => m.pixelLoss, true)] : []),
      ],
      { title: "Loss", logarithmic: true, ...common },
    ),
    plot([psnr("PSNR-mu", "#3056d3", "psnrMu"), psnr("PSNR-l", "#d9480f", "psnrL")], {
      ...{ title: "Validation", unit: "dB, averaged weights", ...common },
    }),
    plot([line("mask ratio", "#0f766e", (m) => m.maskRatio)], { title: "Mask ratio", ...common }),
    plot([line("rate", "#7c3aed", (m) => m.rate)], { title: "Learning rate", ...common }),
    plot(
      [
        {
          ...{ name: "mean", colour: "#0f766e", dots: true },
          points: quality.map((metric) => [metric.step, metric.mean] as const),
          band: quality.map((metric) => [metric.step, metric.low, metric.high] as const),
        },
      ],
      { title: "Local quality of the segments", unit: "dB: mean, and 10th to 90th percentile", ...common },
    ),
    plot([line("norm", "#475467", (m) => m.gradientNorm, true)], {
      ...{ title: "Gradient norm", unit: "before clipping", logarithmic: true, ...common },
    }),
  ].join("");
}

const panels = ["reference exposure", "network", "truth"];
const mapPanels = ["truth", "segments", "local quality", "loss weight", "mask map"];

async function figure(folder: RunFolder, name: string, labels: readonly string[], caption: string): Promise<string> {
  const data = (await readFile(join(folder.pictures, name))).toString("base64");
  return `<figure><div class="labels">${labels.map((label) => `<span>${escapeHtml(label)}</span>`).join("")}</div><img alt="${escapeHtml(caption)}" src="data:image/png;base64,${data}"><figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

/** First and last picture of each validation scene, then of each mapped scene the peak of masking and the last. */
async function pictures(folder: RunFolder, metrics: readonly Metric[]): Promise<string> {
  const groups = { scene: new Map<string, string[]>(), maps: new Map<string, string[]>() };
  for (const name of await listPictures(folder)) {
    const match = /^(scene|maps)-(\d+)-epoch-\d+\.png$/.exec(name);
    if (!match) continue;
    const group = groups[match[1] as "scene" | "maps"];
    group.set(match[2], [...(group.get(match[2]) ?? []), name]);
  }
  const epochOf = (name: string) => Number(/epoch-(\d+)/.exec(name)?.[1]);
  const validations = only(metrics, "validation");
  const ratioOf = (epoch: number) =>
    metrics.find((metric): metric is Of<"step"> => metric.event === "step" && metric.epoch === epoch)?.maskRatio ?? 0;
  const out: string[] = [];
  if (groups.scene.size > 0)
    out.push(
      "<h2>Before and after</h2><p>Validation scenes after the first and the latest validation, all panels of a row under one tone curve.</p>",
    );
  for (const [index, names] of groups.scene) {
    for (const name of new Set([names[0], names.at(-1) as string])) {
      const epoch = epochOf(name);
      const result = validations.find((metric) => metric.epoch === epoch)?.scenes[Number(index)];
      const measured = result ? `, PSNR-mu ${result.psnrMu.toFixed(2)} dB, PSNR-l ${result.psnrL.toFixed(2)} dB` : "";
      out.push(await figure(folder, name, panels, `${result?.name ?? `scene ${index}`}, epoch ${epoch}${measured}`));
    }
  }
  if (groups.maps.size > 0)
    out.push(
      `<h2>Segments and masks</h2><p>Training scenes. Local quality <i class="scale"></i> ${QUALITY_RANGE[0]} to ${QUALITY_RANGE[1]} dB; loss weight <i class="scale"></i> ${WEIGHT_RANGE[0]} to ${WEIGHT_RANGE[1]}. What is restored well is masked more and weighs less in the loss; masked pixels are black.</p>`,
    );
  for (const [index, names] of groups.maps) {
    const peak = names.reduce((a, b) => (ratioOf(epochOf(b)) > ratioOf(epochOf(a)) ? b : a));
    for (const name of new Set([peak, names.at(-1) as string])) {
      const epoch = epochOf(name);
      const ratio = ratioOf(epoch);
      const labels = ratio > 0 ? mapPanels : mapPanels.slice(0, -1);
      out.push(
        await figure(folder, name, labels, `training scene ${index}, epoch ${epoch}, mask ratio ${ratio.toFixed(2)}`),
      );
    }
  }
  return out.join("\n");
}

function rows(value: object, prefix: string): string {
  return Object.entries(value)
    .map(([key, entry]) =>
      typeof entry === "object" && entry !== null && !Array.isArray(entry)
        ? rows(entry, `${prefix}${key}.`)
        : `<tr><th>${escapeHtml(prefix + key)}</th><td>${escapeHtml(JSON.stringify(entry))}</td></tr>`,
    )
    .join("");
}
