import assert from "node:assert/strict";
import { SmhdrError } from "../../src/errors.js";
import { allocated } from "./allocation.js";

/** A parser and what must hold of it for any bytes. */
export interface Target {
  readonly name: string;
  /** Parses; returns nothing of interest, but asserts that what came of it makes sense. */
  readonly parse: (bytes: Buffer) => unknown;
  /** Files to begin with. */
  readonly seeds: () => Promise<readonly Uint8Array[]>;
  /** Bytes that a byte of the file may ask for, beside FREE. */
  readonly factor: number;
  /** Longest input that the fuzzer makes. */
  readonly longest?: number;
}

/** Memory that any file may ask for. */
const FREE = 2 ** 26;
const CODES = ["BAD_INPUT", "UNSUPPORTED", "INVALID_ARGUMENT"];

/** Parses: a valid result, or an SmhdrError with a short message, and memory in proportion. Rejects where not. */
export async function survive(target: Target, bytes: Uint8Array): Promise<"read" | "refused"> {
  let outcome: "read" | "refused" = "read";
  const asked = await allocated(async () => {
    try {
      await target.parse(Buffer.from(bytes));
    } catch (error) {
      if (!(error instanceof SmhdrError)) throw error;
      assert.ok(CODES.includes(error.code), `code ${error.code}: ${error.message}`);
      assert.ok(error.message.length < 1000, `a message of ${error.message.length} characters`);
      outcome = "refused";
    }
  });
  assert.ok(asked <= FREE + target.factor * bytes.length, `${asked} bytes for a file of ${bytes.length}`);
  return outcome;
}
