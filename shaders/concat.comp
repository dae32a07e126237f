#version 450
#extension GL_GOOGLE_include_directive : require
// Sequence b of y is: `first` rows of a (or zeros), x_rows rows of x, zeros up to y_rows. (+)= if ACCUMULATE.
#include "concat.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = CONCAT_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = CONCAT_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = CONCAT_SPEC_Y_TYPE) const uint Y_TYPE = 0;
layout(constant_id = CONCAT_SPEC_A_TYPE) const uint A_TYPE = 0;
layout(constant_id = CONCAT_SPEC_A) const uint A = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(a, CONCAT_BIND_A, restrict readonly)
VALUE_BUFFER(x, CONCAT_BIND_X, restrict readonly)
VALUE_BUFFER(y, CONCAT_BIND_Y, restrict)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const uint b = row / push.y_rows, j = row % push.y_rows;
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + push.y_from + q;
            if (q >= quads)
                break;
            vec4 v = vec4(0.0);
            if (j < push.first) {
                if (A != 0)
                    v = VALUE_LOAD(a, A_TYPE, (b * push.a_rows + j) * push.a_stride + q);
            } else if (j - push.first < push.x_rows) {
                v = VALUE_LOAD(x, X_TYPE, (b * push.x_rows + j - push.first) * push.x_stride + push.x_from + q);
            }
            if (ACCUMULATE != 0)
                v += VALUE_LOAD(y, Y_TYPE, at);
            VALUE_STORE(y, Y_TYPE, at, v, push.cols - 4 * q)
        }
    }
}
