/**
 * The API without a socket, for tests: requests by path.
 *
 * @module
 */
import { type AdminApp, type AdminAppOptions, createAdminApp } from "./app.ts";
import type { AdminService } from "./service.ts";

/** `AdminApp` that takes a path too. */
export interface TestApp extends AdminApp {
  request(request: string | Request, init?: RequestInit): Promise<Response>;
}

/** The real application for `service`. */
export function createTestApp(service: AdminService, options: AdminAppOptions): TestApp {
  const app = createAdminApp(service, options);
  const request = async (one: string | Request, init?: RequestInit) => {
    const asked = typeof one === "string" ? new Request(`http://localhost${one}`, init) : one;
    return await app.fetch(asked);
  };
  return { ...app, request };
}
