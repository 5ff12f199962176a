/**
 * One fault of a request in words: where and what.
 *
 * Pure.
 *
 * @module
 */
import type { FieldIssue } from "./service.ts";

/** "path: message", or the message alone when it says itself what it is about. */
export function formatIssue({ path, message }: FieldIssue): string {
  return path === "" || message.startsWith(path) ? message : `${path}: ${message}`;
}
