#version 450
#extension GL_GOOGLE_include_directive : require
// y[r,c] (+)= x[r,c] * scale where the random word of (r,c) is at least the threshold, else 0. The word is number c %
// 4 of philox(SEED, stream = COUNTER + 2^32 site, index = r * ceil(cols / 4) + c / 4), so the backward pass, which is
// the same kernel on gradients, makes the same mask.
#include "dropout.h"
layout(constant_id = DROPOUT_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = DROPOUT_SPEC_Y_TYPE) const uint Y_TYPE = 0;
#include "lib/step.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = DROPOUT_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"
#include "lib/rng.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, DROPOUT_BIND_X, restrict readonly)
layout(std430, set = 0, binding = DROPOUT_BIND_STEP) restrict readonly buffer dropout_step { uint step_words[]; };
VALUE_BUFFER(y, DROPOUT_BIND_Y, restrict)

void main()
{
    const uint quads = (push.cols + 3) / 4;
    const uvec2 seed = uvec2(step_words[ESPL_STEP_SEED_LOW], step_words[ESPL_STEP_SEED_HIGH]);
    const uvec2 stream = uvec2(step_words[ESPL_STEP_COUNTER], push.site);
    for (uint row = each_row(); row < push.rows; row += each_row_step()) {
        for (uint i = 0; i < ITEMS; i++) {
            const uint q = each_quad(i), at = row * push.y_stride + q;
            if (q >= quads)
                break;
            const uvec4 words = philox(seed, stream, uvec2(push.first + row * quads + q, 0u));
            // A dropped infinity is 0 too, so this is a choice and not a product.
            vec4 v = VALUE_LOAD(x, X_TYPE, row * push.x_stride + q) * push.scale;
            v = mix(v, vec4(0.0), lessThan(words, uvec4(push.threshold)));
            if (ACCUMULATE != 0)
                v += VALUE_LOAD(y, Y_TYPE, at);
            VALUE_STORE(y, Y_TYPE, at, v, push.cols - 4 * q)
        }
    }
}
