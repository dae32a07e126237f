/* Recording. Each call goes straight into a VkCommandBuffer; what is kept beside it is the list of bytes touched since
 * the last barrier, from which the next barrier follows. All checks and all allocation come before the first vkCmd, so
 * that a call that fails has recorded nothing. */
#include "host/gpu/state.h"
#include <inttypes.h>
#include <string.h>

enum { SETS_FIRST = 16, SETS_MAX = 256, DESCRIPTORS_PER_SET = 6 };

static const VkPipelineStageFlags work_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
static const VkAccessFlags work_writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
static const VkAccessFlags work_accesses = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                           VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

/* One global barrier: buffers are sub-allocated, and drivers turn per-buffer barriers into global ones anyway. */
static void barrier(espl_commands *commands) {
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = work_writes, .dstAccessMask = work_accesses};
    commands->device->vk.CmdPipelineBarrier(commands->tail->buffer, work_stages, work_stages, 0, 1, &memory, 0, NULL, 0,
                                            NULL);
    commands->access_count = 0;
}

static void begin_label(espl_commands *commands, const char *name) {
    const VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = name};
    espl_device *device = commands->device;
    if (device->debug_utils) device->vk.CmdBeginDebugUtilsLabelEXT(commands->tail->buffer, &label);
}

static void end_label(espl_commands *commands) {
    if (commands->device->debug_utils) commands->device->vk.CmdEndDebugUtilsLabelEXT(commands->tail->buffer);
}

espl_status espl_piece_begin(espl_commands *piece, const char *name) {
    espl_device *device = piece->device;
    const bool part = piece->kind == ESPL_COMMANDS_PART;
    const VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = device->command_pool,
                                              .level = part ? VK_COMMAND_BUFFER_LEVEL_SECONDARY : VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    const VkCommandBufferInheritanceInfo outside = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_INHERITANCE_INFO};
    /* It may be submitted again while an earlier submission of it still runs. */
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
                                            .pInheritanceInfo = &outside};
    piece->tail = piece;
    piece->milliseconds = -1;
    piece->likely = -1;
    if (piece->slice_ms > 0) ESPL_TRY(espl_timer_take(device, &piece->timer));
    ESPL_TRY(espl_device_check(device, device->vk.AllocateCommandBuffers(device->handle, &info, &piece->buffer),
                               "vkAllocateCommandBuffers"));
    espl_device_label_object(device, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)piece->buffer, name);
    ESPL_TRY(espl_device_check(device, device->vk.BeginCommandBuffer(piece->buffer, &begin), "vkBeginCommandBuffer"));
    begin_label(piece, name);
    if (piece->timer.pool) device->vk.CmdResetQueryPool(piece->buffer, piece->timer.pool, piece->timer.first, 2);
    barrier(piece); /* the commands before this one may have written anything */
    /* Both stamps at the bottom of the pipe: the first is then taken when the commands before have ended, so that the
     * difference is the time of these alone. */
    if (piece->timer.pool)
        device->vk.CmdWriteTimestamp(piece->buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, piece->timer.pool,
                                     piece->timer.first);
    return ESPL_OK;
}

espl_status espl_piece_end(espl_commands *piece) {
    espl_device *device = piece->device;
    if (piece->timer.pool)
        device->vk.CmdWriteTimestamp(piece->buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, piece->timer.pool,
                                     piece->timer.first + 1);
    /* Our own commands begin with a barrier; what a host program records after a part does not. */
    const bool part = piece->kind == ESPL_COMMANDS_PART;
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = work_writes,
                                    .dstAccessMask = VK_ACCESS_HOST_READ_BIT | (part ? work_accesses : 0)};
    device->vk.CmdPipelineBarrier(piece->buffer, work_stages, VK_PIPELINE_STAGE_HOST_BIT | (part ? work_stages : 0), 0, 1,
                                  &memory, 0, NULL, 0, NULL);
    end_label(piece);
    return espl_device_check(device, device->vk.EndCommandBuffer(piece->buffer), "vkEndCommandBuffer");
}

espl_status espl_commands_begin(espl_device *device, const char *name, espl_commands **out_commands) {
    return espl_commands_begin_as(device, name, ESPL_COMMANDS_OWN, 0, out_commands);
}

