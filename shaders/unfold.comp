#version 450
#extension GL_GOOGLE_include_directive : require
// y[t, c * kernel + j] = x[t + j - kernel / 2, c] of the same sequence, 0 where it has no such row.
#include "unfold.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = UNFOLD_SPEC_LENGTHS) const uint LENGTHS = 0;
layout(constant_id = UNFOLD_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = UNFOLD_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, UNFOLD_BIND_X, restrict readonly)
VALUE_BUFFER(y, UNFOLD_BIND_Y, restrict writeonly)
layout(std430, binding = UNFOLD_BIND_LENGTHS) restrict readonly buffer lengths_buffer { int lengths[]; };

void main()
{
    const uint cols = push.cols * push.kernel;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        const uint b = row / push.tokens, t = row % push.tokens;
        const int last = (LENGTHS != 0 ? min(lengths[push.first + b], int(push.tokens)) : int(push.tokens)) - 1;
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i);
            if (4 * q >= cols)
                break;
            vec4 v = vec4(0.0);
            for (uint e = 0; e < 4; e++) {
                const uint col = min(4 * q + e, cols - 1);
                const int from = int(t + col % push.kernel) - int(push.kernel / 2);
                const uint other = b * push.tokens + uint(clamp(from, 0, int(push.tokens) - 1));
                const float value = VALUE_ELEMENT(x, X_TYPE, other * push.x_stride + col / push.kernel);
                v[e] = from >= 0 && from <= last ? value : 0.0;
            }
            VALUE_STORE(y, Y_TYPE, row * push.y_stride / 4 + q, v, cols - 4 * q)
        }
    }
}
