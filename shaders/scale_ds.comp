#version 450
#extension GL_GOOGLE_include_directive : require
// Sums of dy[r,c] * x[r,c] over the columns from .. from + count. COLUMNS: ds[k,c] of the rows of chunk k, in their order,
// one lane per quad of columns (colsum adds the chunks). ROWS: ds[g] (+)= all of the group's, one workgroup per group.
#include "scale.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = SCALE_SPEC_KIND) const uint KIND = SCALE_COLUMNS;
layout(constant_id = SCALE_SPEC_ACCUMULATE) const uint ACCUMULATE = 0;
layout(constant_id = SCALE_DS_SPEC_SUM) const uint SUM = 0;
layout(constant_id = SCALE_SPEC_X_TYPE) const uint X_TYPE = 0;
#include "lib/quad.glsl"
#include "lib/reduce.glsl"
#include "lib/value.glsl"

VALUE_BUFFER(x, SCALE_DS_BIND_X, restrict readonly)
layout(std430, set = 0, binding = SCALE_DS_BIND_DY) restrict readonly buffer scale_dy { vec4 dy[]; };
layout(std430, set = 0, binding = SCALE_DS_BIND_DS) restrict buffer scale_ds { vec4 ds[]; };

vec4 term(uint row, uint q)
{
    const vec4 g = dy[row * push.y_stride + push.from + q];
    return quad_keep(SUM != 0 ? g : g * VALUE_LOAD(x, X_TYPE, row * push.x_stride + push.from + q), push.count - 4 * q);
}

void columns()
{
    const uint q = gl_GlobalInvocationID.x;
    if (4 * q >= push.count)
        return;
    const uint begin = gl_WorkGroupID.y * push.group_rows, end = min(begin + push.group_rows, push.rows);
    vec4 sum = vec4(0.0);
    for (uint row = begin; row < end; row++)
        sum += term(row, q);
    QUAD_STORE(ds, (push.first + gl_WorkGroupID.y) * push.s_stride + q, sum, push.count - 4 * q)
}

void rows()
{
    const uint groups = (push.rows + push.group_rows - 1) / push.group_rows, quads = (push.count + 3) / 4;
    for (uint g = gl_WorkGroupID.x; g < groups; g += gl_NumWorkGroups.x) {
        const uint terms = min(push.group_rows, push.rows - g * push.group_rows) * quads;
        vec4 sum = vec4(0.0);
        for (uint i = gl_LocalInvocationID.x; i < terms; i += gl_WorkGroupSize.x)
            sum += term(g * push.group_rows + i / quads, i % quads);
        const float all = reduce_sum(quad_sum(sum));
        const uint at = (push.first + g) * push.s_stride;
        if (gl_LocalInvocationID.x == 0)
            ds[at].x = all + (ACCUMULATE != 0 ? ds[at].x : 0.0);
    }
}

void main()
{
    if (KIND == SCALE_COLUMNS)
        columns();
    else
        rows();
}
