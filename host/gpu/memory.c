/* Device memory: one buffer and one allocation per block, arenas as lists of blocks, and copies to and from the host.
 * Nothing is freed piecemeal: what is freed together lies in one arena. */
#include "host/gpu/state.h"
#include <inttypes.h>
#include <string.h>

static const uint64_t block_bytes_min = 1 << 20;
static const char *const kind_names[ESPL_ARENA_KIND_COUNT] = {"weights", "state", "activations", "staging"};

/* Memory that is slower by intent, or that the host may not touch. */
static const VkMemoryPropertyFlags refused_flags = VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                                   VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                                                   VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD |
                                                   VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;
static const VkMemoryPropertyFlags mapped_flags =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

/* How well a memory type suits a kind of arena; 0: not at all. */
static int type_score(const espl_device *device, espl_arena_kind kind, uint32_t type) {
    const VkPhysicalDeviceMemoryProperties *memory = &device->facts.memory;
    VkMemoryPropertyFlags flags = memory->memoryTypes[type].propertyFlags;
    uint64_t heap_bytes = memory->memoryHeaps[memory->memoryTypes[type].heapIndex].size;
    bool local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    bool mapped = (flags & mapped_flags) == mapped_flags;
    bool cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    if (flags & refused_flags || type >= device->facts.capabilities.memory_type_count) return 0;
    /* The host reads staging, and reading uncached memory is slow; the device's own memory is the scarcer. */
    if (kind == ESPL_ARENA_STAGING) return mapped ? 1 + 4 * cached + 2 * !local : 0;
    if (!local) return 0;
    bool unified = device->facts.capabilities.unified_memory;
    bool large = heap_bytes >= device->facts.capabilities.heap_bytes;
    return 1 + 8 * large + (unified ? 4 * mapped + 2 * (mapped && cached) : 4 * !mapped);
}

/* The best type of those allowed; UINT32_MAX if none is left. */
static uint32_t best_type(const espl_device *device, espl_arena_kind kind, uint32_t allowed) {
    uint32_t best = UINT32_MAX;
    int best_score = 0;
    for (uint32_t i = 0; i < device->facts.memory.memoryTypeCount; i++) {
        int score = allowed >> i & 1 ? type_score(device, kind, i) : 0;
        if (score <= best_score) continue;
        best = i;
        best_score = score;
    }
    return best;
}

static uint64_t bytes_of_arenas(const espl_device *device) {
    uint64_t sum = 0;
    for (int i = 0; i < ESPL_ARENA_KIND_COUNT; i++) sum += device->counters.arena_bytes[i];
    return sum;
}

static uint64_t heap_size(const espl_device *device, uint32_t heap) {
    if (device->facts.heap_lowered) return device->facts.capabilities.heap_bytes;
    return device->facts.memory.memoryHeaps[heap].size;
}

/* Bytes of a heap in use by this process, as the driver says, else as this device's arenas say. */
static uint64_t heap_use(const espl_device *device, uint32_t heap) {
    if (device->facts.memory_budget && !device->facts.heap_lowered) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
        VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                    .pNext = &budget};
        device->vk.GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
        return budget.heapUsage[heap];
    }
    return bytes_of_arenas(device);
}

uint64_t espl_device_memory_left(const espl_device *device) {
    const espl_capabilities *can = &device->facts.capabilities;
    if (can->cpu && !device->facts.heap_lowered) return UINT64_MAX;
    const uint32_t type = best_type(device, ESPL_ARENA_WEIGHTS, UINT32_MAX);
    const uint32_t heap = type == UINT32_MAX ? 0 : device->facts.memory.memoryTypes[type].heapIndex;
    const uint64_t used = heap_use(device, heap);
    return used < can->heap_bytes ? can->heap_bytes - used : 0;
}

/* A heap that limits lowered is full before the driver says so. */
static VkResult allocate_within(espl_device *device, const VkMemoryAllocateInfo *info, VkDeviceMemory *out_memory) {
    *out_memory = VK_NULL_HANDLE;
    if (device->facts.heap_lowered &&
        bytes_of_arenas(device) + info->allocationSize > device->facts.capabilities.heap_bytes)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    VkResult result = device->vk.AllocateMemory(device->handle, info, NULL, &memory);
    if (result == VK_SUCCESS) *out_memory = memory;
    return result;
}

