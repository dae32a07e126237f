/* What the files of this folder share: the device and the small objects it owns. Nothing outside host/gpu sees it. */
#ifndef ESPL_GPU_STATE_H
#define ESPL_GPU_STATE_H

#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include "host/gpu/capabilities.h"
#include "host/gpu/instance.h"
#include "host/gpu/spirv.h"
#include "host/gpu/vk.h"

/* Half of the ring that copies to memory the host cannot reach go through. Large enough that the cost of a submission
 * does not show, small enough to be nothing beside a model. */
enum { ESPL_RING_HALF_BYTES = 8 << 20, ESPL_DUMMY_BYTES = 256, ESPL_SPAN_ALIGNMENT = 256 };

struct espl_block {
    espl_block *next; /* owned by the list it is in: an arena's, or the device's garbage */
    espl_device *device; /* borrowed */
    espl_ticket free_after;
    espl_arena_kind kind;
    VkDeviceMemory memory;
    VkBuffer buffer;
    uint64_t bytes, used;
    unsigned char *host; /* mapped for the block's whole life, or NULL */
};

typedef struct espl_module {
    const espl_shader *shader; /* borrowed: embedded in the program */
    VkShaderModule handle;
} espl_module;

struct espl_kernel {
    const espl_shader *shader; /* borrowed */
    uint64_t hash;             /* of the specialization values */
    uint32_t spec_count;
    uint32_t spec[ESPL_SPEC_MAX];
    espl_reflection reflection;
    VkPipeline pipeline;
    double operations_per_ms; /* measured; 0: not yet. See cut.c */
};

/* Two timestamps per commands live in pools of 64 pairs, so that hundreds of commands do not make hundreds of pools. */
typedef struct espl_timer_pool {
    VkQueryPool handle;
    uint64_t taken; /* bit i: pair i */
} espl_timer_pool;

typedef struct espl_timer {
    VkQueryPool pool; /* borrowed from the device; VK_NULL_HANDLE if nothing is timed */
    uint32_t first;
} espl_timer;

/* Past this many entries comparing costs more than a barrier would. */
enum { ESPL_ACCESSES_MAX = 256 };

/* Bytes touched since the last barrier. */
typedef struct espl_access {
    const espl_block *block;
    uint64_t begin, end;
    bool write;
} espl_access;

typedef struct espl_stamp {
    const char *label; /* borrowed */
    VkQueryPool pool;  /* borrowed from the commands */
    uint32_t first;
} espl_stamp;

/* A recorded command, kept where submissions are sliced so that it can be recorded again. */
typedef struct espl_item {
    const espl_kernel *kernel; /* borrowed; NULL: a copy, or without `from` a fill */
    const char *label;         /* borrowed */
    VkDescriptorSet set;       /* of the commands' pools */
    uint32_t bind_count, push_bytes, groups[3], access_count;
    unsigned char push[ESPL_PUSH_BYTES_MAX];
    espl_access accesses[ESPL_BINDINGS_MAX];
    espl_span from, to;
    uint32_t word;
    double operations, milliseconds, measured; /* milliseconds: expected; measured: while learning */
} espl_item;

/* What of an item is in a piece. */
typedef struct espl_item_part {
    uint32_t item, piece;
    double share; /* of its workgroups */
} espl_item_part;

/* Where commands are cut: see cut.c. Of the first piece. */
typedef struct espl_recording {
    espl_item *items; /* owned */
    size_t item_count, item_capacity;
    espl_item_part *parts; /* owned */
    size_t part_count, part_capacity;
    uint32_t pieces;
    uint32_t times; /* that it was cut again */
    double filled;  /* milliseconds expected of the newest piece so far */
} espl_recording;

