import { app, constants } from "photoshop";
import { exposureValueFromName } from "../panel/exposure-name.js";
import type { HostItem, HostList } from "../panel/host.js";
import { notesOn } from "./appearance.js";

export type Document = typeof app.activeDocument;
export type Layer = NonNullable<ReturnType<Document["layers"]["find"]>>;

export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const MOST = 16;
const readable = ["RGBColorMode", "CMYKColorMode", "grayscaleMode", "labColorMode"];

/** The document's layers, those in groups too, from the top of the stack. */
export async function listLayers(): Promise<HostList> {
  const document = app.documents.length > 0 ? app.activeDocument : undefined;
  if (!document) {
    const hint = "Open a document whose layers are photographs of one scene (File > Scripts > Load Files into Stack).";
    return { title: "", items: [], hint };
  }
  const mode = readable.includes(document.mode)
    ? undefined
    : "This colour mode cannot be read: choose Image > Mode > RGB Color";
  const layers = flatten(document);
  const candidates = layers.map(({ layer, name }) => {
    const { left, top, right, bottom } = layer.boundsNoEffects;
    const problem = mode ?? problemOf(layer, right - left, bottom - top);
    return { layer, name, problem, detail: `${right - left} x ${bottom - top}` };
  });
  const photographs = candidates.filter(({ problem }) => problem === undefined);
  const notes = await notesOn(document, photographs);
  const usable = photographs.filter(({ layer }) => layer.visible);
  const named = usable.filter(({ name }) => exposureValueFromName(name) !== undefined);
  // Layers whose names state exposures are meant; else all that can be, unless they are too many to be a bracket.
  const ticked = named.length >= 2 ? named : usable.length <= MOST ? usable : [];
  const items: HostItem[] = candidates.map((candidate) => {
    const { layer, name, detail, problem } = candidate;
    const note = notes[photographs.indexOf(candidate)];
    return { id: `${document.id}/${layer.id}`, name, detail, problem, note, ticked: ticked.includes(candidate) };
  });
  return {
    title: document.name,
    items,
    hint: "Tick two or more layers: photographs of one scene at different exposures.",
  };
}

/** Finds a layer again. Undefined where it, or its document, is gone. */
export function findLayer(id: string): { readonly document: Document; readonly layer: Layer } | undefined {
  const [documentId, layerId] = id.split("/").map(Number);
  const document = app.documents.find((candidate) => candidate.id === documentId);
  const layer = document && flatten(document).find((candidate) => candidate.layer.id === layerId)?.layer;
  return layer && { document, layer };
}

/** The part of the canvas that all layers cover; undefined where they share none. */
export function commonArea(document: Document, layers: readonly Layer[]): Rectangle | undefined {
  let area: Rectangle = { left: 0, top: 0, right: document.width, bottom: document.height };
  for (const { boundsNoEffects: bounds } of layers) {
    area = {
      left: Math.max(area.left, bounds.left),
      top: Math.max(area.top, bounds.top),
      right: Math.min(area.right, bounds.right),
      bottom: Math.min(area.bottom, bounds.bottom),
    };
  }
  return area.right > area.left && area.bottom > area.top ? area : undefined;
}

function flatten(parent: { readonly layers: Iterable<Layer> | null }, prefix = ""): { layer: Layer; name: string }[] {
  return [...(parent.layers ?? [])].flatMap((layer) => {
    const name = prefix + layer.name;
    return layer.kind === constants.LayerKind.GROUP ? flatten(layer, `${name} / `) : [{ layer, name }];
  });
}

function problemOf({ kind }: Layer, width: number, height: number): string | undefined {
  if (kind !== constants.LayerKind.NORMAL && kind !== constants.LayerKind.SMARTOBJECT) {
    return "Not a photograph: only pixel layers and smart objects can be exposures";
  }
  return width < 1 || height < 1 ? "This layer is empty" : undefined;
}
