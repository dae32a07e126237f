/* Host and device interface of add.comp. Strides are in quads. */
#ifndef ESPL_ADD_H
#define ESPL_ADD_H

#define ADD_BIND_A 0
#define ADD_BIND_B 1
#define ADD_BIND_OUT 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define ADD_SPEC_WITH 5 /* ADD_COPY, ADD_B or ADD_SELF */
#define ADD_SPEC_A_TYPE 6 /* espl_dtype, as the next two */
#define ADD_SPEC_B_TYPE 7
#define ADD_SPEC_OUT_TYPE 8

#define ADD_COPY 0 /* out = a */
#define ADD_B 1    /* out = a + b */
#define ADD_SELF 2 /* out += a */

#ifdef VULKAN
#define ADD_U32 uint
layout(push_constant) uniform add_push {
#else
#include <stdint.h>
#define ADD_U32 uint32_t
typedef struct add_push {
#endif
    ADD_U32 rows, cols, a_stride, b_stride, out_stride;
#ifdef VULKAN
} push;
#else
} add_push;
#endif

#endif
