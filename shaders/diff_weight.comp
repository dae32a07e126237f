#version 450
#extension GL_GOOGLE_include_directive : require
// w = base + z delta with a gate for each element (op_diff_weight.h) times one for its group, or (BACKWARD) ddelta (+)= z dw,
// dalpha (+)= delta dw dz/dalpha. Words of an element are those that dropout would take (dropout.comp).
#include "diff_weight.h"
layout(constant_id = DIFF_WEIGHT_SPEC_BASE_TYPE) const uint BASE_TYPE = 0;
layout(constant_id = DIFF_WEIGHT_SPEC_DRAWN) const uint DRAWN = 0;
layout(constant_id = DIFF_WEIGHT_SPEC_BACKWARD) const uint BACKWARD = 0;
layout(constant_id = DIFF_WEIGHT_SPEC_ADD_DELTA) const uint ADD_DELTA = 0;
layout(constant_id = DIFF_WEIGHT_SPEC_ADD_ALPHA) const uint ADD_ALPHA = 0;
layout(constant_id = DIFF_WEIGHT_SPEC_GROUPS) const uint GROUPS = 0;
#include "lib/step.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/each.glsl"
#include "lib/exp.glsl"
#include "lib/quad.glsl"
#include "lib/rng.glsl"
#include "lib/concrete.glsl"
#include "lib/value.glsl"
#include "diff_weight.glsl"

VALUE_BUFFER(base, DIFF_WEIGHT_BIND_BASE, restrict readonly)
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_W) restrict buffer diff_weight_w { vec4 w[]; };
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_DDELTA) restrict buffer diff_weight_ddelta { vec4 ddelta[]; };
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_DALPHA) restrict buffer diff_weight_dalpha { vec4 dalpha[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.delta_stride + q;
            if (q >= quads)
                break;
            const uint left = push.cols - 4 * q;
            const vec4 s = chances(push.first + row * quads + q, quad_keep(alpha[at], left));
            const vec4 of_group = GROUPS != 0 ? gates(group_chance(group_at(push.first / quads + row, q))) : vec4(1.0);
            if (BACKWARD == 0) {
                const vec4 v = VALUE_LOAD(base, BASE_TYPE, row * push.base_stride + q) + of_group * gates(s) * delta[at];
                QUAD_STORE(w, row * push.w_stride + q, v, left)
                continue;
            }
            const uint to = row * push.gradient_stride + q;
            const vec4 g = of_group * quad_keep(w[row * push.w_stride + q], left);
            vec4 of_delta = gates(s) * g, of_alpha = quad_keep(delta[at], left) * g * slopes(s);
            if (ADD_DELTA != 0)
                of_delta += ddelta[to];
            if (ADD_ALPHA != 0)
                of_alpha += dalpha[to];
            QUAD_STORE(ddelta, to, of_delta, left)
            QUAD_STORE(dalpha, to, of_alpha, left)
        }
    }
}
