/* Safetensors: named tensors in one file, or in several that an index names.
 *   file  = u64 header length | JSON header | data;  header = { name: { dtype, shape, data_offsets }, __metadata__ }
 * Source: github.com/huggingface/safetensors, README "Format"; sharding as transformers writes it.
 *
 * A file is read as if its author meant harm: every length is checked against the file before it is used, the data of
 * all tensors must cover the file without hole or overlap. What a stranger's file can still do is shrink while it is
 * mapped, which ends the process; do not open files that others write to. */
#ifndef ESPL_SAFETENSORS_H
#define ESPL_SAFETENSORS_H

#include "host/base/base.h"

#define ESPL_TENSOR_RANK_MAX 8

typedef struct espl_tensors espl_tensors;

/* One tensor of an open set; everything in it is borrowed from the set. */
typedef struct espl_tensor_view {
    const char *name;
    espl_dtype dtype;
    uint32_t rank;                        /* 0: one value */
    uint32_t shape[ESPL_TENSOR_RANK_MAX]; /* outermost first; unused ones are 1 */
    const unsigned char *data;            /* little endian; NOT aligned to the dtype: memcpy or espl_convert */
    size_t bytes;                         /* product of shape times the size of dtype; may be 0 */
} espl_tensor_view;

/* path: a .safetensors file, a .index.json, or a folder with model.safetensors or model.safetensors.index.json (looked
 * for in this order). Maps the files, reads nothing of the data.
 * Fails: IO, HOST_MEMORY; FORMAT if a file is truncated, its header is over 100 MB, past the end, not JSON or not
 * UTF-8, a name occurs twice (also across files), a dtype is unknown, a shape is negative or overflows, data offsets
 * are reversed, overlap, leave a hole, pass the end or disagree with shape and dtype, the index names a file that is
 * missing, not beside it, or without the tensor. */
espl_status espl_tensors_open(espl_context *ctx, const char *path, espl_tensors **out_set);
/* The same over bytes in memory, which must outlive the set. name stands for the path in messages. */
espl_status espl_tensors_open_memory(espl_context *ctx, const void *data, size_t bytes, const char *name,
                                     espl_tensors **out_set);
/* Takes and clears; NULL is accepted. Ends every view. */
void espl_tensors_destroy(espl_tensors **set);

/* Tensors are numbered 0 .. count-1, file by file in the order of the index, names in the order of the header. */
size_t espl_tensors_count(const espl_tensors *set);
const char *espl_tensors_name(const espl_tensors *set, size_t index);
/* Fails: UNSUPPORTED for dtypes that files may have and this library has not (F8_E4M3, BOOL, I8, ...); LIMIT for more
 * than 8 dimensions or a dimension beyond 32 bits; ARGUMENT for an index past the end. */
espl_status espl_tensors_at(const espl_tensors *set, size_t index, espl_tensor_view *out_view);
bool espl_tensors_has(const espl_tensors *set, const char *name);
/* As espl_tensors_at, and FORMAT `model.safetensors: there is no tensor "x"`. */
espl_status espl_tensors_find(const espl_tensors *set, const char *name, espl_tensor_view *out_view);
/* The string under key in __metadata__ (of the first file that has it), or NULL. */
const char *espl_tensors_metadata(const espl_tensors *set, const char *key);

typedef struct espl_tensor_entry {
    const char *name;
    espl_dtype dtype;
    uint32_t rank;
    uint32_t shape[ESPL_TENSOR_RANK_MAX];
    const void *data; /* little endian, contiguous; NULL: read is asked instead */
    /* Puts bytes of this tensor, beginning at offset, into out; called in order, at most 1 MiB at a time. */
    espl_status (*read)(void *user, const struct espl_tensor_entry *entry, size_t offset, void *out, size_t bytes);
    void *user;
} espl_tensor_entry;

typedef struct espl_tensors_metadata_pair {
    const char *key, *value;
} espl_tensors_metadata_pair;

/* Replaces path whole, by way of espl_os_replace. The layout is byte for byte that of the reference library: larger
 * dtypes first, names sorted within a dtype, header padded with spaces to 8 bytes; metadata in the order given.
 * Fails: ARGUMENT for a name that occurs twice or is "__metadata__", names or metadata that are not UTF-8, rank over
 * 8; IO; HOST_MEMORY; whatever read returns. Then the old file, if any, is untouched. */
espl_status espl_tensors_write(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                               const espl_tensors_metadata_pair *metadata, size_t metadata_count);

#endif
