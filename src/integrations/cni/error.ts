/**
 * Failures as a CNI plugin tells them: a number for the runtime, a sentence for a person.
 *
 * Source: CNI specification 1.1.0, section 5 "Error". Pure.
 *
 * @module
 */

/** The specification's numbers, and one of our own. */
export const CNI_CODE = {
  INCOMPATIBLE_VERSION: 1,
  UNKNOWN_CONTAINER: 3,
  INVALID_ENVIRONMENT: 4,
  IO_FAILURE: 5,
  DECODE_FAILURE: 6,
  INVALID_CONFIG: 7,
  TRY_AGAIN_LATER: 11,
  NOT_AVAILABLE: 50,
  NOT_AVAILABLE_AND_LIMITED: 51,
  /** 100 and above are the plugin's: the container's address is of a subnet that went. */
  RENUMBERED: 100,
} as const;

export interface CniError {
  readonly code: number;
  /** "Cannot <action> <object>: <state>; <next step>". */
  readonly msg: string;
  readonly details?: string;
}

/** Makes a `CniError`; without `details` when there are none. */
export function cniError(code: number, msg: string, details = ""): CniError {
  return details === "" ? { code, msg } : { code, msg, details };
}

/** What goes to standard output. */
export function formatError(error: CniError, version: string): string {
  return JSON.stringify({ cniVersion: version, ...error });
}
