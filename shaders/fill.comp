// t[r, from + c] = word for c < count. One invocation per row: the columns are the few between fused parts.
#version 450
#include "fill.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(std430, set = 0, binding = FILL_BIND_T) restrict writeonly buffer t_ { uint t[]; };

void main()
{
    for (uint r = gl_GlobalInvocationID.x; r < push.rows; r += gl_NumWorkGroups.x * gl_WorkGroupSize.x)
        for (uint c = 0; c < push.count; ++c)
            t[r * push.stride + push.from + c] = push.word;
}
