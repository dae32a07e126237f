#version 450
#extension GL_GOOGLE_include_directive : require
// dx[r,c] (+)= dy[r / group_rows, c] / group_rows; x is dy and y is dx here.
#include "mean.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = MEAN_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = MEAN_BIND_X) restrict readonly buffer mean_dy { vec4 dy[]; };
layout(std430, set = 0, binding = MEAN_BIND_Y) restrict buffer mean_dx { vec4 dx[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.groups * push.group_rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + q;
            if (q >= quads)
                break;
            vec4 v = dy[row / push.group_rows * push.x_stride + q] / float(push.group_rows);
            if (ACCUMULATE != 0)
                v += dx[at];
            QUAD_STORE(dx, at, v, push.cols - 4 * q)
        }
    }
}