static double slice_of(const espl_device *device, espl_commands_kind kind, double piece_ms) {
    if (kind == ESPL_COMMANDS_PART) return 0;
    return device->sliced && !(piece_ms > 0 && piece_ms < device->slice_ms) ? device->slice_ms : piece_ms;
}

espl_status espl_commands_begin_as(espl_device *device, const char *name, espl_commands_kind kind, double piece_ms,
                                   espl_commands **out_commands) {
    *out_commands = NULL;
    ESPL_TRY(espl_device_alive(device));
    espl_device_collect(device);
    espl_commands *commands;
    ESPL_TRY(espl_new(device->ctx, sizeof *commands, &commands));
    const bool part = kind == ESPL_COMMANDS_PART;
    commands->device = device;
    commands->kind = kind;
    commands->slice_ms = slice_of(device, kind, piece_ms);
    commands->profiled = !part && device->profile.on && device->facts.capabilities.timestamps;
    espl_status status;
    ESPL_GOTO(espl_copy_string(device->ctx, name, strlen(name), &commands->name));
    ESPL_GOTO(espl_piece_begin(commands, commands->name));
    /* What is profiled is measured as it was recorded. */
    if (commands->slice_ms > 0 && !commands->profiled) ESPL_GOTO(espl_cut_init(commands));
    commands->next = device->commands;
    if (device->commands) device->commands->previous = commands;
    device->commands = commands;
    device->counters.commands_recorded++;
    *out_commands = commands;
    return ESPL_OK;
fail:
    espl_commands_free(commands);
    return status;
}

static bool conflicts(const espl_access *a, const espl_access *b) {
    return a->block == b->block && a->begin < b->end && b->begin < a->end && (a->write || b->write);
}

/* Makes room for more accesses, so that note_accesses cannot fail. */
static espl_status need_accesses(espl_commands *commands, size_t more) {
    if (commands->ended)
        return espl_fail(commands->device->ctx, ESPL_ARGUMENT, "%s: already ended, nothing can be added",
                         commands->name);
    return espl_grow(commands->device->ctx, &commands->accesses, &commands->access_capacity,
                     commands->access_count + more, sizeof *commands->accesses);
}

/* Emits a barrier if these touch what was touched since the last one, then notes them. */
static void note_accesses(espl_commands *commands, const espl_access *accesses, size_t count) {
    bool wait = commands->access_count + count > ESPL_ACCESSES_MAX;
    for (size_t i = 0; i < count && !wait; i++)
        for (size_t j = 0; j < commands->access_count && !wait; j++)
            wait = conflicts(&accesses[i], &commands->accesses[j]);
    if (wait || (commands->profiled && commands->access_count)) {
        barrier(commands);
        commands->barrier_count++;
        commands->device->counters.barriers++;
    }
    if (count) memcpy(commands->accesses + commands->access_count, accesses, count * sizeof *accesses);
    commands->access_count += count;
}

static espl_status check_binding(const espl_commands *commands, const espl_dispatch *dispatch, uint32_t i) {
    const espl_device *device = commands->device;
    const espl_capabilities *c = &device->facts.capabilities;
    const espl_span *span = &dispatch->bind[i];
    const char *label = dispatch->label;
    if (!span->block) return ESPL_OK;
    if (span->block->device != device)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: binding %u is memory of another device", label, i);
    if (span->bytes == 0 || span->offset > span->block->bytes || span->bytes > span->block->bytes - span->offset)
        return espl_fail(device->ctx, ESPL_ARGUMENT,
                         "%s: binding %u has %" PRIu64 " bytes at %" PRIu64 " of a block of %" PRIu64, label, i,
                         span->bytes, span->offset, span->block->bytes);
    if (span->offset % c->storage_alignment)
        return espl_fail(device->ctx, ESPL_ARGUMENT,
                         "%s: binding %u begins at byte %" PRIu64 ", which is not a multiple of %" PRIu64, label, i,
                         span->offset, c->storage_alignment);
    if (span->bytes > c->storage_range_max)
        return espl_fail(device->ctx, ESPL_LIMIT,
                         "%s: binding %u has %" PRIu64 " bytes, the device binds at most %" PRIu64, label, i,
                         span->bytes, c->storage_range_max);
    return ESPL_OK;
}

