// Element-wise kernels: every quad of a matrix once. Workgroups take ITEMS blocks of quads (x) of row after row (y):
//     for (uint row = each_row(); row < rows; row += each_row_step())
//         for (uint i = 0; i < ITEMS; i++) { const uint q = each_quad(i); if (q < quads) ... }
// Host side: host/ops/each.h. Spec id 4 is ITEMS.
#ifndef ESPL_EACH_GLSL
#define ESPL_EACH_GLSL

layout(constant_id = 4) const uint ITEMS = 1;

uint each_row()
{
    return gl_WorkGroupID.y;
}

uint each_row_step()
{
    return gl_NumWorkGroups.y;
}

uint each_quad(uint i)
{
    return (gl_WorkGroupID.x * ITEMS + i) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
}

#endif
