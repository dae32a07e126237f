#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] = w[c] * (x[r,c] - mean[r]) * rstd[r] + b[c],  rstd[r] = 1 / sqrt(mean of (x[r,c] - mean[r])^2 + eps).
// Two passes for the sums: the difference of large squares would lose digits. A workgroup takes row after row.
#include "layernorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = LAYERNORM_SPEC_BIAS) const uint BIAS = 0;
layout(constant_id = LAYERNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = LAYERNORM_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, LAYERNORM_BIND_X, restrict readonly)
layout(std430, set = 0, binding = LAYERNORM_BIND_W) restrict readonly buffer layernorm_w { vec4 w[]; };
layout(std430, set = 0, binding = LAYERNORM_BIND_B) restrict readonly buffer layernorm_b { vec4 b[]; };
VALUE_BUFFER(y, LAYERNORM_BIND_Y, restrict writeonly)
layout(std430, set = 0, binding = LAYERNORM_BIND_STAT) restrict writeonly buffer layernorm_stat { float stat[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4, lane = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        const uint x_at = row * push.x_stride, y_at = row * push.y_stride;
        vec4 sums = vec4(0.0), squares = vec4(0.0);
        for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x)
            sums += quad_keep(VALUE_LOAD(x, X_TYPE, x_at + q), push.cols - 4 * q);
        const float mean = reduce_sum(quad_sum(sums)) / float(push.cols);
        for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
            const vec4 v = quad_keep(VALUE_LOAD(x, X_TYPE, x_at + q) - mean, push.cols - 4 * q);
            squares += v * v;
        }
        const float rstd = 1.0 / sqrt(reduce_sum(quad_sum(squares)) / float(push.cols) + push.eps);
        for (uint q = lane; q < quads; q += gl_WorkGroupSize.x) {
            vec4 v = w[q] * ((VALUE_LOAD(x, X_TYPE, x_at + q) - mean) * rstd);
            if (BIAS != 0)
                v += b[q];
            VALUE_STORE(y, Y_TYPE, y_at + q, v, push.cols - 4 * q)
        }
        if (lane == 0) {
            stat[push.first_row + row] = mean;
            stat[push.stat_stride + push.first_row + row] = rstd;
        }
    }
}
