/**
 * The files for a machine that the executable carries: the installer and the systemd unit.
 *
 * @module
 */
import installScript from "../../../install.sh" with { type: "text" };
import unit from "../../../packaging/overlay.service" with { type: "text" };

/** `install.sh` as it is in the repository: without a peer. */
export const INSTALL_SCRIPT: string = installScript;

/** Where the unit says that the executable is. */
const EXECUTABLE_IN_UNIT = "/usr/local/bin/overlay";
/** What stands in a unit for itself: no blank, no "%", no quote. */
const EXECUTABLE_PATTERN = /^\/[A-Za-z0-9/._+-]{1,500}$/;

/** The systemd unit for the executable at the path; undefined when a unit cannot hold the path. */
export function systemdUnit(executable: string): string | undefined {
  if (!EXECUTABLE_PATTERN.test(executable)) return undefined;
  return unit.replaceAll(EXECUTABLE_IN_UNIT, executable);
}
