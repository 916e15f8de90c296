import { writeFile } from "node:fs/promises";
import { join as joinPath } from "node:path";
import type { Precision } from "../engine/engine.js";
import { SmhdrError } from "../errors.js";
import { modelFor } from "../model/extractors.js";
import { loadModel } from "../model/model.js";
import { encodeSafetensors } from "../model/safetensors.js";
import { type Contender, startContender, startPython, startWorker } from "./contender.js";
import { forwardMultiplyAdds, publishedModel } from "./forward-cost.js";
import { Peak } from "./meter.js";
import { networkInput, noiseRadiance } from "./pictures.js";
import { difference, join, type RaceOptions, race, ratio } from "./race.js";
import type { BenchContext, Peer, Row } from "./row.js";

/** The networks that are raced, by the name of their rows: configuration A, and the default model's. */
export const RACED_MODELS = { smnet: "smhdr", "smnet-s": "smhdr-s" } as const;
export type RacedNetwork = keyof typeof RACED_MODELS;
const EXPOSURES = 3;
/** How far, relative to the largest value, a peer's result may be from ours before it counts as another computation. */
const TOLERANCE: Readonly<Record<Precision, number>> = { fp32: 1e-3, bf16: 5e-2 };

/** A network as published, so that all compute the same: the shipped model's weights, but neither merge nor learnt fold. */
async function publishedNetwork(name: RacedNetwork, folder: string): Promise<{ file: string; flops: number }> {
  const model = publishedModel(modelFor(await loadModel(RACED_MODELS[name]), EXPOSURES));
  const file = joinPath(folder, `${name}.safetensors`);
  await writeFile(file, encodeSafetensors(model.tensors, { exposures: String(EXPOSURES) }));
  return { file, flops: 2 * forwardMultiplyAdds(model) };
}

/** One work, done by us in several precisions and by the peers. */
interface Event {
  readonly flops: number;
  readonly options: RaceOptions;
  /** Name of our row in a precision. */
  readonly rowName: (precision: Precision) => string;
  readonly ours: (precision: Precision, output: string) => Promise<Contender>;
  /** Starts a peer, or returns undefined where it does not do this work in this precision. */
  readonly peer: (peer: Peer, precision: Precision, output: string) => (() => Promise<Contender>) | undefined;
}

/** NETWORK/SIDE/PRECISION: one pass over SIDE x SIDE pixels. */
export async function raceNetwork(
  context: BenchContext,
  network: RacedNetwork,
  side: number,
  precisions: readonly Precision[],
): Promise<Row[]> {
  const { threads, signal, folder, quick } = context;
  const size = quick ? 64 : side;
  const input = joinPath(folder, `${network}-${size}.f32`);
  await writeFile(input, networkInput(EXPOSURES, size * size));
  const { file: model, flops } = await publishedNetwork(network, folder);
  const task = { kind: "network", model, input, height: size, width: size, threads } as const;
  const worker = (engine: "native" | "onnxruntime", precision: Precision, output: string) =>
    startWorker(`${network}/${engine}`, { ...task, engine, precision, output }, signal);
  return raceEvent(context, precisions, {
    flops: flops * size * size,
    options: quick ? { rounds: 1, least: 1, budget: 60 } : { rounds: 7, least: 2, budget: 60 },
    rowName: (precision) => `${network}/${side}/${precision}`,
    ours: (precision, output) => worker("native", precision, output),
    peer: (peer, precision, output) => {
      if (peer === "onnxruntime" && precision === "fp32") return () => worker("onnxruntime", precision, output);
      if (peer !== "pytorch") return undefined;
      const given = { ...task, exposures: EXPOSURES, batch: 1, precision, output };
      return () => startPython(`${network}/pytorch`, "pytorch_peer.py", given, signal);
    },
  });
}

