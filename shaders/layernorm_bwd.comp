#version 450
#extension GL_GOOGLE_include_directive : require
// With n = (x - mean) * rstd and h = w * dy, per row:  dx (+)= rstd * (h - mean of h - n * mean of (h n)).
#include "layernorm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = LAYERNORM_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = LAYERNORM_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, LAYERNORM_BWD_BIND_X, restrict readonly)
layout(std430, set = 0, binding = LAYERNORM_BWD_BIND_W) restrict readonly buffer layernorm_w { vec4 w[]; };
layout(std430, set = 0, binding = LAYERNORM_BWD_BIND_DY) restrict readonly buffer layernorm_dy { vec4 dy[]; };
layout(std430, set = 0, binding = LAYERNORM_BWD_BIND_STAT) restrict readonly buffer layernorm_stat { float stat[]; };
layout(std430, set = 0, binding = LAYERNORM_BWD_BIND_DX) restrict buffer layernorm_dx { vec4 dx[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4, lane = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        const uint x_at = row * push.x_stride, dy_at = row * push.y_stride, dx_at = row * push.dx_stride;
        const float mean = stat[push.first_row + row], rstd = stat[push.stat_stride + push.first_row + row];
        vec4 sums = vec4(0.0), products = vec4(0.0);
        for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
            const uint left = push.cols - 4 * q;
            const vec4 h = quad_keep(w[q] * dy[dy_at + q], left);
            sums += h;
            products += quad_keep(h * (VALUE_LOAD(x, X_TYPE, x_at + q) - mean), left);
        }
        const vec2 means = reduce_sum(vec2(quad_sum(sums), quad_sum(products) * rstd)) / float(push.cols);
        for (uint q = lane; q < quads; q += gl_WorkGroupSize.x) {
            vec4 v = rstd * (w[q] * dy[dy_at + q] - means.x - (VALUE_LOAD(x, X_TYPE, x_at + q) - mean) * (rstd * means.y));
            if (ACCUMULATE != 0)
                v += dx[dx_at + q];
            QUAD_STORE(dx, dx_at + q, v, push.cols - 4 * q)
        }
    }
}
