#version 450
#extension GL_GOOGLE_include_directive : require
// Gates z of their parameters alpha, or (BACKWARD) dalpha (+)= dz * dz/dalpha. DRAWN: with a random word each, number i % 4
// of philox(SEED, stream = COUNTER + 2^32 site, index = i / 4). Else what stays open when nothing is drawn: as many as are
// open on average, those of the largest alphas.
#include "hard_concrete.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = HARD_CONCRETE_SPEC_DRAWN) const uint DRAWN = 0;
layout(constant_id = HARD_CONCRETE_SPEC_BACKWARD) const uint BACKWARD = 0;
layout(constant_id = HARD_CONCRETE_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/exp.glsl"
#include "lib/rng.glsl"
#include "lib/concrete.glsl"
#include "lib/step.h"

layout(std430, set = 0, binding = HARD_CONCRETE_BIND_ALPHA) restrict readonly buffer hard_concrete_alpha { float alpha[]; };
layout(std430, set = 0, binding = HARD_CONCRETE_BIND_STEP) restrict readonly buffer hard_concrete_step { uint step_words[]; };
layout(std430, set = 0, binding = HARD_CONCRETE_BIND_Z) restrict buffer hard_concrete_z { float z[]; };
layout(std430, set = 0, binding = HARD_CONCRETE_BIND_DZ) restrict readonly buffer hard_concrete_dz { float dz[]; };
layout(std430, set = 0, binding = HARD_CONCRETE_BIND_DALPHA) restrict buffer hard_concrete_dalpha { float dalpha[]; };

float drawn(uint i)
{
    const uvec2 seed = uvec2(step_words[ESPL_STEP_SEED_LOW], step_words[ESPL_STEP_SEED_HIGH]);
    const uvec4 words = philox(seed, uvec2(step_words[ESPL_STEP_COUNTER], push.site), uvec2(i / 4, 0u));
    return espl_sigmoid((concrete_noise(words[i % 4]) + alpha[push.from + i]) / push.beta);
}

bool stays_open(uint i)
{
    const float own = alpha[push.from + i];
    float open = 0.0;
    uint below = 0;
    for (uint j = 0; j < push.count; j++) {
        const float other = alpha[push.from + j];
        open += espl_sigmoid(other - push.shift);
        below += other < own || (other == own && j < i) ? 1 : 0;
    }
    return float(below) >= round(float(push.count) - open);
}

void main()
{
    const uint i = gl_GlobalInvocationID.x;
    if (i >= push.count)
        return;
    const float s = DRAWN != 0 ? drawn(i) : espl_sigmoid(push.soft * alpha[push.from + i] / push.beta);
    if (BACKWARD == 0) {
        z[i] = DRAWN != 0 ? clamp(s * (push.high - push.low) + push.low, 0.0, 1.0) : stays_open(i) ? s : 0.0;
        return;
    }
    const float slope = DRAWN != 0 ? push.high - push.low : push.soft;
    const bool moves = z[i] > 0.0 && (DRAWN == 0 || z[i] < 1.0);
    const float d = moves ? dz[i] * slope * s * (1.0 - s) / push.beta : 0.0;
    dalpha[push.from + i] = d + (ACCUMULATE != 0 ? dalpha[push.from + i] : 0.0);
}
