#version 450
#extension GL_GOOGLE_include_directive : require
// partial[k,c] = sum of dy[r,c] x[r,c] rstd[r] over the rows (and groups) of chunk k, in their order; op_colsum adds
// the chunks. One lane takes one quad of columns: workgroups are column blocks (x) times chunks (y).
#include "rmsnorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = RMSNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, RMSNORM_DW_BIND_X, restrict readonly)
layout(std430, set = 0, binding = RMSNORM_DW_BIND_DY) restrict readonly buffer rmsnorm_dy { vec4 dy[]; };
layout(std430, set = 0, binding = RMSNORM_DW_BIND_RSTD) restrict readonly buffer rmsnorm_rstd { float rstd[]; };
layout(std430, set = 0, binding = RMSNORM_DW_BIND_PARTIAL) restrict writeonly buffer rmsnorm_partial
{
    vec4 partial[];
};

void main()
{
    const uint quads = (push.cols + 3) / 4, q = gl_GlobalInvocationID.x;
    if (q >= quads)
        return;
    const uint begin = gl_WorkGroupID.y * push.chunk, end = min(begin + push.chunk, push.rows * push.groups);
    vec4 sum = vec4(0.0);
    for (uint i = begin; i < end; i++) {
        const uint row = i / push.groups, column = push.from + (i % push.groups) * quads + q;
        sum += dy[row * push.y_stride + column] * (VALUE_LOAD(x, X_TYPE, row * push.x_stride + column) * rstd[push.first_row * push.groups + i]);
    }
    QUAD_STORE(partial, (push.first_chunk + gl_WorkGroupID.y) * push.partial_stride + q, sum, push.cols - 4 * q)
}
