import { SmhdrError, throwIfAborted } from "../errors.js";

interface Waiting {
  readonly amount: number;
  readonly enter: () => void;
}

/** A fixed amount of something that is taken and given back, first come, first served. */
export class Room {
  private taken = 0;
  private readonly waiting: Waiting[] = [];

  constructor(private readonly size: number) {}

  /** Waits until `amount` is free; more than there is waits until all is. Returns what gives it back. @throws SmhdrError CANCELLED */
  async take(amount: number, signal?: AbortSignal): Promise<() => void> {
    throwIfAborted(signal);
    const share = Math.min(amount, this.size);
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
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.taken -= share;
      this.admit();
    };
  }

  private admit(): void {
    while (this.waiting.length > 0 && this.taken + this.waiting[0].amount <= this.size) {
      const next = this.waiting.shift() as Waiting;
      this.taken += next.amount;
      next.enter();
    }
  }
}
