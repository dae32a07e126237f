/* Host and device interface of dropout_mask.comp. */
#ifndef ESPL_DROPOUT_MASK_H
#define ESPL_DROPOUT_MASK_H

#define DROPOUT_MASK_BIND_STEP 0
#define DROPOUT_MASK_BIND_MASK 1

#ifdef VULKAN
#define DROPOUT_MASK_U32 uint
layout(push_constant) uniform dropout_mask_push {
#else
#include <stdint.h>
#define DROPOUT_MASK_U32 uint32_t
typedef struct dropout_mask_push {
#endif
    DROPOUT_MASK_U32 rows, words, stride; /* words of a row, all its heads together */
    DROPOUT_MASK_U32 first;               /* rows before those that are bound */
    DROPOUT_MASK_U32 site;
    DROPOUT_MASK_U32 threshold; /* p * 2^32: words below it drop */
#ifdef VULKAN
} push;
#else
} dropout_mask_push;
#endif

#endif
