#version 450
#extension GL_GOOGLE_include_directive : require
// partial[first + k] = sum of squares of the gradients in chunk k, one workgroup per chunk.
#include "grad_norm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = GRAD_NORM_PARTIAL_BIND_G) restrict readonly buffer grad_norm_g { vec4 g[]; };
layout(std430, set = 0, binding = GRAD_NORM_PARTIAL_BIND_OUT) restrict writeonly buffer grad_norm_partial
{
    float partial[];
};

void main()
{
    const uint begin = gl_WorkGroupID.x * push.chunk, end = min(begin + push.chunk, (push.count + 3) / 4);
    vec4 squares = vec4(0.0);
    for (uint q = begin + gl_LocalInvocationID.x; q < end; q += gl_WorkGroupSize.x) {
        const vec4 v = quad_keep(g[q], push.count - 4 * q);
        squares += v * v;
    }
    const float sum = reduce_sum(quad_sum(squares));
    if (gl_LocalInvocationID.x == 0)
        partial[push.first + gl_WorkGroupID.x] = sum;
}
