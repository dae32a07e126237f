#version 450
#extension GL_GOOGLE_include_directive : require
// out[k,c] (+)= sum of x[r, from + c] over the rows r of chunk k, in their order. One lane takes one quad of columns:
// workgroups are column blocks (x) times chunks (y). Few rows are one chunk; many are summed twice, chunks then out.
#include "colsum.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = COLSUM_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
#include "lib/quad.glsl"

layout(std430, set = 0, binding = COLSUM_BIND_X) restrict readonly buffer colsum_x { vec4 x[]; };
layout(std430, set = 0, binding = COLSUM_BIND_OUT) restrict buffer colsum_out { vec4 sums[]; };

void main()
{
    const uint q = gl_GlobalInvocationID.x;
    if (4 * q >= push.cols)
        return;
    const uint begin = gl_WorkGroupID.y * push.chunk, end = min(begin + push.chunk, push.rows);
    vec4 sum = vec4(0.0);
    for (uint row = begin; row < end; row++)
        sum += x[row * push.x_stride + push.from + q];
    const uint at = (push.first + gl_WorkGroupID.y) * push.out_stride + q;
    if (ACCUMULATE != 0)
        sum += sums[at];
    QUAD_STORE(sums, at, sum, push.cols - 4 * q)
}
