// Stand-ins for Photoshop's and UXP's modules, run in the page before the plug-in. They enforce what the real ones do, as far as
// it is documented: 16-bit samples from 0 to 32768 unless fullRange is asked for, results trimmed to where there are pixels, writes
// only inside executeAsModal, a limit of memory, strips that are discarded by the next unless replace is false, and a network that
// reaches no origin but those of the manifest.

export interface FakeLayer {
  readonly id: number;
  readonly name: string;
  readonly kind?: string;
  readonly visible?: boolean;
  readonly bounds: { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number };
  /** Stops of light collected. */
  readonly stops?: number;
  /** A transparent hole, a square of 8 pixels from here. */
  readonly hole?: readonly [x: number, y: number];
  readonly alpha?: boolean;
  /** Percent. */
  readonly opacity?: number;
  readonly fillOpacity?: number;
  readonly blendMode?: string;
  /** Masks that change no pixels: getPixels does not look at them. */
  readonly userMask?: "on" | "off";
  readonly vectorMask?: "on" | "off";
  readonly layers?: readonly FakeLayer[];
}

export interface FakeDocument {
  readonly id: number;
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly mode: string;
  readonly bits: 8 | 16 | 32;
  readonly profile: string;
  readonly layers: readonly FakeLayer[];
}

export interface FakeSetup {
  readonly documents: readonly FakeDocument[];
  readonly files: Record<string, string>;
  readonly origins: readonly string[];
  readonly memoryLimit: number;
}

export interface CreatedDocument {
  readonly options: Record<string, unknown>;
  readonly pixels: Float32Array;
  closed: boolean;
}

export interface FakeState {
  documents: FakeDocument[];
  files: Record<string, string>;
  created: CreatedDocument[];
  opened: { name: string; bytes: number; head: number[] }[];
  deleted: string[];
  /** Bytes of image data that were not disposed of, now and at most. */
  held: number;
  heldAtMost: number;
  largestStrip: number;
  modal: boolean;
  /** What the next executeAsModal does instead of working. */
  refuseModal: boolean;
  /** Makes batchPlay fail. */
  refuseDescriptors: boolean;
  cancelModalAt: number | undefined;
  requests: string[];
  notify(): void;
}

declare global {
  interface Window {
    fake: FakeState;
    fakeSetup: FakeSetup;
  }
}

const setup = window.fakeSetup;
const listeners: (() => void)[] = [];
const state: FakeState = {
  documents: [...setup.documents],
  files: { ...setup.files },
  created: [],
  opened: [],
  deleted: [],
  held: 0,
  heldAtMost: 0,
  largestStrip: 0,
  modal: false,
  refuseModal: false,
  refuseDescriptors: false,
  cancelModalAt: undefined,
  requests: [],
  notify: () => {
    for (const listener of listeners) listener();
  },
};
window.fake = state;

function hold(bytes: number): void {
  state.held += bytes;
  state.heldAtMost = Math.max(state.heldAtMost, state.held);
  state.largestStrip = Math.max(state.largestStrip, bytes);
  if (state.held > setup.memoryLimit)
    throw new Error(`Plugin exceeds memory limit. Currently used memory ${state.held}.`);
}

function onlyModal(what: string): void {
  if (!state.modal) throw new Error(`${what} is only allowed from inside a modal scope`);
}

interface Samples {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  readonly data: Uint8Array | Uint16Array | Float32Array;
}

class ImageData_ {
  private disposed = false;
  constructor(private readonly samples: Samples) {
    hold(samples.data.byteLength);
  }
  get width() {
    return this.samples.width;
  }
  get height() {
    return this.samples.height;
  }
  get components() {
    return this.samples.components;
  }
  get content() {
    if (this.disposed) throw new Error("The image data was disposed of");
    return this.samples;
  }
  async getData({ chunky = true, fullRange = false } = {}) {
    if (!chunky) throw new Error("the fake has no planar data");
    const { data } = this.content;
    if (!(data instanceof Uint16Array) || fullRange) return data.slice();
    return data.map((value) => Math.round((value * 32768) / 65535));
  }
  async dispose() {
    if (this.disposed) throw new Error("The image data was disposed of twice");
    this.disposed = true;
    state.held -= this.samples.data.byteLength;
  }
}

