// C = scale * A * B + ..., all orientations (matmul.h), for devices with matrix units (VK_KHR_cooperative_matrix): factors of
// 16 bits in the format of B, sums in f32.
//
// One workgroup makes TILE_M x TILE_N of C, each of its subgroups LANE_M x LANE_N of them in matrices of the device's own
// shape, MATRIX_M x MATRIX_N x MATRIX_K. Invocations fetch TILE_K terms of the tile's rows and columns into shared memory, as
// they lie in A and B; what is outside of A and B becomes 0. In the end the sums go through shared memory to finish().
//
// PARTS: where A has the format of B it is taken as it is (1). Else, as gradients are f32, it is taken as a sum of PARTS
// numbers of that format, largest first, each times B: two f16 hold 21 bits of an f32 or more, three bf16 all. f16 has not the range
// of f32, so the tile is scaled by the power of two that brings the largest number yet seen below 2^15; the sums follow
// when it grows. Errors are below 2^-39 of that number, 2^-29 where the units take subnormal factors for 0.
//
// local size x = (TILE_M / LANE_M) * (TILE_N / LANE_N) * the subgroup size. LANE_M, LANE_N, TILE_K: multiples of 8 and of
// MATRIX_M, MATRIX_N, MATRIX_K. TILE_M * TILE_K / 4 is a multiple of the local size.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "lib/coopmat.glsl"
#include "matmul.glsl"

#define EACH(i, count) [[unroll]] for (uint i = 0; i < count; ++i)

layout(constant_id = MATMUL_SPEC_MATRIX_M) const uint MATRIX_M = 16;
layout(constant_id = MATMUL_SPEC_MATRIX_N) const uint MATRIX_N = 16;
layout(constant_id = MATMUL_SPEC_MATRIX_K) const uint MATRIX_K = 16;
layout(constant_id = MATMUL_SPEC_PARTS) const uint PARTS = 1;

const uint LANES = gl_WorkGroupSize.x;
const uint COL_SHARES = TILE_N / LANE_N;
const uint ROW_MATRICES = LANE_M / MATRIX_M;
const uint COL_MATRICES = LANE_N / MATRIX_N;
const bool SCALED = PARTS > 1 && FACTOR_TYPE == TYPED_F16;

// The tiles of A and B as they lie in memory, in quads. Rows are 16 bytes longer than they need to be, against bank conflicts:
// loads of matrices want rows that begin at multiples of 16 bytes.
const bool A_BY_K = ORIENTATION != MATMUL_TN;
const bool B_BY_K = ORIENTATION == MATMUL_NT;
const uint A_ROWS = A_BY_K ? TILE_M : TILE_K;
const uint A_QUADS = (A_BY_K ? TILE_K : TILE_M) / 4;
const uint B_ROWS = B_BY_K ? TILE_N : TILE_K;
const uint B_QUADS = (B_BY_K ? TILE_K : TILE_N) / 4;
const uint A_STRIDE = A_QUADS + 2;
const uint B_STRIDE = B_QUADS + 2;
const uint PART = A_ROWS * A_STRIDE;
const uint B_AT = PARTS * PART;
const uint AB_QUADS = B_AT + B_ROWS * B_STRIDE;
// Later, for each subgroup, MATRIX_M rows of its sums: f32, two in an element.
const uint SUM_STRIDE = LANE_N / 2 + 2;
const uint SUM_SHARE = MATRIX_M * SUM_STRIDE;
const uint SUM_QUADS = TILE_M / LANE_M * COL_SHARES * SUM_SHARE;

shared uvec2 stage[AB_QUADS > SUM_QUADS ? AB_QUADS : SUM_QUADS];
shared uint largest; // magnitude of an element of A yet seen, its bits

const uint HELD = A_ROWS * A_QUADS / LANES;

coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum[ROW_MATRICES * COL_MATRICES];

// How many of four elements from (row, col) on are inside.
uint inside(uint row, uint col, uint rows, uint cols)
{
    return row < rows ? cols - min(col, cols) : 0;
}

uvec2 keep_words(uvec2 w, uint count)
{
    return uvec2(count > 1 ? w.x : count > 0 ? w.x & 0xffffu : 0u, count > 3 ? w.y : count > 2 ? w.y & 0xffffu : 0u);
}

// The quad of the tile that is an invocation's turn, and where it lies in A or B.
uint a_row(uint k0, uint turn)
{
    return (A_BY_K ? gl_WorkGroupID.x * TILE_M : k0) + (turn * LANES + gl_LocalInvocationIndex) / A_QUADS;
}

uint a_col(uint k0, uint turn)
{
    return (A_BY_K ? k0 : gl_WorkGroupID.x * TILE_M) + (turn * LANES + gl_LocalInvocationIndex) % A_QUADS * 4;
}

uint quad_of(uint offset, uint stride, uint row, uint col, uint rows, uint cols)
{
    return (offset + min(row, rows - 1) * stride + min(col, (cols - 1) & ~3u)) / 4;
}

uint a_rows()
{
    return A_BY_K ? push.m : push.k;
}

uint a_cols()
{
    return A_BY_K ? push.k : push.m;
}

