import { action, imaging } from "photoshop";
import { PanelError } from "../panel/client.js";
import type { HostAdapter, ImageFile, PixelSource } from "../panel/host.js";
import { connect, enterAddress } from "./connect.js";
import { newDocument, openExr } from "./deliveries.js";
import { commonArea, findLayer, type Layer, listLayers } from "./layers.js";
import { formatOf, readArea, stripRowsFor } from "./pixels.js";

const EVENTS = ["open", "close", "select", "make", "delete", "set", "move", "crop", "undoEvent", "mergeLayersNew"];
/** Photoshop tells of one action in several events. */
const SETTLE_MILLISECONDS = 300;
const THUMBNAIL_HEIGHT = 104;
const LEAST_SIDE = 16;

/** The panel inside Photoshop: layers of the active document are the exposures, a new document is the result. */
export class PhotoshopHost implements HostAdapter {
  readonly words = { one: "layer", many: "layers" };
  readonly deliver = "at once";
  readonly deliveries = [newDocument, openExr];
  readonly connect = connect;
  readonly enterAddress = enterAddress;

  async list() {
    return listLayers();
  }

  onChange(listener: () => void): void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    void action.addNotificationListener(EVENTS, () => {
      clearTimeout(timer);
      timer = setTimeout(listener, SETTLE_MILLISECONDS);
    });
  }

  async open(ids: readonly string[], size: number | undefined): Promise<PixelSource> {
    const found = ids.map(findLayer);
    const [first] = found;
    if (!first || found.some((entry) => entry?.document.id !== first.document.id)) {
      throw new PanelError("BAD_INPUT", "A ticked layer is not there any more: read the layers again.");
    }
    const { document } = first;
    const layers = found.map((entry) => (entry as { layer: Layer }).layer);
    const area = commonArea(document, layers);
    if (!area || Math.min(area.right - area.left, area.bottom - area.top) < LEAST_SIDE) {
      throw new PanelError(
        "BAD_INPUT",
        "The ticked layers hardly overlap: they must show the same part of the canvas.",
      );
    }
    const format = formatOf(document);
    const common = {
      kind: "rows",
      format: format.format,
      encoding: format.encoding,
      names: layers.map(({ name }) => name),
    } as const;
    if (size !== undefined) {
      const small: Awaited<ReturnType<typeof readArea>>[] = [];
      for (const layer of layers) small.push(await readArea(document, layer, area, format, size));
      const { width, height } = small[0];
      if (small.some((picture) => picture.width !== width || picture.height !== height)) {
        throw new PanelError("UNSUPPORTED", "The layers have transparent parts where they overlap: crop the document.");
      }
      const read = async (i: number, y0: number, y1: number) => small[i].data.subarray(y0 * width * 3, y1 * width * 3);
      return { ...common, width, height, stripRows: height, read };
    }
    const width = area.right - area.left;
    return {
      ...common,
      width,
      height: area.bottom - area.top,
      stripRows: stripRowsFor(width, format),
      async read(i, y0, y1) {
        const strip = { ...area, top: area.top + y0, bottom: area.top + y1 };
        return (await readArea(document, layers[i], strip, format)).data;
      },
    };
  }

  async thumbnail(id: string): Promise<ImageFile | undefined> {
    const found = findLayer(id);
    if (!found) return undefined;
    const { imageData } = await imaging.getPixels({
      documentID: found.document.id,
      layerID: found.layer.id,
      targetSize: { height: THUMBNAIL_HEIGHT },
      componentSize: 8,
      colorSpace: "RGB",
      colorProfile: "sRGB IEC61966-2.1",
      applyAlpha: true,
    });
    try {
      const bytes = (await imaging.encodeImageData({ imageData })) as number[];
      return { type: "image/jpeg", data: Uint8Array.from(bytes).buffer };
    } finally {
      await imageData.dispose();
    }
  }

  /** UXP has no addresses of blobs that an <img> takes everywhere; it does take data. */
  imageAddress({ type, data }: ImageFile): string {
    const bytes = new Uint8Array(data);
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return `data:${type};base64,${btoa(text)}`;
  }

  releaseAddress(): void {}
}
