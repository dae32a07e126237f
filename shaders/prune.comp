#version 450
#extension GL_GOOGLE_include_directive : require
// e = 0 where fewer than k of all scores are smaller than its own: those at or below the k-th smallest. k = 0: nothing
// happens; k < 0: what was dropped last is dropped again.
#include "importance.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;

layout(std430, set = 0, binding = PRUNE_BIND_SCORE) restrict readonly buffer prune_score { float score[]; };
layout(std430, set = 0, binding = PRUNE_BIND_DROPPED) restrict buffer prune_dropped { float dropped[]; };
layout(std430, set = 0, binding = PRUNE_BIND_E) restrict buffer prune_e { float e[]; };
layout(std430, set = 0, binding = PRUNE_BIND_COUNT) restrict readonly buffer prune_k { int k[]; };

void main()
{
    const uint n = gl_GlobalInvocationID.x;
    if (n >= push.count || k[0] == 0)
        return;
    if (k[0] > 0) {
        const float own = score[push.slot + n];
        int smaller = 0;
        for (uint i = 0; i < push.terms; i++)
            smaller += score[i] < own ? 1 : 0;
        dropped[push.slot + n] = smaller < k[0] ? 1.0 : 0.0;
    }
    if (dropped[push.slot + n] != 0.0)
        e[push.from + n] = 0.0;
}
