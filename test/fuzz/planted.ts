// Faults put here on purpose: fuzzer.test.ts shows that the fuzzer finds them, which bytes at random do not.

/** Throws for one text in 2^40. */
export function plantedError(bytes: Uint8Array): void {
  if (bytes.length < 5) return;
  if (bytes[0] === 0x46)
    if (bytes[1] === 0x55) if (bytes[2] === 0x5a) if (bytes[3] === 0x7a) throw new Error("planted");
}

/** Throws for one number in 2^32 and then one word: found by what is compared with what. */
export function plantedComparison(bytes: Buffer): void {
  if (bytes.length < 12) return;
  if (bytes.readUInt32LE(0) === 0x5eed1234 && bytes.toString("latin1", 4, 9) === "magic") throw new Error("planted");
}

/** Never returns for one text in 2^24. */
export function plantedLoop(bytes: Uint8Array): void {
  if (bytes[0] === 0x6c) if (bytes[1] === 0x6f) if (bytes[2] === 0x70) for (;;);
}
