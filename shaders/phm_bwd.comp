#version 450
#extension GL_GOOGLE_include_directive : require
// With G the gradient of H and W_i = left_i right_i, adds
//   dA[i n + p, q]     = sum over a, b of G[p ia + a, q ob + b] W_i[a, b]
//   dleft[i ia + a, k] = sum over p, q, b of A[i n + p, q] G[p ia + a, q ob + b] right[i r + k, b]   (not factored: W's own)
//   dright[i r + k, b] = sum over p, q, a of A[i n + p, q] G[p ia + a, q ob + b] left[i ia + a, k]
// A workgroup per element; lanes stride the terms and meet. Rows of G that are not bound are another dispatch's.
#include "phm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = PHM_SPEC_FACTORED) const uint FACTORED = 1;
layout(constant_id = PHM_SPEC_OF) const uint OF = PHM_OF_RULE;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = PHM_BIND_RULE) restrict readonly buffer phm_rule { float rule[]; };
layout(std430, set = 0, binding = PHM_BIND_LEFT) restrict readonly buffer phm_left { float left[]; };
layout(std430, set = 0, binding = PHM_BIND_RIGHT) restrict readonly buffer phm_right { float right[]; };
layout(std430, set = 0, binding = PHM_BIND_H) restrict readonly buffer phm_h { float g[]; };
layout(std430, set = 0, binding = PHM_BIND_OUT) restrict buffer phm_out { float result[]; };

float left_at(uint i, uint a, uint k)
{
    return left[(i * push.block_rows + a) * push.left_stride + k];
}

float right_at(uint i, uint k, uint b)
{
    return right[(i * push.rank + k) * push.right_stride + b];
}

// G[p ia + a, q ob + b]
float g_at(uint p, uint a, uint q, uint b)
{
    const uint bound = p * push.block_rows + a - push.first; // of rows before the first: large
    return bound < push.count ? g[bound * push.h_stride + q * push.block_cols + b] : 0.0;
}

float of_rule(uint i, uint p, uint q, uint term)
{
    const uint a = term / push.block_cols, b = term % push.block_cols;
    float w = FACTORED != 0 ? 0.0 : left_at(i, a, b);
    if (FACTORED != 0)
        for (uint k = 0; k < push.rank; k++)
            w = fma(left_at(i, a, k), right_at(i, k, b), w);
    return w * g_at(p, a, q, b);
}

// Sum over p and q of A[i n + p, q] G[p ia + a, q ob + b].
float gathered(uint i, uint a, uint b)
{
    float sum = 0.0;
    for (uint p = 0; p < push.n; p++)
        for (uint q = 0; q < push.n; q++)
            sum = fma(rule[(i * push.n + p) * push.rule_stride + q], g_at(p, a, q, b), sum);
    return sum;
}

void main()
{
    for (uint e = gl_WorkGroupID.x; e < push.out_rows * push.out_cols; e += gl_NumWorkGroups.x) {
        const uint row = e / push.out_cols, col = e % push.out_cols, lane = gl_LocalInvocationID.x;
        float sum = 0.0;
        if (OF == PHM_OF_RULE) {
            for (uint t = lane; t < push.block_rows * push.block_cols; t += gl_WorkGroupSize.x)
                sum += of_rule(row / push.n, row % push.n, col, t);
        } else if (OF == PHM_OF_LEFT) {
            const uint i = row / push.block_rows, a = row % push.block_rows;
            if (FACTORED == 0)
                sum = lane == 0 ? gathered(i, a, col) : 0.0;
            else
                for (uint b = lane; b < push.block_cols; b += gl_WorkGroupSize.x)
                    sum += gathered(i, a, b) * right_at(i, col, b);
        } else {
            const uint i = row / push.rank, k = row % push.rank;
            for (uint a = lane; a < push.block_rows; a += gl_WorkGroupSize.x)
                sum += gathered(i, a, col) * left_at(i, a, k);
        }
        const float all = reduce_sum(sum);
        if (lane == 0)
            result[row * push.out_stride + col] += all;
    }
}
