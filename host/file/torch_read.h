/* Shared by the readers of PyTorch's two forms. */
#ifndef ESPL_TORCH_READ_H
#define ESPL_TORCH_READ_H

#include "host/base/os.h"

typedef struct espl_zip_entry {
    const char *name; /* borrowed from the file, not ended by zero */
    size_t name_bytes;
    const unsigned char *data; /* borrowed from the file */
    size_t bytes;
} espl_zip_entry;
/* Every entry of an archive; name is for messages. The caller frees *out_entries.
 * Fails: FORMAT; UNSUPPORTED for entries that are compressed; HOST_MEMORY. */
espl_status espl_zip_read(espl_context *ctx, const espl_mapping *file, const char *name, espl_zip_entry **out_entries,
                          size_t *out_count);

#endif