/* Tries the best type; if it has no room, once more after freeing what finished submissions used, then after waiting
 * for the running ones: a pause is better than a failure. */
static espl_status allocate(espl_device *device, espl_block *block, const char *name, uint32_t allowed) {
    uint64_t asked = block->bytes;
    uint32_t type = best_type(device, block->kind, allowed);
    if (type == UINT32_MAX)
        return espl_fail(device->ctx, ESPL_UNSUPPORTED, "%s has no memory type for %s", device->name,
                         kind_names[block->kind]);
    uint32_t heap = device->facts.memory.memoryTypes[type].heapIndex;
    VkMemoryRequirements needs;
    device->vk.GetBufferMemoryRequirements(device->handle, block->buffer, &needs);
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = type};
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (int try = 0; try < 3; try++) {
        if (try > 0 && !device->garbage_blocks) break;
        if (try == 2) ESPL_TRY(espl_wait(device, device->signal.newest));
        if (try > 0) espl_device_collect(device);
        result = allocate_within(device, &info, &block->memory);
        if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY) break;
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return espl_fail(device->ctx, ESPL_DEVICE_MEMORY,
                         "%s (%s): no room for %" PRIu64 " bytes; the heap has %" PRIu64 " bytes, %" PRIu64 " in use",
                         name, kind_names[block->kind], asked, heap_size(device, heap), heap_use(device, heap));
    ESPL_TRY(espl_device_check(device, result, "vkAllocateMemory"));
    device->counters.device_allocations++;
    device->counters.arena_bytes[block->kind] += block->bytes;
    ESPL_TRY(espl_device_check(device, device->vk.BindBufferMemory(device->handle, block->buffer, block->memory, 0),
                               "vkBindBufferMemory"));
    bool wanted = block->kind == ESPL_ARENA_STAGING || device->facts.capabilities.unified_memory;
    if (wanted && (device->facts.memory.memoryTypes[type].propertyFlags & mapped_flags) == mapped_flags) {
        void *host = NULL;
        ESPL_TRY(espl_device_check(
            device, device->vk.MapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &host), "vkMapMemory"));
        block->host = host;
    }
    return ESPL_OK;
}

espl_status espl_block_create(espl_device *device, espl_arena_kind kind, const char *name, uint64_t bytes,
                              espl_block **out_block) {
    *out_block = NULL;
    ESPL_TRY(espl_device_alive(device));
    if (bytes > device->facts.capabilities.allocation_bytes_max)
        return espl_fail(device->ctx, ESPL_DEVICE_MEMORY,
                         "%s (%s): %" PRIu64 " bytes are more than the device allows in one piece, %" PRIu64, name,
                         kind_names[kind], bytes, device->facts.capabilities.allocation_bytes_max);
    espl_block *block;
    ESPL_TRY(espl_new(device->ctx, sizeof *block, &block));
    block->device = device;
    block->kind = kind;
    block->bytes = bytes;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = bytes,
                                     .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                              VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    espl_status status;
    ESPL_GOTO(espl_device_check(device, device->vk.CreateBuffer(device->handle, &info, NULL, &block->buffer),
                                "vkCreateBuffer"));
    VkMemoryRequirements needs;
    device->vk.GetBufferMemoryRequirements(device->handle, block->buffer, &needs);
    ESPL_GOTO(allocate(device, block, name, needs.memoryTypeBits));
    espl_device_label_object(device, VK_OBJECT_TYPE_BUFFER, ESPL_HANDLE(block->buffer), name);
    espl_device_label_object(device, VK_OBJECT_TYPE_DEVICE_MEMORY, ESPL_HANDLE(block->memory), name);
    *out_block = block;
    return ESPL_OK;
fail:
    espl_block_destroy(&block);
    return status;
}

void espl_block_destroy(espl_block **block) {
    espl_block *b = *block;
    *block = NULL;
    if (!b) return;
    espl_device *device = b->device;
    device->vk.DestroyBuffer(device->handle, b->buffer, NULL);
    if (b->memory) device->counters.arena_bytes[b->kind] -= b->bytes;
    device->vk.FreeMemory(device->handle, b->memory, NULL); /* unmaps */
    espl_free(device->ctx, &b);
}