/** train/2x128: forward, loss, backward and Adam on two patches; `binary` is the native benchmark. */
export async function raceTraining(
  context: BenchContext,
  binary: string,
  precisions: readonly Precision[],
): Promise<Row[]> {
  const { threads, signal, folder, quick } = context;
  const [batch, side] = [2, quick ? 16 : 128];
  const pixels = batch * side * side;
  const [input, truth] = ["train-input.f32", "train-truth.f32"].map((name) => joinPath(folder, name));
  await writeFile(input, networkInput(EXPOSURES, pixels));
  await writeFile(truth, noiseRadiance(pixels));
  const { file: model, flops } = await publishedNetwork("smnet", folder);
  return raceEvent(context, precisions, {
    flops: 3 * flops * pixels, // as is usual: what backward computes again is not counted
    options: quick ? { rounds: 1, least: 1, budget: 60 } : { rounds: 7, least: 3, budget: 40 },
    rowName: (precision) => (precision === "fp32" ? "train/2x128" : `train/2x128/${precision}`),
    ours: (precision, output) => {
      const args = [model, input, truth, output, batch, side, side, threads, precision].map(String);
      return startContender("train/native", binary, ["--race", "training", ...args], signal);
    },
    peer: (peer, precision, output) => {
      if (peer !== "pytorch") return undefined;
      const size = { batch, height: side, width: side, exposures: EXPOSURES };
      const task = { kind: "training", model, input, truth, output, ...size, threads, precision };
      return () => startPython("train/pytorch", "pytorch_peer.py", task, signal);
    },
  });
}

async function raceEvent(context: BenchContext, precisions: readonly Precision[], event: Event): Promise<Row[]> {
  const { threads, peers, folder, note, quick } = context;
  const contenders: Contender[] = [];
  const output = (name: string) => joinPath(folder, `${name.replaceAll("/", "-")}.out`);
  const peaks = new Map<Precision, Peak>();
  const rivals: string[] = [];
  try {
    for (const precision of precisions) {
      const ours = event.rowName(precision);
      contenders.push({ ...(await event.ours(precision, output(ours))), name: ours });
      const peak = new Peak(precision, threads);
      peaks.set(precision, peak);
      contenders.push(peak);
      for (const peer of peers) {
        const name = `${peer}/${precision}`;
        const start = event.peer(peer, precision, output(name));
        const contender = start && (await join(context, name, start));
        if (!contender) continue;
        contenders.push(contender);
        rivals.push(name);
      }
    }
  } catch (error) {
    for (const contender of contenders) contender.close();
    throw error;
  }
  const differences = new Map<string, number>();
  const standings = await race(contenders, event.options, context, async (ran) => {
    const out: string[] = [];
    for (const name of rivals) {
      if (!ran.has(name)) continue;
      const precision = name.split("/")[1] as Precision;
      const apart = await difference(output(event.rowName(precision)), output(name));
      differences.set(name, apart);
      if (apart <= TOLERANCE[precision]) continue;
      out.push(name);
      note(`skipped: ${name}: its result differs from ours by ${apart.toPrecision(2)} of the largest value`);
    }
    return out;
  });
  return precisions.map((precision) => {
    const name = event.rowName(precision);
    const ours = standings.get(name);
    const peak = peaks.get(precision);
    const peakTime = standings.get(peak?.name ?? "");
    if (!ours || !peak || !peakTime) throw new SmhdrError("INTERNAL", `${name} was not measured.`);
    const rate = event.flops / ours.seconds;
    // A peer stands for a precision with one of its own, or else with its fp32.
    const found = peers.flatMap((peer) => {
      const rival = [`${peer}/${precision}`, `${peer}/fp32`].find((each) => standings.has(each));
      const standing = rival === undefined ? undefined : standings.get(rival);
      return rival !== undefined && standing ? [{ peer, standing, apart: differences.get(rival) }] : [];
    });
    const each = <T>(value: (one: (typeof found)[number]) => T) =>
      Object.fromEntries(found.flatMap((one) => (value(one) === undefined ? [] : [[one.peer, value(one) as T]])));
    return {
      name,
      seconds: ours.seconds,
      threads,
      gflops: rate / 1e9,
      fractionOfPeak: (event.flops / peak.work) * ratio(peakTime, ours),
      bound: "arithmetic" as const,
      ...(ours.peakBytes !== undefined && { memoryBytes: ours.peakBytes }),
      peers: each(({ standing }) => standing.seconds),
      ratios: each(({ standing }) => ratio(standing, ours)),
      peerMemoryBytes: each(({ standing }) => standing.peakBytes) as Record<string, number>,
      differences: each(({ apart }) => apart) as Record<string, number>,
      runs: { smhdr: ours.runs, ...each(({ standing }) => standing.runs) },
      ...(quick && { quick: true as const }),
    };
  });
}
