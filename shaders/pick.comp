#version 450
#extension GL_GOOGLE_include_directive : require
// y[b] = x[b * sequence + picked(b)].
#include "pick.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = PICK_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = PICK_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/each.glsl"
#include "lib/pick.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, PICK_BIND_X, restrict readonly)
VALUE_BUFFER(y, PICK_BIND_Y, restrict)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint b = each_row(); b < push.rows; b += each_row_step()) {
        const uint row = b * push.sequence + picked(b);
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i);
            if (q >= quads)
                break;
            VALUE_STORE(y, Y_TYPE, b * push.y_stride + q, VALUE_LOAD(x, X_TYPE, row * push.x_stride + q), push.cols - 4 * q)
        }
    }
}
