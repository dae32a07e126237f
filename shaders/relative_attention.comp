// Attention with keys and queries for distances, streaming: for query i, with r the row of distance i - j,
//   s_j = scale * (q_i . (k_j + rk_r) + k_j . rq_r),   o_i = softmax(s) v,   lse = log of the sum of exp(s_j)
// without rk and rq for keys before the tokens,
// with dropout by the factors of lib/kept.glsl on the weights of v.
// A query and head has DIM_SPLIT lanes, which walk through the keys. Workgroup x: tile of queries; y: head; z: sequence.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"

VALUE_BUFFER(o, RELATIVE_BIND_O, restrict writeonly)
layout(std430, binding = RELATIVE_BIND_LSE) restrict writeonly buffer lse_buffer { float lse[]; };

void main()
{
    const uint own = gl_WorkGroupID.x * ROW_LANES + row_lane(), head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    const uint i = min(own, push.tokens - 1); // lanes without a row take part in sums
    const uint row = b * push.tokens + i, count = key_count(b);
    vec4 query[PART_QUADS], sum[PART_QUADS];
    EACH(c, PART_QUADS) {
        query[c] = q_part(q_head(row, head), c);
        sum[c] = vec4(0);
    }
    float most = -3.0e38, total = 0.0;
    for (uint j = 0; j < count; ++j) {
        const uint r = bucket(i, j), other = b * push.keys + j;
        const uint k_at = kv_head(other, push.k_from, head), v_at = kv_head(other, push.v_from, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 dots = vec4(0);
        EACH(c, PART_QUADS) {
            const vec4 key = kv_part(k_at, c);
            dots += query[c] * (key + r_part_for(j, rk_at, c)) + key * r_part_for(j, rq_at, c);
        }
        const float s = push.scale * over_parts(vec2(sum4(dots), 0), j).x, highest = max(most, s);
        const float shrink = espl_exp_bounded(most - highest), p = espl_exp_bounded(s - highest);
        most = highest;
        total = total * shrink + p;
        float share = p;
        if (DROPOUT != 0)
            share *= kept_factor(kept_row(row, head), j);
        EACH(c, PART_QUADS)
            sum[c] = sum[c] * shrink + share * kv_part(v_at, c);
    }
    if (own >= push.tokens)
        return;
    const float share = total != 0.0 ? 1.0 / total : 0.0;
    const uint to = (row * push.o_stride + head * HEAD) / 4;
    EACH(c, PART_QUADS) {
        if (!part_exists(c))
            continue;
        if (O_TYPE == TYPED_F32)
            o[to + part_quad(c)] = share * sum[c];
        else
            o_16[to + part_quad(c)] = value_pack(O_TYPE, share * sum[c]);
    }
    if (part_quad(0) == 0)
        lse[row * push.lse_stride + head] = total != 0.0 ? most + espl_log(total) : 0.0;
}
