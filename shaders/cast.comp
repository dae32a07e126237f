#version 450
#extension GL_GOOGLE_include_directive : require
// y = x in another number format, rounded to nearest even. 16-bit values are written as whole words; the half of a word
// that is padding keeps what it held.
#include "cast.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = CAST_SPEC_FROM) const uint FROM = 0;
layout(constant_id = CAST_SPEC_TO) const uint TO = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/typed.glsl"

layout(std430, set = 0, binding = CAST_BIND_X) restrict readonly buffer cast_x { uvec2 x[]; };
layout(std430, set = 0, binding = CAST_BIND_Y) restrict buffer cast_y { uvec2 y[]; };

void store_f32(uint at, vec4 v, uint left)
{
    y[at].x = floatBitsToUint(v.x);
    if (TAIL == 0 || left > 1)
        y[at].y = floatBitsToUint(v.y);
    if (TAIL == 0 || left > 2)
        y[at + 1].x = floatBitsToUint(v.z);
    if (TAIL == 0 || left > 3)
        y[at + 1].y = floatBitsToUint(v.w);
}

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + q, left = push.cols - 4 * q;
            if (q >= quads)
                break;
            const vec4 v = TYPED_LOAD(x, FROM, row * push.x_stride + q);
            if (TO == TYPED_F32)
                store_f32(2 * at, v, left);
            else
                y[at] = TAIL == 0 || left >= 4 ? typed_pack(TO, v) : typed_merge(y[at], typed_pack(TO, v), left);
        }
    }
}
