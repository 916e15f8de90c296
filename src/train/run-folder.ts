import { access, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SmhdrError, unreadable } from "../errors.js";
import { makeFolder } from "../output/make-folder.js";
import { replaceFile } from "../output/replace-file.js";
import { begunConfig, parseJson, type TrainConfig } from "./config.js";

/** The files of a run's folder. */
export interface RunFolder {
  readonly path: string;
  readonly config: string;
  readonly checkpoint: string;
  readonly model: string;
  readonly metrics: string;
  readonly pictures: string;
}

export function runFolder(path: string): RunFolder {
  return {
    path,
    config: join(path, "config.json"),
    checkpoint: join(path, "checkpoint.safetensors"),
    model: join(path, "model.safetensors"),
    metrics: join(path, "metrics.jsonl"),
    pictures: join(path, "pictures"),
  };
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** Throws INVALID_ARGUMENT where the folder already holds a run. */
export async function checkUnused(path: string): Promise<void> {
  const folder = runFolder(path);
  if ((await exists(folder.checkpoint)) || (await exists(folder.metrics)))
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `${path} already holds a training run: go on with it by --resume, or choose another --output.`,
    );
}

/** Makes the folder of a new run. Throws as checkUnused does, and IO where it cannot be made. */
export async function makeRunFolder(path: string, config: TrainConfig): Promise<RunFolder> {
  const folder = runFolder(path);
  await checkUnused(path);
  await makeFolder(folder.pictures, path);
  await replaceFile(folder.config, undefined, (temporary) =>
    writeFile(temporary, `${JSON.stringify(config, null, 2)}\n`),
  );
  return folder;
}

/** The configuration a run was begun with. Throws IO or INVALID_ARGUMENT. */
export async function readRunConfig(folder: RunFolder): Promise<TrainConfig> {
  const text = await readFile(folder.config, "utf8").catch(async (cause: NodeJS.ErrnoException) => {
    if (!["ENOENT", "ENOTDIR"].includes(cause.code ?? "")) throw unreadable(folder.config, cause);
    await access(folder.path).catch((missing) => {
      throw unreadable(folder.path, missing);
    });
    throw new SmhdrError("IO", `${folder.path}: expected the folder of a training run, with a config.json.`, { cause });
  });
  return begunConfig(parseJson(text, folder.config), folder.config);
}

/** Names of the pictures, sorted. */
export async function listPictures(folder: RunFolder): Promise<string[]> {
  const names = await readdir(folder.pictures).catch((): string[] => []);
  return names.filter((name) => name.endsWith(".png") && !name.startsWith(".")).sort();
}
