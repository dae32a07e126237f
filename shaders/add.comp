#version 450
#extension GL_GOOGLE_include_directive : require
// out = a, a + b or out + a, element by element.
#include "add.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ADD_SPEC_WITH) const uint WITH = ADD_B;
#include "lib/each.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = ADD_BIND_A) restrict readonly buffer add_a { vec4 a[]; };
layout(std430, set = 0, binding = ADD_BIND_B) restrict readonly buffer add_b { vec4 b[]; };
layout(std430, set = 0, binding = ADD_BIND_OUT) restrict buffer add_out { vec4 sum[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.out_stride + q;
            if (q >= quads)
                break;
            vec4 v = a[row * push.a_stride + q];
            if (WITH == ADD_B)
                v += b[row * push.b_stride + q];
            if (WITH == ADD_SELF)
                v += sum[at];
            QUAD_STORE(sum, at, v, push.cols - 4 * q)
        }
    }
}
