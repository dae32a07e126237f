// C = scale * A * B + ..., all orientations (matmul.h), without shared memory: fast where lanes are those of a CPU.
//
// One workgroup makes TILE_M x LANE_N of C; lanes hold different rows, LANE_M each, and all columns. So an element
// of B is wanted by all lanes at once, which software drivers turn into one scalar load, and every term of A that a
// lane gathers serves LANE_N columns. Workgroups go along the columns first, so a core keeps the rows of A that its lanes
// gather in its cache.
//
// local size x = TILE_M / LANE_M, TILE_N = LANE_N. TILE_K, LANE_M, LANE_N: multiples of 4.
// All loops over a lane's tile must unroll: an array that is indexed at run time lives in memory there.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define EACH(i, count) [[unroll]] for (uint i = 0; i < count; ++i)

const uint LANES = TILE_M / LANE_M;
// TN: a quad of A is four rows of C, so a lane's rows come in quads.
const uint ROW_STEP = ORIENTATION == MATMUL_TN ? 4 : 1;

float sum[LANE_M * LANE_N];

uint row(uint i)
{
    return gl_WorkGroupID.y * TILE_M + ROW_STEP * (i / ROW_STEP * LANES + gl_LocalInvocationIndex) + i % ROW_STEP;
}

// Adds terms k .. k + count - 1; those from push.k on are dropped if `tail`.
void add_terms(uint k, const uint count, const bool tail)
{
    const uint n0 = gl_WorkGroupID.x * TILE_N;
    const uint left = push.k - k;
    float bk[TILE_K * LANE_N];
    if (ORIENTATION == MATMUL_NT) {
        EACH(j, LANE_N) {
            const uint at = (push.b_offset + min(n0 + j, push.n - 1) * push.b_stride + k) / 4;
            EACH(s, count / 4) {
                vec4 v = b_quad(b[at + s]);
                if (tail)
                    v = keep(v, left);
                EACH(t, 4) bk[(4 * s + t) * LANE_N + j] = v[t];
            }
        }
    } else {
        EACH(s, count) {
            const uint at = (push.b_offset + min(k + s, push.k - 1) * push.b_stride + n0) / 4;
            EACH(j, LANE_N / 4) {
                vec4 v = b_quad(b[min(at + j, at + (push.n - 1 - n0) / 4)]);
                if (tail && s >= left)
                    v = vec4(0);
                EACH(t, 4) bk[s * LANE_N + 4 * j + t] = v[t];
            }
        }
    }
    // All of A's terms before the first product: a gather takes long to begin, and several in a row begin together.
    float ak[LANE_M * TILE_K];
    EACH(i, LANE_M / ROW_STEP) {
        const uint m = row(i * ROW_STEP);
        if (ORIENTATION == MATMUL_TN) {
            EACH(s, count) {
                vec4 v = VALUE_LOAD(a, A_TYPE, (push.a_offset + min(k + s, push.k - 1) * push.a_stride + min(m, (push.m - 1) & ~3u)) / 4);
                if (tail && s >= left)
                    v = vec4(0);
                EACH(t, 4) ak[(4 * i + t) * TILE_K + s] = v[t];
            }
        } else {
            const uint at = (push.a_offset + min(m, push.m - 1) * push.a_stride + k) / 4;
            EACH(s, count / 4) {
                vec4 v = VALUE_LOAD(a, A_TYPE, at + s);
                if (tail)
                    v = keep(v, left);
                EACH(t, 4) ak[i * TILE_K + 4 * s + t] = v[t];
            }
        }
    }
    // Four rows together: an element of B then waits in a register for all four.
    EACH(i, LANE_M / 4) EACH(j, LANE_N) EACH(s, count) EACH(r, 4) {
        const uint m = 4 * i + r, at = m * LANE_N + j;
        sum[at] = fma(ak[m * TILE_K + s], bk[s * LANE_N + j], sum[at]);
    }
}

void main()
{
    EACH(i, LANE_M * LANE_N) sum[i] = 0;
    uint k = 0;
    for (; k + TILE_K <= push.k; k += TILE_K)
        add_terms(k, TILE_K, false);
    if (TAIL != 0)
        for (; k < push.k; k += 4)
            add_terms(k, 4, true);

    // Finishing is long, and to compile it once for each row would take most of a kernel's compilation. So this loop stays one,
    // and the next row moves to the front: indexed at run time, the sums would live in memory.
    [[dont_unroll]] for (uint i = 0; i < LANE_M; ++i) {
        EACH(j, LANE_N / 4)
            finish(row(i), gl_WorkGroupID.x * TILE_N + 4 * j, vec4(sum[4 * j], sum[4 * j + 1], sum[4 * j + 2], sum[4 * j + 3]));
        EACH(s, (LANE_M - 1) * LANE_N) sum[s] = sum[s + LANE_N];
    }
}
