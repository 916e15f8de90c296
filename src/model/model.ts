import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SmhdrError } from "../errors.js";
import { checkExtractors } from "./extractors.js";
import { readSafetensors, type StoredTensor } from "./safetensors.js";

/**
 * A network's weights under their published names, and what is known about them. Extractors for other numbers of exposures
 * may lie among them (extractors.ts).
 */
export interface Model {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** C, the number of feature channels. */
  readonly width: number;
  /** How many exposures the network itself, without any of the extractors, was trained to take. */
  readonly exposures: number;
  readonly metadata: Readonly<Record<string, string>>;
}

const folder = fileURLToPath(new URL("../../models/", import.meta.url));
const DEFAULT_MODEL = "smhdr-s";

/** Names of the models that come with the package. */
export function shippedModels(): string[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith(".safetensors"));
  return files.map((file) => basename(file, ".safetensors")).sort();
}

/** Where a model of that name that comes with the package lies. */
function shippedModelFile(name: string): string {
  return join(folder, `${name}.safetensors`);
}

/** Whether there is a model that "default" means. */
export function hasDefaultModel(): boolean {
  return existsSync(shippedModelFile(DEFAULT_MODEL));
}

/**
 * Loads a model: "default", the name of a shipped one, or a .safetensors file.
 * @throws SmhdrError INVALID_ARGUMENT for a name nothing has, BAD_INPUT for a file that holds no SMNet.
 */
export async function loadModel(nameOrFile = "default"): Promise<Model> {
  const name = nameOrFile === "default" ? DEFAULT_MODEL : nameOrFile;
  const shipped = shippedModelFile(name);
  const isFile = /[/\\]|\.safetensors$/.test(name);
  if (!isFile && !existsSync(shipped)) {
    const known = shippedModels();
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `model: expected a .safetensors file or one of: ${known.length ? known.join(", ") : "(none is shipped)"}; got ${JSON.stringify(nameOrFile)}.`,
    );
  }
  const { tensors, metadata } = await readSafetensors(isFile ? name : shipped);
  const first = tensors.get("conv_first.0.weight");
  if (first?.shape.length !== 4 || first.shape[1] !== 6) {
    throw new SmhdrError("BAD_INPUT", `${name} holds no SMNet model: conv_first.0.weight [C, 6, 3, 3] is missing.`);
  }
  const exposures = Number(metadata.exposures ?? metadata.n ?? 3);
  if (!Number.isInteger(exposures) || exposures < 1 || exposures > first.shape[0]) {
    throw new SmhdrError("BAD_INPUT", `${name}: its metadata says ${metadata.exposures ?? metadata.n} exposures.`);
  }
  const model = { name: basename(name, ".safetensors"), tensors, width: first.shape[0], exposures, metadata };
  checkExtractors(model);
  return model;
}
