// The attention of attention.comp for devices with matrix units (VK_KHR_cooperative_matrix): q, k, v and o of 16 bits in one
// format, scores and sums in f32. Many rows only; heads are whole quads.
//
// A workgroup has TILE rows, each subgroup MATRIX_M of them, and walks through their keys BLOCK at a time:
//   S = q k^T by matrices into shared memory; each row's DIM_SPLIT lanes then find its maximum and exponentials;
//   P v by matrices, BLOCK dimensions at a time, through shared memory to the lanes that keep the row's o.
// Rows, tiles and order of workgroups as in attention.comp; DIM_SPLIT lanes of a row have every DIM_SPLIT-th quad of o and of the
// keys' exponentials. These are f32 and multiplied as a sum of PARTS numbers of 16 bits, as in matmul_coopmat.comp: two f16,
// scaled so that the smaller is not subnormal, or three bf16.
//
// local size x = TILE * DIM_SPLIT, TILE = ROW_LANES = MATRIX_M * subgroups, DIM_SPLIT = lanes of a subgroup / MATRIX_M. BLOCK: a
// multiple of MATRIX_N, MATRIX_K and 4 * DIM_SPLIT. LANE_ROWS and KEY_SPLIT are 1.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "lib/coopmat.glsl"
#include "attention.glsl"

layout(constant_id = ATTENTION_SPEC_MATRIX_M) const uint MATRIX_M = 16;
layout(constant_id = ATTENTION_SPEC_MATRIX_N) const uint MATRIX_N = 16;
layout(constant_id = ATTENTION_SPEC_MATRIX_K) const uint MATRIX_K = 16;
layout(constant_id = ATTENTION_SPEC_PARTS) const uint PARTS = 2;

VALUE_BUFFER(o, ATTENTION_BIND_OUT, restrict writeonly)
layout(std430, binding = ATTENTION_BIND_OUT_LSE) restrict writeonly buffer lse_buffer { float lse[]; };

const float P_SCALE = FACTOR_TYPE == TYPED_F16 ? 16384.0 : 1.0;

// Rows in shared memory, in uvec2: a head of 16 bits with zeros up to whole matrices; keys' exponentials; keys' scores, f32.
const uint MULTIPLE = (MATRIX_N > MATRIX_K ? MATRIX_N : MATRIX_K) / 4;
const uint HEAD_QUADS = (QUADS + MULTIPLE - 1) / MULTIPLE * MULTIPLE;
const uint HEAD_ROW = HEAD_QUADS + 2;
const uint P_ROW = BLOCK / 4 + 2;
const uint S_ROW = BLOCK / 2 + 2;
shared uvec2 q_stage[TILE * HEAD_ROW];
shared uvec2 kv_stage[BLOCK * HEAD_ROW];
shared uvec2 p_stage[PARTS * TILE * P_ROW];
shared uvec2 s_stage[TILE * S_ROW];

#define SUMS coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LEFT coopmat<FACTOR, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<FACTOR, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>

// Rows `block` to end - 1 of keys or values, zeros behind them.
#define STAGE_ROWS(array, first, stride)                                                                        \
    for (uint i = gl_LocalInvocationIndex; i < BLOCK * HEAD_QUADS; i += LANES) {                                 \
        const uint c = i % HEAD_QUADS, j = block + i / HEAD_QUADS;                                               \
        const uvec2 w = array[(first + min(j, end - 1) * (stride)) / 4 + min(c, QUADS - 1)];                      \
        kv_stage[i / HEAD_QUADS * HEAD_ROW + c] = j < end && c < QUADS ? w : uvec2(0);                           \
    }

// S[TILE, BLOCK] = q k^T
void store_scores(uint row0)
{
    SUMS s[BLOCK / MATRIX_N];
    EACH(j, BLOCK / MATRIX_N) s[j] = SUMS(0.0);
    for (uint d = 0; d < HEAD_QUADS * 4 / MATRIX_K; ++d) { // not unrolled: as in matmul_coopmat.comp
        LEFT mq;
        coopMatLoad(mq, q_stage, row0 * HEAD_ROW + d * MATRIX_K / 4, HEAD_ROW, gl_CooperativeMatrixLayoutRowMajor);
        EACH(j, BLOCK / MATRIX_N) {
            RIGHT mk;
            coopMatLoad(mk, kv_stage, j * MATRIX_N * HEAD_ROW + d * MATRIX_K / 4, HEAD_ROW, gl_CooperativeMatrixLayoutColumnMajor);
            s[j] = coopMatMulAdd(mq, mk, s[j]);
        }
    }
    EACH(j, BLOCK / MATRIX_N)
        coopMatStore(s[j], s_stage, row0 * S_ROW + j * MATRIX_N / 2, S_ROW, gl_CooperativeMatrixLayoutRowMajor);
}

