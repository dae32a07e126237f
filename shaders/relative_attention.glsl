// What the kernels of relative attention share: parts of a head and the row that a distance has. A lane holds whole heads,
// whose size is a multiple of 4.
#include "lib/exp.glsl"
#include "lib/value.glsl"
#include "relative_attention.h"

#define EACH(i, n) [[unroll]] for (uint i = 0; i < n; ++i)

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = RELATIVE_SPEC_HEAD) const uint HEAD = 64;
layout(constant_id = RELATIVE_SPEC_LENGTHS) const uint LENGTHS = 0;
layout(constant_id = RELATIVE_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = RELATIVE_SPEC_R_TYPE) const uint R_TYPE = 0;
layout(constant_id = RELATIVE_SPEC_O_TYPE) const uint O_TYPE = 0;

VALUE_BUFFER(x, RELATIVE_BIND_X, restrict readonly)
VALUE_BUFFER(relative, RELATIVE_BIND_RELATIVE, restrict readonly)
layout(std430, binding = RELATIVE_BIND_BUCKETS) restrict readonly buffer buckets_buffer { float buckets[]; };
layout(std430, binding = RELATIVE_BIND_LENGTHS) restrict readonly buffer lengths_buffer { int lengths[]; };

const uint QUADS = HEAD / 4;

// The first quad of a head in a row of x, of the relative rows, of o.
uint x_head(uint row, uint from, uint head)
{
    return (row * push.x_stride + from + head * HEAD) / 4;
}

uint r_head(uint row, uint from, uint head)
{
    return (row * push.r_stride + from + head * HEAD) / 4;
}

vec4 x_quad(uint quad)
{
    return VALUE_LOAD(x, X_TYPE, quad);
}

vec4 r_quad(uint quad)
{
    return VALUE_LOAD(relative, R_TYPE, quad);
}

// Keys from it on do not exist for this sequence.
uint key_count(uint b)
{
    return LENGTHS != 0 ? uint(clamp(lengths[b], 0, int(push.tokens))) : push.tokens;
}

// The relative row for query i and key j.
uint bucket(uint i, uint j)
{
    return min(uint(buckets[push.zero + i - j]), push.rows - 1);
}

float sum4(vec4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}
