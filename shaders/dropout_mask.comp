#version 450
#extension GL_GOOGLE_include_directive : require
// Bit c % 32 of word c / 32 of row r is 1 where the random word of (r,c) is at least the threshold. That is number c % 4 of
// philox(SEED, stream = COUNTER + 2^32 site, index = 2^32 r + c / 4). One invocation per word.
#include "dropout_mask.h"
#include "lib/step.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/rng.glsl"

layout(std430, set = 0, binding = DROPOUT_MASK_BIND_STEP) restrict readonly buffer dropout_mask_step { uint step_words[]; };
layout(std430, set = 0, binding = DROPOUT_MASK_BIND_MASK) restrict writeonly buffer dropout_mask_mask { uint mask[]; };

void main()
{
    const uint word = gl_GlobalInvocationID.x;
    if (word >= push.words)
        return;
    const uvec2 seed = uvec2(step_words[ESPL_STEP_SEED_LOW], step_words[ESPL_STEP_SEED_HIGH]);
    const uvec2 stream = uvec2(step_words[ESPL_STEP_COUNTER], push.site);
    for (uint row = gl_WorkGroupID.y; row < push.rows; row += gl_NumWorkGroups.y) {
        uint bits = 0;
        for (uint q = 0; q < 8; q++) {
            const uvec4 words = philox(seed, stream, uvec2(8 * word + q, push.first + row));
            const uvec4 kept = uvec4(greaterThanEqual(words, uvec4(push.threshold))) << uvec4(0, 1, 2, 3);
            bits |= (kept.x | kept.y | kept.z | kept.w) << (4 * q);
        }
        mask[row * push.stride + word] = bits;
    }
}