/** sRGB codes in [0, 1] of 65536 levels of light. */
const codes = Float32Array.from({ length: 65536 }, (_, i) => {
  const v = i / 65535;
  return v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055;
});

/** The light of the scene that all layers photograph: three factors, of columns, rows and both. */
function sceneColumns(width: number, from: (x: number) => number, count: number): [Float64Array, Float64Array] {
  const ramp = Float64Array.from({ length: count }, (_, x) => 2 ** ((6 * from(x)) / width - 7));
  return [ramp, Float64Array.from({ length: count }, (_, x) => 0.2 * Math.sin(from(x) * 0.11))];
}

function samplesOf(document: FakeDocument, layer: FakeLayer, options: GetPixels): Samples & { bounds: Bounds } {
  const wanted = options.sourceBounds ?? layer.bounds;
  const bounds = {
    left: Math.max(wanted.left, layer.bounds.left),
    top: Math.max(wanted.top, layer.bounds.top),
    right: Math.min(wanted.right, layer.bounds.right),
    bottom: Math.min(wanted.bottom, layer.bounds.bottom),
  };
  const [fullWidth, fullHeight] = [bounds.right - bounds.left, bounds.bottom - bounds.top];
  if (fullWidth <= 0 || fullHeight <= 0) throw new Error("The requested bounds hold no pixels");
  const { targetSize } = options;
  const scale = targetSize?.width
    ? targetSize.width / fullWidth
    : targetSize?.height
      ? targetSize.height / fullHeight
      : 1;
  const [width, height] = [Math.round(fullWidth * Math.min(1, scale)), Math.round(fullHeight * Math.min(1, scale))];
  const bits = options.componentSize && options.componentSize > 0 ? options.componentSize : document.bits;
  const alpha = (layer.alpha || layer.hole !== undefined) && !options.applyAlpha;
  const components = alpha ? 4 : 3;
  const Type = bits === 8 ? Uint8Array : bits === 16 ? Uint16Array : Float32Array;
  const top = bits === 8 ? 255 : bits === 16 ? 65535 : 1;
  const data = new Type(width * height * components);
  const gain = 2 ** (layer.stops ?? 0);
  const columnOf = (x: number) => Math.floor(bounds.left + ((x + 0.5) * fullWidth) / width);
  const [ramp, wave] = sceneColumns(document.width, columnOf, width);
  const [hx, hy] = layer.hole ?? [-99, -99];
  for (let y = 0, i = 0; y < height; y++) {
    const sy = Math.floor(bounds.top + ((y + 0.5) * fullHeight) / height);
    const row = Math.cos(sy * 0.07);
    for (let x = 0; x < width; x++, i += components) {
      const light = ramp[x] * (1 + wave[x] * row) * gain;
      for (let c = 0; c < 3; c++) {
        const value = light * (1 - 0.1 * c);
        data[i + c] = bits === 32 ? value : Math.round(top * codes[Math.round(65535 * Math.min(1, value))]);
      }
      if (!alpha) continue;
      const sx = columnOf(x);
      data[i + 3] = sx >= hx && sx < hx + 8 && sy >= hy && sy < hy + 8 ? 0 : top;
    }
  }
  return { width, height, components, data, bounds };
}

type Bounds = FakeLayer["bounds"];
interface GetPixels {
  readonly documentID: number;
  readonly layerID: number;
  readonly sourceBounds?: Bounds;
  readonly targetSize?: { readonly width?: number; readonly height?: number };
  readonly componentSize?: 8 | 16 | 32;
  readonly colorSpace?: string;
  readonly colorProfile?: string;
  readonly applyAlpha?: boolean;
}

