// C = scale * A * B + ... (matmul.h, NN and TN), without shared memory: fast where lanes are those of a CPU.
//
// One workgroup makes LANE_M x TILE_N of C; lanes hold different columns, in quads, and all rows. Neighbouring lanes
// read neighbouring quads of B, and an element of A is wanted by all lanes at once, one scalar load (see matmul.comp).
//
// local size x = TILE_N / LANE_N, TILE_M = LANE_M. TILE_K, LANE_N: multiples of 4; LANE_M too if TN.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define EACH(i, count) [[unroll]] for (uint i = 0; i < count; ++i)

const uint LANES = TILE_N / LANE_N;
const uint COL_QUADS = LANE_N / 4;

vec4 sum[LANE_M * COL_QUADS];

uint col(uint j)
{
    return gl_WorkGroupID.y * TILE_N + 4 * (j * LANES + gl_LocalInvocationIndex);
}

// Adds terms k .. k + count - 1; those from push.k on are dropped if `tail`.
void add_terms(uint k, const uint count, const bool tail)
{
    const uint m0 = gl_WorkGroupID.x * TILE_M;
    const uint left = push.k - k;
    float ak[LANE_M * TILE_K];
    if (ORIENTATION == MATMUL_TN) {
        EACH(s, count) {
            const uint at = (push.a_offset + min(k + s, push.k - 1) * push.a_stride + m0) / 4;
            EACH(i, LANE_M / 4) {
                vec4 v = VALUE_LOAD(a, A_TYPE, min(at + i, at + (push.m - 1 - m0) / 4));
                if (tail && s >= left)
                    v = vec4(0);
                EACH(t, 4) ak[(4 * i + t) * TILE_K + s] = v[t];
            }
        }
    } else {
        EACH(i, LANE_M) {
            const uint at = (push.a_offset + min(m0 + i, push.m - 1) * push.a_stride + k) / 4;
            EACH(s, count / 4) {
                vec4 v = VALUE_LOAD(a, A_TYPE, at + s);
                if (tail)
                    v = keep(v, left);
                EACH(t, 4) ak[i * TILE_K + 4 * s + t] = v[t];
            }
        }
    }
    EACH(s, count) {
        const uint at = (push.b_offset + min(k + s, push.k - 1) * push.b_stride) / 4;
        EACH(j, COL_QUADS) {
            vec4 v = b_quad(b[at + min(col(j), push.n - 1) / 4]);
            if (tail && s >= left)
                v = vec4(0);
            EACH(i, LANE_M)
                sum[i * COL_QUADS + j] = fma(vec4(ak[i * TILE_K + s]), v, sum[i * COL_QUADS + j]);
        }
    }
}

void main()
{
    EACH(i, LANE_M * COL_QUADS) sum[i] = vec4(0);
    uint k = 0;
    for (; k + TILE_K <= push.k; k += TILE_K)
        add_terms(k, TILE_K, false);
    if (TAIL != 0)
        for (; k < push.k; k += 4)
            add_terms(k, 4, true);

    // As in matmul.comp: a loop that stays one, for the sake of compilation.
    [[dont_unroll]] for (uint i = 0; i < LANE_M; ++i) {
        EACH(j, COL_QUADS) finish(gl_WorkGroupID.x * TILE_M + i, col(j), sum[j]);
        EACH(s, (LANE_M - 1) * COL_QUADS) sum[s] = sum[s + COL_QUADS];
    }
}
