import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { ServiceError } from "./errors.js";

/** Who may ask. */
export interface Guard {
  /** The port that the service listens on. */
  readonly port: number;
  readonly token: string;
  /** Origins besides the service's own that a browser may send. */
  readonly allowedOrigins: readonly string[];
}

/**
 * Refuses a request that another machine's name leads here (DNS rebinding): the name is in `Host`.
 * @throws ServiceError FORBIDDEN
 */
export function checkHost({ port }: Guard, { host }: IncomingHttpHeaders): void {
  if (host === undefined || !isOwn(port, host)) {
    throw new ServiceError("FORBIDDEN", `Host: expected 127.0.0.1:${port}; got ${JSON.stringify(host ?? "none")}.`);
  }
}

/**
 * Refuses a request that a browser makes for another page. Browsers name the page in `Origin`, or at least say in
 * `Sec-Fetch-Site` that it is another; programs send neither.
 * @throws ServiceError FORBIDDEN
 */
export function checkOrigin(guard: Guard, headers: IncomingHttpHeaders): void {
  const { origin } = headers;
  if (origin !== undefined && !isAllowed(guard, origin)) {
    throw new ServiceError(
      "FORBIDDEN",
      `Origin: pages of ${JSON.stringify(origin)} may not use this service (smhdr serve --allow-origin lets them).`,
    );
  }
  const site = headers["sec-fetch-site"];
  if (origin === undefined && site !== undefined && site !== "same-origin" && site !== "none") {
    throw new ServiceError("FORBIDDEN", "Other pages may not use this service.");
  }
}

function isAllowed({ port, allowedOrigins }: Guard, origin: string): boolean {
  return (origin.startsWith("http://") && isOwn(port, origin.slice(7))) || allowedOrigins.includes(origin);
}

/** Whether an address is the service's; the port that http means goes unsaid. */
function isOwn(port: number, address: string): boolean {
  return ["127.0.0.1", "localhost"].some((name) => address === `${name}:${port}` || (port === 80 && address === name));
}

/**
 * Refuses a request without the token of this start. The comparison takes the same time wherever a wrong one differs.
 * @throws ServiceError UNAUTHORIZED
 */
export function checkToken({ token }: Guard, { authorization = "" }: IncomingHttpHeaders): void {
  const given = Buffer.from(authorization);
  const wanted = Buffer.from(`Bearer ${token}`);
  const padded = Buffer.alloc(wanted.length);
  given.copy(padded);
  const same = timingSafeEqual(padded, wanted);
  if (!same || given.length !== wanted.length) {
    throw new ServiceError(
      "UNAUTHORIZED",
      "Authorization: the token of this start of the service is missing or wrong; it is in the start file, and in the address that smhdr serve printed.",
    );
  }
}
