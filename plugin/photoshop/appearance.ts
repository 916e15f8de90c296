import { action, constants } from "photoshop";
import type { Document, Layer } from "./layers.js";

interface Candidate {
  readonly layer: Layer;
  readonly name: string;
}

/** What each layer's look in the document owes to more than its pixels, which alone are merged; undefined: nothing, or unknown. */
export async function notesOn(document: Document, candidates: readonly Candidate[]): Promise<(string | undefined)[]> {
  const masked = await findMasks(document, candidates);
  return candidates.map(({ layer, name }, i) => {
    const { opacity, fillOpacity, blendMode } = layer;
    const parts: string[] = [];
    if (masked[i]) parts.push("mask");
    if (opacity < 100 || fillOpacity < 100) parts.push("opacity");
    if (blendMode && blendMode !== constants.BlendMode.NORMAL) parts.push("blend mode");
    if (parts.length === 0) return undefined;
    const first = parts.join() === "mask" ? "apply the mask" : "merge it with the layers below it";
    return `Of ${name} its own pixels are merged, without its ${parts.join(", ")}. If you do not want that, ${first} first.`;
  });
}

/** Layer objects do not tell of masks; their descriptors do. A mask that is switched off changes nothing. */
async function findMasks(document: Document, candidates: readonly Candidate[]): Promise<boolean[]> {
  const commands = candidates.map(({ layer }) => ({
    _obj: "get",
    _target: [
      { _ref: "layer", _id: layer.id },
      { _ref: "document", _id: document.id },
    ],
  }));
  // Photoshop may be busy with a dialog: the list is worth more than its notes.
  const answers =
    commands.length > 0 ? await action.batchPlay(commands, { modalBehavior: "fail" }).catch(() => []) : [];
  return candidates.map((_, i) => {
    const { hasUserMask, userMaskEnabled, hasVectorMask, vectorMaskEnabled } = answers[i] ?? {};
    return (
      (hasUserMask === true && userMaskEnabled !== false) || (hasVectorMask === true && vectorMaskEnabled !== false)
    );
  });
}
