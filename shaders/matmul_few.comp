// C = scale * A * B^T + ... (matmul.h, NT only) for few rows of A: the weight is read once, in order.
//
// One workgroup makes LANE_M x LANE_N of C. Lanes stride over the quads of k, so they read neighbouring memory of A
// and of B; each keeps its own sums, and shared memory adds them up, lane 0 first.
//
// local size x = lanes, any power of two. TILE_M = LANE_M, TILE_N = LANE_N, a multiple of 4; TILE_K is not used.
// Shared memory: 4 * LANE_M * LANE_N * lanes bytes, and with NORM 4 * LANE_M * lanes more.
//
// NORM: the rows of A are normalised on the way, for the price of a product and a square per term and workgroup: 1 / sqrt(..)
// is a factor of the whole sum.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define EACH(i, count) [[unroll]] for (uint i = 0; i < count; ++i)

const uint LANES = gl_WorkGroupSize.x;
const uint COL_QUADS = LANE_N / 4;

layout(constant_id = MATMUL_SPEC_NORM) const uint NORM = 0;
layout(std430, set = 0, binding = MATMUL_BIND_NORM) restrict readonly buffer matmul_norm { vec4 norm[]; };

shared vec4 parts[LANE_M * COL_QUADS * LANES];
shared float square_parts[NORM != 0 ? LANE_M * LANES : 1];

float sum[LANE_M * LANE_N];
float squares[LANE_M];

// Adds the four terms of quad q; only the first `left` of them if `tail`.
void add_quad(uint q, uint left, const bool tail)
{
    vec4 am[LANE_M];
    EACH(i, LANE_M) {
        const uint m = min(gl_WorkGroupID.x * TILE_M + i, push.m - 1);
        am[i] = VALUE_LOAD(a, A_TYPE, (push.a_offset + m * push.a_stride) / 4 + q);
        if (tail)
            am[i] = keep(am[i], left);
        if (NORM != 0) {
            squares[i] += dot(am[i], am[i]);
            am[i] *= tail ? keep(norm[q], left) : norm[q];
        }
    }
    EACH(j, LANE_N) {
        const uint n = min(gl_WorkGroupID.y * TILE_N + j, push.n - 1);
        vec4 bn = b_quad(b[(push.b_offset + n * push.b_stride) / 4 + q]);
        if (tail)
            bn = keep(bn, left);
        EACH(i, LANE_M) {
            float v = sum[i * LANE_N + j];
            EACH(s, 4) v = fma(am[i][s], bn[s], v);
            sum[i * LANE_N + j] = v;
        }
    }
}

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint quads = push.k / 4;
    EACH(i, LANE_M * LANE_N) sum[i] = 0;
    EACH(i, LANE_M) squares[i] = 0;
    uint q = 0;
    for (; q + LANES <= quads; q += LANES)
        add_quad(q + lane, 4, false);
    if (4 * (q + lane) < push.k)
        add_quad(q + lane, push.k - 4 * (q + lane), true);

    EACH(i, LANE_M * COL_QUADS)
        parts[i * LANES + lane] = vec4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]);
    if (NORM != 0)
        EACH(i, LANE_M) square_parts[i * LANES + lane] = squares[i];
    barrier();
    for (uint i = lane; i < LANE_M * COL_QUADS; i += LANES) {
        vec4 v = parts[i * LANES];
        for (uint l = 1; l < LANES; ++l)
            v += parts[i * LANES + l];
        if (NORM != 0) {
            float square = 0;
            for (uint l = 0; l < LANES; ++l)
                square += square_parts[i / COL_QUADS * LANES + l];
            v /= sqrt(square / float(push.k) + push.eps);
        }
        finish(gl_WorkGroupID.x * TILE_M + i / COL_QUADS, gl_WorkGroupID.y * TILE_N + i % COL_QUADS * 4, v);
    }
}
