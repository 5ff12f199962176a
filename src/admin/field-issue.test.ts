import { expect, test } from "bun:test";
import { formatIssue } from "./field-issue.ts";

test("formatIssue: the path once, wherever it stands", () => {
  expect(formatIssue({ path: "", message: "Expected an object" })).toBe("Expected an object");
  expect(formatIssue({ path: "token", message: "Missing" })).toBe("token: Missing");
  const message = "Network must be given";
  expect(formatIssue({ path: "Network", message })).toBe(message);
});