void espl_arena_init(espl_arena *arena, espl_device *device, espl_arena_kind kind, const char *name) {
    *arena = (espl_arena){.device = device, .kind = kind, .name = name};
}

espl_status espl_arena_reserve(espl_arena *arena, uint64_t bytes) {
    arena->reserved += bytes;
    return ESPL_OK;
}

static espl_status add_block(espl_arena *arena, uint64_t bytes, espl_block **out_block) {
    espl_device *device = arena->device;
    uint64_t limit = device->facts.capabilities.allocation_bytes_max;
    uint64_t wanted = arena->reserved ? arena->reserved : block_bytes_min;
    if (wanted > limit) wanted = limit / ESPL_SPAN_ALIGNMENT * ESPL_SPAN_ALIGNMENT;
    if (wanted < bytes) wanted = bytes;
    espl_status status = espl_block_create(device, arena->kind, arena->name, wanted, out_block);
    /* A heap in pieces may hold in several blocks what it cannot hold in one. */
    if (status == ESPL_DEVICE_MEMORY && wanted > bytes)
        status = espl_block_create(device, arena->kind, arena->name, bytes, out_block);
    ESPL_TRY(status);
    (*out_block)->next = arena->first;
    arena->first = *out_block;
    arena->bytes += (*out_block)->bytes;
    return ESPL_OK;
}

espl_status espl_arena_take(espl_arena *arena, uint64_t bytes, espl_span *out_span) {
    *out_span = (espl_span){0};
    if (bytes > UINT64_MAX / 2)
        return espl_fail(arena->device->ctx, ESPL_LIMIT, "%s: %" PRIu64 " bytes are too many", arena->name, bytes);
    uint64_t rounded = espl_round_up(bytes ? bytes : 1, ESPL_SPAN_ALIGNMENT);
    espl_block *block = arena->first;
    while (block && block->bytes - block->used < rounded) block = block->next;
    if (!block) ESPL_TRY(add_block(arena, rounded, &block));
    *out_span = (espl_span){block, block->used, bytes};
    block->used += rounded;
    arena->reserved -= rounded < arena->reserved ? rounded : arena->reserved;
    return ESPL_OK;
}

void espl_arena_finish(espl_arena *arena) {
    espl_device *device = arena->device;
    while (arena->first) {
        espl_block *block = arena->first;
        arena->first = block->next;
        block->free_after = device->signal.newest;
        block->next = device->garbage_blocks;
        device->garbage_blocks = block;
    }
    if (device) espl_device_collect(device);
    *arena = (espl_arena){0};
}

void *espl_span_host(espl_span span) {
    return span.block && span.block->host ? span.block->host + span.offset : NULL;
}

static espl_status check_copy(espl_device *device, const char *what, espl_span span, uint64_t bytes) {
    if (!span.block || span.block->device != device)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: the span has no memory of this device", what);
    if (span.offset % 4 || bytes % 4)
        return espl_fail(device->ctx, ESPL_ARGUMENT,
                         "%s: offset %" PRIu64 " and %" PRIu64 " bytes must be multiples of 4", what, span.offset,
                         bytes);
    if (span.offset > span.block->bytes || bytes > span.block->bytes - span.offset || bytes > span.bytes)
        return espl_fail(device->ctx, ESPL_ARGUMENT,
                         "%s: %" PRIu64 " bytes at %" PRIu64 " of a span of %" PRIu64 " bytes in a block of %" PRIu64,
                         what, bytes, span.offset, span.bytes, span.block->bytes);
    return ESPL_OK;
}

static espl_status submit_copy(espl_device *device, const char *name, espl_span from, espl_span to,
                               espl_ticket *out_ticket) {
    espl_commands *commands;
    ESPL_TRY(espl_commands_begin(device, name, &commands));
    espl_status status;
    ESPL_GOTO(espl_commands_copy(commands, from, to));
    ESPL_GOTO(espl_commands_end(commands));
    ESPL_GOTO(espl_submit(device, &commands, 1, out_ticket));
fail:
    espl_commands_destroy(&commands);
    return status;
}

