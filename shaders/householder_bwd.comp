#version 450
#extension GL_GOOGLE_include_directive : require
// Each row v of y goes back through its reflections 0, 1, .. i, which are their own inverses, with its gradient w:
//   u = v - t (a . v) a,  da = -t ((a . u) w + (a . w) u) + t^2 (a . u) (a . w) a,  w = w - t (a . w) a,  v = u
// where a is the vector of the reflection and t = 2 / (a . a). Of da the elements behind the diagonal count. One workgroup: the
// rows add up in their order; a lane reads and writes its own columns alone.
#include "householder.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
#include "lib/reduce.glsl"

layout(std430, set = 0, binding = HOUSEHOLDER_BIND_X) restrict readonly buffer householder_x { float x[]; };
layout(std430, set = 0, binding = HOUSEHOLDER_BIND_Y) restrict readonly buffer householder_y { float y[]; };
layout(std430, set = 0, binding = HOUSEHOLDER_BIND_DY) restrict readonly buffer householder_dy { float dy[]; };
layout(std430, set = 0, binding = HOUSEHOLDER_BIND_DX) restrict buffer householder_dx { float dx[]; };
layout(std430, set = 0, binding = HOUSEHOLDER_BIND_ROWS) restrict buffer householder_rows { float rows[]; };

float vector(uint j, uint c)
{
    return c < j ? 0.0 : c == j ? 1.0 : x[j * push.x_stride + c];
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, w = push.rows_stride;
    for (uint i = 0; i < push.rows; i++) {
        for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x) {
            rows[c] = y[i * push.y_stride + c];
            rows[w + c] = dy[i * push.dy_stride + c];
        }
        for (uint j = 0; j <= i; j++) {
            vec2 dots = vec2(0.0);
            float norm = 0.0;
            for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x) {
                const float a = vector(j, c);
                dots += a * vec2(rows[c], rows[w + c]);
                norm += a * a;
            }
            dots = reduce_sum(dots);
            const float t = 2.0 / reduce_sum(norm), before = -dots.x; // a . u
            for (uint c = lane; c < push.cols; c += gl_WorkGroupSize.x) {
                const float a = vector(j, c), u = rows[c] - t * dots.x * a;
                if (c > j)
                    dx[j * push.dx_stride + c] += t * (t * before * dots.y * a - before * rows[w + c] - dots.y * u);
                rows[w + c] -= t * dots.y * a;
                rows[c] = u;
            }
        }
    }
}
