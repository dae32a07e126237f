#version 450
#extension GL_GOOGLE_include_directive : require
// p[r,:] = softmax of s[r,:] over the few columns of a row, or (BACKWARD) ds (+)= p (dp - sum of p dp). A lane takes a row.
#include "fusion.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = FUSION_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = FUSION_SPEC_BACKWARD) const uint BACKWARD = 0;
#include "lib/exp.glsl"

layout(std430, set = 0, binding = FUSION_SOFTMAX_BIND_DP) restrict readonly buffer fusion_dp { float dp[]; };
layout(std430, set = 0, binding = FUSION_SOFTMAX_BIND_P) restrict buffer fusion_p { float p[]; };
layout(std430, set = 0, binding = FUSION_BIND_S) restrict buffer fusion_s { float s[]; };

void forward(uint row)
{
    const uint at = row * push.s_stride, to = row * push.u_stride;
    float largest = s[at], sum = 0.0;
    for (uint n = 1; n < push.column; n++)
        largest = max(largest, s[at + n]);
    for (uint n = 0; n < push.column; n++) {
        const float e = espl_exp_bounded(s[at + n] - largest);
        p[to + n] = e;
        sum += e;
    }
    for (uint n = 0; n < push.column; n++)
        p[to + n] /= sum;
}

void backward(uint row)
{
    const uint at = row * push.s_stride, from = row * push.u_stride, of = row * push.x_stride;
    float sum = 0.0;
    for (uint n = 0; n < push.column; n++)
        sum += p[from + n] * dp[of + n];
    for (uint n = 0; n < push.column; n++) {
        const float d = p[from + n] * (dp[of + n] - sum);
        s[at + n] = ACCUMULATE != 0 ? s[at + n] + d : d;
    }
}

void main()
{
    const uint row = gl_GlobalInvocationID.x;
    if (row >= push.rows)
        return;
    if (BACKWARD != 0)
        backward(row);
    else
        forward(row);
}
