#version 450
#extension GL_GOOGLE_include_directive : require
// dx[b * sequence + i] (+)= i == picked(b) ? dy[b] : 0.
#include "pick.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = PICK_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/each.glsl"
#include "lib/pick.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = PICK_BWD_BIND_DY) restrict readonly buffer pick_dy { vec4 dy[]; };
layout(std430, set = 0, binding = PICK_BWD_BIND_DX) restrict buffer pick_dx { vec4 dx[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const uint b = row / push.sequence;
        const bool hit = row % push.sequence == picked(b);
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.x_stride + q;
            if (q >= quads || (ACCUMULATE != 0 && !hit))
                break;
            vec4 v = hit ? dy[b * push.y_stride + q] : vec4(0.0);
            if (ACCUMULATE != 0)
                v += dx[at];
            QUAD_STORE(dx, at, v, push.cols - 4 * q)
        }
    }
}
