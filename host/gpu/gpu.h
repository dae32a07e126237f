/* The waist of the library: everything above asks for memory, kernels, recording and submission in these words and
 * names no Vulkan. A second dispatcher would implement this file and nothing else.
 *
 * Order of use: device -> arenas give spans of memory -> kernels from SPIR-V -> commands recorded once -> submitted many
 * times. One thread at a time per device (its context's rule). */
#ifndef ESPL_GPU_H
#define ESPL_GPU_H

#include "host/base/base.h"
#include <espalier/device.h>

enum { ESPL_BINDINGS_MAX = 12, ESPL_PUSH_BYTES_MAX = 128, ESPL_SPEC_MAX = 24 };

/* ---- What the device can do; read once at creation, lowered by the quirk table and by espl_device_params.limits. ---- */
typedef struct espl_capabilities {
    uint32_t vulkan_minor;  /* of Vulkan 1.N; what is newer comes by extensions */
    bool cpu;               /* a software driver: lanes are SIMD, shared memory is a cache line like any other */
    bool unified_memory;    /* device-local memory that the host can map */
    bool timeline;          /* timeline semaphores; else fences */
    bool timestamps;
    bool f16_arithmetic, f16_storage, bf16, i8_storage, integer_dot;
    bool subgroup_arithmetic, subgroup_shuffle, subgroup_size_control;
    bool cooperative_matrix, cooperative_matrix_2; /* 2: of workgroup scope and flexible dimensions */
    uint32_t subgroup_size, subgroup_size_min, subgroup_size_max;
    uint32_t invocations_max;       /* per workgroup */
    uint32_t shared_bytes_max;      /* per workgroup */
    uint32_t group_count_max[3];
    uint64_t storage_range_max;     /* bytes in one binding */
    uint64_t storage_alignment;     /* of a binding's offset; at least 4, at most 256 */
    uint64_t allocation_bytes_max;
    uint64_t heap_bytes;            /* the heap that weights live in */
    bool i8_arithmetic, i16_arithmetic;
    uint32_t local_size_max[3];     /* per dimension of a workgroup */
    uint32_t matrix_shape_count;    /* rows of espl_device_matrix_shapes */
    uint32_t memory_type_count;     /* that may be used */
} espl_capabilities;

/* Cooperative matrix: C[m,n] += A[m,k] * B[k,n] that one subgroup computes at once. Component types are
 * VkComponentTypeKHR. */
enum { ESPL_MATRIX_F16 = 0, ESPL_MATRIX_F32 = 1, ESPL_MATRIX_BF16 = 1000141000 };
typedef struct espl_matrix_shape {
    uint32_t m, n, k;
    uint32_t a, b, c, result;
    bool saturating;
} espl_matrix_shape;

espl_context *espl_device_context(const espl_device *device);
const espl_capabilities *espl_device_capabilities(const espl_device *device);
/* Borrowed; capabilities.matrix_shape_count rows, those of subgroup scope in the driver's order; of 16-bit floats only
 * where kernels may use these. */
const espl_matrix_shape *espl_device_matrix_shapes(const espl_device *device);
/* The first of them that multiplies factors of dtype (F16, BF16) into f32 and whose sizes divide m, n and k; NULL: none. */
const espl_matrix_shape *espl_device_matrix_shape(const espl_device *device, espl_dtype dtype, uint32_t m, uint32_t n,
                                                  uint32_t k);
/* Messages of the validation layer so far; tests hold it at 0. */
uint64_t espl_device_validation_count(const espl_device *device);

/* ---- Memory ---- */

/* weights: frozen or trained parameters. state: caches, optimiser, step buffer. activations: planned once, reused.
 * staging: the host's side of copies. The kind picks the memory type and is what a device report sums by. */
typedef enum espl_arena_kind {
    ESPL_ARENA_WEIGHTS,
    ESPL_ARENA_STATE,
    ESPL_ARENA_ACTIVATIONS,
    ESPL_ARENA_STAGING,
    ESPL_ARENA_KIND_COUNT
} espl_arena_kind;

typedef struct espl_block espl_block; /* one device allocation */

/* A window of device memory. Zeroed is "none". */
typedef struct espl_span {
    espl_block *block; /* borrowed from its arena */
    uint64_t offset;   /* bytes */
    uint64_t bytes;
} espl_span;

/* An arena grows by blocks and is freed as a whole; each model, adapter, trainer and session has its own. */
typedef struct espl_arena {
    espl_device *device; /* borrowed */
    espl_arena_kind kind;
    const char *name;  /* borrowed, for debug names and messages */
    espl_block *first; /* owned list */
    uint64_t bytes;    /* allocated so far */
    uint64_t reserved; /* announced by espl_arena_reserve and not yet taken */
} espl_arena;

void espl_arena_init(espl_arena *arena, espl_device *device, espl_arena_kind kind, const char *name);
/* At least bytes, aligned to 256; content undefined. A new block is as large as asked, at least min(remaining need, 1 MiB).
 * Blocks are at most allocation_bytes_max.
 * Fails: DEVICE_MEMORY with bytes asked, arena, heap size and use, or what one allocation may have. */
