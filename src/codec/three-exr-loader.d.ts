/** The part of three's OpenEXR loader that is used here; the whole of three's types are not worth their weight. */
declare module "three/examples/jsm/loaders/EXRLoader.js" {
  export class EXRLoader {
    setDataType(type: number): this;
    /** RGBA, bottom row first. */
    parse(buffer: ArrayBuffer): { width: number; height: number; data: Float32Array };
  }
}
