#version 450
#extension GL_GOOGLE_include_directive : require
// dx[r,c] (+)= rstd * (w[c] dy[r,c] - x[r,c] * rstd^2 * mean over c of w[c] dy[r,c] x[r,c]); dy itself for other
// columns. A workgroup takes group after group, as in rmsnorm.comp.
#include "rmsnorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = RMSNORM_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = RMSNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, RMSNORM_BIND_X, restrict readonly)
layout(std430, set = 0, binding = RMSNORM_BIND_W) restrict readonly buffer rmsnorm_w { vec4 w[]; };
layout(std430, set = 0, binding = RMSNORM_BIND_Y) restrict readonly buffer rmsnorm_dy { vec4 dy[]; };
layout(std430, set = 0, binding = RMSNORM_BIND_RSTD) restrict readonly buffer rmsnorm_rstd { float rstd[]; };
layout(std430, set = 0, binding = RMSNORM_BWD_BIND_DX) restrict buffer rmsnorm_dx { vec4 dx[]; };

void store(uint at, vec4 v, uint left)
{
    if (ACCUMULATE != 0)
        v += dx[at];
    QUAD_STORE(dx, at, v, left)
}

void copy_others(uint row)
{
    const uint skip = push.groups * push.cols / 4;
    for (uint i = gl_LocalInvocationID.x; i < (push.row_cols + 3) / 4 - skip; i += gl_WorkGroupSize.x) {
        const uint q = i < push.from ? i : i + skip;
        store(row * push.dx_stride + q, dy[row * push.y_stride + q], push.row_cols - 4 * q);
    }
}

void differentiate(uint row, uint group)
{
    const uint quads = (push.cols + 3) / 4, column = push.from + group * quads;
    const uint x_at = row * push.x_stride + column, dy_at = row * push.y_stride + column;
    const float scale = rstd[(push.first_row + row) * push.groups + group];
    vec4 sums = vec4(0.0);
    for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x)
        sums += quad_keep(w[q] * dy[dy_at + q] * VALUE_LOAD(x, X_TYPE, x_at + q), push.cols - 4 * q);
    const float along = reduce_sum(quad_sum(sums)) * (scale * scale) / float(push.cols);
    for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
        const vec4 v = scale * (w[q] * dy[dy_at + q] - VALUE_LOAD(x, X_TYPE, x_at + q) * along);
        store(row * push.dx_stride + column + q, v, push.cols - 4 * q);
    }
}

void main()
{
    const uint items = push.groups + push.others;
    for (uint i = gl_WorkGroupID.x; i < push.rows * items; i += gl_NumWorkGroups.x) {
        const uint row = i / items, item = i % items;
        if (item < push.groups)
            differentiate(row, item);
        else
            copy_others(row);
    }
}
