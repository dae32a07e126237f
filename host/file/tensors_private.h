/* What the readers of tensor files share. Each turns one mapped file into records. */
#ifndef ESPL_TENSORS_PRIVATE_H
#define ESPL_TENSORS_PRIVATE_H

#include "host/base/os.h"
#include "host/file/json.h"
#include "host/file/map.h"
#include "host/file/tensors.h"

typedef struct tensor_record {
    const char *name;       /* borrowed from the header of its file, or owned_name */
    const char *dtype_text; /* borrowed from the header, or static */
    size_t dimensions;      /* may be more than a view has room for */
    espl_tensor_view view;  /* dtype is valid if usable is OK */
    uint64_t begin, end;    /* in the data of its file; safetensors only */
    espl_status usable;     /* UNSUPPORTED dtype, LIMIT for rank or dimension */
    size_t file;            /* index */
    char *owned_name;          /* or NULL */
    unsigned char *owned_data; /* copy of what does not lie contiguous in the file; or NULL */
} tensor_record;

typedef struct tensor_file {
    espl_mapping mapping;
    bool mapped;
    json_t *header; /* owned; its "__metadata__" is what espl_tensors_metadata reads; or NULL */
    char *path;     /* owned */
} tensor_file;

struct espl_tensors {
    espl_context *ctx; /* borrowed */
    char *path;        /* owned; for messages */
    tensor_file *files;
    size_t file_count, file_capacity;
    tensor_record *records;
    size_t count, capacity;
    espl_map names; /* to the index of the record */
};

/* A reader adds the records of file, whose mapping and path are filled. */
typedef espl_status espl_tensor_reader(espl_tensors *set, tensor_file *file);
espl_tensor_reader espl_safetensors_read, espl_torch_read, espl_torch_read_old, espl_gguf_read, espl_npy_read;

espl_status espl_tensors_add(espl_tensors *set, const tensor_record *record);
/* name: `bytes` of anything; becomes record->owned_name. Fails: FORMAT unless it is UTF-8 without zero bytes. */
espl_status espl_tensor_name(espl_tensors *set, const tensor_file *file, const char *name, size_t bytes,
                             tensor_record *record);
/* Fills dimensions and shape of the view, or makes it unusable; *out_count: the product.
 * Fails: FORMAT if that overflows. */
espl_status espl_tensor_shape(espl_tensors *set, const tensor_file *file, const uint64_t *shape, size_t rank,
                              tensor_record *record, size_t *out_count);

/* The values of one tensor, a part at a time where they are read. */
espl_status espl_tensor_entry_write(espl_context *ctx, espl_replace *replace, const espl_tensor_entry *entry);

#endif
