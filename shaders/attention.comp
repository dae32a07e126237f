// Streaming softmax attention: for each query, over the keys it sees,
//   o = sum of exp(s_j - m) v_j / sum of exp(s_j - m),   s_j = scale * q . k_j,   m = max of s_j
// with m, the sum and o kept up to date block by block (Milakov & Gimelshein 2018; Dao et al. 2022), and
//   lse = m + log(sum of exp(s_j - m))
// for the backward pass. A query that sees no key gives zeros. With dropout the weights in the first sum, and not those in
// the second, have the factors of lib/kept.glsl.
//
// A row is (query, query head of this key head's group); rows of a tile walk through the same keys, so that K and V are
// loaded once for all: from lanes' view with one address. Workgroup x: tile of rows, last first, for these are longest;
// y: key head; z: row of the batch. Few rows (decoding) share the keys among KEY_SPLIT lanes and join at the end;
// DIM_SPLIT lanes share a long head and add their parts of each score.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "attention.glsl"

VALUE_BUFFER(o, ATTENTION_BIND_OUT, restrict writeonly)
layout(std430, binding = ATTENTION_BIND_OUT_LSE) restrict writeonly buffer lse_buffer { float lse[]; };
F32_STORER(store_f32, o)

// Heads of an odd size share words with their neighbours, whom other lanes write: their o is f32.
void store_o(uint head, uint quad, vec4 value)
{
    if (O_TYPE == TYPED_F32) {
        store_f32(head, quad, value);
        return;
    }
    const uvec2 words = value_pack(O_TYPE, value);
    const uint word = head / 2 + 2 * quad;
    if (ALIGNED) {
        if (QUADS % DIM_SPLIT == 0 || quad < QUADS) o_16[word / 2] = words;
    } else {
        EACH(e, 2)
            if (4 * quad + 2 * e < HEAD) o_16[(word + e) / 2][(word + e) % 2] = words[e];
    }
}

