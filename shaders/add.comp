#version 450
#extension GL_GOOGLE_include_directive : require
// out = a, a + b or out + a, element by element.
#include "add.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ADD_SPEC_WITH) const uint WITH = ADD_B;
layout(constant_id = ADD_SPEC_A_TYPE) const uint A_TYPE = 0;
layout(constant_id = ADD_SPEC_B_TYPE) const uint B_TYPE = 0;
layout(constant_id = ADD_SPEC_OUT_TYPE) const uint OUT_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(a, ADD_BIND_A, restrict readonly)
VALUE_BUFFER(b, ADD_BIND_B, restrict readonly)
VALUE_BUFFER(sum, ADD_BIND_OUT, restrict)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.out_stride + q;
            if (q >= quads)
                break;
            vec4 v = VALUE_LOAD(a, A_TYPE, row * push.a_stride + q);
            if (WITH == ADD_B)
                v += VALUE_LOAD(b, B_TYPE, row * push.b_stride + q);
            if (WITH == ADD_SELF)
                v += VALUE_LOAD(sum, OUT_TYPE, at);
            VALUE_STORE(sum, OUT_TYPE, at, v, push.cols - 4 * q)
        }
    }
}
