/* A set of weights: matrices in device memory, and the named tensors of files that are rows (or, for vectors, columns) of
 * them. Several file tensors may share a matrix, so that q, k and v are one product; what a file calls them stays.
 * A model, an adapter, and an optimiser's state are stores. */
#ifndef ESPL_STORE_H
#define ESPL_STORE_H

#include "host/file/safetensors.h"
#include "host/gpu/gpu.h"

/* rows x cols, rows every `stride` elements (a multiple of 4, zeros between). Vectors are one row. */
typedef struct espl_matrix {
    char *label; /* owned */
    uint32_t rows, cols, stride;
    espl_dtype dtype;
    bool decay;    /* weight decay applies when trained */
    bool frozen;   /* never trained: outside of the flat span */
    bool carried;  /* frozen, but changed by one step for the next: in checkpoints */
    float rate;    /* factor of the learning rate; 1 unless changed before place */
    uint64_t flat; /* first element of a flat store */
    espl_span span;
    /* Not NULL: its values are those of matrix owner_index of that store, whose memory span is and where they are trained. Its own
     * memory, which nothing uses, is `own`. */
    const struct espl_store *owner;
    uint32_t owner_index;
    espl_span own;
} espl_matrix;

/* A file's tensor: rows [from, from + count) of a matrix, or for a vector its columns. */
typedef struct espl_entry {
    char *name;  /* owned; as the family's own files write it */
    char *alias; /* owned or NULL; another name files use */
    uint32_t matrix, from, count;
    bool vector;
    bool optional; /* absent in a file: stays as it is */
    bool apart;    /* neither in the file that the store is loaded from nor in the one that it is saved to */
    uint32_t rank, shape[4]; /* in files: [count] or [count, cols] unless espl_store_shape said otherwise */
} espl_entry;

typedef struct espl_store {
    espl_context *ctx;    /* borrowed */
    espl_device *device;  /* borrowed */
    espl_matrix *matrices; /* owned */
    size_t matrix_count, matrix_capacity;
    espl_entry *entries; /* owned */
    size_t entry_count, entry_capacity;
    espl_arena arena;
    espl_span flat; /* all matrices but the frozen, one after another; only of a flat store */
    uint64_t flat_count;
    /* Not NULL: this one is a part of another, whose matrices from `whole_from` on its own are, in the same memory. */
    const struct espl_store *whole;
    uint32_t whole_from;
} espl_store;

/* device NULL: a store that is declared only, and never placed. */
void espl_store_init(espl_store *store, espl_context *ctx, espl_device *device, espl_arena_kind kind, const char *name);
void espl_store_finish(espl_store *store);

/* Declares; nothing is allocated before place. */
espl_status espl_store_matrix(espl_store *store, const char *label, uint32_t rows, uint32_t cols, espl_dtype dtype,
                              bool decay, uint32_t *out_index);
espl_status espl_store_entry(espl_store *store, const char *name, uint32_t matrix, uint32_t from, uint32_t count,
                             bool vector);
/* Files give the newest entry this shape; the number of values is the same. */
void espl_store_shape(espl_store *store, uint32_t rank, const uint32_t *shape);
/* Memory for all matrices that have rows, zeroed. flat: one span of f32, sorted by decay and rate, as an optimiser wants it. */
espl_status espl_store_place(espl_store *store, bool flat);

/* Rows, of any values, for a frozen matrix that was declared without, and an entry taken away again; for a head that is no longer
 * tied. */
espl_status espl_store_add_rows(espl_store *store, uint32_t matrix, uint32_t rows);
void espl_store_remove_entry(espl_store *store, const char *name);

/* Values of an entry, converting between dtype and the matrix's. Blocking. */
espl_status espl_store_write(espl_store *store, const espl_entry *entry, const void *values, espl_dtype dtype);
espl_status espl_store_read(espl_store *store, const espl_entry *entry, float *out_values);
/* The same for memory that is laid out like the flat span of this store: gradients, moments (zeros for what is frozen). */
espl_status espl_store_read_like(espl_store *store, const espl_entry *entry, espl_span flat, float *out_values);
espl_status espl_store_write_like(espl_store *store, const espl_entry *entry, espl_span flat, const float *values);

/* Number of values of an entry, of all entries. */
uint64_t espl_entry_values(const espl_store *store, const espl_entry *entry);
uint64_t espl_store_values(const espl_store *store);
uint64_t espl_store_bytes(const espl_store *store);
/* NULL if there is none of that name or alias. */
const espl_entry *espl_store_find(const espl_store *store, const char *name);

/* Every entry but those apart from the set by name or alias; prefix (may be "") stands before the names in the file.
 * Fails: FORMAT naming the tensor that is missing or has another shape, with both shapes. */
espl_status espl_store_load(espl_store *store, const espl_tensors *set, const char *prefix);
/* All entries but those apart in f32 under their names, as a safetensors file beside path, which takes its place with
 * espl_os_replace_commit. */
espl_status espl_store_replace(espl_store *store, const char *path, espl_replace *out_replace);

/* For files of more than one group of tensors: one source per entry, which reads the device while it is written. */
typedef struct espl_store_source {
    espl_store *store;
    espl_entry entry; /* its name is borrowed */
    espl_span flat; /* block NULL: the store's own memory */
    float *values;  /* owned: the tensor being written */
} espl_store_source;
/* Fills entries (and sources, which must outlive the write) for espl_tensors_write; name_format has one %s. The names are
 * freed by espl_store_entries_finish. */
espl_status espl_store_entries(espl_store *store, const char *name_format, espl_span flat, espl_tensor_entry *entries,
                               espl_store_source *sources);
/* Matrices that steps carry on, as tensors carried.<number of the matrix>; how many there are; and back from a file. */
size_t espl_store_carried_count(const espl_store *store);
espl_status espl_store_carried(espl_store *store, espl_tensor_entry *entries, espl_store_source *sources);
espl_status espl_store_load_carried(espl_store *store, const espl_tensors *set);
void espl_store_entries_finish(espl_context *ctx, espl_tensor_entry *entries, espl_store_source *sources, size_t count);

#endif
