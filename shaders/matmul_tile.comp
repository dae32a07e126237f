// C = scale * A * B + ..., all orientations (matmul.h), for GPUs: tiles of A and B in shared memory.
//
// One workgroup makes TILE_M x TILE_N of C. Invocations fetch TILE_K terms of the rows and columns of that tile into
// shared memory, k outermost, then each adds its LANE_M x LANE_N outer products. An invocation's rows and columns come
// in quads, the quads of neighbours side by side, so that shared memory is read without bank conflicts.
//
// local size x = (TILE_M / LANE_M) * (TILE_N / LANE_N). LANE_M, LANE_N, TILE_K: multiples of 4.
// Shared memory: 16 * TILE_K * (TILE_M / 4 + TILE_N / 4 + 2) bytes.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define EACH(i, count) [[unroll]] for (uint i = 0; i < count; ++i)

const uint ROW_LANES = TILE_M / LANE_M;
const uint COL_LANES = TILE_N / LANE_N;
const uint LANES = ROW_LANES * COL_LANES;
const uint ROW_QUADS = LANE_M / 4;
const uint COL_QUADS = LANE_N / 4;
const uint K_QUADS = TILE_K / 4;
// One quad more than the tile needs: transposing stores then fall on different banks.
const uint SA = TILE_M / 4 + 1;
const uint SB = TILE_N / 4 + 1;

shared vec4 sa[TILE_K * SA];
shared vec4 sb[TILE_K * SB];

// Read four neighbours of row `row`; past the row the last quad is read again.
vec4 fetch_a(uint row, uint col, uint rows, uint cols)
{
    return VALUE_LOAD(a, A_TYPE, (push.a_offset + min(row, rows - 1) * push.a_stride + min(col, (cols - 1) & ~3u)) / 4);
}

vec4 fetch_b(uint row, uint col, uint rows, uint cols)
{
    return b_quad(b[(push.b_offset + min(row, rows - 1) * push.b_stride + min(col, (cols - 1) & ~3u)) / 4]);
}

void fetch_tiles(uint lane, uint m0, uint n0, uint k0)
{
    if (ORIENTATION == MATMUL_TN) {
        for (uint i = lane; i < TILE_K * (TILE_M / 4); i += LANES) {
            const uint k = i / (TILE_M / 4), m = i % (TILE_M / 4);
            const vec4 v = fetch_a(k0 + k, m0 + 4 * m, push.k, push.m);
            sa[k * SA + m] = k0 + k < push.k ? v : vec4(0);
        }
    } else {
        for (uint i = lane; i < TILE_M * K_QUADS; i += LANES) {
            const uint m = i / K_QUADS, k = i % K_QUADS * 4;
            const vec4 v = keep(fetch_a(m0 + m, k0 + k, push.m, push.k), push.k - min(k0 + k, push.k));
            sa[(k + 0) * SA + m / 4][m % 4] = v.x;
            sa[(k + 1) * SA + m / 4][m % 4] = v.y;
            sa[(k + 2) * SA + m / 4][m % 4] = v.z;
            sa[(k + 3) * SA + m / 4][m % 4] = v.w;
        }
    }
    if (ORIENTATION == MATMUL_NT) {
        for (uint i = lane; i < TILE_N * K_QUADS; i += LANES) {
            const uint n = i / K_QUADS, k = i % K_QUADS * 4;
            const vec4 v = keep(fetch_b(n0 + n, k0 + k, push.n, push.k), push.k - min(k0 + k, push.k));
            sb[(k + 0) * SB + n / 4][n % 4] = v.x;
            sb[(k + 1) * SB + n / 4][n % 4] = v.y;
            sb[(k + 2) * SB + n / 4][n % 4] = v.z;
            sb[(k + 3) * SB + n / 4][n % 4] = v.w;
        }
    } else {
        for (uint i = lane; i < TILE_K * (TILE_N / 4); i += LANES) {
            const uint k = i / (TILE_N / 4), n = i % (TILE_N / 4);
            const vec4 v = fetch_b(k0 + k, n0 + 4 * n, push.k, push.n);
            sb[k * SB + n] = k0 + k < push.k ? v : vec4(0);
        }
    }
}

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint row_lane = lane / COL_LANES, col_lane = lane % COL_LANES;
    const uint m0 = gl_WorkGroupID.x * TILE_M, n0 = gl_WorkGroupID.y * TILE_N;

    vec4 sum[LANE_M * COL_QUADS];
    EACH(i, LANE_M * COL_QUADS)
        sum[i] = vec4(0);

    for (uint k0 = 0; k0 < push.k; k0 += TILE_K) {
        fetch_tiles(lane, m0, n0, k0);
        barrier();
        for (uint k = 0; k < TILE_K; ++k) {
            vec4 bk[COL_QUADS];
            EACH(j, COL_QUADS)
                bk[j] = sb[k * SB + j * COL_LANES + col_lane];
            EACH(i, ROW_QUADS) {
                const vec4 ak = sa[k * SA + i * ROW_LANES + row_lane];
                EACH(j, COL_QUADS) {
                    EACH(t, 4) {
                        const uint at = (4 * i + t) * COL_QUADS + j;
                        sum[at] = fma(vec4(ak[t]), bk[j], sum[at]);
                    }
                }
            }
        }
        barrier();
    }

    EACH(i, LANE_M)
        EACH(j, COL_QUADS)
            finish(m0 + 4 * (i / 4 * ROW_LANES + row_lane) + i % 4, n0 + 4 * (j * COL_LANES + col_lane),
                   sum[i * COL_QUADS + j]);
}
