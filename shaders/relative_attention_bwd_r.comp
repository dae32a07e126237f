// Gradients of the relative rows of relative_attention.comp, over all pairs of query i and key j whose distance has row r:
//   drq_r = sum of ds_j k_j,   drk_r = sum of ds_j q_i
// Workgroup x: relative row; y: head. It takes sequence after sequence, distance after distance, and of one distance
// ROW_LANES queries at once, whose sums are added in the end: one fixed order.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"

layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict readonly buffer rowsum_buffer { float rowsum[]; };

shared vec4 quads[LANES];

// The sum over the rows of the workgroup, for all lanes at once.
vec4 over_rows(vec4 value)
{
    const uint lane = gl_LocalInvocationIndex;
    quads[lane] = value;
    for (uint half_lanes = LANES / 2; half_lanes >= DIM_SPLIT; half_lanes /= 2) {
        barrier();
        if (lane < half_lanes)
            quads[lane] += quads[lane + half_lanes];
    }
    barrier();
    const vec4 sum = quads[lane % DIM_SPLIT];
    barrier();
    return sum;
}

void main()
{
    const uint r = gl_WorkGroupID.x, head = gl_WorkGroupID.y;
    uint turn = 0;
    vec4 rq[PART_QUADS], rk[PART_QUADS], sum_q[PART_QUADS], sum_k[PART_QUADS];
    EACH(c, PART_QUADS) {
        rq[c] = r_part(r_head(r, push.rq_from, head), c);
        rk[c] = r_part(r_head(r, push.rk_from, head), c);
        sum_q[c] = sum_k[c] = vec4(0);
    }
    for (uint b = 0; b < push.batch; ++b) {
        const uint count = max(key_count(b), keys_before()) - keys_before(); // of keys with a distance
        for (uint shifted = 0; shifted < 2 * push.tokens - 1; ++shifted) {
            const uint last = push.tokens - 1; // shifted is i - j + last
            if (bucket(shifted, last + keys_before()) != r)
                continue;
            const uint begin = shifted > last ? shifted - last : 0;
            const uint end = min(push.tokens, count + shifted < last ? 0 : count + shifted - last);
            for (uint first = begin; first < end; first += ROW_LANES) {
                const uint i = min(first + row_lane(), end - 1);
                const uint j = keys_before() + i + last - shifted, row = b * push.tokens + i, other = b * push.keys + j;
                const uint q_at = q_head(row, head), do_at = do_head(row, head);
                const uint k_at = kv_head(other, push.k_from, head), v_at = kv_head(other, push.v_from, head);
                vec4 s = vec4(0), dv = vec4(0);
                EACH(c, PART_QUADS) {
                    const vec4 key = kv_part(k_at, c);
                    s += q_part(q_at, c) * (key + rk[c]) + key * rq[c];
                    dv += do_part(do_at, c) * kv_part(v_at, c);
                }
                vec2 score = over_parts(vec2(sum4(s), sum4(dv)), turn++);
                if (DROPOUT != 0)
                    score.y *= kept_factor(kept_row(row, head), j);
                const bool own = first + row_lane() < end;
                const float p = own ? espl_exp_bounded(push.scale * score.x - lse[row * push.lse_stride + head]) : 0.0;
                const float ds = push.scale * p * (score.y - rowsum[row * push.rowsum_stride + head]);
                EACH(c, PART_QUADS) {
                    sum_q[c] += ds * kv_part(k_at, c);
                    sum_k[c] += ds * q_part(q_at, c);
                }
            }
        }
    }
    EACH(c, PART_QUADS) {
        const vec4 dq = over_rows(sum_q[c]), dk = over_rows(sum_k[c]);
        if (row_lane() == 0) {
            give(0, r, push.rq_from, head, c, dq);
            give(1, r, push.rk_from, head, c, dk);
        }
    }
}
