#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] = f(x[r, gate_from + c]) * x[r, from + c] when gated, else f(x[r, from + c]).
#include "activation.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ACTIVATION_SPEC_KIND) const uint KIND = 0;
layout(constant_id = ACTIVATION_SPEC_GATED) const uint GATED = 0;
layout(constant_id = ACTIVATION_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = ACTIVATION_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/activation.glsl"
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, ACTIVATION_BIND_X, restrict readonly)
VALUE_BUFFER(y, ACTIVATION_BIND_Y, restrict writeonly)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i);
            if (q >= quads)
                break;
            const uint x_at = row * push.x_stride + q;
            vec4 slope;
            vec4 v = activate(VALUE_LOAD(x, X_TYPE, x_at + (GATED != 0 ? push.gate_from : push.from)), slope);
            if (GATED != 0)
                v *= VALUE_LOAD(x, X_TYPE, x_at + push.from);
            VALUE_STORE(y, Y_TYPE, row * push.y_stride + q, v, push.cols - 4 * q)
        }
    }
}
