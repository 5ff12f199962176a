/**
 * Where the other members are and whether a node is one: the tables as this node has them, and
 * before it has any (it just joined, or just started) the peers it knew last.
 *
 * @module
 */
import { type NodeId, parseNodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import type { Clock } from "../../../host/ports.ts";
import type { KvEvent, KvReader } from "../../kv/types.ts";
import type { ConfState } from "../../raft/types.ts";
import { isMember, memberIds } from "../members/conf-state.ts";
import { findMember, isRemoved, listMembers, type StoredMember } from "../members/member-table.ts";
import { MEMBERS_PREFIX, REMOVED_PREFIX } from "../members/system-record.ts";
import type { KnownPeer } from "../trust/identity.ts";
import type { HostPort } from "../types.ts";
import type { Standing } from "./permissions.ts";

/** Enough to find the cluster again; a large one must not make the file large. */
const SAVED_PEERS_MAX = 32;
/** Voters and standbys of some memberships. */
const LOCATED_MAX = 64;
/** Changes come in bursts (a start replays them all): one file write for each burst. */
const SAVE_DELAY_MS = 1_000;

export interface PeerDirectoryOptions {
  readonly nodeId: NodeId;
  readonly reader: KvReader;
  readonly known: readonly KnownPeer[];
  readonly clock: Clock;
  readonly log: Log;
  /** Membership at the applied index. */
  readonly confState: () => ConfState;
  /** Who leads, as far as this node knows. */
  readonly leader: () => NodeId | undefined;
  readonly save: (peers: readonly KnownPeer[]) => Promise<void>;
}

/** Looks peers up. */
export class PeerDirectory {
  readonly #options: PeerDirectoryOptions;
  /** The table, decoded; undefined until somebody asks. */
  #members: Map<NodeId, StoredMember> | undefined;
  /** Where nodes said that they are, since their record last changed. */
  readonly #heard = new Map<NodeId, HostPort>();
  /** Members of which there is no record here yet, where others said that they are. */
  readonly #located = new Map<NodeId, HostPort>();
  #cancelSave: (() => void) | undefined;

  constructor(options: PeerDirectoryOptions) {
    this.#options = options;
  }

  /** Where `node` listens, as far as is known. */
  addressOf(node: NodeId): HostPort | undefined {
    const said = this.#heard.get(node) ?? this.#table().get(node)?.address;
    const known = this.#options.known.find((peer) => peer.id === node)?.address;
    return said ?? this.#located.get(node) ?? known;
  }

  /**
   * What `node` is. Who is in the Raft membership takes part in it even when it was removed: it
   * must keep voting until the others can do without it.
   */
  standing(node: NodeId): Standing {
    const { reader, known, confState } = this.#options;
    const table = this.#table();
    const isInRaft = isMember(confState(), node);
    if (isRemoved(reader, node)) return isInRaft ? "leaving" : "removed";
    if (isInRaft) return "member";
    if (table.has(node)) return this.#maySpeakRaft(node) ? "member" : "spare";
    const isEarly = table.size === 0 && known.some((peer) => peer.id === node);
    const isLocated = this.#located.has(node) && this.#maySpeakRaft(node);
    return isEarly || isLocated ? "member" : "unknown";
  }

  /**
   * Whether `node`, a spare as far as is known here, may be a member by now. A node that lags must
   * listen to a leader, and give its vote to a voter, of which it does not know yet (thesis §4.1,
   * §4.2.1): so it does while it hears no leader of the membership that it knows.
   */
  #maySpeakRaft(node: NodeId): boolean {
    const { confState, leader } = this.#options;
    const known = leader();
    return known === undefined || known === node || !isMember(confState(), known);
  }

  /**
   * `node` said itself that it is at `address`. It may have moved, and must be answered there
   * before anybody can correct its record.
   */
  heardFrom(node: NodeId, address: HostPort): void {
    if (this.#table().has(node)) this.#heard.set(node, address);
  }

  /**
   * A member says that `node` is one, too, at `address`: it came while this node was away. It must
   * be believed, since what would prove it is what it is to feed to this node.
   */
  located(node: NodeId, address: HostPort): void {
    const isKnown = this.#table().has(node) || isRemoved(this.#options.reader, node);
    if (isKnown || node === this.#options.nodeId) return;
    this.#located.delete(node); // The newest last.
    this.#located.set(node, address);
    for (const oldest of this.#located.keys()) {
      if (this.#located.size <= LOCATED_MAX) break;
      this.#located.delete(oldest);
    }
  }

  /** Whether `events` concern the directory; if so it looks anew, and saves what it sees. */
  changed(events: readonly KvEvent[]): boolean {
    let isOurs = false;
    for (const event of events) {
      const key = event.kind === "put" ? event.current.key : event.key;
      const id = key.startsWith(MEMBERS_PREFIX) && parseNodeId(key.slice(MEMBERS_PREFIX.length));
      if (id) this.#recordChanged(id, event);
      isOurs ||= key.startsWith(MEMBERS_PREFIX) || key.startsWith(REMOVED_PREFIX);
    }
    if (!isOurs) return false;
    this.#cancelSave ??= this.#options.clock.after(SAVE_DELAY_MS, () => void this.#save());
    return true;
  }

  stop(): void {
    this.#cancelSave?.();
  }

  /** One of thousands: the others are not decoded again. */
  #recordChanged(id: NodeId, event: KvEvent): void {
    this.#heard.delete(id); // What the record says now is as new.
    this.#located.delete(id);
    // Told as new although it is known: the whole state was replaced, and some may be gone.
    const isRetold = event.kind === "put" && event.previous === undefined;
    if (isRetold && this.#members?.has(id)) this.#members = undefined;
    const member = findMember(this.#options.reader, id);
    if (member === undefined) this.#members?.delete(id);
    else this.#members?.set(id, member);
  }

  #table(): ReadonlyMap<NodeId, StoredMember> {
    if (this.#members === undefined) {
      const members = listMembers(this.#options.reader);
      this.#members = new Map(members.map((member) => [member.id, member]));
    }
    return this.#members;
  }

  async #save(): Promise<void> {
    const { nodeId, save, log, confState } = this.#options;
    this.#cancelSave = undefined;
    // Whoever has a part in Raft can feed this node when it starts again.
    const members = memberIds(confState());
    const isOther = (member: StoredMember) => member.id !== nodeId;
    const rank = (member: StoredMember) => (members.includes(member.id) ? 0 : 1);
    const peers = [...this.#table().values()]
      .filter(isOther)
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, SAVED_PEERS_MAX)
      .map(({ id, address }) => ({ id, address }));
    try {
      await save(peers);
    } catch (cause) {
      // Only a hint for the next start; the disk will say more where it matters.
      log.warn("known peers could not be saved", { reason: String(cause) });
    }
  }
}
