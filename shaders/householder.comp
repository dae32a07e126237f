#version 450
#extension GL_GOOGLE_include_directive : require
// Row i of y is e_i taken through the reflections i, i - 1, .. 0, with the sign of x[i,i]. Reflections behind i leave e_i as it
// is. A workgroup per row; a lane reads and writes its own columns alone.
#include "householder.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = HOUSEHOLDER_BIND_X) restrict readonly buffer householder_x { float x[]; };
layout(std430, set = 0, binding = HOUSEHOLDER_BIND_Y) restrict buffer householder_y { float y[]; };

// Column c of the vector of reflection j.
float vector(uint j, uint c)
{
    return c < j ? 0.0 : c == j ? 1.0 : x[j * push.x_stride + c];
}

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    for (uint i = gl_WorkGroupID.x; i < push.rows; i += gl_NumWorkGroups.x) {
        const uint row = i * push.y_stride;
        for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x)
            y[row + c] = c == i ? (x[i * push.x_stride + i] < 0.0 ? -1.0 : 1.0) : 0.0;
        for (uint left = i + 1; left > 0; left--) {
            const uint j = left - 1;
            vec2 sums = vec2(0.0); // a . v, a . a
            for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x) {
                const float a = vector(j, c);
                sums += vec2(a * y[row + c], a * a);
            }
            sums = reduce_sum(sums);
            const float share = 2.0 * sums.x / sums.y;
            for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x)
                y[row + c] -= share * vector(j, c);
        }
    }
}
