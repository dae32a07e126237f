#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] (+)= x[r,c] * s for the columns from .. from + count, x[r,c] for the others; s is s[c - from], s[r / group_rows]
// or s[r, c - from].
#include "scale.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = SCALE_SPEC_KIND) const uint KIND = SCALE_COLUMNS;
layout(constant_id = SCALE_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = SCALE_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = SCALE_SPEC_S_TYPE) const uint S_TYPE = 0;
layout(constant_id = SCALE_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, SCALE_BIND_X, restrict readonly)
VALUE_BUFFER(s, SCALE_BIND_S, restrict readonly)
VALUE_BUFFER(y, SCALE_BIND_Y, restrict)

// Columns past count are not scaled: a quad may hold both.
vec4 factor(uint row, uint q)
{
    const uint at = q - push.from;
    if (q < push.from || 4 * at >= push.count)
        return vec4(1.0);
    const uint left = push.count - 4 * at;
    const vec4 v = KIND == SCALE_NUMBER    ? vec4(push.number)
                   : KIND == SCALE_COLUMNS ? VALUE_LOAD(s, S_TYPE, at)
                   : KIND == SCALE_ROWS    ? vec4(VALUE_LOAD(s, S_TYPE, (push.first + row) / push.group_rows * push.s_stride).x)
                                           : VALUE_LOAD(s, S_TYPE, row * push.s_stride + at);
    return vec4(v.x, left > 1 ? v.y : 1.0, left > 2 ? v.z : 1.0, left > 3 ? v.w : 1.0);
}

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + q;
            if (q >= quads)
                break;
            const vec4 by = factor(row, q);
            vec4 v = VALUE_LOAD(x, X_TYPE, row * push.x_stride + q) * by;
            // Rows that are left out take nothing from x, not even what is not finite.
            if (KIND == SCALE_ROWS)
                v = mix(v, vec4(0.0), equal(by, vec4(0.0)));
            if (ACCUMULATE != 0)
                v += VALUE_LOAD(y, Y_TYPE, at);
            VALUE_STORE(y, Y_TYPE, at, v, push.cols - 4 * q)
        }
    }
}
