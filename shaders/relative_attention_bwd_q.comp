// Gradient of the queries of relative_attention.comp: dq_i = sum over j of ds_j (k_j + rk_r). Lanes as there; they
// also write the row sums that the other backward kernels read.
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
    const uint own = gl_WorkGroupID.x * ROW_LANES + row_lane(), head = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
    const uint i = min(own, push.tokens - 1);
    const uint row = b * push.tokens + i, o_at = (row * push.o_stride + head * HEAD) / 4;
    vec4 query[PART_QUADS], d[PART_QUADS], sum[PART_QUADS], dots = vec4(0);
    EACH(c, PART_QUADS) {
        query[c] = x_part(x_head(row, push.q_from, head), c);
        d[c] = do_part(do_head(row, head), c);
        dots += d[c] * PART(VALUE_LOAD(o, O_TYPE, PART_AT(o_at, c)), c);
        sum[c] = vec4(0);
    }
    const float subtract = over_parts(vec2(sum4(dots), 0), 1).x, log_sum = lse[row * push.lse_stride + head];
    if (own < push.tokens && part_quad(0) == 0)
        rowsum[row * push.rowsum_stride + head] = subtract;
    if (WANTED == 0)
        return;
    const uint count = key_count(b);
    for (uint j = 0; j < count; ++j) {
        const uint r = bucket(i, j), other = b * push.tokens + j;
        const uint k_at = x_head(other, push.k_from, head), v_at = x_head(other, push.v_from, head);
        const uint rk_at = r_head(r, push.rk_from, head), rq_at = r_head(r, push.rq_from, head);
        vec4 s = vec4(0), dv = vec4(0);
        EACH(c, PART_QUADS) {
            const vec4 key = x_part(k_at, c);
            s += query[c] * (key + r_part(rk_at, c)) + key * r_part(rq_at, c);
            dv += d[c] * x_part(v_at, c);
        }
        const vec2 score = over_parts(vec2(sum4(s), sum4(dv)), j);
        const float ds = push.scale * espl_exp_bounded(push.scale * score.x - log_sum) * (score.y - subtract);
        EACH(c, PART_QUADS)
            sum[c] += ds * (x_part(k_at, c) + r_part(rk_at, c));
    }
    if (own >= push.tokens)
        return;
    EACH(c, PART_QUADS)
        give(0, row, push.q_from, head, c, sum[c]);
}
