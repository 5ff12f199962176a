/**
 * A map with string keys in order: a B+ tree that copies a node only when somebody else may be
 * looking at it, beside a hash index for single keys.
 *
 * Each node and cell names the edit it belongs to. The map changes those of its own edit in place
 * and copies all others on the way down; `freeze` hands out the root as it is and starts a new
 * edit, so the frozen view costs nothing to take and never changes. Without a frozen view writes
 * copy nothing, and a new value for a known key does not even go through the tree.
 *
 *     branch  bounds    [ b1, b2 ]        children[i] holds the keys from bounds[i-1] on,
 *             children  [ c0, c1, c2 ]    below bounds[i]
 *     leaf    keys      [ k0, k1, ... ]   cells[i] holds the value of keys[i]
 *     index   key -> its cell in the live tree (key-index.ts)
 *
 * A descent costs about 17 comparisons of strings (1.5 µs among 100,000 keys), the index one
 * (0.2 µs): see scripts/bench kv. Keys compare by UTF-16 code units. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { KeyIndex } from "./key-index.ts";

/** Entries of a leaf, children of a branch. 32 to 128 measured alike; see scripts/bench kv. */
const NODE_SIZE_MAX = 64;
/** Below it a node takes from a neighbor or joins it. */
const NODE_SIZE_MIN = 16;

/** Identity of the writer that may change a node in place. */
type Edit = object;

interface Cell<Value> {
  readonly edit: Edit;
  readonly key: string;
  value: Value;
}

interface Leaf<Value> {
  readonly kind: "leaf";
  readonly edit: Edit;
  readonly keys: string[];
  readonly cells: Cell<Value>[];
}

interface Branch<Value> {
  readonly kind: "branch";
  readonly edit: Edit;
  readonly bounds: string[];
  readonly children: Node<Value>[];
}

type Node<Value> = Leaf<Value> | Branch<Value>;

/** An unchanging view of a map at one moment. */
export class FrozenMap<Value> {
  readonly #root: Node<Value>;
  readonly size: number;

  constructor(root: Node<Value>, size: number) {
    this.#root = root;
    this.size = size;
  }

  /** Entries whose key starts with `prefix` and comes after `after`, ascending. */
  entries(prefix: string, after?: string): IterableIterator<readonly [string, Value]> {
    // No key lies between a key and the same key with U+0000 behind it.
    const start = after === undefined || after < prefix ? prefix : `${after}\0`;
    return iterate(this.#root, prefix, start);
  }
}

/** The changing map. */
export class OrderedMap<Value> {
  #edit: Edit = {};
  #root: Node<Value> = { kind: "leaf", edit: this.#edit, keys: [], cells: [] };
  readonly #index = new KeyIndex<Cell<Value>>();
  /** The last leaf, while keys are only being appended. */
  #tail: Leaf<Value> | undefined;

  get size(): number {
    return this.#index.size;
  }

  get(key: string): Value | undefined {
    return this.#index.get(key)?.value;
  }

  /** The map as it is now; later changes of this map do not show in it. */
  freeze(): FrozenMap<Value> {
    this.#edit = {};
    return new FrozenMap(this.#root, this.#index.size);
  }

  set(key: string, value: Value): void {
    const known = this.#index.get(key);
    if (known !== undefined && known.edit === this.#edit) {
      known.value = value;
      return;
    }
    const cell: Cell<Value> = { edit: this.#edit, key, value };
    this.#index.set(cell);
    this.#tail = undefined;
    const root = this.#own(this.#root);
    this.#root = root;
    this.#insert(root, key, cell);
    if (nodeSize(root) > NODE_SIZE_MAX) {
      const [bound, right] = this.#split(root);
      this.#root = { kind: "branch", edit: this.#edit, bounds: [bound], children: [root, right] };
    }
  }

  /** Adds a key that comes after all others: no descent, so the least work for many in order. */
  append(key: string, value: Value): void {
    const edit = this.#edit;
    const tail = this.#tail;
    if (tail === undefined || tail.edit !== edit || tail.keys.length >= NODE_SIZE_MAX) {
      this.set(key, value);
      this.#tail = lastLeaf(this.#root);
      return;
    }
    assert(key > tail.keys.at(-1)!, "appended keys must be in order");
    const cell: Cell<Value> = { edit, key, value };
    this.#index.set(cell);
    tail.keys.push(key);
    tail.cells.push(cell);
  }

  /** Whether there was a value. */
  delete(key: string): boolean {
    if (!this.#index.delete(key)) return false;
    this.#tail = undefined;
    const root = this.#own(this.#root);
    this.#remove(root, key);
    const only = root.kind === "branch" && root.children.length === 1;
    this.#root = only ? root.children[0]! : root;
    return true;
  }

  /** `node` if this edit made it, otherwise a copy that it may change. */
  #own(node: Node<Value>): Node<Value> {
    if (node.edit === this.#edit) return node;
    const edit = this.#edit;
    return node.kind === "leaf"
      ? { kind: "leaf", edit, keys: node.keys.slice(), cells: node.cells.slice() }
      : { kind: "branch", edit, bounds: node.bounds.slice(), children: node.children.slice() };
  }

  #ownChild(branch: Branch<Value>, position: number): Node<Value> {
    const child = this.#own(branch.children[position]!);
    branch.children[position] = child;
    return child;
  }

  #insert(node: Node<Value>, key: string, cell: Cell<Value>): void {
    if (node.kind === "leaf") {
      const position = lowerBound(node.keys, key);
      if (node.keys[position] === key) {
        node.cells[position] = cell;
      } else {
        node.keys.splice(position, 0, key);
        node.cells.splice(position, 0, cell);
      }
      return;
    }
    const position = childPosition(node.bounds, key);
    const child = this.#ownChild(node, position);
    this.#insert(child, key, cell);
    if (nodeSize(child) <= NODE_SIZE_MAX) return;
    const [bound, right] = this.#split(child);
    node.bounds.splice(position, 0, bound);
    node.children.splice(position + 1, 0, right);
  }

  #remove(node: Node<Value>, key: string): void {
    if (node.kind === "leaf") {
      const position = lowerBound(node.keys, key);
      assert(node.keys[position] === key, "removed key must be present");
      node.keys.splice(position, 1);
      node.cells.splice(position, 1);
      return;
    }
    const position = childPosition(node.bounds, key);
    const child = this.#ownChild(node, position);
    this.#remove(child, key);
    if (nodeSize(child) < NODE_SIZE_MIN && node.children.length > 1) {
      this.#balance(node, position === 0 ? 0 : position - 1);
    }
  }