espl_status espl_arena_take(espl_arena *arena, uint64_t bytes, espl_span *out_span);
/* Bytes that can still be allocated on the heap that weights live in, as far as can be known before trying: UINT64_MAX for
 * software drivers, whose heap is the machine's memory whatever they say of it. */
uint64_t espl_device_memory_left(const espl_device *device);
/* Says how much will be taken in total, so that one block can serve it. Optional. */
espl_status espl_arena_reserve(espl_arena *arena, uint64_t bytes);
/* Frees when nothing submitted still uses it; returns at once; accepts zeroed and finished arenas. */
void espl_arena_finish(espl_arena *arena);

/* Bytes [from, from + bytes) of a span. */
static inline espl_span espl_span_part(espl_span span, uint64_t from, uint64_t bytes) {
    return (espl_span){span.block, span.offset + from, bytes};
}
/* The host's pointer, or NULL where the host cannot reach it. Always non-NULL for staging; coherent. */
void *espl_span_host(espl_span span);

/* Blocking copies for loading, saving and tests; in pieces through staging where the host cannot reach the span. They
 * wait for what was submitted before. bytes and the spans' offsets are multiples of 4. */
espl_status espl_upload(espl_device *device, espl_span to, const void *from, uint64_t bytes);
espl_status espl_download(espl_device *device, espl_span from, void *to, uint64_t bytes);
/* Zeros, by the device; does not wait. */
espl_status espl_clear(espl_device *device, espl_span span);

/* ---- Kernels ---- */

/* One shader module, embedded by the build. */
typedef struct espl_shader {
    const char *name;
    const uint32_t *words;
    size_t bytes;
} espl_shader;

typedef struct espl_kernel espl_kernel; /* borrowed from the device, lives as long */

/* Pipeline of a shader with its specialization constants (spec[i] is constant_id i). Made at the first request, kept by
 * the device, found by value after; the pipeline cache on disk makes the second process fast. Number of bindings, and
 * which of them are written, are read from the SPIR-V (readonly and writeonly in the source).
 * Fails: UNSUPPORTED if local size (ids 0-2) or shared memory are beyond the device; HOST_MEMORY, DEVICE_MEMORY. */
espl_status espl_device_kernel(espl_device *device, const espl_shader *shader, const uint32_t *spec, uint32_t spec_count,
                               const espl_kernel **out_kernel);

/* ---- Recording ---- */

/* Commands that are recorded once and submitted any number of times, also while an earlier submission of them is still
 * running. They keep copies of push constants; spans must outlive them. Mostly one command buffer; where submissions are
 * sliced, as many as it takes for none to be longer than a slice, also a single dispatch in parts (same bits). */
typedef struct espl_commands espl_commands;

typedef enum espl_commands_kind {
    ESPL_COMMANDS_OWN, /* for espl_submit */
    ESPL_COMMANDS_PART /* for espl_commands_append, never submitted by itself */
} espl_commands_kind;

/* name is copied and becomes the debug label. piece_ms: no command buffer of them shall take longer, and each is timed, as
 * espl_submit_some needs it; 0: the device's slices, if it has any. */
espl_status espl_commands_begin(espl_device *device, const char *name, espl_commands **out_commands);
espl_status espl_commands_begin_as(espl_device *device, const char *name, espl_commands_kind kind,
                                   double piece_ms, espl_commands **out_commands);

typedef struct espl_dispatch {
    const espl_kernel *kernel;
    const char *label;                  /* borrowed for the life of the commands: the op's name */
    espl_span bind[ESPL_BINDINGS_MAX];  /* in binding order; count must equal the kernel's. A span with block NULL where the
                                           kernel does not use the binding (a spec constant turned it off): a 256-byte
                                           dummy is bound */
    uint32_t bind_count;
    double operations;                  /* about how many, where time goes by them; 0: by the bytes that are bound */
    const void *push;                   /* copied */
    uint32_t push_bytes;
    uint32_t groups[3];                 /* 0 counts as 1 */
} espl_dispatch;

/* Barriers are derived: a dispatch that touches bytes which an earlier one since the last barrier wrote (or writes bytes
 * it read) gets a barrier before it. Two that only read, or touch different bytes, run together.
 * Fails: ARGUMENT naming label, binding and numbers (range beyond the span's block, misaligned offset, group count
 * beyond the device); LIMIT if a binding is beyond storage_range_max. Nothing is recorded then. */
