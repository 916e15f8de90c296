import { basename } from "node:path";
import { exposureCounts } from "../model/extractors.js";
import { hasDefaultModel, loadModel, shippedModels } from "../model/model.js";
import { ServiceError } from "./errors.js";

export interface ModelReport {
  readonly name: string;
  /** The numbers of exposures that it takes. */
  readonly exposures: readonly number[];
}

/** The models that clients may name: the shipped ones, and files that whoever started the service listed. */
export class Models {
  private readonly files: ReadonlyMap<string, string>;
  private reports: Promise<readonly ModelReport[]> | undefined;

  constructor(files: readonly string[]) {
    const shipped = shippedModels().map((name) => [name, name] as const);
    const given = files.map((file) => [basename(file).replace(/\.(safetensors|onnx)$/, ""), file] as const);
    this.files = new Map([...shipped, ...given]);
  }

  /**
   * What Reconstructor takes for a client's name.
   * @throws ServiceError INVALID_ARGUMENT: a client cannot name files.
   */
  resolve(name: string): string {
    const file = name === "default" && hasDefaultModel() ? name : this.files.get(name);
    if (file !== undefined) return file;
    const known = [...this.files.keys()].join(", ") || "(there are none)";
    throw new ServiceError("INVALID_ARGUMENT", `model: expected one of ${known}; got ${JSON.stringify(name)}.`);
  }

  /** Reads the files the first time. */
  list(): Promise<readonly ModelReport[]> {
    this.reports ??= Promise.all(
      [...this.files].flatMap(([name, file]) =>
        file.endsWith(".onnx") ? [] : [loadModel(file).then((model) => ({ name, exposures: exposureCounts(model) }))],
      ),
    );
    this.reports.catch(() => {
      this.reports = undefined;
    });
    return this.reports;
  }

  async default(): Promise<string | null> {
    return hasDefaultModel() ? (await loadModel("default")).name : ((await this.list())[0]?.name ?? null);
  }
}
