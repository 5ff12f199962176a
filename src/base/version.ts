/**
 * The version of this program, in one place.
 *
 * The release build puts `git describe` in with `--define OVERLAY_VERSION='"v0.1.0-3-g1a2b3c4"'`;
 * a run from source has the version of package.json (`version.test.ts` keeps the two equal).
 *
 * @module
 */

declare const OVERLAY_VERSION: string | undefined;

const SOURCE_VERSION = "0.1.0";

/** Version shown by `overlay version`, `/status` and `overlay_build_info`; no leading "v". */
export const VERSION: string = (
  typeof OVERLAY_VERSION === "string" ? OVERLAY_VERSION : SOURCE_VERSION
).replace(/^v/, "");