/* Small beside a small heap, too, and no larger than one allocation may be. */
static espl_status need_ring(espl_device *device) {
    if (device->ring) return ESPL_OK;
    const espl_capabilities *can = &device->facts.capabilities;
    uint64_t half = ESPL_RING_HALF_BYTES;
    if (half > can->allocation_bytes_max / 2) half = can->allocation_bytes_max / 2;
    if (half > can->heap_bytes / 64) half = can->heap_bytes / 64;
    half = half < ESPL_SPAN_ALIGNMENT ? ESPL_SPAN_ALIGNMENT : half / ESPL_SPAN_ALIGNMENT * ESPL_SPAN_ALIGNMENT;
    return espl_block_create(device, ESPL_ARENA_STAGING, "copies to and from the host", 2 * half, &device->ring);
}

espl_status espl_upload(espl_device *device, espl_span to, const void *from, uint64_t bytes) {
    ESPL_TRY(check_copy(device, "upload", to, bytes));
    if (bytes == 0) return ESPL_OK;
    if (to.block->host) {
        ESPL_TRY(espl_wait(device, device->signal.newest));
        memcpy(espl_span_host(to), from, (size_t)bytes);
        return ESPL_OK;
    }
    ESPL_TRY(need_ring(device));
    /* Two halves: the host fills one while the device reads the other. */
    espl_ticket tickets[2] = {device->signal.newest, device->signal.newest};
    const uint64_t half_bytes = device->ring->bytes / 2;
    int half = 0;
    for (uint64_t done = 0, piece; done < bytes; done += piece, half ^= 1) {
        piece = bytes - done < half_bytes ? bytes - done : half_bytes;
        espl_span ring = {device->ring, (uint64_t)half * half_bytes, piece};
        ESPL_TRY(espl_wait(device, tickets[half]));
        memcpy(espl_span_host(ring), (const unsigned char *)from + done, (size_t)piece);
        ESPL_TRY(submit_copy(device, "upload", ring, espl_span_part(to, done, piece), &tickets[half]));
    }
    return espl_wait(device, device->signal.newest);
}

espl_status espl_download(espl_device *device, espl_span from, void *to, uint64_t bytes) {
    ESPL_TRY(check_copy(device, "download", from, bytes));
    if (bytes == 0) return ESPL_OK;
    if (from.block->host) {
        ESPL_TRY(espl_wait(device, device->signal.newest));
        memcpy(to, espl_span_host(from), (size_t)bytes);
        return ESPL_OK;
    }
    ESPL_TRY(need_ring(device));
    /* The device fills one half while the host empties the other; `copied` runs one piece ahead of `done`. */
    espl_ticket tickets[2] = {0};
    const uint64_t half_bytes = device->ring->bytes / 2;
    uint64_t copied = 0, done = 0;
    for (int half = 0; done < bytes; half ^= 1) {
        for (int ahead = 0; ahead < 2 && copied < bytes && copied - done < 2 * half_bytes; ahead++) {
            uint64_t piece = bytes - copied < half_bytes ? bytes - copied : half_bytes;
            int slot = (int)(copied / half_bytes % 2);
            espl_span ring = {device->ring, (uint64_t)slot * half_bytes, piece};
            ESPL_TRY(submit_copy(device, "download", espl_span_part(from, copied, piece), ring, &tickets[slot]));
            copied += piece;
        }
        uint64_t piece = bytes - done < half_bytes ? bytes - done : half_bytes;
        ESPL_TRY(espl_wait(device, tickets[half]));
        memcpy((unsigned char *)to + done, device->ring->host + (uint64_t)half * half_bytes, (size_t)piece);
        done += piece;
    }
    return ESPL_OK;
}

espl_status espl_clear(espl_device *device, espl_span span) {
    espl_commands *commands = NULL;
    espl_ticket ticket;
    espl_status status = espl_commands_begin(device, "clear", &commands);
    if (status == ESPL_OK) status = espl_commands_fill(commands, span, 0);
    if (status == ESPL_OK) status = espl_commands_end(commands);
    if (status == ESPL_OK) status = espl_submit(device, &commands, 1, &ticket);
    espl_commands_destroy(&commands);
    return status;
}
