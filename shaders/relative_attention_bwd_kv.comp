// Gradients of the keys and values of relative_attention.comp:
//   dk_j = sum over i of ds_j (q_i + rq_r),   dv_j = sum over i of p_j dO_i
// One lane per key and head, which walks through the queries. Keys that do not exist get zeros.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"

layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict readonly buffer rowsum_buffer { float rowsum[]; };

void main()
{
    const uint j = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    if (j >= push.tokens)
        return;
    const uint row = b * push.tokens + j;
    vec4 key[QUADS], value[QUADS], sum_k[QUADS], sum_v[QUADS];
    EACH(c, QUADS) {
        key[c] = x_quad(x_head(row, push.k_from, head) + c);
        value[c] = x_quad(x_head(row, push.v_from, head) + c);
        sum_k[c] = sum_v[c] = vec4(0);
    }
    const uint end = j < key_count(b) ? push.tokens : 0;
    for (uint i = 0; i < end; ++i) {
        const uint r = bucket(i, j), other = b * push.tokens + i;
        const uint q_at = x_head(other, push.q_from, head), do_at = do_head(other, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 s = vec4(0), dv = vec4(0);
        EACH(c, QUADS) {
            s += x_quad(q_at + c) * (key[c] + r_quad(rk_at + c)) + key[c] * r_quad(rq_at + c);
            dv += d_o[do_at + c] * value[c];
        }
        const float p = espl_exp_bounded(push.scale * sum4(s) - lse[other * push.lse_stride + head]);
        const float ds = push.scale * p * (sum4(dv) - rowsum[other * push.rowsum_stride + head]);
        EACH(c, QUADS) {
            sum_k[c] += ds * (x_quad(q_at + c) + r_quad(rq_at + c));
            sum_v[c] += p * d_o[do_at + c];
        }
    }
    EACH(c, QUADS) {
        give(0, row, push.k_from, head, c, sum_k[c]);
        give(1, row, push.v_from, head, c, sum_v[c]);
    }
}