const imaging = {
  async getPixels(options: GetPixels) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    const document = state.documents.find(({ id }) => id === options.documentID);
    const layer = document && layersOf(document.layers).find(({ id }) => id === options.layerID);
    if (!document || !layer) throw new Error("The object is not currently available");
    if (document.mode !== "RGBColorMode" && options.colorSpace !== "RGB") throw new Error("the test wants RGB");
    const { bounds, ...samples } = samplesOf(document, layer, options);
    return { imageData: new ImageData_(samples), sourceBounds: bounds, level: 0 };
  },
  async createImageDataFromBuffer(
    data: Samples["data"],
    options: { width: number; height: number; components: number },
  ) {
    const { width, height, components } = options;
    if (data.length !== width * height * components) throw new Error("The buffer has the wrong length");
    return new ImageData_({ width, height, components, data });
  },
  async putPixels(options: {
    documentID: number;
    layerID: number;
    imageData: ImageData_;
    replace?: boolean;
    targetBounds?: { left: number; top: number };
  }) {
    onlyModal("putPixels");
    const target = state.created[options.documentID - 1000];
    if (!target || target.closed || options.layerID !== 1) throw new Error("The object is not currently available");
    const { width, data, components } = options.imageData.content;
    if (!(data instanceof Float32Array) || components !== 3) throw new Error("The document has 32 bits, RGB");
    if (options.replace !== false) target.pixels.fill(0);
    const { left = 0, top = 0 } = options.targetBounds ?? {};
    if (left !== 0 || width !== target.options.width) throw new Error("the test writes whole rows");
    target.pixels.set(data, top * width * 3);
  },
  async encodeImageData({ imageData }: { imageData: ImageData_ }) {
    const { width, height, components, data } = imageData.content;
    if (!(data instanceof Uint8Array) || components !== 3) throw new Error("Only RGB of 8 bits can be encoded");
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
    for (let p = 0; p < width * height; p++) for (let c = 0; c < 3; c++) rgba[4 * p + c] = data[3 * p + c];
    canvas.getContext("2d")?.putImageData(new ImageData(rgba, width, height), 0, 0);
    const text = atob(canvas.toDataURL("image/jpeg").split(",")[1]);
    return Array.from(text, (c) => c.charCodeAt(0));
  },
};

function layersOf(layers: readonly FakeLayer[]): FakeLayer[] {
  return layers.flatMap((layer) => (layer.layers ? [layer, ...layersOf(layer.layers)] : [layer]));
}

const layerObject = (layer: FakeLayer): unknown => ({
  id: layer.id,
  name: layer.name,
  kind: layer.layers ? "group" : (layer.kind ?? "pixel"),
  visible: layer.visible ?? true,
  opacity: layer.opacity ?? 100,
  fillOpacity: layer.fillOpacity ?? 100,
  blendMode: layer.blendMode ?? "normal",
  boundsNoEffects: layer.bounds,
  layers: layer.layers ? layer.layers.map(layerObject) : null,
});
const documentObject = (document: FakeDocument) => ({
  id: document.id,
  name: document.name,
  width: document.width,
  height: document.height,
  mode: document.mode,
  bitsPerChannel: `bitDepth${document.bits}`,
  colorProfileName: document.profile,
  layers: document.layers.map(layerObject),
});

const app = {
  get documents() {
    return state.documents.map(documentObject);
  },
  get activeDocument() {
    return documentObject(state.documents[0]);
  },
  async createDocument(options: { width: number; height: number; depth: number; mode: string }) {
    onlyModal("createDocument");
    if (options.depth !== 32 || options.mode !== "RGBColorMode") throw new Error("the test wants 32 bits, RGB");
    const pixels = new Float32Array(options.width * options.height * 3);
    const made: CreatedDocument = { options, pixels, closed: false };
    state.created.push(made);
    return {
      id: 1000 + state.created.length - 1,
      layers: [{ id: 1 }],
      closeWithoutSaving() {
        onlyModal("closeWithoutSaving");
        made.closed = true;
      },
    };
  },
  async open(file: FakeFile) {
    onlyModal("open");
    state.opened.push({ name: file.name, bytes: file.content.length, head: [...file.content.subarray(0, 4)] });
  },
};

