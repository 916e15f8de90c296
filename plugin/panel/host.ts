import type { Connection } from "./client.js";
import type { PanelJob } from "./job.js";

/** Something that may be an exposure: a layer of the document, a file that was dropped. */
export interface HostItem {
  readonly id: string;
  readonly name: string;
  /** Such as "6000 x 4000". */
  readonly detail: string;
  /** Why it cannot be one. */
  readonly problem?: string | undefined;
  /** What the person should know when it is one. */
  readonly note?: string | undefined;
  /** Whether it is one before the person says anything. */
  readonly ticked: boolean;
}

export interface HostList {
  /** What the items belong to: the document's title. */
  readonly title: string;
  readonly items: readonly HostItem[];
  /** What to do when there is nothing to merge. */
  readonly hint: string;
}

/** An image's bytes and what they are. */
export interface ImageFile {
  readonly type: "image/png" | "image/jpeg";
  readonly data: ArrayBuffer;
}

/** The pixels of some items: as files, or as rows in strips. */
export type PixelSource =
  | { readonly kind: "files"; readonly files: readonly { readonly name: string; readonly data: Blob }[] }
  | RowSource;

export interface RowSource {
  readonly kind: "rows";
  readonly width: number;
  readonly height: number;
  readonly format: "uint8" | "uint16" | "float32";
  readonly encoding: { readonly transfer: string | { readonly gamma: number }; readonly primaries: string };
  readonly names: readonly string[];
  /** Rows that are read at once. */
  readonly stripRows: number;
  /** Interleaved RGB rows [y0, y1) of an item. */
  read(index: number, y0: number, y1: number): Promise<ArrayBufferView>;
}

/** A way to have the result. */
export interface Delivery {
  readonly id: string;
  readonly label: string;
  /** Says where it went. Throws a PanelError; nothing half-done is left then. */
  deliver(job: PanelJob, onProgress: (fraction: number) => void, signal: AbortSignal): Promise<string>;
}

/** Where the panel runs: all that differs between a browser and an editor. */
export interface HostAdapter {
  /** What the items are called. */
  readonly words: { readonly one: string; readonly many: string };
  /** How to find the service. Throws a PanelError that says what to do. */
  connect(): Promise<Connection>;
  /** Takes the address that the service printed, where the host may fail to find it. Throws a PanelError for another text. */
  enterAddress?(text: string): void;
  list(): Promise<HostList>;
  /** Calls `listener` whenever the list may have changed. */
  onChange(listener: () => void): void;
  /** Opens the items' pixels; `size`: reduced to at most so many pixels a side, where that is quicker. */
  open(ids: readonly string[], size: number | undefined): Promise<PixelSource>;
  /** Small pictures, where the host makes them itself; else the service does. */
  thumbnail?(id: string): Promise<ImageFile | undefined>;
  /** An address for an <img>. */
  imageAddress(file: ImageFile): string;
  releaseAddress(address: string): void;
  readonly deliveries: readonly Delivery[];
  /** "ask": a button for each delivery once there is a result; "at once": the chosen one as soon as it is merged. */
  readonly deliver: "ask" | "at once";
  /** Takes files that the person chose or dropped; absent where items are layers. */
  addFiles?(files: readonly File[]): void;
  remove?(id: string): void;
}
