/**
 * The `Kernel` port in memory: it keeps what it is told, as far as the reconciler can see.
 *
 * `tests/contract/kernel.test.ts` holds it to what the real kernel does. Events are told at once;
 * `fail` makes operations fail as a kernel would.
 *
 * @module
 */
import type { Family, IpAddress } from "../../src/base/address.ts";
import { addressFamily } from "../../src/base/address.ts";
import { unreachable } from "../../src/base/assert.ts";
import { HostError } from "../../src/base/host-error.ts";
import { decodeLinkIndex, type LinkIndex } from "../../src/base/ids.ts";
import type {
  ActualAddress,
  ActualChain,
  ActualFirewall,
  ActualLink,
  ActualRoute,
  ActualRule,
  ActualState,
  AddressSpec,
  ChainRef,
  FirewallQuery,
  FirewallRule,
  FirewallTable,
  Kernel,
  KernelChange,
  LinkChanges,
  LinkRef,
  LinkSpec,
  Operation,
  RouteKey,
  RouteSpec,
  SnapshotQuery,
  TableRef,
  Way,
} from "../../src/host/kernel-ports.ts";

type FirewallOperation = Extract<
  Operation,
  { kind: "replace_table" | "delete_table" | "append_rule" | "delete_rule" }
>;

const NO_QUERY: FirewallQuery = { tables: [], chains: [] };

/** A kernel without anything. */
export const NOTHING: ActualState = {
  links: [],
  addresses: [],
  routes: [],
  neighbours: [],
  fdb: [],
  sysctls: new Map(),
  firewall: { tables: [], chains: [] },
};

export class MemoryKernel implements Kernel {
  /** Everything there is. Tests read it, and set it by `change`. */
  state: ActualState;
  /** Every operation that was tried, failed ones too. */
  readonly operations: Operation[] = [];
  /** How often somebody looked. */
  snapshotCount = 0;
  /** Makes an operation fail: the kernel's words, or undefined to let it pass. */
  fail: (operation: Operation) => string | undefined = () => undefined;
  /** Makes looking fail. */
  failSnapshot: string | undefined;
  #nextHandle = 1;
  readonly #listeners = new Set<(change: KernelChange) => void>();

  constructor(state: ActualState = NOTHING) {
    this.state = state;
  }

  snapshot(query: SnapshotQuery): ActualState {
    this.snapshotCount++;
    if (this.failSnapshot !== undefined) throw failure("list", "links", this.failSnapshot);
    const wanted = new Set(query.sysctls);
    const firewall = this.state.firewall;
    const { chains, tables } = query.firewall ?? NO_QUERY;
    const asked = new Set(chains.map(chainKey));
    const isAsked = (index: LinkIndex) =>
      this.state.links.some(
        (link) => link.index === index && query.neighbourLinks?.includes(link.name),
      );
    return {
      links: this.state.links,
      addresses: this.state.addresses,
      routes: this.state.routes.filter(({ protocol }) => protocol === query.routeProtocol),
      neighbours: this.state.neighbours.filter(({ link }) => isAsked(link)),
      fdb: this.state.fdb.filter(({ link }) => isAsked(link)),
      sysctls: new Map([...this.state.sysctls].filter(([path]) => wanted.has(path))),
      firewall: {
        tables: firewall.tables.filter((it) => tables.some((table) => sameTable(it, table))),
        chains: firewall.chains.filter(({ chain }) => asked.has(chainKey(chain))),
      },
    };
  }

  mainRoutes(family: Family): readonly ActualRoute[] {
    const MAIN = 254;
    return this.state.routes.filter(
      ({ destination, table }) => table === MAIN && addressFamily(destination) === family,
    );
  }

  foreignRoutes(ownProtocol: number): readonly ActualRoute[] {
    return this.state.routes.filter(({ protocol }) => protocol !== ownProtocol);
  }

  wayTo(_target: IpAddress): Way | undefined {
    return undefined;
  }

  apply(operation: Operation): void {
    this.operations.push(operation);
    const words = this.fail(operation);
    if (words !== undefined) throw failure(operation.kind, "memory", words);
    this.#carryOut(operation);
  }