static espl_status check_dispatch(const espl_commands *commands, const espl_dispatch *dispatch) {
    const espl_device *device = commands->device;
    const espl_reflection *r = &dispatch->kernel->reflection;
    const char *label = dispatch->label;
    if (dispatch->bind_count != r->binding_count)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %u bindings given, kernel %s has %u", label,
                         dispatch->bind_count, dispatch->kernel->shader->name, r->binding_count);
    /* The C struct may be longer by its padding; a block that the compiler found unused may be given all the same. */
    uint32_t push_max = r->push_bytes ? (uint32_t)espl_round_up(r->push_bytes, 16) : ESPL_PUSH_BYTES_MAX;
    if (dispatch->push_bytes < r->push_bytes || dispatch->push_bytes > push_max || dispatch->push_bytes % 4)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %u bytes of push constants given, kernel %s has %u", label,
                         dispatch->push_bytes, dispatch->kernel->shader->name, r->push_bytes);
    for (int i = 0; i < 3; i++)
        if (dispatch->groups[i] > device->facts.capabilities.group_count_max[i])
            return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: %u workgroups in %c, the device takes at most %u", label,
                             dispatch->groups[i], "xyz"[i], device->facts.capabilities.group_count_max[i]);
    for (uint32_t i = 0; i < dispatch->bind_count; i++) ESPL_TRY(check_binding(commands, dispatch, i));
    return ESPL_OK;
}

/* Each commands has pools of its own, twice as large each time: they go as a whole when the commands go. */
static espl_status need_set(espl_commands *commands, uint32_t binding_count) {
    if (commands->sets_left > 0 && commands->descriptors_left >= binding_count) return ESPL_OK;
    espl_device *device = commands->device;
    ESPL_TRY(espl_grow(device->ctx, &commands->pools, &commands->pool_capacity, commands->pool_count + 1,
                       sizeof *commands->pools));
    uint32_t sets = SETS_FIRST;
    for (size_t i = 0; i < commands->pool_count && sets < SETS_MAX; i++) sets *= 2;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, sets * DESCRIPTORS_PER_SET};
    const VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                             .maxSets = sets,
                                             .poolSizeCount = 1,
                                             .pPoolSizes = &size};
    VkDescriptorPool pool = VK_NULL_HANDLE;
    ESPL_TRY(espl_device_check(device, device->vk.CreateDescriptorPool(device->handle, &info, NULL, &pool),
                               "vkCreateDescriptorPool"));
    espl_device_label_object(device, VK_OBJECT_TYPE_DESCRIPTOR_POOL, ESPL_HANDLE(pool), commands->name);
    commands->pools[commands->pool_count++] = pool;
    commands->sets_left = sets;
    commands->descriptors_left = size.descriptorCount;
    return ESPL_OK;
}

static espl_status make_set(espl_commands *commands, const espl_dispatch *dispatch, VkDescriptorSet *out_set) {
    espl_device *device = commands->device;
    uint32_t count = dispatch->bind_count;
    ESPL_TRY(need_set(commands, count));
    const VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = commands->pools[commands->pool_count - 1],
                                              .descriptorSetCount = 1,
                                              .pSetLayouts = &device->set_layouts[count]};
    ESPL_TRY(espl_device_check(device, device->vk.AllocateDescriptorSets(device->handle, &info, out_set),
                               "vkAllocateDescriptorSets"));
    commands->sets_left--;
    commands->descriptors_left -= count;
    VkDescriptorBufferInfo buffers[ESPL_BINDINGS_MAX];
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = *out_set,
                                  .descriptorCount = count,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    for (uint32_t i = 0; i < count; i++) {
        espl_span span = dispatch->bind[i];
        if (!span.block) span = (espl_span){device->dummy, 0, ESPL_DUMMY_BYTES};
        /* Up to 15 bytes more where a kernel only reads, so that it may read the last vec4 of a tensor whole. They are
         * there: arenas hand out multiples of 256. */
        uint64_t range = dispatch->kernel->reflection.writes[i] ? span.bytes : espl_round_up(span.bytes, 16);
        if (range > span.block->bytes - span.offset) range = span.block->bytes - span.offset;
        if (range > device->facts.capabilities.storage_range_max) range = span.bytes;
        buffers[i] = (VkDescriptorBufferInfo){span.block->buffer, span.offset, range};
    }
    /* Consecutive bindings of one type are one write. */
    if (count) device->vk.UpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
    return ESPL_OK;
}

