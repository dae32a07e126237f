// What the kernels of relative attention share: parts of a head, sums over the lanes that share one, and the row that a
// distance has. Heads are QUADS quads; a lane has every DIM_SPLIT-th of them, PART_QUADS in all.
#include "lib/exp.glsl"
#include "lib/value.glsl"
#include "relative_attention.h"
#define KEPT_SPEC RELATIVE_SPEC_DROPOUT
#define KEPT_BIND RELATIVE_BIND_MASK
#include "lib/kept.glsl"

#define EACH(i, n) [[unroll]] for (uint i = 0; i < n; ++i)

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = RELATIVE_SPEC_HEAD) const uint HEAD = 64;
layout(constant_id = RELATIVE_SPEC_ROW_LANES) const uint ROW_LANES = 8;
layout(constant_id = RELATIVE_SPEC_DIM_SPLIT) const uint DIM_SPLIT = 1;
layout(constant_id = RELATIVE_SPEC_LENGTHS) const uint LENGTHS = 0;
layout(constant_id = RELATIVE_SPEC_BEFORE) const uint BEFORE = 0;
layout(constant_id = RELATIVE_SPEC_X_TYPE) const uint X_TYPE = 0;
layout(constant_id = RELATIVE_SPEC_R_TYPE) const uint R_TYPE = 0;
layout(constant_id = RELATIVE_SPEC_O_TYPE) const uint O_TYPE = 0;

VALUE_BUFFER(q, RELATIVE_BIND_Q, restrict readonly)
VALUE_BUFFER(kv, RELATIVE_BIND_KV, restrict readonly)
VALUE_BUFFER(relative, RELATIVE_BIND_RELATIVE, restrict readonly)
layout(std430, binding = RELATIVE_BIND_BUCKETS) restrict readonly buffer buckets_buffer { float buckets[]; };
layout(std430, binding = RELATIVE_BIND_LENGTHS) restrict readonly buffer lengths_buffer { int lengths[]; };

const uint QUADS = HEAD / 4;
const uint PART_QUADS = (QUADS + DIM_SPLIT - 1) / DIM_SPLIT;
const uint LANES = ROW_LANES * DIM_SPLIT;

shared vec2 parts[DIM_SPLIT > 1 ? 2 * LANES : 1];

// Which of the workgroup's rows this lane has a part of.
uint row_lane()
{
    return gl_LocalInvocationIndex / DIM_SPLIT;
}

// The lane's quad c of a head; the last may not exist.
uint part_quad(uint c)
{
    return c * DIM_SPLIT + gl_LocalInvocationIndex % DIM_SPLIT;
}

bool part_exists(uint c)
{
    return QUADS % DIM_SPLIT == 0 || part_quad(c) < QUADS;
}

// The first quad of a head in a row of q, of kv, of the relative rows.
uint q_head(uint row, uint head)
{
    return (row * push.q_stride + push.q_from + head * HEAD) / 4;
}

uint kv_head(uint row, uint from, uint head)
{
    return (row * push.kv_stride + from + head * HEAD) / 4;
}

uint r_head(uint row, uint from, uint head)
{
    return (row * push.r_stride + from + head * HEAD) / 4;
}

// The lane's quad c of the head that begins at quad `at`; zeros where there is none.
#define PART(value, c) (part_exists(c) ? (value) : vec4(0))
#define PART_AT(at, c) ((at) + min(part_quad(c), QUADS - 1))

vec4 q_part(uint at, uint c)
{
    return PART(VALUE_LOAD(q, X_TYPE, PART_AT(at, c)), c);
}

vec4 kv_part(uint at, uint c)
{
    return PART(VALUE_LOAD(kv, X_TYPE, PART_AT(at, c)), c);
}

vec4 r_part(uint at, uint c)
{
    return PART(VALUE_LOAD(relative, R_TYPE, PART_AT(at, c)), c);
}

// Keys that stand before the tokens' and have no distance to them.
uint keys_before()
{
    return BEFORE != 0 ? push.keys - push.tokens : 0;
}

bool has_distance(uint j)
{
    return BEFORE == 0 || j >= keys_before();
}

// Of a row for distances, zeros for a key that has none.
vec4 r_part_for(uint j, uint at, uint c)
{
    return has_distance(j) ? r_part(at, c) : vec4(0);
}

// Keys from it on do not exist for this sequence, counted from the window's first.
uint key_count(uint b)
{
    return LENGTHS != 0 ? uint(clamp(lengths[push.first + b], 0, int(push.keys))) : push.keys;
}

// The relative row for query i and key j; any for a key without a distance.
uint bucket(uint i, uint j)
{
    const uint distance = BEFORE == 0 ? i - j : has_distance(j) ? i + keys_before() - j : 0;
    return min(uint(buckets[push.zero + distance]), push.rows - 1);
}

float sum4(vec4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}

// The sum over the lanes that share a head, for all lanes of the workgroup at once. With turns that alternate one barrier
// is enough: nobody writes a side again before all have read it.
vec2 over_parts(vec2 value, uint turn)
{
    if (DIM_SPLIT == 1)
        return value;
    const uint lane = gl_LocalInvocationIndex, side = (turn & 1) * LANES;
    parts[side + lane] = value;
    barrier();
    vec2 sum = vec2(0);
    EACH(p, DIM_SPLIT)
        sum += parts[side + lane - lane % DIM_SPLIT + p];
    return sum;
}
