#version 450
#extension GL_GOOGLE_include_directive : require
// stats[word] += factor * sum of x, by one workgroup in a fixed order.
#include "sum.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = SUM_SPEC_FACTOR) const uint FACTOR = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = SUM_BIND_X) restrict readonly buffer sum_x { vec4 x[]; };
layout(std430, set = 0, binding = SUM_BIND_STEP) restrict readonly buffer sum_step { uint step_words[]; };
layout(std430, set = 0, binding = SUM_BIND_STATS) restrict buffer sum_stats { float stats[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    vec4 sums = vec4(0.0);
    for (uint i = gl_LocalInvocationID.x; i < push.rows * quads; i += gl_WorkGroupSize.x) {
        const uint row = i / quads, q = i % quads;
        sums += quad_keep(x[row * push.x_stride + q], push.cols - 4 * q);
    }
    float total = reduce_sum(quad_sum(sums));
    if (FACTOR != 0)
        total *= uintBitsToFloat(step_words[push.factor_word]);
    if (gl_LocalInvocationID.x == 0)
        stats[push.word] += total;
}