shared float parts[DIM_SPLIT > 1 ? BLOCK * LANE_ROWS * LANES : 1];
shared vec2 state[KEY_SPLIT > 1 ? LANES : 1];
shared vec4 join[KEY_SPLIT > 1 ? LANES * PART_QUADS : 1];

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint part = lane % DIM_SPLIT;
    const uint key_lane = lane / DIM_SPLIT % KEY_SPLIT;
    const uint row_lane = lane / (DIM_SPLIT * KEY_SPLIT);
    const uint rows = push.queries * GROUP;
    const uint tile = ((rows + TILE - 1) / TILE - 1 - gl_WorkGroupID.x) * TILE;
    const uint kv_head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    const int position = first_position(batch);
    const uint count = key_count(batch);
    const uint k_head = push.k_from + kv_head * HEAD, v_head = push.v_from + kv_head * HEAD;

    uvec2 seen[LANE_ROWS];
    vec4 query[LANE_ROWS * PART_QUADS], sum[LANE_ROWS * PART_QUADS];
    float most[LANE_ROWS], total[LANE_ROWS];
    EACH(r, LANE_ROWS) {
        const uint row = min(tile + r * ROW_LANES + row_lane, rows - 1);
        const uint i = row / GROUP, head = kv_head * GROUP + row % GROUP;
        seen[r] = keys_seen(position + int(i), count);
        const uint q_head = (batch * push.queries + i) * push.q_stride + push.q_from + head * HEAD;
        EACH(c, PART_QUADS) {
            query[r * PART_QUADS + c] = push.scale * load_q(q_head, c * DIM_SPLIT + part);
            sum[r * PART_QUADS + c] = vec4(0);
        }
        most[r] = NONE;
        total[r] = 0.0;
    }

    // What some row of the tile sees.
    const uint begin = keys_seen(position + int(tile / GROUP), count).x;
    const uint end = keys_seen(position + int((min(tile + TILE, rows) - 1) / GROUP), count).y;
    for (uint block = begin; block < end; block += BLOCK * KEY_SPLIT) {
        float score[LANE_ROWS * BLOCK];
        EACH(b, BLOCK) {
            const uint j = min(block + b * KEY_SPLIT + key_lane, end - 1);
            const uint at = (batch * push.capacity + j) * push.k_stride + k_head;
            vec4 dots[LANE_ROWS];
            EACH(r, LANE_ROWS)
                dots[r] = vec4(0);
            EACH(c, PART_QUADS) {
                const vec4 key = load_k(at, c * DIM_SPLIT + part);
                EACH(r, LANE_ROWS)
                    dots[r] += query[r * PART_QUADS + c] * key;
            }
            EACH(r, LANE_ROWS)
                score[r * BLOCK + b] = (dots[r].x + dots[r].y) + (dots[r].z + dots[r].w);
        }
        if (DIM_SPLIT > 1) {
            EACH(s, LANE_ROWS * BLOCK)
                parts[s * LANES + lane] = score[s];
            barrier();
            EACH(s, LANE_ROWS * BLOCK) {
                score[s] = 0.0;
                EACH(p, DIM_SPLIT)
                    score[s] += parts[s * LANES + lane - part + p];
            }
            barrier();
        }
        EACH(r, LANE_ROWS) {
            float highest = most[r];
            EACH(b, BLOCK) {
                const uint j = block + b * KEY_SPLIT + key_lane;
                const bool visible = j >= seen[r].x && j < seen[r].y;
                score[r * BLOCK + b] = visible ? score[r * BLOCK + b] : -1.0 / 0.0;
                highest = max(highest, score[r * BLOCK + b]);
            }
            const float shrink = espl_exp_bounded(most[r] - highest);
            most[r] = highest;
            total[r] *= shrink;
            EACH(b, BLOCK) {
                score[r * BLOCK + b] = espl_exp_bounded(score[r * BLOCK + b] - highest);
                total[r] += score[r * BLOCK + b];
            }
            if (DROPOUT != 0) {
                const uint row = min(tile + r * ROW_LANES + row_lane, rows - 1);
                const uint mask = kept_row(batch * push.queries + row / GROUP, kv_head * GROUP + row % GROUP);
                EACH(b, BLOCK)
                    score[r * BLOCK + b] *= kept_factor(mask, min(block + b * KEY_SPLIT + key_lane, end - 1));
            }
            EACH(c, PART_QUADS)
                sum[r * PART_QUADS + c] *= shrink;
        }
        EACH(b, BLOCK) {
            const uint j = min(block + b * KEY_SPLIT + key_lane, end - 1);
            const uint at = (batch * push.capacity + j) * push.v_stride + v_head;
            EACH(c, PART_QUADS) {
                const vec4 value = load_v(at, c * DIM_SPLIT + part);
                EACH(r, LANE_ROWS)
                    sum[r * PART_QUADS + c] += score[r * BLOCK + b] * value;
            }
        }
    }

    EACH(r, LANE_ROWS) {
        const uint row = tile + r * ROW_LANES + row_lane;
        const uint i = batch * push.queries + min(row, rows - 1) / GROUP, head = kv_head * GROUP + row % GROUP;
        const uint to = i * push.o_stride + head * HEAD;
        if (KEY_SPLIT > 1) {
            // Lanes of a row, which are DIM_SPLIT apart, take the row's maximum; then each adds up some of the quads.
            const uint first = lane - key_lane * DIM_SPLIT;
            const float mine = most[r];
            barrier();
            state[lane] = vec2(most[r], total[r]);
            barrier();
            for (uint s = 0; s < KEY_SPLIT; ++s)
                most[r] = max(most[r], state[first + s * DIM_SPLIT].x);
            total[r] = 0.0;
            for (uint s = 0; s < KEY_SPLIT; ++s) {
                const vec2 part_state = state[first + s * DIM_SPLIT];
                total[r] += part_state.y * espl_exp_bounded(part_state.x - most[r]);
            }
            const float shrink = espl_exp_bounded(mine - most[r]);
            EACH(c, PART_QUADS)
                join[c * LANES + lane] = sum[r * PART_QUADS + c] * shrink;
            barrier();
        }
        const float share = total[r] != 0.0 ? 1.0 / total[r] : 0.0;
        if (row < rows) {
            if (KEY_SPLIT > 1) {
                for (uint c = key_lane; c < PART_QUADS; c += KEY_SPLIT) {
                    vec4 added = vec4(0);
                    for (uint s = 0; s < KEY_SPLIT; ++s)
                        added += join[c * LANES + lane + s * DIM_SPLIT - key_lane * DIM_SPLIT];
                    store_o(to, c * DIM_SPLIT + part, added * share);
                }
            } else {
                EACH(c, PART_QUADS)
                    store_o(to, c * DIM_SPLIT + part, sum[r * PART_QUADS + c] * share);
            }
            if (part == 0 && key_lane == 0)
                lse[i * push.lse_stride + head] = total[r] != 0.0 ? most[r] + espl_log(total[r]) : 0.0;
        }
    }
}
