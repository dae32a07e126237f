#version 450
#extension GL_GOOGLE_include_directive : require
// y[o] = norm over i of W(o,i) + scale * sum over k of B[o,k] A[a_from + k,i]. A workgroup takes a row after the other,
// lanes stride its quads; of a W that is stored [in, out] it takes four, which lie beside each other.
#include "row_norm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ROW_NORM_SPEC_W_TYPE) const uint W_TYPE = 0;
layout(constant_id = ROW_NORM_SPEC_IN_OUT) const uint IN_OUT = 0;
layout(constant_id = ROW_NORM_SPEC_INVERSE) const uint INVERSE = 0;
#include "lib/reduce.glsl"
#include "row_norm.glsl"

layout(std430, set = 0, binding = ROW_NORM_BIND_Y) restrict writeonly buffer row_norm_y { float y[]; };

float result(float square)
{
    return INVERSE != 0 ? inversesqrt(square) : sqrt(square);
}

void one_row(uint o)
{
    const uint quads = (push.cols + 3) / 4;
    float sum = 0.0;
    for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
        const vec4 v = row_quad(o, q);
        sum += dot(v, v);
    }
    sum = reduce_sum(sum);
    if (gl_LocalInvocationID.x == 0)
        y[push.first + o] = result(sum);
}

void four_rows(uint q)
{
    const uint left = min(push.rows - 4 * q, 4);
    vec4 sum = vec4(0.0);
    for (uint i = gl_LocalInvocationID.x; i < push.cols; i += gl_WorkGroupSize.x) {
        vec4 change = vec4(0.0);
        for (uint k = 0; k < push.rank; k++) {
            const float factor = a[(push.a_from + k) * push.a_stride + i / 4][i % 4];
            for (uint j = 0; j < left; j++)
                change[j] += element_b(4 * q + j, k) * factor;
        }
        const vec4 v = TYPED_LOAD(w, W_TYPE, i * push.w_stride + push.w_from + q) + push.scale * change;
        sum += v * v;
    }
    const vec4 all = vec4(reduce_sum(sum.xy), reduce_sum(sum.zw));
    if (gl_LocalInvocationID.x == 0) {
        for (uint j = 0; j < left; j++)
            y[4 * q + j] = result(all[j]);
    }
}

void main()
{
    const uint count = IN_OUT != 0 ? (push.rows + 3) / 4 : push.rows;
    for (uint i = gl_WorkGroupID.x; i < count; i += gl_NumWorkGroups.x) {
        if (IN_OUT != 0)
            four_rows(i);
        else
            one_row(i);
    }
}
