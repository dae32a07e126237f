/* Named tensors in files, behind one door: safetensors, one file or several that an index names; PyTorch's checkpoints
 * (.bin, .pt: a zip archive with a pickle, or the older form without the archive); GGUF.
 *
 * A file is read as if its author meant harm: every length is checked against the file before it is used, and of a
 * pickle nothing is run that does not make a tensor. What a stranger's file can still do is shrink while it is mapped,
 * which ends the process; do not open files that others write to. */
#ifndef ESPL_TENSORS_H
#define ESPL_TENSORS_H

#include "host/base/base.h"

#define ESPL_TENSOR_RANK_MAX 8

/* The name of a tensor that PyTorch saved alone, without one. */
#define ESPL_TENSOR_ALONE "weight"

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

/* path: one file of any of the formats, told by its first bytes and not by its name; a .index.json; a folder with
 * model.safetensors or pytorch_model.bin, or an index of either; or a path that lacks its suffix ("x/adapter_model"),
 * which is looked for as .safetensors, .safetensors.index.json, .bin, .bin.index.json, in this order. Maps the files;
 * of the data only what does not lie contiguous in a .bin is copied.
 * Fails: IO, HOST_MEMORY; what the readers below say, FORMAT if a name occurs twice (also across files), or if the index
 * names a file that is missing, not beside it, or without the tensor.
 * safetensors: FORMAT if a file is truncated, its header is over 100 MB, past the end, not JSON or not
 * UTF-8, a dtype is unknown, a shape is negative or overflows, data offsets are reversed, overlap, leave a hole, pass
 * the end or disagree with shape and dtype.
 * PyTorch: UNSUPPORTED `the pickle in x.bin calls os.system; only tensors are read` for whatever else a pickle may do,
 * and for compressed archives; FORMAT if a tensor reaches out of its storage; LIMIT if the copies of tensors that do not
 * lie contiguous need more bytes than the file has. Values beside the tensors are left out.
 * GGUF: FORMAT for lengths and offsets that pass the end; UNSUPPORTED for versions but 2 and 3. */
espl_status espl_tensors_open(espl_context *ctx, const char *path, espl_tensors **out_set);
/* The same over bytes in memory, which must outlive the set. name stands for the path in messages. */
espl_status espl_tensors_open_memory(espl_context *ctx, const void *data, size_t bytes, const char *name,
                                     espl_tensors **out_set);
/* Takes and clears; NULL is accepted. Ends every view. */
void espl_tensors_destroy(espl_tensors **set);

/* Tensors are numbered 0 .. count-1, file by file in the order of the index, in the order of their data within a file. */
size_t espl_tensors_count(const espl_tensors *set);
const char *espl_tensors_name(const espl_tensors *set, size_t index);
/* Fails: UNSUPPORTED for dtypes that files may have and this library has not (F8_E4M3, BOOL, I8, ...); LIMIT for more
 * than 8 dimensions or a dimension beyond 32 bits; ARGUMENT for an index past the end. */
espl_status espl_tensors_at(const espl_tensors *set, size_t index, espl_tensor_view *out_view);
bool espl_tensors_has(const espl_tensors *set, const char *name);
/* As espl_tensors_at, and FORMAT `model.safetensors: there is no tensor "x"`. */
espl_status espl_tensors_find(const espl_tensors *set, const char *name, espl_tensor_view *out_view);
/* The string under key in __metadata__ (of the first file that has it), or NULL. The numbers of a GGUF file are spelled
 * out ("16", "0.5"), its arrays are left out; a .bin has none. */
const char *espl_tensors_metadata(const espl_tensors *set, const char *key);

/* One tensor to write. */
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

#endif
