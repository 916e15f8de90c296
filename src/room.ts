import { SmhdrError, throwIfAborted } from "./errors.js";

interface Waiting {
  readonly amount: number;
  readonly enter: () => void;
}

/** A fixed amount of something that is taken and given back, first come, first served. */
export class Room {
  private taken = 0;
  private readonly waiting: Waiting[] = [];

  constructor(private readonly size: number) {}

  /**
   * Runs `work` once `amount` is free, which it holds until it ends; more than there is waits until all is. With a size of 1 and
   * amounts of 1: one at a time.
   * @throws SmhdrError CANCELLED as soon as the signal fires before; whatever `work` throws.
   */
  async run<T>(amount: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const share = Math.min(amount, this.size);
    await this.enter(share, signal);
    try {
      throwIfAborted(signal);
      return await work();
    } finally {
      this.taken -= share;
      this.admit();
    }
  }

  private async enter(share: number, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    await new Promise<void>((resolve, reject) => {
      const stop = () => {
        this.waiting.splice(this.waiting.indexOf(entry), 1);
        reject(new SmhdrError("CANCELLED", "Cancelled.", { cause: signal?.reason }));
        this.admit();
      };
      const entry = {
        amount: share,
        enter: () => {
          signal?.removeEventListener("abort", stop);
          resolve();
        },
      };
      signal?.addEventListener("abort", stop, { once: true });
      this.waiting.push(entry);
      this.admit();
    });
  }

  private admit(): void {
    while (this.waiting.length > 0 && this.taken + this.waiting[0].amount <= this.size) {
      const next = this.waiting.shift() as Waiting;
      this.taken += next.amount;
      next.enter();
    }
  }
}
