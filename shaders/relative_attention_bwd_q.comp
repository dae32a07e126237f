// Gradient of the queries of relative_attention.comp, with k'_j = k_j + rk_r and the row sum of relative_attention_bwd.glsl:
//   dq_i = sum over j of ds_j k'_j = scale * (sum of p_j (dO . v_j) k'_j - rowsum * sum of p_j k'_j)
// in one walk over the keys. Lanes as there; they also write the row sums that the other backward kernels read.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"
layout(constant_id = RELATIVE_SPEC_WANTED) const uint WANTED = 1;

layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict writeonly buffer rowsum_buffer { float rowsum[]; };

void main()
{
    const uint own = gl_WorkGroupID.x * ROW_LANES + row_lane(), head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    const uint i = min(own, push.tokens - 1);
    const uint row = b * push.tokens + i;
    const float log_sum = lse[row * push.lse_stride + head];
    vec4 query[PART_QUADS], d[PART_QUADS], sum[PART_QUADS], mean[PART_QUADS];
    float subtract = 0.0;
    EACH(c, PART_QUADS) {
        query[c] = q_part(q_head(row, head), c);
        d[c] = do_part(do_head(row, head), c);
        sum[c] = mean[c] = vec4(0);
    }
    const uint count = key_count(b);
    for (uint j = 0; j < count; ++j) {
        const uint r = bucket(i, j), other = b * push.keys + j;
        const uint k_at = kv_head(other, push.k_from, head), v_at = kv_head(other, push.v_from, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 s = vec4(0), dv = vec4(0);
        EACH(c, PART_QUADS) {
            const vec4 key = kv_part(k_at, c);
            s += query[c] * (key + r_part_for(j, rk_at, c)) + key * r_part_for(j, rq_at, c);
            dv += d[c] * kv_part(v_at, c);
        }
        vec2 score = over_parts(vec2(sum4(s), sum4(dv)), j);
        if (DROPOUT != 0)
            score.y *= kept_factor(kept_row(row, head), j);
        const float p = espl_exp_bounded(push.scale * score.x - log_sum);
        subtract += p * score.y;
        if (WANTED == 0)
            continue;
        EACH(c, PART_QUADS) {
            const vec4 key = kv_part(k_at, c) + r_part_for(j, rk_at, c);
            sum[c] += p * score.y * key;
            mean[c] += p * key;
        }
    }
    if (own >= push.tokens)
        return;
    if (part_quad(0) == 0)
        rowsum[row * push.rowsum_stride + head] = subtract;
    if (WANTED == 0)
        return;
    EACH(c, PART_QUADS)
        give(0, row, push.q_from, head, c, push.scale * (sum[c] - subtract * mean[c]));
}
