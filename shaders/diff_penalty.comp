#version 450
#extension GL_GOOGLE_include_directive : require
// dalpha += penalty * the derivative of sigmoid(alpha - shift), the probability that a gate is open.
#include "diff_weight.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/each.glsl"
#include "lib/exp.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = DIFF_PENALTY_BIND_ALPHA) restrict readonly buffer diff_penalty_alpha { vec4 alpha[]; };
layout(std430, set = 0, binding = DIFF_PENALTY_BIND_DALPHA) restrict buffer diff_penalty_dalpha { vec4 dalpha[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), to = row * push.gradient_stride + q;
            if (q >= quads)
                break;
            const vec4 p = espl_sigmoid(alpha[row * push.delta_stride + q] - push.shift);
            const vec4 v = dalpha[to] + push.penalty * p * (1.0 - p);
            QUAD_STORE(dalpha, to, v, push.cols - 4 * q)
        }
    }
}
