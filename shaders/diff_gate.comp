#version 450
#extension GL_GOOGLE_include_directive : require
// The gradient of groups' alphas, in two steps. First sums of z delta dw over each row (groups of rows) or each group's columns
// (of the one row), one workgroup each; then (SUM) dgroup[g] (+)= dz/dalpha times the sums of its rows, one workgroup per group.
#include "diff_weight.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = DIFF_GATE_SPEC_DRAWN) const uint DRAWN = 0;
layout(constant_id = DIFF_GATE_SPEC_GROUPS) const uint GROUPS = 1;
layout(constant_id = DIFF_GATE_SPEC_SUM) const uint SUM = 0;
layout(constant_id = DIFF_GATE_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/step.h"
#include "lib/exp.glsl"
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/rng.glsl"
#include "lib/concrete.glsl"
#include "diff_weight.glsl"

layout(std430, set = 0, binding = DIFF_GATE_BIND_DW) restrict readonly buffer diff_gate_dw { vec4 dw[]; };
layout(std430, set = 0, binding = DIFF_GATE_BIND_SUMS) restrict buffer diff_gate_sums { float sums[]; };
layout(std430, set = 0, binding = DIFF_GATE_BIND_DGROUP) restrict buffer diff_gate_dgroup { float dgroup[]; };

float sum_of(uint row, uint begin, uint end)
{
    const uint quads = (push.cols + 3) / 4;
    vec4 sum = vec4(0.0);
    for (uint q = begin + gl_LocalInvocationID.x; q < end; q += gl_WorkGroupSize.x) {
        const uint at = row * push.delta_stride + q, left = push.cols - 4 * q;
        const vec4 z = gates(chances(push.first + row * quads + q, quad_keep(alpha[at], left)));
        sum += quad_keep(z * delta[at] * dw[row * push.w_stride + q], left);
    }
    return reduce_sum(quad_sum(sum));
}

void first_step(uint i)
{
    const uint quads = (push.cols + 3) / 4;
    const bool rows = GROUPS == DIFF_WEIGHT_GROUPS_ROWS;
    const uint end = i + 1 < push.groups ? group_begin(i + 1) / 4 : quads;
    const float sum = rows ? sum_of(i, 0, quads) : sum_of(0, group_begin(i) / 4, end);
    if (gl_LocalInvocationID.x == 0)
        sums[push.first / quads + i] = sum;
}

void second_step(uint g)
{
    const bool rows = GROUPS == DIFF_WEIGHT_GROUPS_ROWS;
    const uint begin = rows ? group_begin(g) : g, end = !rows ? g + 1 : g + 1 < push.groups ? group_begin(g + 1) : push.rows;
    float sum = 0.0;
    for (uint i = begin + gl_LocalInvocationID.x; i < end; i += gl_WorkGroupSize.x)
        sum += sums[i];
    sum = reduce_sum(sum);
    if (gl_LocalInvocationID.x == 0)
        dgroup[g] = sum * slopes(group_chance(g)).x + (ACCUMULATE != 0 ? dgroup[g] : 0.0);
}

void main()
{
    const uint count = SUM != 0 || GROUPS != DIFF_WEIGHT_GROUPS_ROWS ? push.groups : push.rows;
    for (uint i = gl_WorkGroupID.x; i < count; i += gl_NumWorkGroups.x) {
        if (SUM != 0)
            second_step(i);
        else
            first_step(i);
    }
}
