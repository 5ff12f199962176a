/**
 * What every request passes before its route: how many at once, and who may ask what.
 *
 * One gate stands before both ways to a route (the router's and the short one of hot-routes.ts), so
 * that they count together and refuse alike.
 *
 * @module
 */
import { type AccessCheck, tcpAccess } from "./access.ts";
import { REQUESTS_INFLIGHT_MAX } from "./limits.ts";
import { type Problem, problemResponse } from "./problem.ts";

export interface GateOptions {
  /** Through which kind of listener requests come. */
  readonly access: "socket" | "tcp";
  /** What `Authorization: Bearer` must hold for a write over TCP. */
  readonly adminToken: string;
}

/** Counts the requests in work on one listener and refuses those that may not come in. */
export class Gate {
  readonly #refuse: AccessCheck | undefined;
  #inflightCount = 0;

  constructor({ access, adminToken }: GateOptions) {
    this.#refuse = access === "tcp" ? tcpAccess(adminToken) : undefined;
  }

  /** Undefined: the request, of this decoded path, is in, and must `leave`; or why it is not. */
  enter(request: Request, path: string): Response | undefined {
    const problem = this.#problem(request, path);
    if (problem !== undefined) return problemResponse(problem);
    this.#inflightCount++;
    return undefined;
  }

  /** One that was let in is answered. */
  leave(): void {
    this.#inflightCount--;
  }

  #problem(request: Request, path: string): Problem | undefined {
    if (this.#inflightCount >= REQUESTS_INFLIGHT_MAX) {
      const detail = `Cannot answer now: ${REQUESTS_INFLIGHT_MAX} requests are in work; try again`;
      return { kind: "overloaded", detail };
    }
    return this.#refuse?.(request, path);
  }
}