  onChange(listener: (change: KernelChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
  }

  /** Changes the state behind the reconciler's back, and tells of it as the kernel would. */
  change(event: KernelChange, update: (state: ActualState) => ActualState): void {
    this.state = update(this.state);
    for (const listener of this.#listeners) listener(event);
  }

  /** A link comes into being. */
  addLink(link: ActualLink): void {
    const { index, name } = link;
    this.change({ kind: "link", link: { index, name } }, (state) => ({
      ...state,
      links: [...state.links, link],
    }));
  }

  /** A link goes, and with it what is on it. */
  deleteLink(ref: LinkRef): void {
    this.change({ kind: "link", link: ref }, (state) => ({
      ...state,
      links: state.links.filter(({ index }) => index !== ref.index),
      addresses: state.addresses.filter(({ link }) => link !== ref.index),
      routes: state.routes.filter(({ link }) => link !== ref.index),
      neighbours: state.neighbours.filter(({ link }) => link !== ref.index),
      fdb: state.fdb.filter(({ link }) => link !== ref.index),
    }));
  }

  #carryOut(operation: Operation): void {
    switch (operation.kind) {
      case "add_link":
        this.#makeLink(operation.link);
        break;
      case "set_link":
        this.#setLink(operation.link, operation.changes);
        break;
      case "delete_link":
        this.deleteLink(operation.link);
        break;
      case "replace_address":
        this.#replaceAddress(operation.address);
        break;
      case "delete_address":
        this.#deleteAddress(operation.address);
        break;
      case "add_route":
        if (this.state.routes.some((it) => sameKey(it, operation.route))) {
          throw failure("add route", operation.route.destination, "file already exists");
        }
        this.#setRoute(operation.route);
        break;
      case "replace_route":
        this.#setRoute(operation.route);
        break;
      case "delete_route":
        this.#deleteRoute(operation.route);
        break;
      case "replace_neighbour":
      case "delete_neighbour":
        this.#changeNeighbours(operation);
        break;
      case "replace_fdb":
      case "delete_fdb":
        this.#changeFdb(operation);
        break;
      case "write_sysctl":
        this.change({ kind: "settings", link: undefined }, (state) => ({
          ...state,
          sysctls: new Map([...state.sysctls, [operation.path, operation.value]]),
        }));
        break;
      default:
        this.#carryOutFirewall(operation);
    }
  }

  #carryOutFirewall(operation: FirewallOperation): void {
    switch (operation.kind) {
      case "replace_table":
        this.#deleteTable(operation.table);
        this.#addTable(operation.table);
        break;
      case "delete_table":
        this.#deleteTable(operation.table);
        break;
      case "append_rule":
        this.#changeRules(operation.chain, (rules) => [...rules, this.#number(operation.rule)]);
        break;
      case "delete_rule":
        this.#changeRules(operation.chain, (rules) =>
          rules.filter(({ handle }) => handle !== operation.rule.handle),
        );
        break;
      default:
        unreachable(operation);
    }
  }

  #number({ comment }: FirewallRule): ActualRule {
    return { handle: this.#nextHandle++, comment };
  }

  #addTable(table: FirewallTable): void {
    const ref = { family: table.family, name: table.name };
    const added = table.chains.map(
      ({ hook, name, rules }): ActualChain => ({
        chain: { table: ref, name },
        hook,
        rules: rules.map((rule) => this.#number(rule)),
      }),
    );
    this.#changeFirewall({ table: ref, name: undefined }, ({ chains, tables }) => ({
      tables: [...tables, ref],
      chains: [...chains, ...added],
    }));
  }

  #deleteTable(gone: TableRef): void {
    this.#changeFirewall({ table: gone, name: undefined }, ({ chains, tables }) => ({
      tables: tables.filter((table) => !sameTable(table, gone)),
      chains: chains.filter(({ chain }) => !sameTable(chain.table, gone)),
    }));
  }

  #changeRules(
    changed: ChainRef,
    update: (rules: readonly ActualRule[]) => readonly ActualRule[],
  ): void {
    this.#changeFirewall(changed, (firewall) => ({
      ...firewall,
      chains: firewall.chains.map((it) =>
        chainKey(it.chain) === chainKey(changed) ? { ...it, rules: update(it.rules) } : it,
      ),
    }));
  }

  #changeFirewall(
    { name, table }: { readonly table: TableRef; readonly name: string | undefined },
    update: (firewall: ActualFirewall) => ActualFirewall,
  ): void {
    this.change({ kind: "firewall", table, chain: name }, (state) => ({
      ...state,
      firewall: update(state.firewall),
    }));
  }

  #makeLink({ kind, mac, mtu, name, vxlan }: LinkSpec): void {
    const isTaken = (link: ActualLink) =>
      link.name === name || (link.vxlan?.vni === vxlan.vni && link.vxlan.port === vxlan.port);
    if (this.state.links.some(isTaken)) throw failure("add link", name, "file already exists");
    const index = decodeLinkIndex(Math.max(0, ...this.state.links.map((link) => link.index)) + 1);
    const rest = { up: false, loopback: false, txQueueLength: 1000, gsoMaxSize: 65_536 };
    this.addLink({ index, name, kind, mac, mtu, vxlan, ...rest });
  }

  #changeNeighbours(
    operation: Extract<Operation, { kind: "replace_neighbour" | "delete_neighbour" }>,
  ): void {
    const { address, link } = operation.neighbour;
    this.#requireLink(link);
    this.change({ kind: "neighbour", link: link.index }, (state) => {
      const others = state.neighbours.filter(
        (it) => it.link !== link.index || it.address !== address,
      );
      if (operation.kind === "delete_neighbour") return { ...state, neighbours: others };
      const added = { link: link.index, address, mac: operation.neighbour.mac };
      return { ...state, neighbours: [...others, added] };
    });
  }

  #changeFdb(operation: Extract<Operation, { kind: "replace_fdb" | "delete_fdb" }>): void {
    const { link, mac } = operation.entry;
    this.#requireLink(link);
    this.change({ kind: "neighbour", link: link.index }, (state) => {
      const others = state.fdb.filter((it) => it.link !== link.index || it.mac !== mac);
      if (operation.kind === "delete_fdb") return { ...state, fdb: others };
      const added = { link: link.index, mac, endpoint: operation.entry.endpoint };
      return { ...state, fdb: [...others, added] };
    });
  }

  #setLink(ref: LinkRef, changes: LinkChanges): void {
    this.#requireLink(ref);
    this.change({ kind: "link", link: ref }, (state) => ({
      ...state,
      links: state.links.map((it) => (it.index === ref.index ? { ...it, ...changes } : it)),
    }));
  }

  #replaceAddress({ address, link, prefixLength }: AddressSpec): void {
    this.#requireLink(link);
    const added: ActualAddress = {
      link: link.index,
      address,
      prefixLength,
      scope: "global",
      secondary: false,
    };
    this.change({ kind: "address", link: link.index }, (state) => ({
      ...state,
      addresses: [...state.addresses.filter((it) => !sameAddress(it, added)), added],
    }));
  }

  #deleteAddress({ address, link, prefixLength }: AddressSpec): void {
    const gone = { link: link.index, address, prefixLength };
    this.change({ kind: "address", link: link.index }, (state) => ({
      ...state,
      addresses: state.addresses.filter((it) => !sameAddress(it, gone)),
    }));
  }

  #setRoute({ destination, gateway, link, metric, onlink, protocol, table }: RouteSpec): void {
    this.#requireLink(link);
    const added: ActualRoute = {
      destination,
      table,
      protocol,
      metric,
      unicast: true,
      link: link.index,
      gateway,
      onlink,
    };
    const event = { kind: "route" as const, destination, link: link.index, protocol };
    this.change(event, (state) => {
      // As the kernel does: an identical one stays, otherwise the first with the key makes room.
      const same = state.routes.findIndex((it) => sameKey(it, added) && sameRoute(it, added));
      const position = same >= 0 ? same : state.routes.findIndex((it) => sameKey(it, added));
      if (position < 0) return { ...state, routes: [...state.routes, added] };
      return { ...state, routes: state.routes.with(position, added) };
    });
  }

  #deleteRoute(key: RouteKey): void {
    const found = this.state.routes.find((it) => sameKey(it, key) && sameRoute(it, key));
    if (found === undefined) return;
    const { destination, link, protocol } = found;
    this.change({ kind: "route", destination, link, protocol }, (state) => ({
      ...state,
      routes: state.routes.filter((it) => it !== found),
    }));
  }

  #requireLink({ index, name }: { readonly index: LinkIndex; readonly name: string }): void {
    if (this.state.links.some((link) => link.index === index)) return;
    throw failure("set up link", name, "no such device");
  }
}

function sameTable(a: TableRef, b: TableRef): boolean {
  return a.family === b.family && a.name === b.name;
}

function chainKey({ name, table }: ChainRef): string {
  return `${table.family} ${table.name} ${name}`;
}

function sameAddress(
  a: Pick<ActualAddress, "address" | "link" | "prefixLength">,
  b: Pick<ActualAddress, "address" | "link" | "prefixLength">,
): boolean {
  return a.link === b.link && a.address === b.address && a.prefixLength === b.prefixLength;
}

/** What the kernel lets one route occupy. */
function sameKey(
  a: Pick<RouteKey, "destination" | "metric" | "table">,
  b: Pick<RouteKey, "destination" | "metric" | "table">,
): boolean {
  return a.destination === b.destination && a.table === b.table && a.metric === b.metric;
}

/** The rest of what tells routes apart. */
function sameRoute(
  a: Pick<RouteKey, "gateway" | "link" | "protocol">,
  b: Pick<RouteKey, "gateway" | "link" | "protocol">,
): boolean {
  return a.protocol === b.protocol && a.link === b.link && a.gateway === b.gateway;
}

function failure(operation: string, object: string, reason: string): HostError {
  return new HostError({ operation, object, reason });
}
