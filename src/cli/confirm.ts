/**
 * The question before what cannot be undone.
 *
 * @module
 */
import type { Cli } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";

/**
 * Asks whether to `action`, unless the options say so already. Resolves to `EXIT_DONE` when it is
 * wanted, else to the exit code.
 */
export async function confirm(
  { terminal }: Pick<Cli, "terminal">,
  action: string,
  options: { readonly yes?: true },
): Promise<number> {
  if (options.yes === true) return EXIT_DONE;
  if (!terminal.canAsk) {
    await terminal.tell(`Cannot ${action}: nobody can be asked here; say --yes if it is wanted`);
    return EXIT_FAILED;
  }
  const answer = (await terminal.ask('Type "yes" to go on: '))?.trim();
  if (answer === "yes") return EXIT_DONE;
  await terminal.tell(`Cannot ${action}: it was not confirmed; nothing has changed`);
  return EXIT_FAILED;
}
