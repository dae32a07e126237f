// Sums over a row by one workgroup, in a fixed order. On a GPU lanes stride the row and meet in shared memory. A software
// driver loads one address for all lanes cheaply and pays for barriers, so there (SERIAL) each lane sums the whole row.
//     for (uint q = reduce_first(); q < quads; q += reduce_step()) ...
//     sum = reduce_sum(sum);
// The local size is a power of two of at most 128. Spec id 3 is SERIAL.
#ifndef ESPL_REDUCE_GLSL
#define ESPL_REDUCE_GLSL

layout(constant_id = 3) const uint SERIAL = 0;

shared vec2 reduce_lanes[128];

uint reduce_first()
{
    return SERIAL != 0 ? 0 : gl_LocalInvocationID.x;
}

uint reduce_step()
{
    return SERIAL != 0 ? 1 : gl_WorkGroupSize.x;
}

// In uniform control flow.
vec2 reduce_sum(vec2 v)
{
    if (SERIAL != 0)
        return v;
    const uint lane = gl_LocalInvocationID.x;
    barrier(); // what an earlier call left has been read
    reduce_lanes[lane] = v;
    for (uint half_size = gl_WorkGroupSize.x / 2; half_size > 0; half_size /= 2) {
        barrier();
        if (lane < half_size)
            reduce_lanes[lane] += reduce_lanes[lane + half_size];
    }
    barrier();
    return reduce_lanes[0];
}

float reduce_sum(float v)
{
    return reduce_sum(vec2(v, 0.0)).x;
}

#endif
