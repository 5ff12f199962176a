/**
 * A program that does with a service what systemd does, as far as descriptors go: it runs a command
 * with a notification socket, stores what it is given, and starts the command again with that
 * whenever it ends.
 *
 *     bun tests/lab/service-manager.ts SOCKET COMMAND …
 *
 * SIGUSR1 stops the service (SIGTERM), SIGUSR2 kills it; either way it comes back at once. SIGTERM
 * stops it for good.
 *
 * @module
 */
import { libc } from "../../src/host/sys/libc.ts";
import { NotifySocket } from "../support/notify-socket.ts";

/** How often the socket is looked at. */
const POLL_MS = 2;

class ServiceManager {
  readonly #path: string;
  readonly #command: readonly string[];
  readonly #socket: NotifySocket;
  readonly #stored = new Map<string, number>();
  #isEnding = false;
  #child: Bun.Subprocess | undefined;

  constructor(path: string, command: readonly string[]) {
    this.#path = path;
    this.#command = command;
    this.#socket = new NotifySocket(path);
    setInterval(() => this.#collect(), POLL_MS);
  }

  start(): void {
    this.#collect();
    const names = [...this.#stored.keys()];
    this.#child = Bun.spawn({
      // The service's own process id is in its environment, and only it knows that in time.
      cmd: ["sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh", ...this.#command],
      env: {
        ...process.env,
        NOTIFY_SOCKET: this.#path,
        ...(names.length > 0
          ? { LISTEN_FDS: String(names.length), LISTEN_FDNAMES: names.join(":") }
          : {}),
      },
      stdio: ["ignore", "inherit", "inherit", ...this.#stored.values()],
      onExit: () => (this.#isEnding ? process.exit(0) : this.start()),
    });
  }

  end(): void {
    this.#isEnding = true;
    this.signal("SIGTERM");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  #collect(): void {
    for (const { text, fd } of this.#socket.takeAll()) {
      const name = /^FDNAME=(.*)$/m.exec(text)?.[1] ?? "stored";
      if (/^FDSTOREREMOVE=1$/m.test(text)) this.#remove(name);
      if (!/^FDSTORE=1$/m.test(text) || fd === undefined) continue;
      this.#remove(name);
      this.#stored.set(name, fd);
    }
  }

  #remove(name: string): void {
    const fd = this.#stored.get(name);
    if (fd !== undefined) libc().close(fd);
    this.#stored.delete(name);
  }
}

const [path, ...command] = process.argv.slice(2);
const manager = new ServiceManager(path ?? "", command);
process.on("SIGUSR1", () => manager.signal("SIGTERM"));
process.on("SIGUSR2", () => manager.signal("SIGKILL"));
process.on("SIGTERM", () => manager.end());
manager.start();
