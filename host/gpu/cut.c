/* Commands in pieces, none longer than a slice: the device's, or one of their own. A piece is a command buffer of its own,
 * so that the queue can be left between two; a dispatch that alone takes longer is issued in several, over ranges of its
 * workgroups (vkCmdDispatchBase), which gives the same bits: workgroups do not know of each other.
 *
 * How long something takes is guessed when it is recorded - operations over what the kernel was measured to do, or over a
 * low guess by kind of device - and known after its first run. If a piece then proves too long, or the pieces far too
 * many, the same items are recorded again. A kernel that reads gl_NumWorkGroups.x is not cut in x, and so on. */
#include "host/gpu/state.h"
#include <math.h>
#include <string.h>

static const double fill_of_slice = 0.7; /* the rest is for what a guess is off, and a single run beyond the usual one */
static const double late = 1;            /* a piece that usually takes this much of a slice is cut again, */
static const double far = 2;             /* one this much over the device's, which is a danger, before SAMPLES_MIN runs */
enum { PARTS_MAX = 1024, TIMES_MAX = 8, SAMPLES_MIN = 3 };

espl_status espl_cut_init(espl_commands *commands) {
    ESPL_TRY(espl_new(commands->device->ctx, sizeof *commands->recording, &commands->recording));
    commands->recording->pieces = 1;
    return ESPL_OK;
}

void espl_cut_finish(espl_commands *commands) {
    if (!commands->recording) return;
    espl_context *ctx = commands->device->ctx;
    espl_free(ctx, &commands->recording->items);
    espl_free(ctx, &commands->recording->parts);
    espl_free(ctx, &commands->recording);
}

void espl_device_expect(espl_device *device, double operations_per_ms) {
    device->operations_per_ms = operations_per_ms;
}

static double limit_ms(const espl_commands *commands) {
    return fill_of_slice * commands->slice_ms;
}

static double expected_ms(const espl_device *device, const espl_item *item) {
    const double known = item->kernel ? item->kernel->operations_per_ms : 0;
    return item->operations / (known > 0 ? known : device->operations_per_ms);
}

static espl_status next_piece(espl_commands *commands) {
    espl_device *device = commands->device;
    espl_commands *piece;
    ESPL_TRY(espl_piece_end(commands->tail));
    ESPL_TRY(espl_new(device->ctx, sizeof *piece, &piece));
    piece->device = device;
    piece->kind = commands->kind;
    piece->slice_ms = commands->slice_ms;
    espl_status status = espl_piece_begin(piece, commands->name);
    if (status != ESPL_OK) {
        espl_commands_free(piece);
        return status;
    }
    commands->tail->more = piece;
    commands->tail = piece;
    commands->access_count = 0;
    commands->bound = NULL;
    commands->recording->pieces++;
    commands->recording->filled = 0;
    return ESPL_OK;
}

/* How often each direction is divided so that there are at least `parts`, if the workgroups allow it. */
static void divide(const espl_item *item, double parts, uint32_t out_counts[3]) {
    for (int i = 0; i < 3; i++) out_counts[i] = 1;
    for (int round = 0; round < 3 && parts > 1; round++) {
        int best = -1;
        for (int i = 0; i < 3; i++) {
            const bool can = item->kernel && !item->kernel->reflection.reads_group_count[i] && out_counts[i] == 1;
            if (can && item->groups[i] > 1 && (best < 0 || item->groups[i] > item->groups[best])) best = i;
        }
        if (best < 0) return;
        const double wanted = ceil(parts);
        out_counts[best] = wanted < item->groups[best] ? (uint32_t)wanted : item->groups[best];
        parts /= out_counts[best];
    }
}

/* One part of item number `index`, in the piece that is there or in a new one. */
static espl_status place_part(espl_commands *commands, uint32_t index, const uint32_t first[3], const uint32_t groups[3]) {
    espl_recording *r = commands->recording;
    const espl_item *item = &r->items[index];
    double share = 1;
    for (int i = 0; i < 3; i++) share *= (double)groups[i] / item->groups[i];
    const double ms = share * item->milliseconds;
    ESPL_TRY(espl_grow(commands->device->ctx, &r->parts, &r->part_capacity, r->part_count + 1, sizeof *r->parts));
    if (r->filled > 0 && r->filled + ms > limit_ms(commands)) ESPL_TRY(next_piece(commands));
    r->parts[r->part_count++] = (espl_item_part){index, r->pieces - 1, share};
    r->filled += ms;
    espl_item_emit(commands, item, first, groups);
    return ESPL_OK;
}

static espl_status place(espl_commands *commands, uint32_t index) {
    const espl_item *item = &commands->recording->items[index];
    const double parts = fmin(item->milliseconds / limit_ms(commands), PARTS_MAX);
    uint32_t counts[3], at[3];
    divide(item, parts, counts);
    for (at[2] = 0; at[2] < counts[2]; at[2]++) {
        for (at[1] = 0; at[1] < counts[1]; at[1]++) {
            for (at[0] = 0; at[0] < counts[0]; at[0]++) {
                uint32_t first[3], groups[3];
                for (int i = 0; i < 3; i++) {
                    first[i] = (uint32_t)((uint64_t)item->groups[i] * at[i] / counts[i]);
                    groups[i] = (uint32_t)((uint64_t)item->groups[i] * (at[i] + 1) / counts[i]) - first[i];
                }
                ESPL_TRY(place_part(commands, index, first, groups));
            }
        }
    }
    return ESPL_OK;
}