  /** Joins children `left` and `left + 1`, and parts them again evenly if they are too many. */
  #balance(parent: Branch<Value>, left: number): void {
    const target = this.#ownChild(parent, left);
    const source = parent.children[left + 1]!;
    if (target.kind === "leaf") {
      assert(source.kind === "leaf", "siblings must be of one kind");
      target.keys.push(...source.keys);
      target.cells.push(...source.cells);
    } else {
      assert(source.kind === "branch", "siblings must be of one kind");
      target.bounds.push(parent.bounds[left]!, ...source.bounds);
      target.children.push(...source.children);
    }
    parent.bounds.splice(left, 1);
    parent.children.splice(left + 1, 1);
    if (nodeSize(target) <= NODE_SIZE_MAX) return;
    const [bound, right] = this.#split(target);
    parent.bounds.splice(left, 0, bound);
    parent.children.splice(left + 1, 0, right);
  }

  /** Takes the upper half out of `node`, which is owned: the half and the bound before it. */
  #split(node: Node<Value>): [string, Node<Value>] {
    const edit = this.#edit;
    const half = nodeSize(node) >>> 1;
    if (node.kind === "leaf") {
      const keys = node.keys.splice(half);
      const cells = node.cells.splice(half);
      return [keys[0]!, { kind: "leaf", edit, keys, cells }];
    }
    const children = node.children.splice(half);
    const bounds = node.bounds.splice(half);
    return [node.bounds.pop()!, { kind: "branch", edit, bounds, children }];
  }
}

function nodeSize<Value>(node: Node<Value>): number {
  return node.kind === "leaf" ? node.keys.length : node.children.length;
}

function lastLeaf<Value>(root: Node<Value>): Leaf<Value> {
  let node = root;
  while (node.kind === "branch") node = node.children.at(-1)!;
  return node;
}

function* iterate<Value>(
  root: Node<Value>,
  prefix: string,
  start: string,
): IterableIterator<readonly [string, Value]> {
  const parents: { readonly branch: Branch<Value>; position: number }[] = [];
  let node: Node<Value> | undefined = root;
  let position = -1;
  while (node !== undefined) {
    while (node.kind === "branch") {
      const child: number = position < 0 ? childPosition(node.bounds, start) : 0;
      parents.push({ branch: node, position: child });
      node = node.children[child]!;
    }
    for (position = position < 0 ? lowerBound(node.keys, start) : 0; ; position++) {
      const key = node.keys[position];
      if (key === undefined) break;
      if (!key.startsWith(prefix)) return;
      yield [key, node.cells[position]!.value];
    }
    node = nextSubtree(parents);
    position = 0;
  }
}

/** The subtree after the one that `parents` lead to; drops the parents that are done. */
function nextSubtree<Value>(
  parents: { readonly branch: Branch<Value>; position: number }[],
): Node<Value> | undefined {
  for (let parent = parents.at(-1); parent !== undefined; parent = parents.at(-1)) {
    parent.position += 1;
    const next = parent.branch.children[parent.position];
    if (next !== undefined) return next;
    parents.pop();
  }
  return undefined;
}

/** First position whose key is not less than `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many bounds are not greater than `key`: the child that holds it. */
function childPosition(bounds: readonly string[], key: string): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (bounds[middle]! <= key) low = middle + 1;
    else high = middle;
  }
  return low;
}
