/* See map.h. */
#include "host/file/map.h"
#include <string.h>

/* FNV-1a, then the finisher of MurmurHash3: the slots are taken from the low bits, which FNV alone mixes poorly. */
static uint64_t hash_of(const unsigned char *key, size_t bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ key[i]) * 0x100000001b3u;
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdu;
    return hash ^ hash >> 33;
}

/* The slot that holds key, or the free one where it belongs. */
static size_t slot_of(const espl_map *map, const void *key, size_t bytes, uint64_t hash) {
    size_t mask = map->slot_count - 1, slot = (size_t)hash & mask;
    for (; map->slots[slot]; slot = (slot + 1) & mask) {
        const espl_map_entry *entry = &map->entries[map->slots[slot] - 1];
        if (entry->hash == hash && entry->bytes == bytes &&
            (bytes == 0 || memcmp(map->keys.data + entry->offset, key, bytes) == 0))
            break;
    }
    return slot;
}

static espl_status grow_slots(espl_context *ctx, espl_map *map) {
    if (map->slot_count / 2 > map->count) return ESPL_OK;
    size_t slot_count = map->slot_count ? 2 * map->slot_count : 16, mask = slot_count - 1;
    uint32_t *slots;
    ESPL_TRY(espl_new(ctx, slot_count * sizeof *slots, &slots));
    for (size_t i = 0; i < map->count; i++) {
        size_t slot = (size_t)map->entries[i].hash & mask;
        while (slots[slot]) slot = (slot + 1) & mask;
        slots[slot] = (uint32_t)i + 1;
    }
    espl_free(ctx, &map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
    return ESPL_OK;
}

espl_map_entry *espl_map_find(const espl_map *map, const void *key, size_t bytes) {
    if (map->count == 0) return NULL;
    uint32_t found = map->slots[slot_of(map, key, bytes, hash_of(key, bytes))];
    return found ? &map->entries[found - 1] : NULL;
}

espl_status espl_map_add(espl_context *ctx, espl_map *map, const void *key, size_t bytes, uint32_t value,
                         bool *out_was_there) {
    if (out_was_there) *out_was_there = false;
    if (bytes > UINT32_MAX || map->count >= (size_t)1 << 31)
        return espl_fail(ctx, ESPL_LIMIT, "a table cannot hold key %zu of %zu bytes", map->count, bytes);
    ESPL_TRY(grow_slots(ctx, map));
    ESPL_TRY(espl_grow(ctx, &map->entries, &map->capacity, map->count + 1, sizeof *map->entries));
    uint64_t hash = hash_of(key, bytes);
    size_t slot = slot_of(map, key, bytes, hash);
    if (map->slots[slot]) {
        if (out_was_there) *out_was_there = true;
        return ESPL_OK;
    }
    size_t offset = map->keys.count;
    espl_status status = espl_bytes_append(ctx, &map->keys, key, bytes);
    if (status == ESPL_OK) status = espl_bytes_append(ctx, &map->keys, "", 1);
    if (status != ESPL_OK) {
        map->keys.count = offset;
        return status;
    }
    map->entries[map->count++] =
        (espl_map_entry){.hash = hash, .offset = offset, .bytes = (uint32_t)bytes, .value = value};
    map->slots[slot] = (uint32_t)map->count;
    return ESPL_OK;
}

const char *espl_map_key(const espl_map *map, size_t index) {
    return map->keys.data + map->entries[index].offset;
}

void espl_map_finish(espl_context *ctx, espl_map *map) {
    espl_free(ctx, &map->entries);
    espl_free(ctx, &map->slots);
    espl_bytes_finish(ctx, &map->keys);
    *map = (espl_map){0};
}
