/* Host and device interface of hard_concrete.comp and sparsity.comp. */
#ifndef ESPL_HARD_CONCRETE_H
#define ESPL_HARD_CONCRETE_H

#define HARD_CONCRETE_BIND_ALPHA 0
#define HARD_CONCRETE_BIND_STEP 1
#define HARD_CONCRETE_BIND_Z 2
#define HARD_CONCRETE_BIND_DZ 3     /* backward; z is read then */
#define HARD_CONCRETE_BIND_DALPHA 4

/* Ids 0-2 local size. */
#define HARD_CONCRETE_SPEC_DRAWN 3
#define HARD_CONCRETE_SPEC_BACKWARD 4
#define HARD_CONCRETE_SPEC_ACCUMULATE 5

#define SPARSITY_BIND_ALPHA 0
#define SPARSITY_BIND_SHARE 1
#define SPARSITY_BIND_TARGET 2
#define SPARSITY_BIND_LAMBDA 3
#define SPARSITY_BIND_DALPHA 4
#define SPARSITY_BIND_DLAMBDA 5

#ifdef VULKAN
#define HARD_CONCRETE_U32 uint
layout(push_constant) uniform hard_concrete_push {
#else
#include <stdint.h>
#define HARD_CONCRETE_U32 uint32_t
typedef struct hard_concrete_push {
#endif
    HARD_CONCRETE_U32 from, count, site;
    float beta, low, high, soft;
    float shift; /* beta log(-low / high): an alpha above it is more likely open than closed */
#ifdef VULKAN
} push;
#else
} hard_concrete_push;
#endif

#endif
