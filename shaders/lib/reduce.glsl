// Sums over a row by one workgroup, in a fixed order: lanes stride the row and meet in shared memory.
//     for (uint q = lane; q < quads; q += gl_WorkGroupSize.x) ...
//     sum = reduce_sum(sum);
// The local size is a power of two of at most 128. Up to 8 lanes (software drivers, to whom a barrier is dear) meet
// once and each adds all; more halve.
#ifndef ESPL_REDUCE_GLSL
#define ESPL_REDUCE_GLSL

shared vec2 reduce_lanes[256];
uint reduce_turn = 0; // two halves in turn, so that nobody writes what another may still read

// In uniform control flow.
vec2 reduce_sum(vec2 v)
{
    const uint lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x, base = reduce_turn;
    reduce_turn = 128 - reduce_turn;
    reduce_lanes[base + lane] = v;
    barrier();
    if (lanes <= 8) {
        vec2 sum = reduce_lanes[base];
        for (uint i = 1; i < lanes; i++)
            sum += reduce_lanes[base + i];
        return sum;
    }
    for (uint half_lanes = lanes / 2; half_lanes > 0; half_lanes /= 2) {
        if (lane < half_lanes)
            reduce_lanes[base + lane] += reduce_lanes[base + lane + half_lanes];
        barrier();
    }
    return reduce_lanes[base];
}

float reduce_sum(float v)
{
    return reduce_sum(vec2(v, 0.0)).x;
}

#endif
