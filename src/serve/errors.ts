import { type ErrorCode, outOfMemory, SmhdrError } from "../errors.js";

/** Codes that only the service gives, besides those of src/errors.ts. */
export type ServiceErrorCode =
  | ErrorCode
  | "UNAUTHORIZED"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "CONFLICT"
  | "TOO_LARGE"
  | "BUSY"
  | "STOPPING";

/** A request that is refused; `status` is HTTP's. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  constructor(
    readonly code: ServiceErrorCode,
    message: string,
    readonly status = statusOf[code],
  ) {
    super(message);
  }
}

const statusOf: Readonly<Record<ServiceErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  CANCELLED: 409,
  TOO_LARGE: 413,
  BAD_INPUT: 422,
  UNSUPPORTED: 422,
  BUSY: 429,
  IO: 500,
  INTERNAL: 500,
  ADDON_MISSING: 503,
  STOPPING: 503,
  OUT_OF_MEMORY: 507,
};

/** What a client is told. */
export interface ErrorReport {
  readonly code: ServiceErrorCode;
  readonly message: string;
}

/** Any error as a status and a report. What nobody threw on purpose is a fault of ours. */
export function describeError(error: unknown): { readonly status: number; readonly report: ErrorReport } {
  const ours = error instanceof ServiceError || error instanceof SmhdrError ? error : outOfMemory(error);
  if (ours) {
    const { code, message } = ours;
    return { status: ours instanceof ServiceError ? ours.status : statusOf[code], report: { code, message } };
  }
  const { statusCode, message } = error as { statusCode?: number; message?: string };
  // The HTTP library's own refusals: a body that is no JSON, too long, of a type that nothing reads.
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const code = statusCode === 413 ? "TOO_LARGE" : "INVALID_ARGUMENT";
    return { status: statusCode, report: { code, message: message ?? "The request cannot be read." } };
  }
  return {
    status: 500,
    report: { code: "INTERNAL", message: `This is a fault of smhdr, please report it: ${message}` },
  };
}
