// What diff_weight.comp and diff_gate.comp share: the gates of elements and of groups. After lib/each.glsl or lib/reduce.glsl,
// lib/exp.glsl, lib/quad.glsl, lib/rng.glsl, lib/concrete.glsl, lib/step.h and spec constants DRAWN and GROUPS.
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_STEP) restrict readonly buffer diff_weight_step { uint step_words[]; };
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_DELTA) restrict readonly buffer diff_weight_delta { vec4 delta[]; };
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_ALPHA) restrict readonly buffer diff_weight_alpha { vec4 alpha[]; };
layout(std430, set = 0, binding = DIFF_WEIGHT_BIND_GROUP) restrict readonly buffer diff_weight_group { float group[]; };

vec4 words_of(uint site, uint index)
{
    const uvec2 seed = uvec2(step_words[ESPL_STEP_SEED_LOW], step_words[ESPL_STEP_SEED_HIGH]);
    const uvec4 words = philox(seed, uvec2(step_words[ESPL_STEP_COUNTER], site), uvec2(index, 0u));
    vec4 noise;
    for (uint e = 0; e < 4; e++)
        noise[e] = concrete_noise(words[e]);
    return noise;
}

// Chances s of the elements of a quad, and their gates.
vec4 chances(uint index, vec4 a)
{
    return espl_sigmoid(DRAWN != 0 ? a + words_of(push.site, index) : a);
}

vec4 stretched(vec4 s)
{
    return s * (push.high - push.low) + push.low;
}

vec4 gates(vec4 s)
{
    return clamp(stretched(s), vec4(0.0), vec4(1.0));
}

// dz/dalpha where s gives z.
vec4 slopes(vec4 s)
{
    return mix(vec4(0.0), (push.high - push.low) * s * (1.0 - s), equal(stretched(s), gates(s)));
}

// The same of a group, in all four; groups begin at rows, or at columns, that are push.bound1, 2, 3.
vec4 group_chance(uint g)
{
    return espl_sigmoid(vec4(group[g] + (DRAWN != 0 ? words_of(push.group_site, g).x : 0.0)));
}

uint group_at(uint row, uint q)
{
    const uint at = GROUPS == DIFF_WEIGHT_GROUPS_ROWS ? row : 4 * q;
    return (at >= push.bound1 ? 1 : 0) + (at >= push.bound2 ? 1 : 0) + (at >= push.bound3 ? 1 : 0);
}

uint group_begin(uint g)
{
    return g == 0 ? 0 : g == 1 ? push.bound1 : g == 2 ? push.bound2 : push.bound3;
}
