#version 450
#extension GL_GOOGLE_include_directive : require
// Per element i = |p g|: mean = beta1 mean + (1 - beta1) i, spread = beta2 spread + (1 - beta2) |i - mean|; per row or column
// score (+)= mean of mean * spread. A workgroup per row or column.
#include "importance.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = IMPORTANCE_SPEC_COLUMNS) const uint COLUMNS = 0;
layout(constant_id = IMPORTANCE_SPEC_ADD) const uint ADD = 0;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = IMPORTANCE_BIND_P) restrict readonly buffer importance_p { float p[]; };
layout(std430, set = 0, binding = IMPORTANCE_BIND_G) restrict readonly buffer importance_g { float g[]; };
layout(std430, set = 0, binding = IMPORTANCE_BIND_MEAN) restrict buffer importance_mean { float means[]; };
layout(std430, set = 0, binding = IMPORTANCE_BIND_SPREAD) restrict buffer importance_spread { float spreads[]; };
layout(std430, set = 0, binding = IMPORTANCE_BIND_SCORE) restrict buffer importance_score { float score[]; };

float element(uint at)
{
    const float i = abs(p[at] * g[at]);
    const float average = push.beta1 * means[at] + (1.0 - push.beta1) * i;
    const float spread = push.beta2 * spreads[at] + (1.0 - push.beta2) * abs(i - average);
    means[at] = average;
    spreads[at] = spread;
    return average * spread;
}

void main()
{
    for (uint n = gl_WorkGroupID.x; n < push.count; n += gl_NumWorkGroups.x) {
        float sum = 0.0;
        for (uint i = gl_LocalInvocationID.x; i < push.terms; i += gl_WorkGroupSize.x)
            sum += element(COLUMNS != 0 ? i * push.stride + push.from + n : (push.from + n) * push.stride + i);
        sum = reduce_sum(sum) / float(push.terms);
        if (gl_LocalInvocationID.x == 0)
            score[push.slot + n] = ADD != 0 ? score[push.slot + n] + sum : sum;
    }
}
