/* A table from byte strings to numbers: tensor names, vocabularies. Keys are copied in, keep the order in which they
 * came, and are never removed. Open addressing over a 64-bit hash; at most half of the slots are used.
 * A zeroed map is an empty map. */
#ifndef ESPL_MAP_H
#define ESPL_MAP_H

#include "host/base/base.h"

typedef struct espl_map_entry {
    uint64_t hash;
    size_t offset; /* of the key in keys */
    uint32_t bytes;
    uint32_t value;
} espl_map_entry;

typedef struct espl_map {
    espl_map_entry *entries; /* owned; count of them, in the order of insertion */
    size_t count, capacity;
    uint32_t *slots; /* owned; index of an entry plus 1, 0 is free; slot_count is a power of two */
    size_t slot_count;
    espl_bytes keys; /* every key is followed by a zero byte */
} espl_map;

/* Adds key, or with the key already there changes nothing and sets *out_was_there (may be NULL) to true.
 * Fails: HOST_MEMORY; LIMIT beyond 2^31 keys or for a key of 2^32 bytes. After a failure the map is as before. */
espl_status espl_map_add(espl_context *ctx, espl_map *map, const void *key, size_t bytes, uint32_t value,
                         bool *out_was_there);
/* NULL if absent; borrowed until the next add. */
espl_map_entry *espl_map_find(const espl_map *map, const void *key, size_t bytes);
/* The key of entries[index], followed by a zero byte; borrowed until the next add. */
const char *espl_map_key(const espl_map *map, size_t index);
void espl_map_finish(espl_context *ctx, espl_map *map);

#endif
