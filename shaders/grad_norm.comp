#version 450
#extension GL_GOOGLE_include_directive : require
// From the partial sums: the norm, the clipping factor min(1, max_norm / (norm + 1e-6)), whether the step counts, and
// the bias corrections of its number. One workgroup.
#include "grad_norm.h"
#include "lib/step.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = GRAD_NORM_BIND_PARTIAL) restrict readonly buffer grad_norm_partial
{
    float partial[];
};
layout(std430, set = 0, binding = GRAD_NORM_BIND_STEP) restrict readonly buffer grad_norm_step { uint step_words[]; };
layout(std430, set = 0, binding = GRAD_NORM_BIND_STATS) restrict buffer grad_norm_stats { float stats[]; };

// 1 - beta^t by squaring, on the differences from 1 themselves: 1 - (1 - a)(1 - b) = a + b (1 - a) cancels nothing, so
// the result is good to a few units in the last place for any t, where a power near 1 would lose all digits.
float bias_correction(float beta, uint t)
{
    float result = 0.0, power = 1.0 - beta;
    for (; t > 0; t >>= 1) {
        if ((t & 1u) != 0)
            result = result + power * (1.0 - result);
        power = power + power * (1.0 - power);
    }
    return result;
}

void main()
{
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < push.count; i += gl_WorkGroupSize.x)
        sum += partial[i];
    const float norm = sqrt(reduce_sum(sum));
    if (gl_LocalInvocationID.x != 0)
        return;
    // By bits: compilers may take it that floats are finite.
    const bool finite = (floatBitsToUint(norm) & 0x7f800000u) != 0x7f800000u;
    const float max_norm = uintBitsToFloat(step_words[ESPL_STEP_MAX_NORM]);
    float clip = finite ? 1.0 : 0.0;
    if (finite && max_norm > 0.0)
        clip = min(1.0, max_norm / (norm + 1e-6));
    const float steps = stats[ESPL_STATS_STEPS] + (finite ? 1.0 : 0.0);
    stats[ESPL_STATS_GRAD_NORM] = norm;
    stats[ESPL_STATS_CLIP] = clip;
    stats[ESPL_STATS_FINITE] = finite ? 1.0 : 0.0;
    stats[ESPL_STATS_STEPS] = steps;
    stats[ESPL_STATS_SKIPPED] += finite ? 0.0 : 1.0;
    stats[ESPL_STATS_BIAS1] = bias_correction(uintBitsToFloat(step_words[ESPL_STEP_BETA1]), uint(steps));
    stats[ESPL_STATS_BIAS2] = bias_correction(uintBitsToFloat(step_words[ESPL_STEP_BETA2]), uint(steps));
}
