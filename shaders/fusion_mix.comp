#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] (+)= s[r, column] u[r,c], y f32.
#include "fusion.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = FUSION_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = FUSION_SPEC_U_TYPE) const uint U_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

layout(std430, set = 0, binding = FUSION_MIX_BIND_Y) restrict buffer fusion_y { vec4 y[]; };
VALUE_BUFFER(u, FUSION_BIND_U, restrict readonly)
layout(std430, set = 0, binding = FUSION_BIND_S) restrict readonly buffer fusion_s { float s[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const float factor = s[row * push.s_stride + push.column];
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.x_stride + q;
            if (q >= quads)
                break;
            vec4 v = factor * VALUE_LOAD(u, U_TYPE, row * push.u_stride + q);
            if (ACCUMULATE != 0)
                v += y[at];
            QUAD_STORE(y, at, v, push.cols - 4 * q)
        }
    }
}
