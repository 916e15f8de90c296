import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type NativeDevices, oneDevice } from "../engine/addon.js";
import { createNativeEngine } from "../engine/native.js";
import type { StepResult, Trainer } from "../engine/trainer.js";
import { SmhdrError, throwIfAborted } from "../errors.js";
import type { Model } from "../model/model.js";
import { encodeSafetensors, type StoredTensor } from "../model/safetensors.js";
import { replaceFile } from "../output/replace-file.js";
import { type Checkpoint, type Position, writeCheckpoint } from "./checkpoint.js";
import type { TrainConfig } from "./config.js";
import { type Curriculum, learningRate, maskRatio, measuresQuality, totalEpochs } from "./curriculum.js";
import type { Scene } from "./dataset.js";
import { type LocalQuality, localQuality } from "./local-quality.js";
import { makeBatch } from "./make-batch.js";
import { appendMetric } from "./metrics.js";
import { epochOrder } from "./patches.js";
import { writeMaps, writePreview } from "./pictures.js";
import { reconstructScene } from "./reconstruct-scene.js";
import type { RunFolder } from "./run-folder.js";
import { savedModel } from "./saved-model.js";
import { needsSegments, type SceneSet } from "./scenes.js";
import { mean, validate } from "./validation.js";

/** Steps in a row that the guard may skip before the run gives up. */
const MOST_SKIPPED = 50;
/** Training scenes whose maps are drawn. */
const MAPPED = 2;

export interface Loop {
  readonly folder: RunFolder;
  readonly config: TrainConfig;
  readonly trainer: Trainer;
  /** The model that the run adapts, where it does (see savedModel). */
  readonly base?: Model | undefined;
  readonly scenes: SceneSet;
  readonly validation: readonly Scene[];
  /** Where to go on; the trainer already has its state. */
  readonly from?: Pick<Checkpoint, "position" | "quality"> | undefined;
  readonly threads: number;
  /** What validates and measures. */
  readonly device?: NativeDevices | undefined;
  /** Bytes for the reconstruction of whole scenes. */
  readonly memory: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number, state: ProgressState) => void) | undefined;
  readonly onNote?: ((message: string) => void) | undefined;
}

export interface ProgressState {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly loss: number;
  /** Of this part of the run, and what is left of it at this speed. */
  readonly seconds: number;
  readonly secondsLeft: number;
}

export interface LoopResult {
  readonly position: Position;
  readonly psnrMu: number | undefined;
  readonly psnrL: number | undefined;
}

export function curriculumOf({ curriculum, rate }: TrainConfig): Curriculum {
  const { plain, rising, falling, peakRatio, changing } = curriculum;
  return { epochs: { plain, rising, falling }, peakRatio, changing, rate };
}

/** The running sums of one line of metrics. */
class Window {
  private results: StepResult[] = [];
  private start = performance.now();

  add(result: StepResult): void {
    if (result.applied) this.results.push(result);
    this.steps++;
  }
  steps = 0;

  take() {
    const average = (key: "loss" | "pixelLoss" | "perceptualLoss" | "ownLoss" | "gradientNorm") =>
      this.results.length > 0 ? mean(this.results.map((result) => result[key])) : null;
    const line = {
      loss: average("loss"),
      pixelLoss: average("pixelLoss"),
      perceptualLoss: average("perceptualLoss"),
      ownLoss: average("ownLoss"),
      gradientNorm: average("gradientNorm"),
      secondsPerStep: (performance.now() - this.start) / 1000 / Math.max(1, this.steps),
    };
    this.results = [];
    this.steps = 0;
    this.start = performance.now();
    return line;
  }
}

/**
 * Trains to the end of the configuration's epochs. What it computes depends on nothing but configuration, first weights and
 * scenes: stopped anywhere and gone on with from its checkpoint, it arrives at the same bits. When the signal fires or something
 * fails, a checkpoint is written first.
 * @throws SmhdrError CANCELLED once stopped, IO where a file cannot be written, BAD_INPUT for scenes that cannot be read or a
 * loss that stays not finite
 */
export async function runLoop(loop: Loop): Promise<LoopResult> {
  return new Run(loop).run();
}

class Run {
  private readonly curriculum: Curriculum;
  private readonly epochs: number;
  private readonly stepsPerEpoch: number;
  private position: Position;
  private quality: Map<number, LocalQuality>;
  private window = new Window();
  private readonly began = performance.now();
  private readonly stepsAtStart: number;
  private lastCheckpoint = performance.now();
  private skippedInARow = 0;
  private loss = Number.NaN;
  /** False while a checkpoint could not be written: trying again would hide the first error. */
  private canWrite = true;

