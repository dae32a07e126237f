/* Host and device interface of embedding.comp and embedding_bwd.comp. Strides are in quads. */
#ifndef ESPL_EMBEDDING_H
#define ESPL_EMBEDDING_H

#define EMBEDDING_BIND_IDS 0
#define EMBEDDING_BIND_TABLE 1
#define EMBEDDING_BIND_POSITIONS 2
#define EMBEDDING_BIND_POSITION_TABLE 3
#define EMBEDDING_BIND_Y 4

#define EMBEDDING_BWD_BIND_IDS 0
#define EMBEDDING_BWD_BIND_POSITIONS 1
#define EMBEDDING_BWD_BIND_DY 2
#define EMBEDDING_BWD_BIND_DTABLE 3

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define EMBEDDING_SPEC_TYPE 5            /* espl_dtype of the table */
#define EMBEDDING_SPEC_POSITION_TYPE 6   /* of the position table */
#define EMBEDDING_SPEC_POSITION_TABLE 7  /* 1: it is bound */
#define EMBEDDING_SPEC_POSITIONS 8       /* 1: first positions of the sequences are bound, else they are 0 */
#define EMBEDDING_SPEC_TABLE 9           /* 1: the table is bound, else positions are all there is */
#define EMBEDDING_SPEC_Y_TYPE 10         /* espl_dtype of y */
#define EMBEDDING_BWD_SPEC_OF_POSITIONS 5 /* the table is that of positions */

#ifdef VULKAN
#define EMBEDDING_U32 uint
layout(push_constant) uniform embedding_push {
#else
#include <stdint.h>
#define EMBEDDING_U32 uint32_t
typedef struct embedding_push {
#endif
    EMBEDDING_U32 from, tokens, cols;       /* tokens [from, tokens) have their rows bound; ids are bound whole */
    EMBEDDING_U32 sequence;                  /* tokens of one sequence */
    EMBEDDING_U32 vocabulary, position_count; /* rows of the tables */
    EMBEDDING_U32 first, count;             /* rows of the (bwd: either) table that are bound */
    EMBEDDING_U32 position_first, position_rows; /* forward: rows of the position table that are bound */
    EMBEDDING_U32 table_stride, position_stride, y_stride;
    float scale;
    EMBEDDING_U32 position_from; /* row of the position table for position 0 */
#ifdef VULKAN
} push;
#else
} embedding_push;
#endif

#endif
