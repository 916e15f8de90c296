import { type ErrorCode, SmhdrError } from "../errors.js";

/** What the addon returns for work it runs off the main thread. */
export interface NativeTask<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

/** What the addon threw, as an SmhdrError with its code. */
export function asSmhdrError(error: unknown): SmhdrError {
  if (error instanceof SmhdrError) return error;
  const { code, message } = error as { code?: ErrorCode; message: string };
  return new SmhdrError(code ?? "INTERNAL", message, { cause: error });
}

/** What the addon's function gives at once; what it throws is an SmhdrError. */
export function callNative<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw asSmhdrError(error);
  }
}

/** Waits for a native task; an aborted signal stops it and rejects with CANCELLED. */
export async function finishTask<T>(start: () => NativeTask<T>, signal?: AbortSignal): Promise<T> {
  if (signal?.aborted) throw new SmhdrError("CANCELLED", "Cancelled.", { cause: signal.reason });
  let task: NativeTask<T> | undefined;
  const cancel = () => task?.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    task = start();
    return await task.promise;
  } catch (error) {
    throw asSmhdrError(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}
