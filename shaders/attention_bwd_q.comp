// Gradient of the queries of attention.comp. With p_j = exp(s_j - lse), the row's weights,
//   rowsum = sum over d of dO_d o_d   ( = sum of p_j (dO . v_j) )
//   ds_j   = p_j (dO . v_j - rowsum)
//   dq     = scale * sum of ds_j k_j
// rowsum is written for attention_bwd_kv.comp. Rows, tiles and lanes as in attention.comp, KEY_SPLIT 1.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "attention.glsl"

layout(constant_id = ATTENTION_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = ATTENTION_SPEC_WANTED) const uint WANTED = 1;
layout(std430, binding = ATTENTION_BIND_LSE) restrict readonly buffer lse_buffer { float lse[]; };
layout(std430, binding = ATTENTION_BIND_DO) restrict readonly buffer do_buffer { vec4 d_o[]; };
layout(std430, binding = ATTENTION_BIND_ROWSUM) restrict writeonly buffer rowsum_buffer { float rowsum[]; };
VALUE_BUFFER(o, ATTENTION_BIND_O, restrict readonly)
layout(std430, binding = ATTENTION_BIND_DQ) restrict buffer dq_buffer { vec4 dq[]; };
VALUE_LOADER(load_o, o, O_TYPE)
F32_LOADER(load_do, d_o)
F32_LOADER(load_dq, dq)
F32_STORER(store_dq, dq)

shared vec2 parts[DIM_SPLIT > 1 ? BLOCK * LANE_ROWS * LANES : 1];

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint part = lane % DIM_SPLIT, row_lane = lane / DIM_SPLIT;
    const uint rows = push.queries * GROUP;
    const uint tile = ((rows + TILE - 1) / TILE - 1 - gl_WorkGroupID.x) * TILE;
    const uint kv_head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    const int position = first_position(batch);
    const uint count = key_count(batch);
    const uint k_head = push.k_from + kv_head * HEAD, v_head = push.v_from + kv_head * HEAD;

    uvec2 seen[LANE_ROWS];
    vec4 query[LANE_ROWS * PART_QUADS], grad[LANE_ROWS * PART_QUADS], sum[LANE_ROWS * PART_QUADS];
    float log_sum[LANE_ROWS], subtract[LANE_ROWS];
    EACH(r, LANE_ROWS) {
        const uint row = min(tile + r * ROW_LANES + row_lane, rows - 1);
        const uint i = row / GROUP, at = batch * push.queries + i, head = kv_head * GROUP + row % GROUP;
        seen[r] = keys_seen(position + int(i), count);
        vec4 dots = vec4(0);
        EACH(c, PART_QUADS) {
            const uint quad = c * DIM_SPLIT + part;
            query[r * PART_QUADS + c] = push.scale * load_q(at * push.q_stride + push.q_from + head * HEAD, quad);
            grad[r * PART_QUADS + c] = load_do(at * push.do_stride + head * HEAD, quad);
            sum[r * PART_QUADS + c] = vec4(0);
            dots += grad[r * PART_QUADS + c] * load_o(at * push.o_stride + head * HEAD, quad);
        }
        subtract[r] = (dots.x + dots.y) + (dots.z + dots.w);
        log_sum[r] = lse[at * push.lse_stride + head];
    }
    if (DIM_SPLIT > 1) {
        EACH(r, LANE_ROWS)
            parts[r * LANES + lane].x = subtract[r];
        barrier();
        EACH(r, LANE_ROWS) {
            subtract[r] = 0.0;
            EACH(p, DIM_SPLIT)
                subtract[r] += parts[r * LANES + lane - part + p].x;
        }
        barrier();
    }

    const uint begin = keys_seen(position + int(tile / GROUP), count).x;
    const uint end = WANTED == 0 ? 0 : keys_seen(position + int((min(tile + TILE, rows) - 1) / GROUP), count).y;
    for (uint block = begin; block < end; block += BLOCK) {
        vec2 score[LANE_ROWS * BLOCK]; // (q . k, dO . v)
        EACH(b, BLOCK) {
            const uint j = batch * push.capacity + min(block + b, end - 1);
            vec4 dots_k[LANE_ROWS], dots_v[LANE_ROWS];
            EACH(r, LANE_ROWS)
                dots_k[r] = dots_v[r] = vec4(0);
            EACH(c, PART_QUADS) {
                const vec4 key = load_k(j * push.k_stride + k_head, c * DIM_SPLIT + part);
                const vec4 value = load_v(j * push.v_stride + v_head, c * DIM_SPLIT + part);
                EACH(r, LANE_ROWS) {
                    dots_k[r] += query[r * PART_QUADS + c] * key;
                    dots_v[r] += grad[r * PART_QUADS + c] * value;
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
            const uint j = batch * push.capacity + min(block + b, end - 1);
            float ds[LANE_ROWS];
            EACH(r, LANE_ROWS) {
                const bool visible = block + b >= seen[r].x && block + b < seen[r].y;
                vec2 s = score[r * BLOCK + b];
                if (DROPOUT != 0) {
                    const uint row = min(tile + r * ROW_LANES + row_lane, rows - 1);
                    const uint mask = kept_row(batch * push.queries + row / GROUP, kv_head * GROUP + row % GROUP);
                    s.y *= kept_factor(mask, min(block + b, end - 1));
                }
                ds[r] = visible ? push.scale * espl_exp_bounded(s.x - log_sum[r]) * (s.y - subtract[r]) : 0.0;
            }
            EACH(c, PART_QUADS) {
                const vec4 key = load_k(j * push.k_stride + k_head, c * DIM_SPLIT + part);
                EACH(r, LANE_ROWS)
                    sum[r * PART_QUADS + c] += ds[r] * key;
            }
        }
    }

    EACH(r, LANE_ROWS) {
        const uint row = tile + r * ROW_LANES + row_lane;
        if (row < rows) {
            const uint i = batch * push.queries + row / GROUP, head = kv_head * GROUP + row % GROUP;
            const uint to = i * push.dq_stride + push.dq_from + head * HEAD;
            if (part == 0) rowsum[i * push.rowsum_stride + head] = subtract[r];
            if (WANTED != 0) {
                EACH(c, PART_QUADS) {
                    const uint quad = c * DIM_SPLIT + part;
                    vec4 value = sum[r * PART_QUADS + c];
                    if (ACCUMULATE != 0) value += load_dq(to, quad);
                    store_dq(to, quad, value);
                }
            }
        }
    }
}
