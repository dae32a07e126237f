#version 450
#extension GL_GOOGLE_include_directive : require
// Over the rows of chunk k, in their order: partial[k, c] = sum of dy[r,c] (x[r,c] - mean[r]) rstd[r] and, behind these
// columns, sum of dy[r,c]; op_colsum adds the chunks. One lane takes one quad of columns.
#include "layernorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = LAYERNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/value.glsl"

VALUE_BUFFER(x, LAYERNORM_DW_BIND_X, restrict readonly)
layout(std430, set = 0, binding = LAYERNORM_DW_BIND_DY) restrict readonly buffer layernorm_dy { vec4 dy[]; };
layout(std430, set = 0, binding = LAYERNORM_DW_BIND_STAT) restrict readonly buffer layernorm_stat { float stat[]; };
layout(std430, set = 0, binding = LAYERNORM_DW_BIND_PARTIAL) restrict writeonly buffer layernorm_partial
{
    vec4 partial[];
};

void main()
{
    const uint quads = (push.cols + 3) / 4, q = gl_GlobalInvocationID.x;
    if (q >= quads)
        return;
    const uint begin = gl_WorkGroupID.y * push.chunk, end = min(begin + push.chunk, push.rows);
    vec4 scaled = vec4(0.0), plain = vec4(0.0);
    for (uint row = begin; row < end; row++) {
        const vec4 d = dy[row * push.y_stride + q];
        plain += d;
        scaled += d * ((VALUE_LOAD(x, X_TYPE, row * push.x_stride + q) - stat[push.first_row + row]) * stat[push.stat_stride + push.first_row + row]);
    }
    const uint at = (push.first_chunk + gl_WorkGroupID.y) * push.partial_stride + q;
    partial[at] = scaled;
    partial[at + quads] = plain;
}