struct espl_commands {
    espl_device *device;            /* borrowed */
    espl_commands_kind kind;
    double slice_ms; /* no piece shall take longer; 0: not cut, not timed */
    espl_commands *more; /* owned: the next piece, in order; a piece has only what concerns its buffer */
    espl_commands *tail; /* borrowed: the piece that is recorded into, itself if there is but one */
    espl_recording *recording; /* owned; NULL: never cut */
    espl_commands *next, *previous; /* all living commands of the device */
    espl_ticket newest_ticket;      /* of the submissions it was in */
    char *name; /* owned */
    VkCommandBuffer buffer;
    VkDescriptorPool *pools; /* owned; the last has room for sets_left sets */
    size_t pool_count, pool_capacity;
    uint32_t sets_left, descriptors_left;
    espl_access *accesses; /* owned; only while recording */
    size_t access_count, access_capacity;
    const espl_kernel *bound;
    uint32_t dispatch_count, barrier_count;
    bool ended;
    espl_timer timer;
    uint32_t runs;       /* submissions of this buffer */
    uint32_t samples;    /* times that were read; 0: milliseconds are expected ones */
    bool timed;          /* the newest run's time was read, or need not be */
    double milliseconds; /* of the newest run that was read; negative if none */
    double typical;      /* of runs: what cutting goes by */
    double likely;       /* what the next run may take, for slices and budgets: up at once, down slowly */
    bool profiled;
    bool harvested; /* the newest run is in the profile's sums */
    VkQueryPool *stamp_pools; /* owned */
    size_t stamp_pool_count, stamp_pool_capacity;
    espl_stamp *stamps; /* owned */
    size_t stamp_count, stamp_capacity;
};

typedef struct espl_fence {
    VkFence handle;
    espl_ticket ticket; /* 0: free */
} espl_fence;

/* Who tells that a submission is done: a timeline semaphore, or one fence per submission. */
typedef struct espl_signal {
    VkSemaphore timeline; /* VK_NULL_HANDLE: fences */
    espl_fence *fences;   /* owned */
    size_t fence_count, fence_capacity;
    espl_ticket newest, completed;
} espl_signal;

typedef struct espl_profile {
    bool on;
    espl_profile_row *rows; /* owned, with their labels */
    size_t count, capacity;
} espl_profile;

typedef struct espl_cache_file {
    char *path; /* owned; NULL: nothing is kept */
    bool dirty;
    double saved_at;
} espl_cache_file;

/* How fast pieces with a budget run; learnt from each of their submissions. */
typedef struct espl_pace {
    double factor;           /* times what they usually take */
    double gap_ms;           /* between two pieces, about */
    espl_timer first, last;  /* of the newest submissions, while they are under way */
    double expected_ms;      /* of those; INFINITY: of some nothing is known */
    espl_ticket ticket;      /* the newest of them; 0: none */
} espl_pace;

struct espl_device {
    espl_context *ctx; /* borrowed */
    espl_vk vk;
    espl_instance instance; /* empty for an imported device */
    bool imported, lost;
    void (*lock_queue)(void *user);
    void (*unlock_queue)(void *user);
    void *lock_user;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t family;
    espl_device_facts facts;
    bool debug_utils;
    double slice_ms;
    bool sliced; /* submissions are cut, for which each commands is timed */
    espl_pace pace;
    double operations_per_ms; /* taken for granted of a kernel that never ran */
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[160];

    VkCommandPool command_pool;
    VkDescriptorSetLayout set_layouts[ESPL_BINDINGS_MAX + 1]; /* by number of bindings, made when first needed */
    VkPipelineLayout pipeline_layouts[ESPL_BINDINGS_MAX + 1];
    VkPipelineCache pipeline_cache;
    espl_cache_file cache_file;
    espl_module *modules; /* owned */
    size_t module_count, module_capacity;
    espl_kernel **kernels; /* owned */
    size_t kernel_count, kernel_capacity;

    espl_block *dummy; /* owned: bound where a kernel does not use a binding */
    espl_block *ring;  /* owned: two halves for upload and download, made when first needed */
    espl_block *garbage_blocks;
    espl_commands *garbage_commands;
    espl_commands *commands; /* all living ones */
    espl_timer_pool *timer_pools; /* owned */
    size_t timer_pool_count, timer_pool_capacity;

    espl_signal signal;
    VkCommandBuffer *scratch; /* owned: the buffers of one slice */
    espl_commands **chosen;   /* owned: the pieces of one submission */
    size_t scratch_capacity, chosen_capacity;
    espl_profile profile;
    espl_device_counters counters;
};

