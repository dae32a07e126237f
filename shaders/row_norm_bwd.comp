#version 450
#extension GL_GOOGLE_include_directive : require
// With N = W + scale B A, y[o] the norm of its row o or one over it, the gradient of N:
//   G[o,i] = dy[o] N[o,i] / y[o]   or   -dy[o] N[o,i] y[o]^3
// A workgroup takes a row after the other, lanes stride its quads.
#include "row_norm.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = ROW_NORM_SPEC_W_TYPE) const uint W_TYPE = 0;
layout(constant_id = ROW_NORM_SPEC_INVERSE) const uint INVERSE = 0;
#include "row_norm.glsl"

layout(std430, set = 0, binding = ROW_NORM_BIND_Y) restrict readonly buffer row_norm_y { float y[]; };
layout(std430, set = 0, binding = ROW_NORM_BIND_DY) restrict readonly buffer row_norm_dy { float dy[]; };
layout(std430, set = 0, binding = ROW_NORM_BIND_G) restrict buffer row_norm_g { vec4 g[]; };

void main()
{
    const uint quads = (push.cols + 3) / 4;
    for (uint o = gl_WorkGroupID.x; o < push.rows; o += gl_NumWorkGroups.x) {
        const float norm = y[push.first + o];
        const float factor = dy[push.first + o] * (INVERSE != 0 ? -norm * norm * norm : 1.0 / norm);
        for (uint q = gl_LocalInvocationID.x; q < quads; q += gl_WorkGroupSize.x) {
            const uint left = push.cols - 4 * q;
            QUAD_STORE(g, o * push.g_stride + q, factor * row_quad(o, q), left)
        }
    }
}