void espl_item_emit(espl_commands *commands, const espl_item *item, const uint32_t first[3], const uint32_t groups[3]) {
    const espl_vk *vk = &commands->device->vk;
    VkCommandBuffer buffer = commands->tail->buffer;
    if (item->kernel) begin_label(commands, item->label);
    note_accesses(commands, item->accesses, item->access_count);
    espl_profile_start(commands);
    if (item->kernel) {
        VkPipelineLayout layout = commands->device->pipeline_layouts[item->bind_count];
        if (commands->bound != item->kernel)
            vk->CmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, item->kernel->pipeline);
        commands->bound = item->kernel;
        vk->CmdBindDescriptorSets(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &item->set, 0, NULL);
        if (item->push_bytes)
            vk->CmdPushConstants(buffer, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, item->push_bytes, item->push);
        if (first[0] || first[1] || first[2])
            vk->CmdDispatchBase(buffer, first[0], first[1], first[2], groups[0], groups[1], groups[2]);
        else vk->CmdDispatch(buffer, groups[0], groups[1], groups[2]);
    } else if (item->from.block) {
        const VkBufferCopy region = {item->from.offset, item->to.offset, item->from.bytes};
        vk->CmdCopyBuffer(buffer, item->from.block->buffer, item->to.block->buffer, 1, &region);
    } else {
        vk->CmdFillBuffer(buffer, item->to.block->buffer, item->to.offset, item->to.bytes, item->word);
    }
    espl_profile_end(commands);
    if (item->kernel) end_label(commands);
}

static espl_status add_item(espl_commands *commands, const espl_item *item) {
    static const uint32_t none[3] = {0, 0, 0};
    if (commands->recording) return espl_cut_add(commands, item);
    if (commands->profiled) ESPL_TRY(espl_profile_begin(commands, item->label));
    espl_item_emit(commands, item, none, item->groups);
    return ESPL_OK;
}

espl_status espl_commands_dispatch(espl_commands *commands, const espl_dispatch *dispatch) {
    const espl_reflection *r = &dispatch->kernel->reflection;
    ESPL_TRY(check_dispatch(commands, dispatch));
    ESPL_TRY(need_accesses(commands, ESPL_BINDINGS_MAX));
    espl_item item = {.kernel = dispatch->kernel,
                      .label = dispatch->label,
                      .bind_count = dispatch->bind_count,
                      .push_bytes = dispatch->push_bytes,
                      .operations = dispatch->operations};
    ESPL_TRY(make_set(commands, dispatch, &item.set));
    double bytes = 0;
    for (uint32_t i = 0; i < dispatch->bind_count; i++) {
        /* What stands in for an unused binding counts too: the module says that it may write there. */
        const espl_span dummy = {commands->device->dummy, 0, ESPL_DUMMY_BYTES};
        const espl_span *span = dispatch->bind[i].block ? &dispatch->bind[i] : &dummy;
        if (!(r->reads[i] || r->writes[i])) continue;
        item.accesses[item.access_count++] =
            (espl_access){span->block, span->offset, span->offset + span->bytes, r->writes[i]};
        bytes += (double)span->bytes;
    }
    if (item.operations == 0) item.operations = bytes;
    if (dispatch->push_bytes) memcpy(item.push, dispatch->push, dispatch->push_bytes);
    for (int i = 0; i < 3; i++) item.groups[i] = dispatch->groups[i] ? dispatch->groups[i] : 1;
    ESPL_TRY(add_item(commands, &item));
    commands->dispatch_count++;
    commands->device->counters.dispatches_recorded++;
    commands->device->counters.matrix_dispatches_recorded += dispatch->kernel->reflection.cooperative_matrix;
    return ESPL_OK;
}

static espl_status check_span(const espl_commands *commands, const char *what, espl_span span) {
    espl_context *ctx = commands->device->ctx;
    if (!span.block || span.block->device != commands->device)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: %s has no memory of this device", commands->name, what);
    if (span.bytes == 0 || span.offset % 4 || span.bytes % 4 || span.offset > span.block->bytes ||
        span.bytes > span.block->bytes - span.offset)
        return espl_fail(ctx, ESPL_ARGUMENT,
                         "%s: %s of %" PRIu64 " bytes at %" PRIu64 " of a block of %" PRIu64
                         "; both are multiples of 4 within it",
                         commands->name, what, span.bytes, span.offset, span.block->bytes);
    return ESPL_OK;
}