espl_status espl_cut_add(espl_commands *commands, const espl_item *item) {
    espl_recording *r = commands->recording;
    ESPL_TRY(espl_grow(commands->device->ctx, &r->items, &r->item_capacity, r->item_count + 1, sizeof *r->items));
    r->items[r->item_count] = *item;
    r->items[r->item_count].milliseconds = expected_ms(commands->device, item);
    return place(commands, (uint32_t)r->item_count++);
}

/* ---- Again ---- */

/* All pieces ran, and one was too long, or they could be less than half as many. What a single run took may be the driver
 * compiling, or others' work on the processor: unless the device was busy for far too long, some are waited for. */
static bool wanted(const espl_commands *commands) {
    double sum = 0, longest = 0;
    uint32_t count = 0, samples = UINT32_MAX;
    for (const espl_commands *piece = commands; piece; piece = piece->more, count++) {
        if (piece->samples < samples) samples = piece->samples;
        sum += piece->typical;
        longest = fmax(longest, piece->typical);
    }
    if (samples == 0) return false;
    if (samples < SAMPLES_MIN) return longest > far * commands->device->slice_ms;
    return longest > late * commands->slice_ms || count > 2 * ceil(sum / limit_ms(commands)) + 1;
}

/* What each item takes by what its pieces took; of an item in several the slowest part speaks for all. */
static void learn(espl_commands *commands) {
    espl_recording *r = commands->recording;
    const espl_commands *piece = commands;
    for (size_t i = 0; i < r->item_count; i++) r->items[i].measured = 0;
    for (size_t first = 0, end; first < r->part_count; first = end, piece = piece->more) {
        double expected = 0;
        for (end = first; end < r->part_count && r->parts[end].piece == r->parts[first].piece; end++)
            expected += r->parts[end].share * r->items[r->parts[end].item].milliseconds;
        for (size_t i = first; i < end && expected > 0; i++) {
            espl_item *item = &r->items[r->parts[i].item];
            item->measured = fmax(item->measured, item->milliseconds * piece->typical / expected);
        }
    }
    for (size_t i = 0; i < r->item_count; i++) {
        espl_item *item = &r->items[i];
        if (item->measured > 0) item->milliseconds = item->measured;
        /* The device owns its kernels; who uses them must not change them. */
        if (item->kernel && item->measured > 0)
            ((espl_kernel *)(uintptr_t)item->kernel)->operations_per_ms = item->operations / item->measured;
    }
}

/* The same items into fresh pieces, beginning with that of `fresh`. */
static espl_status record_again(espl_commands *fresh) {
    espl_recording *r = fresh->recording;
    r->part_count = 0;
    r->pieces = 1;
    r->filled = 0;
    ESPL_TRY(espl_grow(fresh->device->ctx, &fresh->accesses, &fresh->access_capacity,
                       ESPL_ACCESSES_MAX + ESPL_BINDINGS_MAX, sizeof *fresh->accesses));
    for (uint32_t i = 0; i < r->item_count; i++) ESPL_TRY(place(fresh, i));
    return espl_piece_end(fresh->tail);
}

/* What is expected stands in for what is measured until the first run, so that short pieces go out together. */
static void expect(espl_commands *commands) {
    const espl_recording *r = commands->recording;
    size_t i = 0;
    uint32_t number = 0;
    for (espl_commands *piece = commands; piece; piece = piece->more, number++) {
        piece->milliseconds = 0;
        for (; i < r->part_count && r->parts[i].piece == number; i++)
            piece->milliseconds += r->parts[i].share * r->items[r->parts[i].item].milliseconds;
        piece->likely = piece->milliseconds;
        piece->samples = 0;
        piece->timed = false;
        piece->runs = 0;
    }
}

static void swap_buffers(espl_commands *a, espl_commands *b) {
    const espl_commands kept = *a;
    a->buffer = b->buffer, b->buffer = kept.buffer;
    a->timer = b->timer, b->timer = kept.timer;
    a->more = b->more, b->more = kept.more;
}

void espl_cut_again(espl_commands *commands) {
    espl_device *device = commands->device;
    espl_recording *r = commands->recording;
    if (!r || r->times >= TIMES_MAX || device->lost || !wanted(commands)) return;
    espl_commands *fresh;
    if (espl_new(device->ctx, sizeof *fresh, &fresh) != ESPL_OK) return;
    const espl_recording before = *r;
    r->times++;
    learn(commands);
    fresh->device = device;
    fresh->kind = commands->kind;
    fresh->slice_ms = commands->slice_ms;
    fresh->recording = r;
    /* The old parts are needed again if this fails. */
    r->parts = NULL;
    r->part_capacity = 0;
    espl_status status = espl_copy_string(device->ctx, commands->name, strlen(commands->name), &fresh->name);
    if (status == ESPL_OK) status = espl_piece_begin(fresh, commands->name);
    if (status == ESPL_OK) status = record_again(fresh);
    fresh->recording = NULL;
    if (status != ESPL_OK) {
        espl_free(device->ctx, &r->parts);
        r->parts = before.parts, r->part_count = before.part_count, r->part_capacity = before.part_capacity;
        r->pieces = before.pieces;
        espl_commands_free(fresh);
        return;
    }
    espl_item_part *old = before.parts;
    espl_free(device->ctx, &old);
    swap_buffers(commands, fresh);
    expect(commands);
    /* The old pieces may still run. */
    fresh->newest_ticket = commands->newest_ticket;
    fresh->next = device->garbage_commands;
    device->garbage_commands = fresh;
    device->counters.cut_again++;
}