// The same place = P v for the dimensions from `first` on.
void store_values(uint row0, uint first)
{
    EACH(j, BLOCK / MATRIX_N) {
        const uint d = first + j * MATRIX_N;
        if (d < HEAD_QUADS * 4) {
            SUMS s = SUMS(0.0);
            for (uint k = 0; k < BLOCK / MATRIX_K; ++k) {
                RIGHT mv;
                coopMatLoad(mv, kv_stage, k * MATRIX_K * HEAD_ROW + d / 4, HEAD_ROW, gl_CooperativeMatrixLayoutRowMajor);
                for (uint p = 0; p < PARTS; ++p) {
                    LEFT mp;
                    coopMatLoad(mp, p_stage, (p * TILE + row0) * P_ROW + k * MATRIX_K / 4, P_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    s = coopMatMulAdd(mp, mv, s);
                }
            }
            coopMatStore(s, s_stage, row0 * S_ROW + j * MATRIX_N / 2, S_ROW, gl_CooperativeMatrixLayoutRowMajor);
        }
    }
}

vec4 scores(uint row, uint quad)
{
    return uintBitsToFloat(uvec4(s_stage[row * S_ROW + 2 * quad], s_stage[row * S_ROW + 2 * quad + 1]));
}

// The four scores from key j on, of which the row does not see all.
vec4 seen_scores(uint row, uint quad, uint j, uvec2 seen)
{
    const uvec4 keys = j + uvec4(0, 1, 2, 3);
    const bvec4 visible = bvec4(uvec4(greaterThanEqual(keys, seen.xxxx)) & uvec4(lessThan(keys, seen.yyyy)));
    return mix(vec4(-1.0 / 0.0), push.scale * scores(row, quad), visible);
}

void main()
{
    const uint lane = gl_LocalInvocationIndex, part = lane % DIM_SPLIT, row = lane / DIM_SPLIT;
    const uint rows = push.queries * GROUP, row0 = gl_SubgroupID * MATRIX_M;
    const uint tile = ((rows + TILE - 1) / TILE - 1 - gl_WorkGroupID.x) * TILE;
    const uint kv_head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    const int position = first_position(batch);
    const uint count = key_count(batch);
    const uint k_first = batch * push.capacity * push.k_stride + push.k_from + kv_head * HEAD;
    const uint v_first = batch * push.capacity * push.v_stride + push.v_from + kv_head * HEAD;

    for (uint i = lane; i < TILE * HEAD_QUADS; i += LANES) {
        const uint c = i % HEAD_QUADS, r = min(tile + i / HEAD_QUADS, rows - 1);
        const uint head = kv_head * GROUP + r % GROUP;
        const uint at = (batch * push.queries + r / GROUP) * push.q_stride + push.q_from + head * HEAD;
        const uvec2 w = q_16[at / 4 + min(c, QUADS - 1)];
        q_stage[i / HEAD_QUADS * HEAD_ROW + c] = c < QUADS ? w : uvec2(0);
    }
    const uint query = min(tile + row, rows - 1) / GROUP;
    const uvec2 seen = keys_seen(position + int(query), count);
    const uint mask = kept_row(batch * push.queries + query, kv_head * GROUP + min(tile + row, rows - 1) % GROUP);
    const float p_scale = DROPOUT != 0 ? P_SCALE / push.kept_scale : P_SCALE; // factors of dropout are beyond 1
    vec4 sum[PART_QUADS];
    EACH(c, PART_QUADS) sum[c] = vec4(0);
    float most = NONE, total = 0.0;

    // What some row of the tile sees.
    const uint begin = keys_seen(position + int(tile / GROUP), count).x;
    const uint end = keys_seen(position + int((min(tile + TILE, rows) - 1) / GROUP), count).y;
    for (uint block = begin; block < end; block += BLOCK) {
        STAGE_ROWS(k_16, k_first, push.k_stride)
        barrier();
        store_scores(row0);
        barrier();
        STAGE_ROWS(v_16, v_first, push.v_stride)
        vec4 highest = vec4(most);
        EACH(b, BLOCK / 4)
            highest = max(highest, seen_scores(row, b, block + 4 * b, seen));
        highest.x = max(max(highest.x, highest.y), max(highest.z, highest.w));
        const float shrink = espl_exp_bounded(most - highest.x);
        most = highest.x;
        total *= shrink;
        EACH(c, PART_QUADS) sum[c] *= shrink;
        EACH(b, BLOCK / 4 / DIM_SPLIT) {
            const uint quad = b * DIM_SPLIT + part;
            const vec4 s = seen_scores(row, quad, block + 4 * quad, seen);
            vec4 rest;
            EACH(e, 4) rest[e] = espl_exp_bounded(s[e] - most);
            total += (rest.x + rest.y) + (rest.z + rest.w);
            if (DROPOUT != 0)
                EACH(e, 4) rest[e] *= kept_factor(mask, min(block + 4 * quad + e, end - 1));
            rest *= p_scale;
            EACH(p, PARTS) {
                const uvec2 w = factor_pack(rest);
                rest -= typed_unpack(FACTOR_TYPE, w);
                p_stage[(p * TILE + row) * P_ROW + quad] = w;
            }
        }
        barrier();
        EACH(part_of_head, (HEAD_QUADS * 4 + BLOCK - 1) / BLOCK) {
            store_values(row0, part_of_head * BLOCK);
            barrier();
            EACH(c, PART_QUADS)
                if (c * DIM_SPLIT / (BLOCK / 4) == part_of_head)
                    sum[c] += scores(row, c * DIM_SPLIT + part - part_of_head * (BLOCK / 4));
            barrier();
        }
    }

    s_stage[row * S_ROW + part].x = floatBitsToUint(total);
    barrier();
    total = 0.0;
    EACH(s, DIM_SPLIT)
        total += uintBitsToFloat(s_stage[row * S_ROW + s].x);
    if (tile + row >= rows)
        return;
    const uint i = batch * push.queries + query, head = kv_head * GROUP + (tile + row) % GROUP;
    const float share = total != 0.0 ? 1.0 / total : 0.0;
    EACH(c, PART_QUADS) {
        const uint quad = c * DIM_SPLIT + part;
        if (quad < QUADS)
            o_16[(i * push.o_stride + head * HEAD) / 4 + quad] = value_pack(O_TYPE, sum[c] * (share / p_scale));
    }
    if (part == 0)
        lse[i * push.lse_stride + head] = total != 0.0 ? most + espl_log(total) : 0.0;
}
