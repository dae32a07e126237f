/* Host and device interface of importance.comp and prune.comp. Strides are in elements. */
#ifndef ESPL_IMPORTANCE_H
#define ESPL_IMPORTANCE_H

#define IMPORTANCE_BIND_P 0
#define IMPORTANCE_BIND_G 1
#define IMPORTANCE_BIND_MEAN 2
#define IMPORTANCE_BIND_SPREAD 3
#define IMPORTANCE_BIND_SCORE 4

#define PRUNE_BIND_SCORE 0
#define PRUNE_BIND_DROPPED 1
#define PRUNE_BIND_E 2
#define PRUNE_BIND_COUNT 3

/* Ids 0-2 local size. */
#define IMPORTANCE_SPEC_COLUMNS 3 /* 1: a score for each column, else for each row */
#define IMPORTANCE_SPEC_ADD 4     /* 1: to the score there is */

#ifdef VULKAN
#define IMPORTANCE_U32 uint
layout(push_constant) uniform importance_push {
#else
#include <stdint.h>
#define IMPORTANCE_U32 uint32_t
typedef struct importance_push {
#endif
    IMPORTANCE_U32 terms, stride;     /* of what one score is a mean of; prune: scores in all */
    IMPORTANCE_U32 from, count, slot; /* rows or columns; their first score */
    float beta1, beta2;
#ifdef VULKAN
} push;
#else
} importance_push;
#endif

#endif
