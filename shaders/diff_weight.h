/* Host and device interface of diff_weight.comp, diff_gate.comp and diff_penalty.comp. Strides are in quads. */
#ifndef ESPL_DIFF_WEIGHT_H
#define ESPL_DIFF_WEIGHT_H

#define DIFF_WEIGHT_BIND_BASE 0
#define DIFF_WEIGHT_BIND_STEP 1
#define DIFF_WEIGHT_BIND_DELTA 2
#define DIFF_WEIGHT_BIND_ALPHA 3
#define DIFF_WEIGHT_BIND_GROUP 4  /* with groups */
#define DIFF_WEIGHT_BIND_W 5      /* written; backward: its gradient, read */
#define DIFF_WEIGHT_BIND_DDELTA 6 /* backward */
#define DIFF_WEIGHT_BIND_DALPHA 7
#define DIFF_WEIGHT_BIND_COUNT 8

#define DIFF_GATE_BIND_DW 0 /* 1 to 4 as above */
#define DIFF_GATE_BIND_SUMS 5
#define DIFF_GATE_BIND_DGROUP 6
#define DIFF_GATE_BIND_COUNT 7

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define DIFF_WEIGHT_SPEC_BASE_TYPE 5 /* espl_dtype */
#define DIFF_WEIGHT_SPEC_DRAWN 6
#define DIFF_WEIGHT_SPEC_BACKWARD 7
#define DIFF_WEIGHT_SPEC_ADD_DELTA 8
#define DIFF_WEIGHT_SPEC_ADD_ALPHA 9
#define DIFF_WEIGHT_SPEC_GROUPS 10 /* 0: none */
#define DIFF_WEIGHT_GROUPS_ROWS 1
#define DIFF_WEIGHT_GROUPS_COLUMNS 2 /* of one row */

/* Ids 0-3 as above. */
#define DIFF_GATE_SPEC_DRAWN 4
#define DIFF_GATE_SPEC_GROUPS 5
#define DIFF_GATE_SPEC_SUM 6 /* 1: the second step */
#define DIFF_GATE_SPEC_ACCUMULATE 7

#define DIFF_PENALTY_BIND_ALPHA 0
#define DIFF_PENALTY_BIND_DALPHA 1

#ifdef VULKAN
#define DIFF_WEIGHT_U32 uint
layout(push_constant) uniform diff_weight_push {
#else
#include <stdint.h>
#define DIFF_WEIGHT_U32 uint32_t
typedef struct diff_weight_push {
#endif
    DIFF_WEIGHT_U32 rows, cols;
    DIFF_WEIGHT_U32 base_stride, delta_stride, w_stride, gradient_stride;
    DIFF_WEIGHT_U32 first; /* quads of the rows before those that are bound */
    DIFF_WEIGHT_U32 site;
    DIFF_WEIGHT_U32 groups, bound1, bound2, bound3; /* where groups 1, 2, 3 begin: rows, or columns that are multiples of 4 */
    DIFF_WEIGHT_U32 group_site;
    float low, high;
    float penalty, shift; /* of the penalty alone */
#ifdef VULKAN
} push;
#else
} diff_weight_push;
#endif

#endif
