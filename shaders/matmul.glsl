// What every matmul kernel shares: constants, buffers, the way a quad of C is finished.
#include "matmul.h"
#include "lib/dtype.glsl"
#include "lib/value.glsl"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = MATMUL_SPEC_TILE_M) const uint TILE_M = 64;
layout(constant_id = MATMUL_SPEC_TILE_N) const uint TILE_N = 64;
layout(constant_id = MATMUL_SPEC_TILE_K) const uint TILE_K = 16;
layout(constant_id = MATMUL_SPEC_LANE_M) const uint LANE_M = 8;
layout(constant_id = MATMUL_SPEC_LANE_N) const uint LANE_N = 4;
layout(constant_id = MATMUL_SPEC_ORIENTATION) const uint ORIENTATION = MATMUL_NT;

layout(constant_id = MATMUL_SPEC_TAIL) const uint TAIL = 1;
layout(constant_id = MATMUL_SPEC_BIAS) const uint BIAS = 0;
layout(constant_id = MATMUL_SPEC_A_TYPE) const uint A_TYPE = 0;
layout(constant_id = MATMUL_SPEC_C_TYPE) const uint C_TYPE = 0;

VALUE_BUFFER(a, MATMUL_BIND_A, restrict readonly)
layout(std430, set = 0, binding = MATMUL_BIND_B) restrict readonly buffer matmul_b { B_QUAD b[]; };
layout(std430, set = 0, binding = MATMUL_BIND_BIAS) restrict readonly buffer matmul_bias { vec4 bias[]; };
// The residual may be C itself, so neither is restrict.
VALUE_BUFFER(residual, MATMUL_BIND_RESIDUAL, readonly)
VALUE_BUFFER(c, MATMUL_BIND_C, )

// C[m, n .. n+3] from the sums; n is a multiple of 4. Nothing happens outside of C.
void finish(uint m, uint n, vec4 sum)
{
    if (m >= push.m || n >= push.n)
        return;
    const uint at = (push.c_offset + m * push.c_stride + n) / 4;
    vec4 v = push.scale * sum;
    if (BIAS != 0)
        v += bias[(push.bias_offset + n) / 4];
    if (push.add != 0)
        v += VALUE_LOAD(residual, C_TYPE, (push.residual_offset + m * push.residual_stride + n) / 4);
    if (C_TYPE != TYPED_F32) {
        const uvec2 w = value_pack(C_TYPE, v);
        c_16[at] = TAIL == 0 || n + 4 <= push.n ? w : typed_merge(c_16[at], w, push.n - n);
    } else if (TAIL == 0 || n + 4 <= push.n) {
        c[at] = v;
    } else {
        c[at].x = v.x;
        if (n + 1 < push.n)
            c[at].y = v.y;
        if (n + 2 < push.n)
            c[at].z = v.z;
    }
}

// Four terms of a sum; those from `count` on are past its end, and what was read there may be NaN.
vec4 keep(vec4 v, uint count)
{
    return mix(vec4(0), v, lessThan(uvec4(0, 1, 2, 3), uvec4(count)));
}
