// Gradients of the keys and values of relative_attention.comp:
//   dk_j = sum over i of ds_j (q_i + rq_r),   dv_j = sum over i of p_j dO_i
// A key and head has DIM_SPLIT lanes, which walk through the queries. Keys that do not exist get zeros.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"

layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict readonly buffer rowsum_buffer { float rowsum[]; };

void main()
{
    const uint tile = gl_WorkGroupID.x * ROW_LANES, head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    const uint own = tile + row_lane(), j = min(own, push.keys - 1), row = b * push.keys + j, count = key_count(b);
    vec4 key[PART_QUADS], value[PART_QUADS], sum_k[PART_QUADS], sum_v[PART_QUADS];
    EACH(c, PART_QUADS) {
        key[c] = kv_part(kv_head(row, push.k_from, head), c);
        value[c] = kv_part(kv_head(row, push.v_from, head), c);
        sum_k[c] = sum_v[c] = vec4(0);
    }
    const uint end = tile < count ? push.tokens : 0;
    for (uint i = 0; i < end; ++i) {
        const uint r = bucket(i, j), other = b * push.tokens + i;
        const uint q_at = q_head(other, head), do_at = do_head(other, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 s = vec4(0), dv = vec4(0);
        EACH(c, PART_QUADS) {
            s += q_part(q_at, c) * (key[c] + r_part_for(j, rk_at, c)) + key[c] * r_part_for(j, rq_at, c);
            dv += do_part(do_at, c) * value[c];
        }
        const vec2 score = over_parts(vec2(sum4(s), sum4(dv)), i);
        const float p = j < count ? espl_exp_bounded(push.scale * score.x - lse[other * push.lse_stride + head]) : 0.0;
        float dp = score.y, share = p;
        if (DROPOUT != 0) {
            const float kept = kept_factor(kept_row(other, head), j);
            dp *= kept;
            share *= kept;
        }
        const float ds = push.scale * p * (dp - rowsum[other * push.rowsum_stride + head]);
        EACH(c, PART_QUADS) {
            sum_k[c] += ds * (q_part(q_at, c) + r_part_for(j, rq_at, c));
            sum_v[c] += share * do_part(do_at, c);
        }
    }
    if (own >= push.keys)
        return;
    EACH(c, PART_QUADS) {
        give(0, row, push.k_from, head, c, sum_k[c]);
        give(1, row, push.v_from, head, c, sum_v[c]);
    }
}
