/**
 * `GET /config` and `PUT /config`: the network config of the cluster.
 *
 * What a config may hold is the domain's business (`control/network`), which answers with every
 * fault it finds; here only the request around it is parsed.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { err, ok, type Result } from "../base/result.ts";
import { problemResponse, type RequestProblem } from "./problem.ts";
import { parseQuery, parseWith, readJson } from "./request.ts";
import type { AdminService, PutConfigRequest } from "./service.ts";

const flag = v.optional(
  v.pipe(
    v.picklist(["true", "false"]),
    v.transform((text) => text === "true"),
  ),
  "false",
);

/** Query of `PUT /config`. */
export const PutConfigQuery = v.strictObject({
  /** Answer what would happen and change nothing. */
  dryRun: flag,
  /** Accept that leases become invalid. */
  renumber: flag,
});

/** `ETag` of a revision: a strong validator (RFC 9110 §8.8.3). */
const ETAG_PATTERN = /^"(0|[1-9][0-9]{0,15})"$/;
const ifMatch = v.optional(
  v.pipe(
    v.string(),
    v.regex(ETAG_PATTERN, 'Expected one strong ETag such as "12", as GET /config answers it'),
    v.transform((text) => Number(text.slice(1, -1))),
    v.safeInteger(),
  ),
);

/** Header that makes a change conditional on the revision that it was made from. */
export const IfMatchHeader = v.object({ "If-Match": ifMatch });

/** The routes of the network config. */
export function configRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/config", async (c) => {
    const result = await service.getConfig();
    if (!result.ok) return problemResponse(result.error);
    if (result.value === undefined) {
      const detail =
        "Cannot show the network config: there is none yet; set one, for example " +
        `overlay config set '{"Network":"10.0.0.0/16"}'`;
      return problemResponse({ kind: "no_config", detail });
    }
    const { revision, config } = result.value;
    return c.json({ revision, config }, 200, { etag: `"${revision}"` });
  });

  app.put("/config", async (c) => {
    const request = await parsePutConfig(c.req.raw);
    if (!request.ok) return problemResponse(request.error);
    const result = await service.putConfig(request.value);
    if (!result.ok) return problemResponse(result.error);
    const { revision, config, plan } = result.value;
    return c.json({ revision, config, plan }, 200, { etag: `"${revision}"` });
  });

  return app;
}

async function parsePutConfig(request: Request): Promise<Result<PutConfigRequest, RequestProblem>> {
  const query = parseQuery(request, PutConfigQuery);
  if (!query.ok) return query;
  const given = { "If-Match": request.headers.get("if-match") ?? undefined };
  const expected = parseWith(IfMatchHeader, given, "header");
  if (!expected.ok) return err(expected.error);
  const body = await readJson(request);
  if (!body.ok) return body;
  return ok({
    body: body.value,
    expectedRevision: expected.value["If-Match"],
    ...query.value,
  });
}
