// Cross entropy of a row of logits x with label y, and its gradient in place of the logits:
//   loss = log(sum over j of exp(x[j])) - x[y]        dx[j] = scale * (exp(x[j]) / sum - (j == y))
// scale is LOSS_SCALE of the step buffer. A row with a negative label gives loss 0 and gradient 0.
//
// One workgroup per row, lanes stride the columns in quads; each lane keeps a running maximum and a sum relative to it,
// lane 0 joins them in lane order.
#version 450
#include "cross_entropy.h"
#include "lib/exp.glsl"
#include "lib/step.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = CROSS_ENTROPY_SPEC_GRADIENT) const uint GRADIENT = 1;

layout(std430, set = 0, binding = CROSS_ENTROPY_BIND_LABELS) restrict readonly buffer labels_ { int labels[]; };
layout(std430, set = 0, binding = CROSS_ENTROPY_BIND_STEP) restrict readonly buffer step_ { uint step_words[]; };
layout(std430, set = 0, binding = CROSS_ENTROPY_BIND_LOGITS) restrict buffer logits_ { vec4 logits[]; };
layout(std430, set = 0, binding = CROSS_ENTROPY_BIND_LOSS) restrict writeonly buffer loss_ { float loss[]; };

const uint LANES = gl_WorkGroupSize.x;
const float LOWEST = -3.0e38;

shared float lane_max[128];
shared float lane_sum[128];
shared float row_max, row_log_sum;

vec4 exp4(vec4 v)
{
    return vec4(espl_exp(v.x), espl_exp(v.y), espl_exp(v.z), espl_exp(v.w));
}

// Columns past the end of the row count as LOWEST, whatever lies in the padding.
vec4 load(uint base, uint quad)
{
    const vec4 v = logits[base + quad];
    const uint left = push.cols - 4 * quad;
    return left >= 4 ? v : mix(vec4(LOWEST), v, lessThan(uvec4(0, 1, 2, 3), uvec4(left)));
}

void store(uint base, uint quad, vec4 v)
{
    const uint left = push.cols - 4 * quad;
    if (left >= 4) {
        logits[base + quad] = v;
        return;
    }
    logits[base + quad].x = v.x;
    if (left > 1)
        logits[base + quad].y = v.y;
    if (left > 2)
        logits[base + quad].z = v.z;
}

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint row = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (row >= push.rows)
        return;
    const int label = labels[push.first_row + row];
    const uint base = row * (push.stride / 4), quads = (push.cols + 3) / 4;
    const bool counted = label >= 0;

    float highest = LOWEST, sum = 0;
    if (counted) {
        for (uint quad = lane; quad < quads; quad += LANES) {
            const vec4 v = load(base, quad);
            const float top = max(highest, max(max(v.x, v.y), max(v.z, v.w)));
            const vec4 e = exp4(v - top);
            sum = sum * espl_exp(highest - top) + ((e.x + e.y) + (e.z + e.w));
            highest = top;
        }
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
        row_max = highest;
        row_log_sum = log_sum;
        const uint at = base * 4 + uint(max(label, 0));
        loss[(push.first_row + row) * push.loss_stride] = counted ? (highest - logits[at / 4][at % 4]) + log_sum : 0;
    }
    if (GRADIENT == 0)
        return;
    barrier();
    const float scale = uintBitsToFloat(step_words[ESPL_STEP_LOSS_SCALE]);
    for (uint quad = lane; quad < quads; quad += LANES) {
        vec4 d = vec4(0);
        if (counted) {
            const vec4 hit = vec4(equal(uvec4(4 * quad) + uvec4(0, 1, 2, 3), uvec4(label)));
            d = scale * (exp4((load(base, quad) - row_max) - row_log_sum) - hit);
        }
        store(base, quad, d);
    }
}
