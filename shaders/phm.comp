#version 450
#extension GL_GOOGLE_include_directive : require
// H = sum over i of A_i (x) W_i:  H[p ia + a, q ob + b] = sum over i of A[i n + p, q] W_i[a, b], an invocation per element.
#include "phm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = PHM_SPEC_FACTORED) const uint FACTORED = 1;

layout(std430, set = 0, binding = PHM_BIND_RULE) restrict readonly buffer phm_rule { float rule[]; };
layout(std430, set = 0, binding = PHM_BIND_LEFT) restrict readonly buffer phm_left { float left[]; };
layout(std430, set = 0, binding = PHM_BIND_RIGHT) restrict readonly buffer phm_right { float right[]; };
layout(std430, set = 0, binding = PHM_BIND_H) restrict writeonly buffer phm_h { float h[]; };

float block_weight(uint i, uint a, uint b)
{
    if (FACTORED == 0)
        return left[(i * push.block_rows + a) * push.left_stride + b];
    float sum = 0.0;
    for (uint k = 0; k < push.rank; k++)
        sum = fma(left[(i * push.block_rows + a) * push.left_stride + k], right[(i * push.rank + k) * push.right_stride + b], sum);
    return sum;
}

void main()
{
    for (uint bound = gl_WorkGroupID.y; bound < push.count; bound += gl_NumWorkGroups.y) {
        const uint row = push.first + bound;
        const uint col = gl_GlobalInvocationID.x;
        if (col >= push.cols)
            break;
        const uint p = row / push.block_rows, q = col / push.block_cols;
        float sum = 0.0;
        for (uint i = 0; i < push.n; i++)
            sum = fma(rule[(i * push.n + p) * push.rule_stride + q],
                      block_weight(i, row % push.block_rows, col % push.block_cols), sum);
        h[bound * push.h_stride + col] = sum;
    }
}
