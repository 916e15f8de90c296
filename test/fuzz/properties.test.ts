import { describe, test } from "node:test";
import fc from "fast-check";
import { survive } from "./target.js";
import { targets } from "./targets.js";

// Every parser of ours, given any bytes and its own files with changes, gives an SmhdrError or a result that makes sense,
// and asks for memory in proportion. The same seed every time; npm run fuzz goes further.
const RUNS = Number(process.env.SMHDR_PROPERTY_RUNS ?? 2000);

type Change = (bytes: Buffer) => Buffer;

const at = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const place = (bytes: Buffer, where: number) => Math.floor(where * bytes.length);

/** A cut, a changed bit or byte, a number that lies, a piece taken out, repeated or put in. */
const change: fc.Arbitrary<Change> = fc.oneof(
  at.map(
    (where): Change =>
      (bytes) =>
        bytes.subarray(0, place(bytes, where)),
  ),
  fc.tuple(at, fc.nat(255)).map(
    ([where, mask]): Change =>
      (bytes) => {
        const copy = Buffer.from(bytes);
        if (copy.length > 0) copy[place(copy, where)] ^= mask;
        return copy;
      },
  ),
  fc.tuple(at, fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 1e9), fc.boolean()).map(
    ([where, value, little]): Change =>
      (bytes) => {
        const copy = Buffer.from(bytes);
        const from = Math.min(place(copy, where), copy.length - 4);
        if (from < 0) return copy;
        if (little) copy.writeUInt32LE(value, from);
        else copy.writeUInt32BE(value, from);
        return copy;
      },
  ),
  fc.tuple(at, at, at).map(
    ([a, b, c]): Change =>
      (bytes) => {
        const [from, to] = [place(bytes, a), place(bytes, b)].sort((x, y) => x - y);
        const into = place(bytes, c);
        return Buffer.concat([
          bytes.subarray(0, into),
          bytes.subarray(from, Math.min(to, from + 512)),
          bytes.subarray(into),
        ]);
      },
  ),
  fc.tuple(at, fc.nat(32)).map(
    ([where, count]): Change =>
      (bytes) =>
        Buffer.concat([bytes.subarray(0, place(bytes, where)), bytes.subarray(place(bytes, where) + count)]),
  ),
  fc.tuple(at, fc.uint8Array({ maxLength: 16 })).map(
    ([where, put]): Change =>
      (bytes) =>
        Buffer.concat([bytes.subarray(0, place(bytes, where)), put, bytes.subarray(place(bytes, where))]),
  ),
);

describe("any bytes, and changed files", () => {
  for (const target of targets)
    test(target.name, async () => {
      const seeds = (await target.seeds()).map((seed) => Buffer.from(seed));
      const changed = fc
        .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 4 }))
        .map(([seed, changes]) => changes.reduce<Buffer>((bytes, apply) => apply(bytes), seed));
      const any = fc.oneof({ arbitrary: changed, weight: 9 }, fc.uint8Array({ maxLength: 200 }));
      await fc.assert(
        fc.asyncProperty(any, async (bytes) => void (await survive(target, bytes))),
        { numRuns: RUNS, seed: 8 },
      );
    });
});
