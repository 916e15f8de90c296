/** What kind of thing went wrong, for programs; the message is for people. */
export type ErrorCode =
  | "INVALID_ARGUMENT" // the caller asked for something that makes no sense
  | "BAD_INPUT" // a file or image given is not what it must be
  | "UNSUPPORTED" // well-formed, but we do not do that
  | "OUT_OF_MEMORY" // more memory than the limit allows
  | "CANCELLED" // the caller's AbortSignal fired
  | "IO" // the file system said no
  | "ADDON_MISSING" // the native addon could not be loaded
  | "INTERNAL";

/** Every error this package throws on purpose. The message names the argument, what was expected and what came. */
export class SmhdrError extends Error {
  override readonly name = "SmhdrError";
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The error for a file or folder that could not be read: `cause` is what the file system said. */
export function unreadable(path: string, cause: unknown): SmhdrError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const what =
    code === "ENOENT"
      ? "does not exist"
      : code === "EISDIR"
        ? "is a folder; expected a file"
        : `cannot be read (${message.replace(/^E[A-Z0-9]+: ([^,]+), .*$/s, "$1")})`; // Node repeats the call and the path
  return new SmhdrError("IO", `${path} ${what}.`, { cause });
}

/** Throws CANCELLED once `signal` has fired. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw new SmhdrError("CANCELLED", "Cancelled.", { cause: signal.reason });
}

/** The error that tells of an array too large to be made, where that is what `error` says; else undefined. */
export function outOfMemory(error: unknown): SmhdrError | undefined {
  if (!(error instanceof RangeError && /allocation failed|Array buffer/i.test(error.message))) return undefined;
  return new SmhdrError("OUT_OF_MEMORY", "The machine has too little memory for this.", { cause: error });
}

/** A value as a message shows it: JSON, cut where it is long. */
export function shown(value: unknown): string {
  let text: string | undefined;
  try {
    // Pixels would be millions of numbers.
    const brief = (each: unknown) =>
      ArrayBuffer.isView(each) ? `${each.constructor.name} of ${each.byteLength} bytes` : each;
    text = JSON.stringify(brief(value), (_, each) => brief(each));
  } catch {
    // nested too deeply, or in itself
  }
  text ??= typeof value === "object" ? "an object" : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
