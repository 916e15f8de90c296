import { type Connection, cancelled, PanelError } from "../panel/client.js";
import type { Delivery, HostAdapter, HostItem, HostList, ImageFile, PixelSource } from "../panel/host.js";
import type { PanelJob } from "../panel/job.js";

const TOKEN = "smhdr token";

/** The panel as a page that the service itself serves: photographs are dropped on it, results are downloaded. */
export class BrowserHost implements HostAdapter {
  readonly words = { one: "photograph", many: "photographs" };
  readonly deliver = "ask";
  readonly deliveries: readonly Delivery[] = [
    download("exr", "Download OpenEXR", "image/x-exr"),
    download("hdr", "Radiance HDR", "image/vnd.radiance"),
    download("tif", "32-bit TIFF", "image/tiff"),
    download("jpg", "JPEG", "image/jpeg"),
  ];
  private items: { readonly item: HostItem; readonly file: File }[] = [];
  private readonly listeners: (() => void)[] = [];
  private count = 0;

  /** The token is in the address that smhdr serve printed, in the part that stays in the browser. */
  async connect(): Promise<Connection> {
    const given = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
    if (given) {
      sessionStorage.setItem(TOKEN, given);
      history.replaceState(null, "", location.pathname); // not into bookmarks, not onto screenshots
    }
    const token = given ?? sessionStorage.getItem(TOKEN);
    if (!token) {
      const message = "This page needs the whole address that smhdr serve printed, with #token=... at its end.";
      throw new PanelError("UNAUTHORIZED", message);
    }
    return { origin: location.origin, token, streams: true };
  }

  async list(): Promise<HostList> {
    const hint = "Drop two or more photographs of one scene here, taken at different exposures.";
    return { title: "", items: this.items.map(({ item }) => item), hint };
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  addFiles(files: readonly File[]): void {
    for (const file of files) {
      const known = this.items.some((other) => isSame(other.file, file));
      const detail = `${(file.size / 2 ** 20).toFixed(1)} MiB`;
      const item = { id: `file ${this.count++}`, name: file.name, detail, ticked: true };
      if (!known) this.items.push({ item, file });
    }
    if (files.length > 0) this.changed();
  }

  remove(id: string): void {
    this.items = this.items.filter(({ item }) => item.id !== id);
    this.changed();
  }

  async open(ids: readonly string[]): Promise<PixelSource> {
    const files = ids.flatMap((id) => this.items.filter(({ item }) => item.id === id).map(({ file }) => file));
    return { kind: "files", files: files.map((file) => ({ name: file.name, data: file })) };
  }

  imageAddress({ type, data }: ImageFile): string {
    return URL.createObjectURL(new Blob([data], { type }));
  }

  releaseAddress(address: string): void {
    URL.revokeObjectURL(address);
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }
}

function isSame(a: File, b: File): boolean {
  return a.name === b.name && a.size === b.size && a.lastModified === b.lastModified;
}

function download(format: string, label: string, type: string): Delivery {
  return {
    id: format,
    label,
    async deliver(job: PanelJob, _onProgress, signal) {
      const precision = format === "exr" ? "&precision=float" : "";
      const data = await job.client.bytes(`${job.path}/result?format=${format}${precision}`, { signal });
      if (signal.aborted) throw cancelled();
      const address = URL.createObjectURL(new Blob([data], { type }));
      const link = document.createElement("a");
      link.href = address;
      link.download = `merged.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      return `merged.${format} is in your downloads.`;
    },
  };
}
