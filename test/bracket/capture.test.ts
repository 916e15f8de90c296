import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readCapture } from "../../src/bracket/capture.js";

type Entry = readonly [tag: number, type: number, value: number | string | Uint8Array | readonly number[]];
const sizes: Readonly<Record<number, number>> = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 8: 2, 9: 4 };

/** A directory of TIFF entries at byte `at` of its block, values that do not fit behind it; `base` is what offsets count from. */
function directory(entries: readonly Entry[], at: number, little = true, base = 0): Uint8Array {
  const bytesOf = ([, type, value]: Entry): Uint8Array => {
    if (typeof value === "string") return new TextEncoder().encode(`${value}\0`);
    if (value instanceof Uint8Array) return value;
    const list = typeof value === "number" ? [value] : value;
    const view = new DataView(new ArrayBuffer(list.length * (type === 5 ? 4 : sizes[type])));
    for (const [i, each] of list.entries()) {
      if (type === 3 || type === 8) view.setInt16(2 * i, each, little);
      else if (type === 1) view.setUint8(i, each);
      else view.setUint32(4 * i, each, little);
    }
    return new Uint8Array(view.buffer);
  };
  const bodies = entries.map(bytesOf);
  const head = 2 + 12 * entries.length + 4;
  const out = new Uint8Array(head + bodies.reduce((sum, body) => sum + (body.length > 4 ? body.length : 0), 0));
  const view = new DataView(out.buffer);
  view.setUint16(0, entries.length, little);
  let free = head;
  for (const [i, [tag, type]] of entries.entries()) {
    const body = bodies[i];
    view.setUint16(2 + 12 * i, tag, little);
    view.setUint16(4 + 12 * i, type, little);
    view.setUint32(6 + 12 * i, body.length / sizes[type], little);
    if (body.length <= 4) out.set(body, 10 + 12 * i);
    else {
      view.setUint32(10 + 12 * i, at + free - base, little);
      out.set(body, free);
      free += body.length;
    }
  }
  return out;
}

const join = (...parts: readonly (Uint8Array | string)[]) =>
  Uint8Array.from(Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part))));

/** An EXIF block; `note` makes the maker's note for the offset that it will lie at. */
function exif(entries: readonly Entry[], make = "Maker", note?: (at: number) => Uint8Array): Uint8Array {
  const main = (exifAt: number) =>
    directory(
      [
        [0x010f, 2, make.padEnd(8)],
        [0x0110, 2, "Model Z"],
        [0x8769, 4, exifAt],
      ],
      8,
    );
  const exifAt = 8 + main(0).length;
  const all = (noteBytes: Uint8Array): Entry[] => [...entries, ...(note ? [[0x927c, 7, noteBytes] as Entry] : [])];
  // The note is the last value, so it lies at the end of the directory.
  const length = note ? note(0).length : 0;
  const noteAt = exifAt + directory(all(new Uint8Array(length)), exifAt).length - length;
  return join(
    "II*\0",
    Uint8Array.of(8, 0, 0, 0),
    main(exifAt),
    directory(all(note?.(noteAt) ?? new Uint8Array()), exifAt),
  );
}

describe("reading how a photograph was taken", () => {
  it("reads clock, camera, bias, focal length and the bracketing mode", () => {
    const block = exif([
      [0x829a, 5, [1, 200]],
      [0x9003, 2, "2026:05:01 12:03:04"],
      [0x9204, 5, [2, 3]],
      [0x920a, 5, [35, 1]],
      [0x9291, 2, "25"],
      [0xa402, 3, 2],
      [0xa431, 2, "007"],
    ]);
    const { settings, ...capture } = readCapture(block);
    assert.equal(settings.time, 1 / 200);
    assert.deepEqual(capture, {
      camera: "Maker Model Z 007",
      takenAt: Date.UTC(2026, 4, 1, 12, 3, 4, 250),
      clockStep: 10,
      bias: 2 / 3,
      focalLength: 35,
      bracketing: true,
    });
  });

  it("passes over clocks that were never set, and what is no EXIF", () => {
    assert.equal(readCapture(exif([[0x9003, 2, "0000:00:00 00:00:00"]])).takenAt, undefined);
    assert.equal(readCapture(exif([[0x9003, 2, "yesterday"]])).takenAt, undefined);
    assert.deepEqual(readCapture(new Uint8Array(100)), { settings: {} });
  });

  // Laid out as ExifTool's documentation of the tags has them; no photographs of these cameras may be kept here.
  const shotInfo = (state: number) => {
    const values = new Array<number>(34).fill(0);
    values[16] = state;
    return values;
  };
  const notes: readonly (readonly [string, string, (at: number) => Uint8Array, object])[] = [
    ["Canon, second shot", "Canon", (at) => directory([[4, 3, shotInfo(2)]], at), { bracketing: true, sequence: 2 }],
    ["Canon, on", "Canon", (at) => directory([[4, 3, shotInfo(-1)]], at), { bracketing: true }],
    ["Canon, off", "Canon", (at) => directory([[4, 3, shotInfo(0)]], at), { bracketing: false }],
    [
      "Nikon",
      "NIKON CORPORATION",
      () =>
        join(
          "Nikon\0\x02\x10\0\0MM\0*\0\0\0\x08",
          directory(
            [
              [0x89, 3, 0x11],
              [1, 2, "padding"],
            ],
            8,
            false,
          ),
        ),
      { bracketing: true },
    ],
    [
      "Sony, third shot",
      "SONY",
      (at) =>
        join(
          "SONY DSC \0\0\0",
          directory(
            [
              [0xb049, 3, 5],
              [0xb04a, 3, 3],
            ],
            at + 12,
          ),
        ),
      { bracketing: true, sequence: 3 },
    ],
    [
      "Sony, single",
      "SONY",
      (at) => join("SONY DSC \0\0\0", directory([[0xb049, 3, 0]], at + 12)),
      { bracketing: false },
    ],
    [
      "Panasonic",
      "Panasonic",
      (at) =>
        join(
          "Panasonic\0\0\0",
          directory(
            [
              [0x2b, 4, 2],
              [0x45, 3, 1],
            ],
            at + 12,
          ),
        ),
      { bracketing: true, sequence: 2 },
    ],
    [
      "Fujifilm",
      "FUJIFILM",
      () =>
        join(
          "FUJIFILM\x0c\0\0\0",
          directory(
            [
              [0x1100, 3, 1],
              [0x1101, 3, 1],
            ],
            12,
          ),
        ),
      { bracketing: true, sequence: 1 },
    ],
  ];
  for (const [name, make, note, expected] of notes) {
    it(`reads the note of ${name}`, () => {
      const { bracketing, sequence } = readCapture(exif([[0x829a, 5, [1, 200]]], make, note));
      assert.deepEqual(
        { ...(bracketing !== undefined && { bracketing }), ...(sequence !== undefined && { sequence }) },
        expected,
      );
    });
  }

  it("says nothing of notes that are cut short or point outside", () => {
    for (const [, make, note] of notes) {
      for (const keep of [14, 17, 24, 30]) {
        const { settings } = readCapture(exif([[0x829a, 5, [1, 200]]], make, (at) => note(at).subarray(0, keep)));
        assert.equal(settings.time, 1 / 200);
      }
      const wild = readCapture(exif([], make, (at) => note(at).map((byte, i) => (i > 15 ? 255 : byte))));
      assert.equal(wild.sequence, undefined);
    }
  });
});
