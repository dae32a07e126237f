#version 450
#extension GL_GOOGLE_include_directive : require
// y[g,c] = (sum of x[r,c] over the rows of group g) / group_rows. A workgroup per group and lane-wide block of rows: lanes
// stride the rows, and meet for each quad of columns.
#include "mean.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = MEAN_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = MEAN_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, MEAN_BIND_X, restrict readonly)
VALUE_BUFFER(y, MEAN_BIND_Y, restrict writeonly)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint i = gl_WorkGroupID.x; i < push.groups * quads; i += gl_NumWorkGroups.x) {
        const uint g = i / quads, q = i % quads;
        vec4 sum = vec4(0.0);
        for (uint r = gl_LocalInvocationID.x; r < push.group_rows; r += gl_WorkGroupSize.x)
            sum += VALUE_LOAD(x, X_TYPE, (g * push.group_rows + r) * push.x_stride + q);
        sum = quad_keep(sum, push.cols - 4 * q);
        const vec2 low = reduce_sum(sum.xy), high = reduce_sum(sum.zw);
        const vec4 v = vec4(low, high) / float(push.group_rows);
        if (gl_LocalInvocationID.x == 0)
            VALUE_STORE(y, Y_TYPE, g * push.y_stride + q, v, push.cols - 4 * q)
    }
}