/* device.c */
/* Like espl_vk_check, and remembers that the device is lost. */
espl_status espl_device_check(espl_device *device, VkResult result, const char *what);
/* DEVICE_LOST once it was lost. */
espl_status espl_device_alive(espl_device *device);
/* Debug name "what: name"; does nothing without VK_EXT_debug_utils. Handles of any type as 64 bits. */
void espl_device_label_object(espl_device *device, VkObjectType type, uint64_t handle, const char *name);
#if defined(VK_USE_64_BIT_PTR_DEFINES) && VK_USE_64_BIT_PTR_DEFINES == 0
#define ESPL_HANDLE(handle) ((uint64_t)(handle))
#else
#define ESPL_HANDLE(handle) ((uint64_t)(uintptr_t)(handle))
#endif

/* memory.c */
espl_status espl_block_create(espl_device *device, espl_arena_kind kind, const char *name, uint64_t bytes,
                              espl_block **out_block);
void espl_block_destroy(espl_block **block);

/* kernel.c */
void espl_device_finish_kernels(espl_device *device);

/* pipeline_cache.c */
espl_status espl_pipeline_cache_create(espl_device *device, const char *folder);
/* Writes the file if pipelines were made since; at most every 30 s unless now. Failing to write is a warning. */
void espl_pipeline_cache_save(espl_device *device, bool now);
void espl_pipeline_cache_finish(espl_device *device);

/* commands.c */
/* Also the pieces after it. */
void espl_commands_free(espl_commands *commands);
/* A command buffer that records, its timer and its first barrier. */
espl_status espl_piece_begin(espl_commands *piece, const char *name);
espl_status espl_piece_end(espl_commands *piece);
/* Records these workgroups of an item into the tail of commands; for a copy or fill all of it. */
void espl_item_emit(espl_commands *commands, const espl_item *item, const uint32_t first[3], const uint32_t groups[3]);

/* cut.c */
espl_status espl_cut_init(espl_commands *commands);
void espl_cut_finish(espl_commands *commands);
/* Records the item, in parts and over several pieces if it takes long. */
espl_status espl_cut_add(espl_commands *commands, const espl_item *item);
/* Records anew if what was measured says that pieces are too long or far too short. Without memory all stays as it was. */
void espl_cut_again(espl_commands *commands);

/* timer.c */
espl_status espl_timer_take(espl_device *device, espl_timer *out_timer);
void espl_timer_give(espl_device *device, espl_timer timer);
/* false while the result is not there. */
bool espl_timer_read(espl_device *device, espl_timer timer, double *out_milliseconds);
/* From the beginning of one pair to the end of another. */
bool espl_timer_read_from_to(espl_device *device, espl_timer first, espl_timer last, double *out_milliseconds);
void espl_device_finish_timers(espl_device *device);

/* pace.c */
/* Milliseconds that a piece takes of a budget; negative if nothing is known. */
double espl_pace_of(const espl_device *device, const espl_commands *piece);
/* These pieces went out together. */
void espl_pace_expect(espl_device *device, espl_commands *const *pieces, size_t count, espl_ticket ticket);
/* Reads what has ended since. */
void espl_pace_learn(espl_device *device);
/* The timer goes to somebody else. */
void espl_pace_forget(espl_device *device, espl_timer timer);

/* ticket.c */
espl_status espl_signal_init(espl_device *device);
void espl_signal_finish(espl_device *device);
/* A fence that no running submission uses; NULL with a timeline. */
espl_status espl_signal_take_fence(espl_device *device, espl_fence **out_fence);
/* Learns what has ended. */
espl_status espl_signal_poll(espl_device *device);
VkResult espl_signal_wait(espl_device *device, espl_ticket ticket);
/* Frees what no submission uses any more. */
void espl_device_collect(espl_device *device);

/* profile.c */
/* Adds the newest finished run of profiled commands to the sums. */
void espl_profile_harvest(espl_commands *commands);
/* Two stamps around what is recorded between start and end; begin makes room for them and may fail, the others do
 * nothing unless the commands are profiled. */
espl_status espl_profile_begin(espl_commands *commands, const char *label);
void espl_profile_start(espl_commands *commands);
void espl_profile_end(espl_commands *commands);
void espl_profile_finish(espl_device *device);

#endif
