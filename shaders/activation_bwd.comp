#version 450
#extension GL_GOOGLE_include_directive : require
// With g = x[r, gate_from + c], u = x[r, from + c]: du (+)= dy f(g), dg (+)= dy u f'(g) when gated, else du (+)= dy
// f'(u).
#include "activation.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ACTIVATION_SPEC_KIND) const uint KIND = 0;
layout(constant_id = ACTIVATION_SPEC_GATED) const uint GATED = 0;
layout(constant_id = ACTIVATION_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = ACTIVATION_SPEC_ACCUMULATE_GATE) const uint ACCUMULATE_GATE = 0;
layout(constant_id = ACTIVATION_BWD_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/activation.glsl"
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, ACTIVATION_BWD_BIND_X, restrict readonly)
layout(std430, set = 0, binding = ACTIVATION_BWD_BIND_DY) restrict readonly buffer activation_dy { vec4 dy[]; };
layout(std430, set = 0, binding = ACTIVATION_BWD_BIND_DX) restrict buffer activation_dx { vec4 dx[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), left = push.cols - 4 * q;
            if (q >= quads)
                break;
            const uint x_at = row * push.x_stride + q, dx_at = row * push.dx_stride + q;
            const vec4 d = dy[row * push.y_stride + q];
            vec4 slope;
            vec4 v = activate(VALUE_LOAD(x, X_TYPE, x_at + (GATED != 0 ? push.gate_from : push.from)), slope);
            slope *= d;
            if (GATED != 0) {
                v *= d;
                slope *= VALUE_LOAD(x, X_TYPE, x_at + push.from);
                if (ACCUMULATE_GATE != 0)
                    slope += dx[dx_at + push.gate_from];
                QUAD_STORE(dx, dx_at + push.gate_from, slope, left)
            } else {
                v = slope;
            }
            if (ACCUMULATE != 0)
                v += dx[dx_at + push.from];
            QUAD_STORE(dx, dx_at + push.from, v, left)
        }
    }
}
