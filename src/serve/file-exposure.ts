import type { Note } from "../bracket/bracket.js";
import {
  type AlphaPolicy,
  decodePhotograph,
  type Photograph,
  type PhotographHeader,
  readHeader,
} from "../bracket/decode.js";
import { lightInStops } from "../bracket/metadata.js";
import { pixelBytes } from "../bracket/pixels.js";
import { colourRemark, type Member } from "../bracket/read-bracket.js";
import { ServiceError } from "./errors.js";
import type { JobExposure } from "./exposure.js";

/** Bytes of an encoded photograph at most. */
export const MAX_FILE = 2 ** 30;

/** What a client is told of a file that it uploaded. */
export interface FileReport {
  readonly width: number;
  readonly height: number;
  readonly depth: "uint8" | "uint16";
  /** Light in stops that EXIF tells of; null where it tells nothing. */
  readonly stops: number | null;
}

/** An exposure that is uploaded as a photograph's file. */
export class FileExposure implements JobExposure {
  private photograph: Photograph | undefined;
  private closed = false;

  constructor(readonly name: string) {}

  get complete(): boolean {
    return this.photograph !== undefined;
  }

  get missing(): string | undefined {
    return this.complete ? undefined : "its file has not been uploaded";
  }

  get notes(): readonly Note[] {
    return this.photograph ? colourRemark(this.photograph.header) : [];
  }

  /** Bytes that the decoded pixels hold. */
  get bytes(): number {
    return this.photograph ? pixelBytes(this.photograph.header) : 0;
  }

  /**
   * Takes the file from a request's body and decodes it. `admit` is asked before anything large is decoded.
   * @throws ServiceError TOO_LARGE; SmhdrError as readHeader and decodePhotograph do.
   */
  async receive(
    body: AsyncIterable<Uint8Array>,
    alpha: AlphaPolicy,
    admit: (header: PhotographHeader) => void,
  ): Promise<FileReport> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of body) {
      length += chunk.length;
      if (length > MAX_FILE) throw new ServiceError("TOO_LARGE", `${this.name}: files may have ${MAX_FILE} bytes.`);
      chunks.push(chunk);
    }
    const header = await readHeader(Buffer.concat(chunks), this.name, alpha);
    admit(header);
    const photograph = await decodePhotograph(header, false);
    if (this.closed) throw new ServiceError("NOT_FOUND", "The job was deleted.");
    this.photograph = { ...photograph, header: { ...header, source: "" } }; // the file itself is not needed any more
    const { width, height, depth, settings } = header;
    return { width, height, depth, stops: settings.time === undefined ? null : lightInStops(settings) };
  }

  async member(): Promise<Member> {
    if (!this.photograph) throw new ServiceError("CONFLICT", `${this.name}: ${this.missing}.`);
    const { header, pixels, proxy } = this.photograph;
    return { name: this.name, pixels, proxy, settings: header.settings };
  }

  close(): void {
    this.closed = true;
    this.photograph = undefined;
  }
}
