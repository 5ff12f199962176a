/**
 * A version of the program as package managers must write it, so that they order as they were made.
 *
 *     1.2.0-rc.1            1.2.0~rc.1            before 1.2.0
 *     1.2.0-rc.1-3-g1a2b3c  1.2.0~rc.1+3.g1a2b3c  three commits after it
 *     1.2.0                 1.2.0
 *     1.2.0-3-g1a2b3c       1.2.0+3.g1a2b3c       three commits after it
 *     1.2.0+g1a2b3c         1.2.0+g1a2b3c         a commit without a tag
 *
 * Source: deb-version(7), rpm-version(7) ("~" sorts before everything, the end too), Semantic
 * Versioning 2.0.0 9, git-describe(1).
 *
 * @module
 */

/** Numbers; a pre-release; commits since the tag; the build. Each without its mark. */
const VERSION_PATTERN =
  /^(\d+\.\d+\.\d+)(?:-((?!\d+-g)[0-9A-Za-z.]+))?(?:-(\d+)-(g[0-9a-f]+))?(?:\+([0-9A-Za-z.]+))?$/;

/** For .deb and .rpm alike; undefined when `version` is none that `overlay --version` prints. */
export function packageVersion(version: string): string | undefined {
  const match = VERSION_PATTERN.exec(version.replace(/^v/, ""));
  if (match === null) return undefined;
  const [, numbers, before, commits, commit, build] = match;
  const later = [commits, commit, build].filter((part) => part !== undefined).join(".");
  return `${numbers}${before === undefined ? "" : `~${before}`}${later === "" ? "" : `+${later}`}`;
}
