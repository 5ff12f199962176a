/**
 * The access rules: socket against TCP, token, Host, Origin.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { createSilentLog } from "../base/log.ts";
import { isLoopbackHost } from "./access.ts";
import { createTestApp } from "./app.fake.ts";
import { createFakeService } from "./service.fake.ts";

const TOKEN = "0123456789abcdef";
const log = createSilentLog();
const tcp = createTestApp(createFakeService(), { access: "tcp", adminToken: TOKEN, log });
const socket = createTestApp(createFakeService(), { access: "socket", adminToken: TOKEN, log });
const bearer = { authorization: `Bearer ${TOKEN}` };

type Row = readonly [method: string, path: string, Record<string, string>, number, why: string];
const ROWS: readonly Row[] = [
  ["GET", "/status", {}, 200, "a read is open"],
  ["HEAD", "/config", {}, 200, "so is HEAD"],
  ["GET", "/tokens", {}, 200, "a list of tokens holds no secret"],
  ["PUT", "/config", {}, 401, "a write without the token"],
  ["PUT", "/config", { authorization: "Bearer wrong" }, 401, "with a wrong token"],
  ["PUT", "/config", { authorization: `Bearer ${TOKEN}0` }, 401, "with a longer token"],
  ["PUT", "/config", { authorization: `Basic ${TOKEN}` }, 401, "with another scheme"],
  ["PUT", "/config", { authorization: TOKEN }, 401, "without a scheme"],
  ["PUT", "/config", { authorization: "Bearer " }, 401, "with an empty token"],
  ["PUT", "/config", bearer, 200, "with the token"],
  ["PUT", "/config", { authorization: `bearer  ${TOKEN}` }, 200, "the scheme ignores case"],
  ["POST", "/tokens", bearer, 201, "any write with the token"],
  ["DELETE", "/nope", {}, 401, "an unknown path tells nothing without the token"],
  ["POST", "/join", bearer, 403, "join is for the socket, token or not"],
  ["POST", "/leave", bearer, 403, "leave is for the socket"],
  ["POST", "/%6aoin", bearer, 403, "however its letters are written"],
  ["POST", "/join?x=1", bearer, 403, "with a query"],
  ["POST", "/join/", bearer, 404, "with a slash it is no route"],
  ["POST", "//join", bearer, 404, "nor with two"],
  ["GET", "/status", { host: "evil.example" }, 421, "a rebound name, for reads too"],
  ["GET", "/status", { host: "evil.example:8287" }, 421, "with a port"],
  ["GET", "/status", { host: "localhost.evil.example" }, 421, "with loopback in front"],
  ["GET", "/status", { host: "192.0.2.1:8287" }, 421, "an address that is not loopback's"],
  ["GET", "/status", { host: "" }, 421, "no host"],
  ["GET", "/status", { host: "127.0.0.1:8287" }, 200, "loopback by address"],
  ["GET", "/status", { host: "127.9.8.7" }, 200, "all of 127.0.0.0/8"],
  ["GET", "/status", { host: "[::1]:8287" }, 200, "loopback in IPv6"],
  ["GET", "/status", { host: "LocalHost:1" }, 200, "names ignore case"],
  ["PUT", "/config", { ...bearer, origin: "https://evil.example" }, 403, "another site"],
  ["PUT", "/config", { ...bearer, origin: "null" }, 403, "a sandboxed page"],
  ["PUT", "/config", { ...bearer, origin: "http://localhost.evil.example" }, 403, "a lookalike"],
  ["PUT", "/config", { ...bearer, origin: "http://localhost:8287" }, 200, "our own page"],
  ["PUT", "/config", { ...bearer, origin: "http://[::1]:8287" }, 200, "our own page, IPv6"],
  ["GET", "/status", { origin: "https://evil.example" }, 200, "a read, which it cannot see"],
];

function request(method: string, headers: Record<string, string>): RequestInit {
  const body = method === "PUT" || method === "POST" ? "{}" : null;
  return { method, body, headers: { host: "localhost:8287", ...headers } };
}

describe("over TCP", () => {
  for (const [method, path, headers, status, why] of ROWS) {
    test(`${method} ${path} ${JSON.stringify(headers)}: ${status}, ${why}`, async () => {
      const response = await tcp.request(path, request(method, headers));
      expect(response.status).toBe(status);
      const challenge = response.headers.get("www-authenticate");
      expect(challenge).toBe(status === 401 ? 'Bearer realm="overlay"' : null);
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
    });
  }

  test("an empty admin token lets nobody write", async () => {
    const open = createTestApp(createFakeService(), { access: "tcp", adminToken: "", log });
    for (const authorization of ["Bearer ", "Bearer", "Bearer x"]) {
      const response = await open.request("/config", request("PUT", { authorization }));
      expect(response.status).toBe(401);
    }
  });
});

describe("on the socket", () => {
  for (const [method, path, status] of [
    ["PUT", "/config", 200],
    ["POST", "/leave", 200],
    ["POST", "/tokens", 201],
    ["DELETE", "/tokens/tok1", 200],
  ] as const) {
    test(`${method} ${path} needs no token and no particular host`, async () => {
      const response = await socket.request(path, request(method, { host: "overlay" }));
      expect(response.status).toBe(status);
    });
  }
});

test("isLoopbackHost: names and addresses", () => {
  for (const host of ["localhost", "127.0.0.1", "127.255.255.254", "[::1]", "::1", "[0:0::1]"]) {
    expect([host, isLoopbackHost(host)]).toEqual([host, true]);
  }
  for (const host of ["", "0.0.0.0", "128.0.0.1", "127.1", "[::]", "::2", "localhost.", "[::1"]) {
    expect([host, isLoopbackHost(host)]).toEqual([host, false]);
  }
});
