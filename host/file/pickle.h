/* Reading the part of Python's pickles that PyTorch's checkpoints are made of: numbers, strings, tuples, lists, dicts,
 * and calls that make a tensor, which are noted and not made. Everything else is refused by name.
 * Source: Python's Lib/pickletools.py describes the instructions, torch/_utils.py and torch/serialization.py the calls. */
#ifndef ESPL_PICKLE_H
#define ESPL_PICKLE_H

#include "host/base/base.h"

typedef enum espl_pickle_kind {
    ESPL_PICKLE_NONE,
    ESPL_PICKLE_BOOL,
    ESPL_PICKLE_INT,
    ESPL_PICKLE_FLOAT,
    ESPL_PICKLE_STRING,
    ESPL_PICKLE_TUPLE,
    ESPL_PICKLE_LIST,
    ESPL_PICKLE_DICT,
    ESPL_PICKLE_GLOBAL,  /* a name that may be called, as "torch.FloatStorage" */
    ESPL_PICKLE_STORAGE, /* items of its persistent id: "storage", type, key, place, count, ... */
    ESPL_PICKLE_TENSOR,  /* items of _rebuild_tensor_v2: storage, offset, sizes, strides, ... */
} espl_pickle_kind;

/* Values and items are numbered; the numbers stay. */
typedef struct espl_pickle_value {
    espl_pickle_kind kind;
    int64_t integer;  /* INT, BOOL */
    double real;      /* FLOAT */
    const char *text; /* STRING: borrowed from the bytes, not ended by zero; GLOBAL: static */
    size_t bytes;
    uint32_t first, last; /* items, ESPL_PICKLE_END for none; of a DICT key and value take turns */
    uint32_t count;
} espl_pickle_value;
typedef struct espl_pickle_item {
    uint32_t value, next;
} espl_pickle_item;
#define ESPL_PICKLE_END UINT32_MAX

typedef struct espl_pickle {
    espl_context *ctx;  /* borrowed */
    const char *name;   /* borrowed; of the file, for messages */
    const unsigned char *data;
    size_t bytes, at;
    espl_pickle_value *values; /* owned */
    size_t count, capacity;
    espl_pickle_item *items; /* owned */
    size_t item_count, item_capacity;
    uint32_t *stack, *marks, *memo; /* owned */
    size_t stack_count, stack_capacity, mark_count, mark_capacity, memo_count, memo_capacity;
    bool stopped;
} espl_pickle;

/* One pickle of data, beginning at pickle->at, which moves behind it; ctx, name, data and bytes are set, the rest is zero
 * or as the pickle before has left it, whose values stay. *out_root: number of its value.
 * Memory is at most a constant times bytes. Fails: UNSUPPORTED `the pickle in x.bin calls os.system; only tensors are
 * read`; FORMAT for what is no pickle; HOST_MEMORY. */
espl_status espl_pickle_read(espl_pickle *pickle, uint32_t *out_root);
void espl_pickle_finish(espl_pickle *pickle);

/* Item `index` of a value; NULL past the end. */
const espl_pickle_value *espl_pickle_item_at(const espl_pickle *pickle, const espl_pickle_value *value, size_t index);

#endif
