// Gradient of the queries of relative_attention.comp: dq_i = sum over j of ds_j (k_j + rk_r). One lane per query and head;
// it also writes the row sums that the other backward kernels read.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "relative_attention.glsl"
#include "relative_attention_bwd.glsl"
layout(constant_id = RELATIVE_SPEC_WANTED) const uint WANTED = 1;

VALUE_BUFFER(o, RELATIVE_BIND_O, restrict readonly)
layout(std430, binding = RELATIVE_BIND_ROWSUM) restrict writeonly buffer rowsum_buffer { float rowsum[]; };

void main()
{
    const uint i = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    if (i >= push.tokens)
        return;
    const uint row = b * push.tokens + i, o_at = (row * push.o_stride + head * HEAD) / 4;
    vec4 query[QUADS], d[QUADS], sum[QUADS], dots = vec4(0);
    EACH(c, QUADS) {
        query[c] = x_quad(x_head(row, push.q_from, head) + c);
        d[c] = d_o[do_head(row, head) + c];
        dots += d[c] * VALUE_LOAD(o, O_TYPE, o_at + c);
        sum[c] = vec4(0);
    }
    const float subtract = sum4(dots), log_sum = lse[row * push.lse_stride + head];
    rowsum[row * push.rowsum_stride + head] = subtract;
    if (WANTED == 0)
        return;
    const uint count = key_count(b);
    for (uint j = 0; j < count; ++j) {
        const uint r = bucket(i, j), other = b * push.tokens + j;
        const uint k_at = x_head(other, push.k_from, head), v_at = x_head(other, push.v_from, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 s = vec4(0), dv = vec4(0);
        EACH(c, QUADS) {
            const vec4 key = x_quad(k_at + c);
            s += query[c] * (key + r_quad(rk_at + c)) + key * r_quad(rq_at + c);
            dv += d[c] * x_quad(v_at + c);
        }
        const float ds = push.scale * espl_exp_bounded(push.scale * sum4(s) - log_sum) * (sum4(dv) - subtract);
        EACH(c, QUADS)
            sum[c] += ds * (x_quad(k_at + c) + r_quad(rk_at + c));
    }
    EACH(c, QUADS)
        give(0, row, push.q_from, head, c, sum[c]);
}
