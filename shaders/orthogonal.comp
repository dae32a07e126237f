#version 450
#extension GL_GOOGLE_include_directive : require
// y = factor (G - I) / |G - I| in the block from .. from + count of both rows and columns, 0 elsewhere in rows from .. end.
// One workgroup: blocks are as large as a rank.
#include "orthogonal.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = ORTHOGONAL_BIND_G) restrict readonly buffer orthogonal_g { float g[]; };
layout(std430, set = 0, binding = ORTHOGONAL_BIND_Y) restrict writeonly buffer orthogonal_y { float y[]; };

float off(uint row, uint col)
{
    return g[row * push.g_stride + col] - (row == col ? 1.0 : 0.0);
}

void main()
{
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < push.count * push.count; i += gl_WorkGroupSize.x) {
        const float v = off(push.from + i / push.count, push.from + i % push.count);
        sum += v * v;
    }
    sum = reduce_sum(sum);
    const float scale = sum > 0.0 ? push.factor * inversesqrt(sum) : 0.0;
    for (uint i = gl_LocalInvocationID.x; i < (push.end - push.from) * push.size; i += gl_WorkGroupSize.x) {
        const uint row = push.from + i / push.size, col = i % push.size;
        const bool inside = row < push.from + push.count && col >= push.from && col < push.from + push.count;
        y[row * push.y_stride + col] = inside ? scale * off(row, col) : 0.0;
    }
}
