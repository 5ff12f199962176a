/**
 * The store's answers and events as schemas, for the side that reads them.
 *
 * Like views.ts: the shapes are those of `kv-api.ts`, which the compiler checks.
 *
 * @module
 */
import * as v from "valibot";
import type {
  BookmarkView,
  DeleteEventView,
  ItemView,
  ListView,
  PutEventView,
  TxnView,
  ValueView,
  WriteView,
} from "./kv-api.ts";

type Schema<View> = v.GenericSchema<unknown, View>;

const ValueSchema: Schema<ValueView> = v.union([v.string(), v.object({ base64: v.string() })]);

const itemEntries = {
  key: v.string(),
  value: ValueSchema,
  createRevision: v.number(),
  modRevision: v.number(),
  version: v.number(),
  ttlSeconds: v.optional(v.number()),
};
const ItemSchema: Schema<ItemView> = v.looseObject(itemEntries);

export const ListSchema: Schema<ListView> = v.looseObject({
  revision: v.number(),
  items: v.array(ItemSchema),
  more: v.boolean(),
});

export const WriteSchema: Schema<WriteView> = v.looseObject({ revision: v.number() });

export const TxnSchema: Schema<TxnView> = v.looseObject({
  succeeded: v.boolean(),
  revision: v.number(),
  results: v.array(
    v.variant("op", [
      v.looseObject({ op: v.literal("put") }),
      v.looseObject({ op: v.literal("renew"), ttlSeconds: v.nullable(v.number()) }),
      v.looseObject({ op: v.literal("get"), item: v.nullable(ItemSchema) }),
      v.looseObject({ op: v.literal("range"), items: v.array(ItemSchema), more: v.boolean() }),
      v.looseObject({ op: v.picklist(["delete", "deletePrefix"]), deleted: v.number() }),
    ]),
  ),
});

export const PutEventSchema: Schema<PutEventView> = v.looseObject({
  ...itemEntries,
  previous: v.optional(v.nullable(ItemSchema)),
});

export const DeleteEventSchema: Schema<DeleteEventView> = v.looseObject({
  key: v.string(),
  revision: v.number(),
  previous: v.optional(ItemSchema),
});

export const BookmarkSchema: Schema<BookmarkView> = v.looseObject({ revision: v.number() });
