#version 450
#extension GL_GOOGLE_include_directive : require
// s[r, column] = sum of x[r,c] u[r,c] over the row. A workgroup takes a row after the other, lanes stride its quads.
#include "fusion.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = FUSION_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = FUSION_SPEC_U_TYPE) const uint U_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, FUSION_BIND_X, restrict readonly)
VALUE_BUFFER(u, FUSION_BIND_U, restrict readonly)
layout(std430, set = 0, binding = FUSION_BIND_S) restrict writeonly buffer fusion_s { float s[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        vec4 sum = vec4(0.0);
        for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
            const vec4 v = VALUE_LOAD(x, X_TYPE, row * push.x_stride + q) * VALUE_LOAD(u, U_TYPE, row * push.u_stride + q);
            sum += quad_keep(v, push.cols - 4 * q);
        }
        const float all = reduce_sum(quad_sum(sum));
        if (gl_LocalInvocationID.x == 0)
            s[row * push.s_stride + push.column] = all;
    }
}
