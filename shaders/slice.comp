#version 450
#extension GL_GOOGLE_include_directive : require
// y[b * y_rows + i, c] (+)= sum over s < sequences of x[(b + s) * x_rows + first + i, x_from + c], in the order of s.
#include "concat.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = CONCAT_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = CONCAT_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = CONCAT_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, SLICE_BIND_X, restrict readonly)
VALUE_BUFFER(y, SLICE_BIND_Y, restrict)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const uint from = row / push.y_rows * push.x_rows + push.first + row % push.y_rows;
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + push.y_from + q;
            if (q >= quads)
                break;
            vec4 v = VALUE_LOAD(x, X_TYPE, from * push.x_stride + push.x_from + q);
            for (uint s = 1; s < push.sequences; s++)
                v += VALUE_LOAD(x, X_TYPE, (from + s * push.x_rows) * push.x_stride + push.x_from + q);
            if (ACCUMULATE != 0)
                v += VALUE_LOAD(y, Y_TYPE, at);
            VALUE_STORE(y, Y_TYPE, at, v, push.cols - 4 * q)
        }
    }
}