interface Get {
  readonly _obj: string;
  readonly _target: readonly { readonly _ref: string; readonly _id: number }[];
}

/** What Photoshop answers to one `get`: whether a mask is enabled only where there is one, and a descriptor where it fails. */
function descriptorOf({ _obj, _target: [of, within] }: Get): Record<string, unknown> {
  if (_obj !== "get" || of._ref !== "layer" || within?._ref !== "document")
    throw new Error("the fake gets layers only");
  const document = state.documents.find(({ id }) => id === within._id);
  const layer = document && layersOf(document.layers).find(({ id }) => id === of._id);
  if (!layer) return { _obj: "error", message: "The object is not currently available", result: -25922 };
  const { id, name, userMask, vectorMask } = layer;
  return {
    layerID: id,
    name,
    hasUserMask: userMask !== undefined,
    ...(userMask && { userMaskEnabled: userMask === "on" }),
    hasVectorMask: vectorMask !== undefined,
    ...(vectorMask && { vectorMaskEnabled: vectorMask === "on" }),
  };
}

class FakeFile {
  content = new Uint8Array();
  constructor(readonly name: string) {}
  async write(data: ArrayBuffer, { format }: { format: string }) {
    if (format !== "binary") throw new Error("Binary data needs the binary format");
    this.content = new Uint8Array(data);
  }
  async delete() {
    state.deleted.push(this.name);
  }
}

const modules: Record<string, unknown> = {
  photoshop: {
    app,
    imaging,
    constants: {
      LayerKind: { GROUP: "group", NORMAL: "pixel", SMARTOBJECT: "smartObject" },
      NewDocumentMode: { RGB: "RGBColorMode" },
      BlendMode: { NORMAL: "normal" },
      DocumentFill: { BLACK: "black" },
    },
    action: {
      async batchPlay(commands: readonly Get[]) {
        if (state.refuseDescriptors) throw new Error("host is in a modal state");
        return commands.map(descriptorOf);
      },
      async addNotificationListener(_events: string[], listener: () => void) {
        listeners.push(listener);
      },
    },
    core: {
      async executeAsModal(work: (context: unknown) => Promise<unknown>, { commandName }: { commandName: string }) {
        if (!commandName) throw new Error("commandName is required");
        if (state.refuseModal || state.modal) throw Object.assign(new Error("host is in a modal state"), { number: 9 });
        state.modal = true;
        const context = {
          isCancelled: false,
          reportProgress({ value }: { value: number }) {
            if (state.cancelModalAt !== undefined && value >= state.cancelModalAt) context.isCancelled = true;
          },
        };
        try {
          return await work(context);
        } finally {
          state.modal = false;
        }
      },
    },
  },
  uxp: {
    storage: {
      formats: { binary: "binary" },
      localFileSystem: { getTemporaryFolder: async () => ({ createFile: async (name: string) => new FakeFile(name) }) },
    },
  },
  fs: {
    async readFile(path: string, options: { encoding: string }) {
      const content = state.files[path];
      if (content === undefined || options.encoding !== "utf-8") throw new Error(`${path}: no such file`);
      return content;
    },
  },
  os: { homedir: () => "/Users/someone", platform: () => "darwin" },
};

Object.assign(window, {
  require(name: string) {
    if (!(name in modules)) throw new Error(`Photoshop has no module ${name}`);
    return modules[name];
  },
});

const realFetch = window.fetch;
window.fetch = (input, init) => {
  const { origin, pathname } = new URL(String(input));
  state.requests.push(`${init?.method ?? "GET"} ${pathname}${state.modal ? " (modal)" : ""}`);
  if (!setup.origins.includes(origin)) return Promise.reject(new TypeError(`Permission denied to the url ${input}`));
  return realFetch(input, init);
};
