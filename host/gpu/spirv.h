/* What a SPIR-V module asks for, read from its words: bindings and how each is used, push constants, workgroup size and
 * shared memory under given specialization constants, capabilities. */
#ifndef ESPL_GPU_SPIRV_H
#define ESPL_GPU_SPIRV_H

#include "host/gpu/gpu.h"

typedef struct espl_reflection {
    uint32_t binding_count; /* highest binding + 1 */
    bool reads[ESPL_BINDINGS_MAX];
    bool writes[ESPL_BINDINGS_MAX];
    uint32_t push_bytes;
    uint32_t local_size[3];
    bool reads_group_count[3]; /* of gl_NumWorkGroups: its result depends on how many there are in this direction */
    bool cooperative_matrix;    /* its matrices are of subgroup scope, so it counts on the device's subgroup size */
    uint64_t shared_bytes; /* 0 also where a size is computed in a way that is not understood */
} espl_reflection;

/* Fails: ARGUMENT if the words are not a module this library can run (named); UNSUPPORTED if the module declares a
 * capability that the device lacks. */
espl_status espl_spirv_reflect(espl_context *ctx, const espl_shader *shader, const uint32_t *spec, uint32_t spec_count,
                               const espl_capabilities *capabilities, espl_reflection *out_reflection);

#endif
