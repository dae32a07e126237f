/* What host and device agree on for fill.comp; valid C and valid GLSL. */
#ifndef ESPL_FILL_H
#define ESPL_FILL_H

#define FILL_BIND_T 0
#define FILL_BIND_COUNT 1

#ifdef VULKAN
#define FILL_U32 uint
layout(push_constant) uniform fill_push {
#else
#include <stdint.h>
#define FILL_U32 uint32_t
typedef struct fill_push {
#endif
    FILL_U32 rows, stride, from, count, word;
#ifdef VULKAN
} push;
#else
} fill_push;
#endif

#endif
