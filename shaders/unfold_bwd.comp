#version 450
#extension GL_GOOGLE_include_directive : require
// dx[t, c] (+)= sum over j of dy[t - j + kernel / 2, c * kernel + j], of the rows that the sequence has; x is dy and y is dx here.
#include "unfold.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = UNFOLD_SPEC_LENGTHS) const uint LENGTHS = 0;
layout(constant_id = UNFOLD_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = UNFOLD_BIND_X) restrict readonly buffer unfold_dy { vec4 dy[]; };
layout(std430, set = 0, binding = UNFOLD_BIND_Y) restrict buffer unfold_dx { vec4 dx[]; };
layout(std430, binding = UNFOLD_BIND_LENGTHS) restrict readonly buffer lengths_buffer { int lengths[]; };

void main()
{
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const uint b = row / push.tokens, t = row % push.tokens;
        const bool there = LENGTHS == 0 || int(t) < lengths[push.first + b];
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride / 4 + q;
            if (4 * q >= push.cols)
                break;
            vec4 v = vec4(0.0);
            for (uint j = 0; j < push.kernel; j++) {
                const int from = int(t + push.kernel / 2) - int(j);
                const uint other = b * push.tokens + uint(clamp(from, 0, int(push.tokens) - 1));
                const bool used = there && from >= 0 && from < int(push.tokens);
                for (uint e = 0; e < 4; e++) {
                    const uint element = other * push.x_stride + min(4 * q + e, push.cols - 1) * push.kernel + j;
                    v[e] += used ? dy[element / 4][element % 4] : 0.0;
                }
            }
            if (ACCUMULATE != 0)
                v += dx[at];
            QUAD_STORE(dx, at, v, push.cols - 4 * q)
        }
    }
}
