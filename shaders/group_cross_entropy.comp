// Cross entropy of a column of a group of rows x with label y, one of the group's rows, and its gradient:
//   loss = log(sum over i of exp(x[i])) - x[y]        dx[i] = scale * (exp(x[i]) / sum - (i == y))
// scale is LOSS_SCALE of the step buffer. A negative label gives loss 0 and gradient 0.
//
// One workgroup per group and column, lanes stride the rows; each lane keeps a running maximum and a sum relative to it,
// lane 0 joins them in lane order.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "group_cross_entropy.h"
#include "lib/exp.glsl"
#include "lib/step.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = GROUP_CROSS_ENTROPY_SPEC_GRADIENT) const uint GRADIENT = 1;

layout(std430, set = 0, binding = GROUP_CROSS_ENTROPY_BIND_X) restrict readonly buffer x_ { float x[]; };
layout(std430, set = 0, binding = GROUP_CROSS_ENTROPY_BIND_LABELS) restrict readonly buffer labels_ { int labels[]; };
layout(std430, set = 0, binding = GROUP_CROSS_ENTROPY_BIND_STEP) restrict readonly buffer step_ { uint step_words[]; };
layout(std430, set = 0, binding = GROUP_CROSS_ENTROPY_BIND_LOSS) restrict writeonly buffer loss_ { float loss[]; };
layout(std430, set = 0, binding = GROUP_CROSS_ENTROPY_BIND_DX) restrict writeonly buffer dx_ { float dx[]; };

const uint LANES = gl_WorkGroupSize.x;
const float LOWEST = -3.0e38;

shared float lane_max[GROUP_CROSS_ENTROPY_LANES_MAX];
shared float lane_sum[GROUP_CROSS_ENTROPY_LANES_MAX];
shared float column_max, column_log_sum;

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint column = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (column >= push.groups * push.cols)
        return;
    const int label = labels[column];
    const uint first = column / push.cols * push.rows, col = column % push.cols;
    const bool counted = label >= 0;

    float highest = LOWEST, sum = 0;
    for (uint i = lane; counted && i < push.rows; i += LANES) {
        const float v = x[(first + i) * push.x_stride + col];
        const float top = max(highest, v);
        sum = sum * espl_exp(highest - top) + espl_exp(v - top);
        highest = top;
    }
    lane_max[lane] = highest;
    lane_sum[lane] = sum;
    barrier();
    if (lane == 0) {
        for (uint i = 1; i < LANES; ++i)
            highest = max(highest, lane_max[i]);
        sum = 0;
        for (uint i = 0; i < LANES; ++i)
            sum += lane_sum[i] * espl_exp(lane_max[i] - highest);
        const float log_sum = espl_log(max(sum, 1e-38));
        column_max = highest;
        column_log_sum = log_sum;
        const float hit = x[(first + uint(max(label, 0))) * push.x_stride + col];
        loss[column * push.loss_stride] = counted ? (highest - hit) + log_sum : 0;
    }
    if (GRADIENT == 0)
        return;
    barrier();
    const float scale = uintBitsToFloat(step_words[ESPL_STEP_LOSS_SCALE]);
    for (uint i = lane; i < push.rows; i += LANES) {
        const float p = espl_exp((x[(first + i) * push.x_stride + col] - column_max) - column_log_sum);
        dx[(first + i) * push.dx_stride + col] = counted ? scale * (p - float(i == uint(label))) : 0;
    }
}