espl_status espl_commands_dispatch(espl_commands *commands, const espl_dispatch *dispatch);
/* Sizes and offsets are multiples of 4. Hazards as above. */
espl_status espl_commands_copy(espl_commands *commands, espl_span from, espl_span to);
espl_status espl_commands_fill(espl_commands *commands, espl_span span, uint32_t word);
/* After it the host may read what was written, once the submission is done. */
espl_status espl_commands_end(espl_commands *commands);
uint32_t espl_commands_dispatch_count(const espl_commands *commands);
/* Barriers derived between dispatches, copies and fills; those at begin and end are not counted. */
uint32_t espl_commands_barrier_count(const espl_commands *commands);
/* Milliseconds of the newest finished run, negative if none was measured: before the first, without timestamps, and on
 * a software driver that was not asked for slices, unless they were begun with piece_ms. */
double espl_commands_milliseconds(espl_commands *commands);
/* Of the longest piece of them, as it was newly measured: what the queue cannot be left for. Negative as above. */
double espl_commands_longest_milliseconds(espl_commands *commands);
/* Freed when nothing submitted still uses it. Takes and clears; NULL is accepted; also before end. */
void espl_commands_destroy(espl_commands **commands);

/* ---- A host program's command buffer ---- */

/* Puts ended commands of kind PART into a command buffer (a VkCommandBuffer of primary level, recording, outside of a
 * render pass) of the host whose device was imported. They begin with a barrier from compute and transfer writes to
 * compute and transfer accesses, and end with one to those and to the host. Allocates nothing. They and their spans must
 * live until the host's submissions of it are done, of which nothing here knows.
 * Fails: ARGUMENT for other commands and for a device of our own. */
espl_status espl_commands_append(espl_commands *commands, void *command_buffer);
/* The VkBuffer that a span lies in, at span.offset; usable as storage buffer and for transfers. */
uint64_t espl_span_buffer(espl_span span);

/* ---- Submission ---- */

/* Counts up by one per submission; work of a ticket is done when espl_is_done says so. 0 is always done. */
typedef uint64_t espl_ticket;

/* Puts the commands on the queue in this order; each sees what the ones before wrote. They go out in slices of at most
 * the device's slice time (default 50 ms), measured by timestamps of earlier runs of the same commands; a command buffer
 * never run counts as one slice; a software driver slices only if slice_ms was given. After their first run commands may
 * be recorded anew, cut by the times that were measured; nothing else is ever recorded here. Does not block, but for a
 * host program's queue lock and for commands that are profiled.
 * Fails: DEVICE_LOST (sticky). */
espl_status espl_submit(espl_device *device, espl_commands *const *list, size_t count, espl_ticket *out_ticket);

/* Milliseconds that submissions may take, by the times of earlier runs. */
typedef struct espl_budget {
    double left_ms; /* INFINITY: all there is */
    bool used;      /* the device has something to do already. If not, one piece may go whatever it takes: one whose time
                       is not known, or is above any budget */
} espl_budget;
/* How much of a list was submitted; zeroed: nothing. All of it was when commands is the list's count. */
typedef struct espl_mark {
    size_t commands;
    uint32_t piece; /* of those commands */
} espl_mark;
/* espl_submit of what lies behind the mark and fits the budget. The list must be the same until all of it is submitted, and
 * none of it may be submitted otherwise in between. *out_ticket is kept if nothing fits. */
espl_status espl_submit_some(espl_device *device, espl_commands *const *list, size_t count, espl_budget *budget,
                             espl_mark *in_out_mark, espl_ticket *out_ticket);
/* Blocks until done. Fails: DEVICE_LOST. */
espl_status espl_wait(espl_device *device, espl_ticket ticket);
bool espl_is_done(espl_device *device, espl_ticket ticket); /* a lost device is done with everything */
/* The newest ticket given out; 0 before the first. */
espl_ticket espl_device_newest_ticket(const espl_device *device);

/* ---- Measuring ---- */

/* Counters that tests hold the library against. */
typedef struct espl_device_counters {
    uint64_t commands_recorded, dispatches_recorded, device_allocations, kernels_created, submissions;
    uint64_t matrix_dispatches_recorded; /* of those, with cooperative matrix */
    uint64_t arena_bytes[ESPL_ARENA_KIND_COUNT];
    uint64_t slices;   /* queue submissions; at least one per submission */
    uint64_t barriers; /* recorded between dispatches */
    uint64_t cut_again; /* commands recorded anew because their pieces took too long, or were too many */
} espl_device_counters;
espl_device_counters espl_device_count(const espl_device *device);

/* What to expect of a kernel that was not measured yet, in operations per millisecond; as it is made: a low guess by kind of
 * device. Where dispatches are first cut follows from it. */
void espl_device_expect(espl_device *device, double operations_per_ms);

/* While on, commands recorded carry a timestamp around each dispatch (with a full barrier, so that times are the
 * dispatch's own); each time such commands finish, the times are summed by label. */
void espl_device_profile(espl_device *device, bool on);
typedef struct espl_profile_row {
    const char *label;
    uint64_t count;
    double milliseconds;
} espl_profile_row;
/* Rows by falling time; borrowed, valid until the next call on the device. Waits for what was submitted. */
espl_status espl_device_profile_rows(espl_device *device, const espl_profile_row **out_rows, size_t *out_count);

#endif
