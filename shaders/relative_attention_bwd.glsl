// What the backward kernels share beside relative_attention.glsl. With p_j = exp(s_j - lse):
//   rowsum = sum of p_j (dO . v_j),   ds_j = scale * p_j (dO . v_j - rowsum)
// where with dropout dO . v_j has the factor of lib/kept.glsl. The row sum is dO . o, but o may have been rounded to 16
// bits, and ds_j must add up to zero over the keys: many of them share a relative row, whose gradient would be what the
// rounding leaves of that zero.
layout(constant_id = RELATIVE_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(std430, binding = RELATIVE_BIND_LSE) restrict readonly buffer lse_buffer { float lse[]; };
layout(std430, binding = RELATIVE_BIND_DO) restrict readonly buffer do_buffer { vec4 d_o[]; };
layout(std430, binding = RELATIVE_BIND_GRAD) restrict buffer grad_buffer { vec4 grad[]; };

uint do_head(uint row, uint head)
{
    return (row * push.do_stride + head * HEAD) / 4;
}

vec4 do_part(uint at, uint c)
{
    return PART(d_o[PART_AT(at, c)], c);
}

// The lane's quad c of the n-th part that the kernel writes, whose columns begin at from.
void give(uint n, uint row, uint from, uint head, uint c, vec4 v)
{
    const uint at = (row * push.grad_stride + from + head * HEAD) / 4 + part_quad(c);
    if (!part_exists(c))
        return;
    if ((ACCUMULATE >> n & 1) != 0)
        v += grad[at];
    grad[at] = v;
}
