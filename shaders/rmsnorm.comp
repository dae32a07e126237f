#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] = w[c] * x[r,c] * rstd[r],  rstd[r] = 1 / sqrt(mean over c of x[r,c]^2 + eps), per group of columns.
// A workgroup takes group after group; an item past the groups of a row copies the row's other columns.
#include "rmsnorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = RMSNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = RMSNORM_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, RMSNORM_BIND_X, restrict readonly)
layout(std430, set = 0, binding = RMSNORM_BIND_W) restrict readonly buffer rmsnorm_w { vec4 w[]; };
VALUE_BUFFER(y, RMSNORM_BIND_Y, restrict writeonly)
layout(std430, set = 0, binding = RMSNORM_BIND_RSTD) restrict writeonly buffer rmsnorm_rstd { float rstd[]; };

void copy_others(uint row)
{
    const uint skip = push.groups * push.cols / 4;
    for (uint i = gl_LocalInvocationID.x; i < (push.row_cols + 3) / 4 - skip; i += gl_WorkGroupSize.x) {
        const uint q = i < push.from ? i : i + skip;
        const vec4 v = VALUE_LOAD(x, X_TYPE, row * push.x_stride + q);
        VALUE_STORE(y, Y_TYPE, row * push.y_stride + q, v, push.row_cols - 4 * q)
    }
}

void normalise(uint row, uint group)
{
    const uint quads = (push.cols + 3) / 4;
    const uint x_at = row * push.x_stride + push.from + group * quads;
    const uint y_at = row * push.y_stride + push.from + group * quads;
    vec4 squares = vec4(0.0);
    for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
        const vec4 v = quad_keep(VALUE_LOAD(x, X_TYPE, x_at + q), push.cols - 4 * q);
        squares += v * v;
    }
    const float scale = 1.0 / sqrt(reduce_sum(quad_sum(squares)) / float(push.cols) + push.eps);
    for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
        const vec4 v = w[q] * (VALUE_LOAD(x, X_TYPE, x_at + q) * scale);
        VALUE_STORE(y, Y_TYPE, y_at + q, v, push.cols - 4 * q)
    }
    if (gl_LocalInvocationID.x == 0)
        rstd[(push.first_row + row) * push.groups + group] = scale;
}

void main()
{
    const uint items = push.groups + push.others;
    for (uint i = gl_WorkGroupID.x; i < push.rows * items; i += gl_NumWorkGroups.x) {
        const uint row = i / items, item = i % items;
        if (item < push.groups)
            normalise(row, item);
        else
            copy_others(row);
    }
}
