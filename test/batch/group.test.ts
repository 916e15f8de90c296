import assert from "node:assert/strict";
import { basename } from "node:path";
import { describe, it } from "node:test";
import { type GroupOptions, groupPhotographs } from "../../src/batch/group.js";
import type { FoundPhotograph } from "../../src/batch/photographs.js";
import type { Capture } from "../../src/bracket/capture.js";

interface Made extends Partial<Omit<Capture, "settings">> {
  readonly stops?: number;
  readonly path?: string;
  readonly width?: number;
  readonly fNumber?: number;
}

let number = 0;
/** A photograph of 2^stops / 100 s at a moment in seconds, named in the order of making. */
function shot(
  at: number | undefined,
  { stops, path, width = 600, fNumber = 8, ...capture }: Made = {},
): FoundPhotograph {
  const name = path ?? `/photos/IMG_${String(++number).padStart(4, "0")}.jpg`;
  const settings = stops === undefined ? {} : { time: 2 ** stops / 100, iso: 100, fNumber };
  const moment = at === undefined ? {} : { takenAt: 1000 * at, clockStep: 10 };
  return {
    path: name,
    relative: basename(name),
    width,
    height: 400,
    capture: { camera: "A", ...moment, ...capture, settings },
  };
}

/** Stops of every bracket found, and how many photographs were left. */
function grouped(photographs: readonly FoundPhotograph[], options?: GroupOptions) {
  const { brackets, left } = groupPhotographs(photographs, options);
  const stops = ({ capture }: FoundPhotograph) => Number(Math.log2((capture.settings.time as number) * 100).toFixed(2));
  return { brackets: brackets.map((bracket) => bracket.photographs.map(stops)), left: left.length };
}

describe("finding brackets", () => {
  it("takes photographs whose exposures differ and that follow each other", () => {
    const photographs = [0, -2, 2].flatMap((stops, i) => [shot(i * 0.4, { stops }), shot(60 + i * 0.4, { stops })]);
    assert.deepEqual(grouped(photographs), {
      brackets: [
        [-2, 0, 2],
        [-2, 0, 2],
      ],
      left: 0,
    });
  });

  it("begins a new bracket when an exposure comes again, without a pause", () => {
    const series = [0, -2, 2, 0, -2, 2, 0, -2, 2].map((stops, i) => shot(i * 0.5, { stops }));
    assert.equal(grouped(series).brackets.length, 3);
    const odd = [0, -2, 2, 0, -2, 2, 0].map((stops, i) => shot(i * 0.5, { stops }));
    assert.deepEqual(grouped(odd), {
      brackets: [
        [-2, 0, 2],
        [-2, 0, 2],
      ],
      left: 1,
    });
  });

  it("follows automatic exposure that shifts a whole pattern", () => {
    const series = [0, -2, 2, 0.3, -1.7, 2.3, 0.5, -1.5, 2.5].map((stops, i) => shot(i * 0.5, { stops }));
    assert.deepEqual(grouped(series).brackets, [
      [-2, 0, 2],
      [-1.7, 0.3, 2.3],
      [-1.5, 0.5, 2.5],
    ]);
  });

  it("takes a staircase of exposures for one bracket, not for several that repeat", () => {
    const series = [-3, -2, -1, 0, 1, 2].map((stops, i) => shot(i * 0.3, { stops }));
    assert.deepEqual(grouped(series).brackets, [[-3, -2, -1, 0, 1, 2]]);
  });

  it("counts a pause from the end of an exposure", () => {
    const photographs = [shot(0, { stops: 0 }), shot(1.5, { stops: 10 }), shot(12.5, { stops: 5 })]; // 10.24 s long
    assert.deepEqual(grouped(photographs).brackets, [[0, 5, 10]]);
    assert.deepEqual(grouped(photographs, { gap: 1 }), { brackets: [[5, 10]], left: 1 });
  });

  it("keeps cameras, folders, sizes, formats, apertures and focal lengths apart", () => {
    const others: Made[] = [
      { camera: "B" },
      { path: "/other/IMG_1.jpg" },
      { width: 800 },
      { path: "/photos/IMG_1.png" },
      { fNumber: 11 },
      { focalLength: 50 },
    ];
    for (const other of others) {
      const photographs = [shot(0, { stops: 0 }), shot(0.3, { stops: 2, ...other })];
      assert.deepEqual(grouped(photographs), { brackets: [], left: 2 }, JSON.stringify(other));
    }
  });

  it("leaves single photographs and bursts of one exposure, and says why", () => {
    const burst = [0, 0.3, 0].map((stops, i) => shot(i * 0.2, { stops }));
    const single = shot(100, { stops: 0 });
    const bare = shot(undefined, {});
    const { brackets, left } = groupPhotographs([...burst, single, bare]);
    assert.equal(brackets.length, 0);
    const reason = (photograph: FoundPhotograph) => left.find(({ path }) => path === photograph.path)?.reason;
    assert.match(reason(burst[0]) ?? "", /less than a stop/);
    assert.match(reason(single) ?? "", /no other exposure/);
    assert.match(reason(bare) ?? "", /--pattern/);
  });

  it("believes the camera where it says that it bracketed", () => {
    const fine = [0, -0.33, 0.33].map((stops, i) => shot(i * 0.2, { stops, bracketing: true }));
    assert.equal(grouped(fine).brackets.length, 1);
    const mixed = [
      ...[0, -2, 2].map((stops, i) => shot(i * 0.2, { stops, bracketing: true })),
      shot(0.8, { stops: 5, bracketing: false }),
    ];
    assert.deepEqual(grouped(mixed), { brackets: [[-2, 0, 2]], left: 1 });
    // Exposures that all differ, in two brackets by the camera's count.
    const counted = [0, -2, 1, -1].map((stops, i) => shot(i * 0.2, { stops, bracketing: true, sequence: (i % 2) + 1 }));
    assert.deepEqual(grouped(counted).brackets, [
      [-2, 0],
      [-1, 1],
    ]);
  });

  it("takes as many photographs as it is told", () => {
    const series = [-2, 0, 2, 4, -1, 1, 3, 5].map((stops, i) => shot(i * 0.2, { stops }));
    assert.deepEqual(grouped(series, { exposures: 4 }).brackets, [
      [-2, 0, 2, 4],
      [-1, 1, 3, 5],
    ]);
    assert.deepEqual(grouped(series.slice(0, 5), { exposures: 4 }), { brackets: [[-2, 0, 2, 4]], left: 1 });
  });

  it("orders by name, numbers by value, where no clock tells", () => {
    const names = ["IMG_9.jpg", "IMG_10.jpg", "IMG_11.jpg", "IMG_12.jpg"];
    const photographs = names.map((name, i) => shot(undefined, { path: `/photos/${name}`, stops: [0, 2, 0, 2][i] }));
    const { brackets } = groupPhotographs([...photographs].reverse());
    assert.deepEqual(
      brackets.map((bracket) => bracket.photographs.map(({ path }) => basename(path))),
      [names.slice(0, 2), names.slice(2)],
    );
  });
});