  constructor(private readonly loop: Loop) {
    const { config, scenes, from } = loop;
    this.curriculum = curriculumOf(config);
    this.epochs = totalEpochs(this.curriculum);
    this.stepsPerEpoch = Math.ceil((scenes.count * config.patchesPerScene) / config.batch);
    this.position = from?.position ?? {
      epoch: 1,
      batches: 0,
      steps: 0,
      skipped: 0,
      seconds: 0,
      measured: 0,
    };
    this.quality = new Map(from?.quality);
    this.stepsAtStart = this.position.steps;
  }

  async run(): Promise<LoopResult> {
    const { position, epochs } = this;
    try {
      for (let epoch = position.epoch; epoch <= epochs; epoch++) await this.epoch(epoch);
    } catch (error) {
      await this.saveAfter(error);
      throw error;
    }
    await this.save();
    const { validated } = this.position;
    return { position: this.position, psnrMu: validated?.psnrMu, psnrL: validated?.psnrL };
  }

  /** A checkpoint before giving up, unless that is what failed. */
  private async saveAfter(error: unknown): Promise<void> {
    if (!this.canWrite) return;
    try {
      await this.save();
    } catch (second) {
      throw error instanceof SmhdrError && error.code === "CANCELLED" ? second : error;
    }
    if (error instanceof SmhdrError && error.code === "CANCELLED") {
      const { epoch, steps } = this.position;
      throw new SmhdrError(
        "CANCELLED",
        `Stopped in epoch ${epoch} after ${steps} steps; the checkpoint is ${this.loop.folder.checkpoint}. Go on with --resume.`,
        { cause: error },
      );
    }
  }

  private async epoch(epoch: number): Promise<void> {
    const { config, scenes, signal } = this.loop;
    throwIfAborted(signal);
    if (needsSegments(config) && measuresQuality(this.curriculum, epoch) && this.position.measured !== epoch)
      await this.measure(epoch);
    const order = epochOrder(config, scenes.count, epoch);
    for (let batch = this.position.batches; batch < this.stepsPerEpoch; batch++) {
      throwIfAborted(signal);
      await this.step(epoch, batch, order);
    }
    const last = epoch === this.epochs;
    const { every } = config.validation;
    const due = last || (every > 0 && epoch % every === 0);
    if (due && this.position.validated?.epoch !== epoch) await this.validate(epoch);
    if (!last) this.position = { ...this.position, epoch: epoch + 1, batches: 0 };
  }

  private async step(epoch: number, batch: number, order: Int32Array): Promise<void> {
    const { config, scenes, trainer, signal } = this.loop;
    const began = performance.now();
    const patches = Array.from(order.subarray(batch * config.batch, (batch + 1) * config.batch), (scene, i) => ({
      scene,
      number: (epoch - 1) * order.length + batch * config.batch + i,
    }));
    const cut = [];
    for (const { scene, number } of patches)
      cut.push({ scene: await scenes.scene(epoch, scene), number, quality: this.quality.get(scene) });
    const ratio = maskRatio(this.curriculum, epoch);
    const { steps } = this.position;
    const warm = Math.min(1, (steps + 1) / Math.max(1, config.rate.warmUp));
    const rate = warm * learningRate(this.curriculum, epoch);
    const result = await trainer.step({ ...makeBatch(cut, config, trainer.stages, ratio, steps), rate }, signal);
    this.skippedInARow = result.applied ? 0 : this.skippedInARow + 1;
    this.position = {
      ...this.position,
      epoch,
      batches: batch + 1,
      steps: steps + 1,
      skipped: this.position.skipped + (result.applied ? 0 : 1),
      seconds: this.position.seconds + (performance.now() - began) / 1000,
    };
    if (result.applied) this.loss = Number.isNaN(this.loss) ? result.loss : 0.95 * this.loss + 0.05 * result.loss;
    this.window.add(result);
    if (this.position.steps % config.metricsEvery === 0) await this.metrics(rate, ratio);
    this.progress();
    if (this.skippedInARow >= MOST_SKIPPED)
      throw new SmhdrError(
        "BAD_INPUT",
        `The loss or its gradient was not finite ${MOST_SKIPPED} times in a row, in epoch ${epoch}. Begin anew with a lower rate.from or with clip 1; --model ${this.loop.folder.model} goes on from these weights.`,
      );
    if ((performance.now() - this.lastCheckpoint) / 60000 >= config.checkpointMinutes) await this.save();
  }

