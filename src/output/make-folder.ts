import { mkdir } from "node:fs/promises";
import { SmhdrError } from "../errors.js";

/** Makes a folder, and those that it lies in, where they are not there. @throws SmhdrError IO, naming `shown` or the folder. */
export async function makeFolder(path: string, shown = path): Promise<void> {
  await mkdir(path, { recursive: true }).catch((cause: Error) => {
    throw new SmhdrError("IO", `${shown}: cannot be made (${cause.message}).`, { cause });
  });
}
