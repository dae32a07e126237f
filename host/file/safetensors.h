/* Writing safetensors:
 *   file  = u64 header length | JSON header | data;  header = { name: { dtype, shape, data_offsets }, __metadata__ }
 * Reading is behind tensors.h.
 * Source: github.com/huggingface/safetensors, README "Format"; sharding as transformers writes it. */
#ifndef ESPL_SAFETENSORS_H
#define ESPL_SAFETENSORS_H

#include "host/base/os.h"
#include "host/file/tensors.h"

typedef struct espl_tensors_metadata_pair {
    const char *key, *value;
} espl_tensors_metadata_pair;

/* Replaces path whole, by way of espl_os_replace. The layout is byte for byte that of the reference library: larger
 * dtypes first, names sorted within a dtype, header padded with spaces to 8 bytes; metadata in the order given.
 * Fails: ARGUMENT for a name that occurs twice or is "__metadata__", names or metadata that are not UTF-8, rank over
 * 8; IO; HOST_MEMORY; whatever read returns. Then the old file, if any, is untouched. */
espl_status espl_tensors_write(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                               const espl_tensors_metadata_pair *metadata, size_t metadata_count);
/* The same beside path, which it takes the place of with espl_os_replace_commit, for several files at once; *out_replace is to be
 * finished also on failure. */
espl_status espl_tensors_replace(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                                 const espl_tensors_metadata_pair *metadata, size_t metadata_count, espl_replace *out_replace);

#endif
