import { app, constants, core, imaging } from "photoshop";
import { storage } from "uxp";
import { cancelled, PanelError } from "../panel/client.js";
import type { Delivery } from "../panel/host.js";
import type { PanelJob, ResultReport } from "../panel/job.js";
import { profileFor } from "./pixels.js";

type Context = Parameters<Parameters<typeof core.executeAsModal>[0]>[0];

/** Rows of the result are fetched and written in strips of at most so many bytes. */
const STRIP_BYTES = 16 << 20;
const NAME = "smhdr merged";

/** A new 32-bit document, written strip by strip; on any failure it is closed again. */
export const newDocument: Delivery = {
  id: "document",
  label: "New 32-bit document",
  deliver: (job, onProgress, signal) =>
    modal("Write the merged image", signal, async (context, check) => {
      const { width, height, primaries } = resultOf(job);
      const profile = profileFor(primaries);
      const document = await app.createDocument({
        name: NAME,
        width,
        height,
        resolution: 72,
        mode: constants.NewDocumentMode.RGB,
        depth: 32,
        profile,
        fill: constants.DocumentFill.BLACK,
      });
      if (!document) throw new PanelError("IO", "Photoshop made no new document.");
      try {
        await writeStrips(job, document.id, document.layers[0].id, profile, (fraction) => {
          check();
          onProgress(fraction);
          context.reportProgress({ value: fraction });
        });
      } catch (error) {
        document.closeWithoutSaving();
        throw error;
      }
      return `The merged image is the new document "${NAME}": 32 bits a channel, as bright as the reference.`;
    }),
};

/** An OpenEXR file, opened as Photoshop opens any. */
export const openExr: Delivery = {
  id: "exr",
  label: "OpenEXR file, opened",
  async deliver(job, _onProgress, signal) {
    const data = await job.client.bytes(`${job.path}/result?format=exr&precision=float`, { signal });
    if (signal.aborted) throw cancelled();
    const folder = await storage.localFileSystem.getTemporaryFolder();
    const file = await folder.createFile(`${NAME} ${Date.now()}.exr`, { overwrite: true });
    try {
      await file.write(data, { format: storage.formats.binary });
      return await modal("Open the merged image", signal, async () => {
        await app.open(file as never); // two packages declare the same File
        return `${file.name} is open. It is a temporary file: save it where you want it.`;
      });
    } catch (error) {
      await file.delete().catch(() => {});
      throw error;
    }
  },
};

/** Photoshop's modal state: the only one in which documents may be changed. Its own Cancel counts as ours. */
async function modal(
  commandName: string,
  signal: AbortSignal,
  work: (context: Context, check: () => void) => Promise<string>,
): Promise<string> {
  try {
    return await core.executeAsModal(
      (context) =>
        work(context, () => {
          if (signal.aborted || context.isCancelled) throw cancelled();
        }),
      { commandName },
    );
  } catch (error) {
    if (error instanceof PanelError) throw error;
    const { number, message } = error as { number?: number; message?: string };
    // 9: another command is modal, such as an open dialog.
    if (number === 9) throw new PanelError("CONFLICT", "Photoshop is busy: finish its dialog or tool, then try again.");
    throw new PanelError("IO", `Photoshop could not do it (${message ?? error}). Nothing was changed.`);
  }
}

async function writeStrips(
  job: PanelJob,
  documentID: number,
  layerID: number,
  colorProfile: string,
  onProgress: (fraction: number) => void,
): Promise<void> {
  const { width, height } = resultOf(job);
  const stripRows = Math.max(1, Math.floor(STRIP_BYTES / (width * 12)));
  for (let top = 0; top < height; top += stripRows) {
    const rows = Math.min(stripRows, height - top);
    const bytes = await job.client.bytes(`${job.path}/result?row=${top}&rows=${rows}&white=reference`);
    const imageData = await imaging.createImageDataFromBuffer(new Float32Array(bytes), {
      width,
      height: rows,
      components: 3,
      chunky: true,
      colorSpace: "RGB",
      colorProfile,
    });
    try {
      // Without replace: false a strip would discard those before it.
      await imaging.putPixels({
        documentID,
        layerID,
        imageData,
        replace: false,
        targetBounds: { left: 0, top, right: width, bottom: top + rows },
        commandName: "Merge exposures",
      });
    } finally {
      await imageData.dispose();
    }
    onProgress((top + rows) / height);
  }
}

function resultOf(job: PanelJob): ResultReport {
  if (!job.result) throw new PanelError("CONFLICT", "There is no result yet.");
  return job.result;
}
