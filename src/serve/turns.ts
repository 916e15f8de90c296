import { SmhdrError, throwIfAborted } from "../errors.js";

/** Work that runs one at a time, in the order it came. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /**
   * Runs `work` when all that came before is done, whether or not that succeeded.
   * @throws SmhdrError CANCELLED as soon as the signal fires before its turn; whatever `work` throws.
   */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const giveUp = () => reject(new SmhdrError("CANCELLED", "Cancelled."));
      signal?.addEventListener("abort", giveUp, { once: true });
      this.last = this.last.then(async () => {
        signal?.removeEventListener("abort", giveUp);
        try {
          throwIfAborted(signal);
          resolve(await work());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}
