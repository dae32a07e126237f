/* What host and device agree on for cross_entropy.comp; valid C and valid GLSL. */
#ifndef ESPL_CROSS_ENTROPY_H
#define ESPL_CROSS_ENTROPY_H

#define CROSS_ENTROPY_BIND_LABELS 0
#define CROSS_ENTROPY_BIND_STEP 1
#define CROSS_ENTROPY_BIND_LOGITS 2
#define CROSS_ENTROPY_BIND_LOSS 3
#define CROSS_ENTROPY_BIND_COUNT 4

#define CROSS_ENTROPY_SPEC_GRADIENT 3 /* 1: logits become their gradient; 0: logits are only read */

#ifdef VULKAN
#define CROSS_ENTROPY_U32 uint
layout(push_constant) uniform cross_entropy_push {
#else
#include <stdint.h>
#define CROSS_ENTROPY_U32 uint32_t
typedef struct cross_entropy_push {
#endif
    CROSS_ENTROPY_U32 rows, cols, stride; /* of the logits */
    CROSS_ENTROPY_U32 first_row;          /* of labels and loss */
    CROSS_ENTROPY_U32 loss_stride;
#ifdef VULKAN
} push;
#else
} cross_entropy_push;
#endif

#endif
