// Gradients of the keys and values of attention.comp, from lse and the rowsum of attention_bwd_q.comp:
//   dv_j = sum over rows of p_j dO,   dk_j = scale * sum over rows of ds_j q
// summed over the queries that see key j, head after head of the key head's group: one fixed order, no atomics.
//
// A row of a tile is a key here; tiles walk through the queries that see one of their keys. Workgroup x: tile of keys;
// y: key head; z: row of the batch. Keys that nothing sees get zeros.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "attention.glsl"

layout(constant_id = ATTENTION_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = ATTENTION_SPEC_WANTED) const uint WANTED = 3;
layout(std430, binding = ATTENTION_BIND_LSE) restrict readonly buffer lse_buffer { float lse[]; };
layout(std430, binding = ATTENTION_BIND_DO) restrict readonly buffer do_buffer { vec4 d_o[]; };
layout(std430, binding = ATTENTION_BIND_ROWSUM) restrict readonly buffer rowsum_buffer { float rowsum[]; };
layout(std430, binding = ATTENTION_BIND_DK) buffer dk_buffer { vec4 dk[]; }; // dk and dv may be one tensor
layout(std430, binding = ATTENTION_BIND_DV) buffer dv_buffer { vec4 dv[]; };
F32_LOADER(load_do, d_o)
F32_LOADER(load_dk, dk)
F32_LOADER(load_dv, dv)
F32_STORER(store_dk, dk)
F32_STORER(store_dv, dv)

shared vec2 parts[DIM_SPLIT > 1 ? BLOCK * LANE_ROWS * LANES : 1];

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint part = lane % DIM_SPLIT, row_lane = lane / DIM_SPLIT;
    const uint tile = gl_WorkGroupID.x * TILE;
    const uint kv_head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    const int position = first_position(batch);
    const uint count = key_count(batch);

    vec4 key[LANE_ROWS * PART_QUADS], value[LANE_ROWS * PART_QUADS];
    vec4 sum_k[LANE_ROWS * PART_QUADS], sum_v[LANE_ROWS * PART_QUADS];
    EACH(r, LANE_ROWS) {
        const uint j = batch * push.capacity + min(tile + r * ROW_LANES + row_lane, push.capacity - 1);
        EACH(c, PART_QUADS) {
            const uint quad = c * DIM_SPLIT + part;
            key[r * PART_QUADS + c] = push.scale * load_k(j * push.k_stride + push.k_from + kv_head * HEAD, quad);
            value[r * PART_QUADS + c] = load_v(j * push.v_stride + push.v_from + kv_head * HEAD, quad);
            sum_k[r * PART_QUADS + c] = sum_v[r * PART_QUADS + c] = vec4(0);
        }
    }

    // Queries that may see a key of the tile.
    const uint tile_end = min(min(tile + TILE, push.capacity), count);
    const uint begin = CAUSAL != 0 ? uint(clamp(int(tile) - position, 0, int(push.queries))) : 0;
    const uint last = push.window != 0 ? min(push.window, 0x3fffffffu) + tile_end - 1 : 0x7fffffffu;
    const uint end = tile < tile_end ? uint(clamp(int(last) - position, 0, int(push.queries))) : 0;
    for (uint g = 0; g < GROUP; ++g) {
        const uint head = kv_head * GROUP + g;
        const uint q_head = push.q_from + head * HEAD, do_head = head * HEAD;
        for (uint block = begin; block < end; block += BLOCK) {
            vec2 score[LANE_ROWS * BLOCK]; // (q . k, dO . v)
            EACH(b, BLOCK) {
                const uint i = batch * push.queries + min(block + b, end - 1);
                vec4 dots_k[LANE_ROWS], dots_v[LANE_ROWS];
                EACH(r, LANE_ROWS)
                    dots_k[r] = dots_v[r] = vec4(0);
                EACH(c, PART_QUADS) {
                    const vec4 query = load_q(i * push.q_stride + q_head, c * DIM_SPLIT + part);
                    const vec4 grad = load_do(i * push.do_stride + do_head, c * DIM_SPLIT + part);
                    EACH(r, LANE_ROWS) {
                        dots_k[r] += key[r * PART_QUADS + c] * query;
                        dots_v[r] += value[r * PART_QUADS + c] * grad;
                    }
                }
                EACH(r, LANE_ROWS)
                    score[r * BLOCK + b] = vec2((dots_k[r].x + dots_k[r].y) + (dots_k[r].z + dots_k[r].w),
                                                (dots_v[r].x + dots_v[r].y) + (dots_v[r].z + dots_v[r].w));
            }
            if (DIM_SPLIT > 1) {
                EACH(s, LANE_ROWS * BLOCK)
                    parts[s * LANES + lane] = score[s];
                barrier();
                EACH(s, LANE_ROWS * BLOCK) {
                    score[s] = vec2(0);
                    EACH(p, DIM_SPLIT)
                        score[s] += parts[s * LANES + lane - part + p];
                }
                barrier();
            }
            EACH(b, BLOCK) {
                const uint i = min(block + b, end - 1), at = batch * push.queries + i;
                const float log_sum = lse[at * push.lse_stride + head];
                const float subtract = rowsum[at * push.rowsum_stride + head];
                const uvec2 seen = keys_seen(position + int(i), count);
                float p[LANE_ROWS], ds[LANE_ROWS];
                EACH(r, LANE_ROWS) {
                    const uint j = tile + r * ROW_LANES + row_lane;
                    const bool visible = j >= seen.x && j < seen.y && block + b < end;
                    const vec2 s = score[r * BLOCK + b];
                    p[r] = visible ? espl_exp_bounded(s.x - log_sum) : 0.0;
                    if (DROPOUT != 0) {
                        const float kept = kept_factor(kept_row(at, head), min(j, push.capacity - 1));
                        ds[r] = visible ? push.scale * p[r] * (kept * s.y - subtract) : 0.0;
                        p[r] *= kept;
                    } else {
                        ds[r] = visible ? push.scale * p[r] * (s.y - subtract) : 0.0;
                    }
                }
                EACH(c, PART_QUADS) {
                    const vec4 query = load_q(at * push.q_stride + q_head, c * DIM_SPLIT + part);
                    const vec4 grad = load_do(at * push.do_stride + do_head, c * DIM_SPLIT + part);
                    EACH(r, LANE_ROWS) {
                        sum_k[r * PART_QUADS + c] += ds[r] * query;
                        sum_v[r * PART_QUADS + c] += p[r] * grad;
                    }
                }
            }
        }
    }

    EACH(r, LANE_ROWS) {
        const uint row = tile + r * ROW_LANES + row_lane;
        if (row < push.capacity) {
            const uint j = batch * push.capacity + row;
            const uint k_to = j * push.dk_stride + push.dk_from + kv_head * HEAD;
            const uint v_to = j * push.dv_stride + push.dv_from + kv_head * HEAD;
            EACH(c, PART_QUADS) {
                const uint quad = c * DIM_SPLIT + part;
                vec4 to_k = sum_k[r * PART_QUADS + c], to_v = sum_v[r * PART_QUADS + c];
                if ((WANTED & 1) != 0) {
                    if ((ACCUMULATE & 1) != 0) to_k += load_dk(k_to, quad);
                    store_dk(k_to, quad, to_k);
                }
                if ((WANTED & 2) != 0) {
                    if ((ACCUMULATE & 2) != 0) to_v += load_dv(v_to, quad);
                    store_dv(v_to, quad, to_v);
                }
            }
        }
    }
}
