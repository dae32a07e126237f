/* GGUF, the files of llama.cpp, version 3:
 *   "GGUF" | u32 version | u64 tensors | u64 pairs | pairs of metadata | tensor descriptions | data, each tensor aligned
 * all little endian; a description has the dimensions innermost first. Reading is behind tensors.h: tensors with their
 * dimensions outermost first, scalars of the metadata as text; of its block formats a reader gets only name and dtype.
 * Source: github.com/ggml-org/ggml docs/gguf.md. */
#ifndef ESPL_GGUF_H
#define ESPL_GGUF_H

#include "host/file/tensors.h"

/* A string, or where that is NULL a number. */
typedef struct espl_gguf_pair {
    const char *key, *string;
    float number;
} espl_gguf_pair;

/* Replaces path whole. Tensors keep their order and dtype, which is F32, F16 or BF16.
 * Fails: ARGUMENT for other dtypes, no data, or more than 4 dimensions; IO; HOST_MEMORY; whatever read returns. Then the
 * old file, if any, is untouched. */
espl_status espl_gguf_write(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                            const espl_gguf_pair *metadata, size_t metadata_count);

#endif
