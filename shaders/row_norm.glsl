// What row_norm.comp and row_norm_bwd.comp share: the matrix W + scale B A, whose rows have the norms. Before it: row_norm.h and
// W_TYPE.
#include "lib/quad.glsl"
#include "lib/typed.glsl"

layout(std430, set = 0, binding = ROW_NORM_BIND_W) restrict readonly buffer row_norm_w { uvec2 w[]; };
layout(std430, set = 0, binding = ROW_NORM_BIND_A) restrict readonly buffer row_norm_a { vec4 a[]; };
layout(std430, set = 0, binding = ROW_NORM_BIND_B) restrict readonly buffer row_norm_b { vec4 b[]; };

float element_b(uint row, uint k)
{
    return b[row * push.b_stride + k / 4][k % 4];
}

// A quad of a row of this dispatch, of a W stored [out, in].
vec4 row_quad(uint o, uint q)
{
    vec4 change = vec4(0.0);
    for (uint k = 0; k < push.rank; k++)
        change += element_b(push.first + o, k) * a[(push.a_from + k) * push.a_stride + q];
    return quad_keep(TYPED_LOAD(w, W_TYPE, (push.w_from + o) * push.w_stride + q) + push.scale * change, push.cols - 4 * q);
}