  private async metrics(rate: number, ratio: number): Promise<void> {
    const { epoch, steps, skipped } = this.position;
    await appendMetric(this.loop.folder.metrics, {
      event: "step",
      epoch,
      step: steps,
      ...this.window.take(),
      rate,
      maskRatio: ratio,
      skipped,
    });
  }

  /** Measures the local quality of every scene with the weights as they are now. */
  private async measure(epoch: number): Promise<void> {
    const { config, scenes, trainer, threads, device, memory, signal, folder } = this.loop;
    const engine = createNativeEngine(
      this.asModel(trainer.state().parameters),
      threads,
      "fp32",
      device && oneDevice(device),
    );
    const quality = new Map<number, LocalQuality>();
    const ratio = maskRatio(this.curriculum, epoch);
    for (let index = 0; index < scenes.count; index++) {
      throwIfAborted(signal);
      const scene = await scenes.scene(epoch, index);
      if (!scene.segments) throw new SmhdrError("INTERNAL", `${scene.name}: its segments are gone.`);
      const measured = localQuality(
        await reconstructScene(scene, engine, memory, { signal }),
        scene.truth,
        scene.segments,
      );
      quality.set(index, measured);
      if (index < MAPPED) {
        const name = `maps-${index}-epoch-${String(epoch).padStart(5, "0")}.png`;
        await writeMaps(join(folder.pictures, name), scene, scene.segments, measured, ratio, config.seed);
      }
      this.progress();
    }
    const all = [...quality.values()].flatMap((segments) => [...segments.values()]).sort((a, b) => a - b);
    const at = (share: number) => all[Math.floor(share * (all.length - 1))];
    await appendMetric(folder.metrics, {
      event: "quality",
      epoch,
      step: this.position.steps,
      mean: mean(all),
      low: at(0.1),
      high: at(0.9),
      segments: all.length,
    });
    this.quality = quality;
    this.position = { ...this.position, epoch, measured: epoch };
  }

  private async validate(epoch: number): Promise<void> {
    const { validation, trainer, threads, device, memory, signal, folder } = this.loop;
    if (validation.length === 0) return;
    const engine = createNativeEngine(
      this.asModel(trainer.state().averages),
      threads,
      "fp32",
      device && oneDevice(device),
    );
    const results = await validate(validation, engine, memory, signal, (scene, index, prediction) => {
      const name = `scene-${index}-epoch-${String(epoch).padStart(5, "0")}.png`;
      return writePreview(join(folder.pictures, name), scene, prediction);
    });
    const means = { psnrMu: mean(results.map((r) => r.psnrMu)), psnrL: mean(results.map((r) => r.psnrL)) };
    await appendMetric(folder.metrics, {
      event: "validation",
      epoch,
      step: this.position.steps,
      ...means,
      scenes: results,
    });
    this.position = { ...this.position, validated: { epoch, ...means } };
  }

  private progress(): void {
    const total = this.epochs * this.stepsPerEpoch;
    const { epoch, steps } = this.position;
    const seconds = (performance.now() - this.began) / 1000;
    const perStep = seconds / Math.max(1, steps - this.stepsAtStart);
    this.loop.onProgress?.(Math.min(1, steps / total), {
      epoch,
      epochs: this.epochs,
      step: steps,
      loss: this.loss,
      seconds,
      secondsLeft: steps > this.stepsAtStart ? perStep * (total - steps) : Number.NaN,
    });
  }

  private asModel(weights: Readonly<Record<string, StoredTensor>>) {
    const { exposures } = this.loop.config;
    const tensors = new Map(Object.entries(weights));
    const width = tensors.get("conv_first.0.weight")?.shape[0] ?? 0;
    return { name: "training", tensors, width, exposures, metadata: {} };
  }

  /** The checkpoint, then the model it holds. */
  private async save(): Promise<void> {
    const { folder, config, trainer, scenes } = this.loop;
    const state = trainer.state();
    const { position, quality } = this;
    try {
      await writeCheckpoint(folder.checkpoint, { config, fingerprint: scenes.fingerprint, position, state, quality });
      const training = { epoch: position.epoch, steps: position.steps, validation: position.validated };
      const saved = savedModel(new Map(Object.entries(state.averages)), config, training, this.loop.base);
      const bytes = encodeSafetensors(saved.tensors, saved.metadata);
      await replaceFile(folder.model, undefined, (temporary) => writeFile(temporary, bytes));
    } catch (error) {
      this.canWrite = false;
      throw error;
    }
    this.lastCheckpoint = performance.now();
  }
}
