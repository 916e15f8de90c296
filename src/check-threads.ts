import { SmhdrError, shown } from "./errors.js";

/** Throws INVALID_ARGUMENT for what is no number of threads; 0 stands for one on every processor. */
export function checkThreads(threads: number | undefined): void {
  if (threads === undefined || (Number.isInteger(threads) && threads >= 0)) return;
  throw new SmhdrError(
    "INVALID_ARGUMENT",
    `threads: expected a whole number from 0 (all processors); got ${shown(threads)}.`,
  );
}
