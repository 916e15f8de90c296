import { basename } from "node:path";
import { SmhdrError } from "../errors.js";
import { exposureCounts } from "../model/extractors.js";
import { hasDefaultModel, loadModel, shippedModels } from "../model/model.js";
import { readOnnx } from "../model/onnx/read.js";
import { ServiceError } from "./errors.js";

export interface ModelReport {
  readonly name: string;
  /** The numbers of exposures that it takes. */
  readonly exposures: readonly number[];
}

/** The models that clients may name: the shipped ones, and files that whoever started the service listed. */
export class Models {
  private constructor(
    private readonly files: ReadonlyMap<string, string>,
    readonly list: readonly ModelReport[],
    /** The one that is used where a client names none. */
    readonly defaultName: string | null,
  ) {}

  /**
   * Reads them all, so that a file that is no model is known before anybody asks for it.
   * @throws SmhdrError as loadModel and readOnnx do, naming --model where the file was given.
   */
  static async load(files: readonly string[]): Promise<Models> {
    const read = new Map<string, { readonly file: string; readonly exposures: readonly number[] }>();
    for (const name of shippedModels()) read.set(name, { file: name, exposures: await exposuresOf(name) });
    for (const file of files) {
      const exposures = await exposuresOf(file).catch((error: unknown) => {
        if (!(error instanceof SmhdrError)) throw error;
        throw new SmhdrError(error.code, `--model: ${error.message.replace(/^model: /, "")}`, { cause: error });
      });
      const name = basename(file).replace(/\.(safetensors|onnx)$/, "");
      const other = read.get(name)?.file;
      if (other !== undefined) {
        const came = `${other} and ${file}, which clients would both call ${name}`;
        throw new SmhdrError("INVALID_ARGUMENT", `--model: expected models of different names; got ${came}.`);
      }
      read.set(name, { file, exposures });
    }
    const list = [...read].map(([name, { exposures }]) => ({ name, exposures }));
    const defaultName = hasDefaultModel() ? (await loadModel("default")).name : (list[0]?.name ?? null);
    return new Models(new Map([...read].map(([name, { file }]) => [name, file])), list, defaultName);
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
}

async function exposuresOf(file: string): Promise<readonly number[]> {
  return file.endsWith(".onnx") ? [(await readOnnx(file)).exposures] : exposureCounts(await loadModel(file));
}