void stage_b(uint k0)
{
    const uint rows = B_BY_K ? push.n : push.k, cols = B_BY_K ? push.k : push.n;
    for (uint i = gl_LocalInvocationIndex; i < B_ROWS * B_QUADS; i += LANES) {
        const uint row = (B_BY_K ? gl_WorkGroupID.y * TILE_N : k0) + i / B_QUADS;
        const uint col = (B_BY_K ? k0 : gl_WorkGroupID.y * TILE_N) + i % B_QUADS * 4;
        stage[B_AT + i / B_QUADS * B_STRIDE + i % B_QUADS] =
            keep_words(b[quad_of(push.b_offset, push.b_stride, row, col, rows, cols)], inside(row, col, rows, cols));
    }
}

uint a_place(uint turn)
{
    const uint i = turn * LANES + gl_LocalInvocationIndex;
    return i / A_QUADS * A_STRIDE + i % A_QUADS;
}

void add_terms()
{
    const uint row0 = gl_SubgroupID / COL_SHARES * LANE_M, col0 = gl_SubgroupID % COL_SHARES * LANE_N;
    // Loops that compilers may unroll and that keep the kernel small for those that should not (lavapipe).
    for (uint k = 0; k < TILE_K / MATRIX_K; ++k) {
        coopmat<FACTOR, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> mb[COL_MATRICES];
        EACH(j, COL_MATRICES) {
            const uint n = col0 + j * MATRIX_N;
            if (B_BY_K)
                coopMatLoad(mb[j], stage, B_AT + n * B_STRIDE + k * MATRIX_K / 4, B_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
            else
                coopMatLoad(mb[j], stage, B_AT + k * MATRIX_K * B_STRIDE + n / 4, B_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
        }
        for (uint p = 0; p < PARTS; ++p) {
            EACH(i, ROW_MATRICES) {
                const uint m = row0 + i * MATRIX_M;
                coopmat<FACTOR, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> ma;
                if (A_BY_K)
                    coopMatLoad(ma, stage, p * PART + m * A_STRIDE + k * MATRIX_K / 4, A_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                else
                    coopMatLoad(ma, stage, p * PART + k * MATRIX_K * A_STRIDE + m / 4, A_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
                EACH(j, COL_MATRICES)
                    sum[i * COL_MATRICES + j] = coopMatMulAdd(ma, mb[j], sum[i * COL_MATRICES + j]);
            }
        }
    }
}

// The power of two, as its exponent's bits, that a tile is scaled by.
uint scale_of(uint magnitude)
{
    return 268 - max(magnitude >> 23, 15u);
}

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    EACH(i, ROW_MATRICES * COL_MATRICES)
        sum[i] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
    if (SCALED) {
        if (lane == 0)
            largest = 0;
        barrier();
    }
    uint scaled = scale_of(0);

    for (uint k0 = 0; k0 < push.k; k0 += TILE_K) {
        vec4 held[HELD];
        if (PARTS > 1) {
            EACH(t, HELD) {
                const uint row = a_row(k0, t), col = a_col(k0, t);
                held[t] = keep(VALUE_LOAD(a, A_TYPE, quad_of(push.a_offset, push.a_stride, row, col, a_rows(), a_cols())),
                               inside(row, col, a_rows(), a_cols()));
            }
            if (SCALED) {
                uvec4 most = uvec4(0);
                EACH(t, HELD) most = max(most, floatBitsToUint(held[t]) & 0x7fffffffu);
                atomicMax(largest, max(max(most.x, most.y), max(most.z, most.w)));
            }
        }
        barrier(); // the tiles before are used, the largest is known
        float grown = 1.0;
        if (SCALED) {
            const uint now = scale_of(largest);
            grown = uintBitsToFloat((127 - min(scaled - now, 127u)) << 23);
            scaled = now;
        }
        EACH(t, HELD) {
            if (PARTS > 1) {
                vec4 rest = held[t];
                if (SCALED)
                    rest *= uintBitsToFloat(scaled << 23);
                EACH(p, PARTS) {
                    const uvec2 w = factor_pack(rest);
                    rest -= typed_unpack(FACTOR_TYPE, w);
                    stage[p * PART + a_place(t)] = w;
                }
            } else {
                const uint row = a_row(k0, t), col = a_col(k0, t);
                stage[a_place(t)] = keep_words(a_16[quad_of(push.a_offset, push.a_stride, row, col, a_rows(), a_cols())],
                                               inside(row, col, a_rows(), a_cols()));
            }
        }
        stage_b(k0);
        barrier();
        if (SCALED && grown != 1.0)
            EACH(i, ROW_MATRICES * COL_MATRICES) sum[i] *= grown;
        add_terms();
    }

    const float back = SCALED ? uintBitsToFloat((254 - scaled) << 23) : 1.0;
    EACH(i, ROW_MATRICES) {
        barrier();
        EACH(j, COL_MATRICES)
            coopMatStore(sum[i * COL_MATRICES + j], stage, gl_SubgroupID * SUM_SHARE + j * MATRIX_N / 2, SUM_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
        barrier();
        for (uint q = lane; q < TILE_M / LANE_M * MATRIX_M * (TILE_N / 4); q += LANES) {
            const uint share = q / (MATRIX_M * (LANE_N / 4)), row = q / (LANE_N / 4) % MATRIX_M, quad = q % (LANE_N / 4);
            const uint at = share * SUM_SHARE + row * SUM_STRIDE + 2 * quad;
            const vec4 v = uintBitsToFloat(uvec4(stage[at], stage[at + 1]));
            finish(gl_WorkGroupID.x * TILE_M + share / COL_SHARES * LANE_M + i * MATRIX_M + row,
                   gl_WorkGroupID.y * TILE_N + share % COL_SHARES * LANE_N + 4 * quad, back * v);
        }
    }
}