espl_status espl_commands_copy(espl_commands *commands, espl_span from, espl_span to) {
    ESPL_TRY(check_span(commands, "copy from a span", from));
    ESPL_TRY(check_span(commands, "copy to a span", to));
    bool overlap = from.block == to.block && from.offset < to.offset + to.bytes && to.offset < from.offset + from.bytes;
    if (from.bytes != to.bytes || overlap)
        return espl_fail(commands->device->ctx, ESPL_ARGUMENT,
                         "%s: copy of %" PRIu64 " bytes at %" PRIu64 " to %" PRIu64 " bytes at %" PRIu64
                         ": sizes differ or the spans overlap",
                         commands->name, from.bytes, from.offset, to.bytes, to.offset);
    ESPL_TRY(need_accesses(commands, 2));
    const espl_item item = {.label = "copy",
                            .groups = {1, 1, 1},
                            .access_count = 2,
                            .accesses = {{from.block, from.offset, from.offset + from.bytes, false},
                                         {to.block, to.offset, to.offset + to.bytes, true}},
                            .from = from,
                            .to = to,
                            .operations = (double)from.bytes};
    return add_item(commands, &item);
}

espl_status espl_commands_fill(espl_commands *commands, espl_span span, uint32_t word) {
    ESPL_TRY(check_span(commands, "fill", span));
    ESPL_TRY(need_accesses(commands, 1));
    const espl_item item = {.label = "fill",
                            .groups = {1, 1, 1},
                            .access_count = 1,
                            .accesses = {{span.block, span.offset, span.offset + span.bytes, true}},
                            .to = span,
                            .word = word,
                            .operations = (double)span.bytes};
    return add_item(commands, &item);
}

espl_status espl_commands_end(espl_commands *commands) {
    espl_device *device = commands->device;
    if (commands->ended) return espl_fail(device->ctx, ESPL_ARGUMENT, "%s: already ended", commands->name);
    ESPL_TRY(espl_piece_end(commands->tail));
    commands->ended = true;
    espl_free(device->ctx, &commands->accesses);
    commands->access_count = commands->access_capacity = 0;
    return ESPL_OK;
}

uint32_t espl_commands_dispatch_count(const espl_commands *commands) {
    return commands->dispatch_count;
}

uint32_t espl_commands_barrier_count(const espl_commands *commands) {
    return commands->barrier_count;
}

void espl_commands_destroy(espl_commands **commands) {
    espl_commands *c = *commands;
    *commands = NULL;
    if (!c) return;
    espl_device *device = c->device;
    if (c->next) c->next->previous = c->previous;
    if (c->previous) c->previous->next = c->next;
    else device->commands = c->next;
    c->previous = NULL;
    c->next = device->garbage_commands;
    device->garbage_commands = c;
    espl_device_collect(device);
}

/* The list it is in forgets it first. */
void espl_commands_free(espl_commands *commands) {
    espl_device *device = commands->device;
    for (espl_commands *piece = commands->more, *more; piece; piece = more) {
        more = piece->more;
        piece->more = NULL;
        espl_commands_free(piece);
    }
    for (size_t i = 0; i < commands->pool_count; i++)
        device->vk.DestroyDescriptorPool(device->handle, commands->pools[i], NULL);
    for (size_t i = 0; i < commands->stamp_pool_count; i++)
        device->vk.DestroyQueryPool(device->handle, commands->stamp_pools[i], NULL);
    if (commands->buffer)
        device->vk.FreeCommandBuffers(device->handle, device->command_pool, 1, &commands->buffer);
    espl_timer_give(device, commands->timer);
    espl_cut_finish(commands);
    espl_free(device->ctx, &commands->pools);
    espl_free(device->ctx, &commands->accesses);
    espl_free(device->ctx, &commands->stamp_pools);
    espl_free(device->ctx, &commands->stamps);
    espl_free(device->ctx, &commands->name);
    espl_free(device->ctx, &commands);
}
