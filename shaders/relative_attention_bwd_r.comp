// Gradients of the relative rows of relative_attention.comp, over all pairs of query i and key j whose distance has row r:
//   drq_r = sum of ds_j k_j,   drk_r = sum of ds_j q_i
// One lane per relative row and head: sequence after sequence, distance after distance, in one fixed order.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"

layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict readonly buffer rowsum_buffer { float rowsum[]; };

void main()
{
    const uint r = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y;
    if (r >= push.rows)
        return;
    vec4 rq[QUADS], rk[QUADS], sum_q[QUADS], sum_k[QUADS];
    EACH(c, QUADS) {
        rq[c] = r_quad(r_head(r, push.rq_from, head) + c);
        rk[c] = r_quad(r_head(r, push.rk_from, head) + c);
        sum_q[c] = sum_k[c] = vec4(0);
    }
    for (uint b = 0; b < push.batch; ++b) {
        const uint count = key_count(b);
        for (uint shifted = 0; shifted < 2 * push.tokens - 1; ++shifted) {
            const uint last = push.tokens - 1; // shifted is i - j + last
            if (bucket(shifted, last) != r)
                continue;
            const uint begin = shifted > last ? shifted - last : 0;
            const uint end = min(push.tokens, count + shifted < last ? 0 : count + shifted - last);
            for (uint i = begin; i < end; ++i) {
                const uint row = b * push.tokens + i, other = b * push.tokens + i + last - shifted;
                const uint q_at = x_head(row, push.q_from, head), do_at = do_head(row, head);
                const uint k_at = x_head(other, push.k_from, head), v_at = x_head(other, push.v_from, head);
                vec4 s = vec4(0), dv = vec4(0);
                EACH(c, QUADS) {
                    const vec4 key = x_quad(k_at + c);
                    s += x_quad(q_at + c) * (key + rk[c]) + key * rq[c];
                    dv += d_o[do_at + c] * x_quad(v_at + c);
                }
                const float p = espl_exp_bounded(push.scale * sum4(s) - lse[row * push.lse_stride + head]);
                const float ds = push.scale * p * (sum4(dv) - rowsum[row * push.rowsum_stride + head]);
                EACH(c, QUADS) {
                    sum_q[c] += ds * x_quad(k_at + c);
                    sum_k[c] += ds * x_quad(q_at + c);
                }
            }
        }
    }
    EACH(c, QUADS) {
        give(0, r, push.rq_from, head, c, sum_q[c]);
        give(1, r, push.rk_from, head, c, sum_k[c]);
    }
}
