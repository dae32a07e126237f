#version 450
#extension GL_GOOGLE_include_directive : require
// y[b] = x[b * sequence + picked(b)].
#include "pick.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/each.glsl"
#include "lib/pick.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = PICK_BIND_X) restrict readonly buffer pick_x { vec4 x[]; };
layout(std430, set = 0, binding = PICK_BIND_Y) restrict writeonly buffer pick_y { vec4 y[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint b = each_row(); b < push.rows; b += each_row_step()) {
        const uint row = b * push.sequence + picked(b);
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i);
            if (q >= quads)
                break;
            QUAD_STORE(y, b * push.y_stride + q, x[row * push.x_stride + q], push.cols - 4 * q)
        }
    }
}
