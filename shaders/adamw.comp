#version 450
#extension GL_GOOGLE_include_directive : require
// With g = CLIP * gradient:  m += (1 - beta1) (g - m),  v = beta2 v + (1 - beta2) g^2,
// p -= lr (decay p + (m / BIAS1) / (sqrt(v) / sqrt(BIAS2) + epsilon)).
// Decay and update leave p together: rounding p once instead of twice halves the error of small steps.
#include "adamw.h"
#include "lib/step.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ADAMW_SPEC_DECAY) const uint DECAY = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = ADAMW_BIND_P) restrict buffer adamw_p { vec4 p[]; };
layout(std430, set = 0, binding = ADAMW_BIND_G) restrict readonly buffer adamw_g { vec4 g[]; };
layout(std430, set = 0, binding = ADAMW_BIND_M) restrict buffer adamw_m { vec4 m[]; };
layout(std430, set = 0, binding = ADAMW_BIND_V) restrict buffer adamw_v { vec4 v[]; };
layout(std430, set = 0, binding = ADAMW_BIND_STEP) restrict readonly buffer adamw_step { uint step_words[]; };
layout(std430, set = 0, binding = ADAMW_BIND_STATS) restrict readonly buffer adamw_stats { float stats[]; };

float step_float(uint word)
{
    return uintBitsToFloat(step_words[word]);
}

void main()
{
    if (stats[ESPL_STATS_FINITE] == 0.0)
        return;
    const float rate = push.rate * step_float(ESPL_STEP_LEARNING_RATE), epsilon = step_float(ESPL_STEP_EPSILON);
    const float beta1 = step_float(ESPL_STEP_BETA1), beta2 = step_float(ESPL_STEP_BETA2);
    const float shrink = DECAY != 0 ? rate * step_float(ESPL_STEP_WEIGHT_DECAY) : 0.0;
    const float clip = stats[ESPL_STATS_CLIP], size = rate / stats[ESPL_STATS_BIAS1];
    const float root = 1.0 / sqrt(stats[ESPL_STATS_BIAS2]);
    const uint quads = (push.count + 3) / 4;
    const uint block = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    for (uint i = 0; i < ITEMS; i++) {
        const uint q = (block * ITEMS + i) * gl_WorkGroupSize.x + gl_LocalInvocationID.x, left = push.count - 4 * q;
        if (q >= quads)
            break;
        const vec4 gradient = clip * g[q], before = p[q];
        const vec4 mean = m[q] + (1.0 - beta1) * (gradient - m[q]);
        const vec4 square = beta2 * v[q] + (1.0 - beta2) * (gradient * gradient);
        const vec4 after = before - (shrink * before + size * mean / (sqrt(square) * root + epsilon));
        QUAD_STORE(m, q, mean, left)
        QUAD_STORE(v, q, square, left)
        QUAD_STORE(p, q, after, left)
    }
}
