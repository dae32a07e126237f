#version 450
#extension GL_GOOGLE_include_directive : require
// Gradients of the penalty lambda_1 (s - t) + lambda_2 (s - t)^2 for the share s of closed gates (op_hard_concrete.h): added for
// alpha, subtracted for lambda.
// One workgroup.
#include "hard_concrete.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/exp.glsl"
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = SPARSITY_BIND_ALPHA) restrict readonly buffer sparsity_alpha { float alpha[]; };
layout(std430, set = 0, binding = SPARSITY_BIND_SHARE) restrict readonly buffer sparsity_share { float share[]; };
layout(std430, set = 0, binding = SPARSITY_BIND_TARGET) restrict readonly buffer sparsity_target { float target[]; };
layout(std430, set = 0, binding = SPARSITY_BIND_LAMBDA) restrict readonly buffer sparsity_lambda { float lambda[]; };
layout(std430, set = 0, binding = SPARSITY_BIND_DALPHA) restrict buffer sparsity_dalpha { float dalpha[]; };
layout(std430, set = 0, binding = SPARSITY_BIND_DLAMBDA) restrict buffer sparsity_dlambda { float dlambda[]; };

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    float open = 0.0;
    for (uint i = lane; i < push.count; i += gl_WorkGroupSize.x)
        open += share[i] * espl_sigmoid(alpha[i] - push.shift);
    const float off = 1.0 - reduce_sum(open) - target[0];
    const float slope = lambda[0] + 2.0 * lambda[1] * off;
    for (uint i = lane; i < push.count; i += gl_WorkGroupSize.x) {
        const float p = espl_sigmoid(alpha[i] - push.shift);
        dalpha[i] -= slope * share[i] * p * (1.0 - p);
    }
    if (lane == 0) {
        dlambda[0] -= off;
        dlambda[1] -= off * off;
    }
}
