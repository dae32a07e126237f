// Rotary embedding in place. Pair i of each query head and key head of the row at position t is turned by t * f_i:
//   (a, b) -> magnitude * (a cos - b sin, b cos + a sin)
// and, where there is a cache, the row's keys (turned) and values are stored in its row t.
//
// An invocation has one item of one row, for heads_at_once of its heads: item i < pairs is a pair, whose cos and sin it
// computes once; the items after are copied to the cache: the key dimensions that are not turned, then the values.
// Workgroups x and y run over rows * items, z over the heads: the query heads and then the key heads.
#version 450
#include "lib/trig.glsl"
#include "rotary.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = 3) const uint INTERLEAVED = 0;
layout(constant_id = 4) const uint POSITIONS = 0;
layout(constant_id = 5) const uint CACHE = 0;
layout(constant_id = 6) const uint BACK = 0;

layout(std430, binding = ROTARY_BIND_X) restrict buffer x_buffer { float x[]; };
layout(std430, binding = ROTARY_BIND_FREQUENCIES) restrict readonly buffer frequencies_buffer { float frequencies[]; };
layout(std430, binding = ROTARY_BIND_POSITIONS) restrict readonly buffer positions_buffer { int positions[]; };
layout(std430, binding = ROTARY_BIND_CACHE) restrict writeonly buffer cache_buffer { float cache[]; };

void turn(uint row, uint i, int position, bool stored, uint cache_row, uint first, uint last)
{
    vec2 cos_sin = push.magnitude * espl_cos_sin(position, frequencies[i]);
    if (BACK != 0) cos_sin.y = -cos_sin.y;
    const uint da = INTERLEAVED != 0 ? 2 * i : i, db = INTERLEAVED != 0 ? 2 * i + 1 : i + push.pairs;
    for (uint h = first; h < last; ++h) {
        const bool key = h >= push.heads;
        const uint kv_head = h - push.heads;
        const uint head = row * push.x_stride +
            (key ? push.k_from + kv_head * push.head_size : push.q_from + h * push.head_size);
        const float a = x[head + da], b = x[head + db];
        const float ta = a * cos_sin.x - b * cos_sin.y, tb = b * cos_sin.x + a * cos_sin.y;
        x[head + da] = ta;
        x[head + db] = tb;
        if (CACHE != 0 && key && stored) {
            const uint to = cache_row * push.cache_stride + push.cache_k_from + kv_head * push.head_size;
            cache[to + da] = ta;
            cache[to + db] = tb;
        }
    }
}

void main()
{
    const uint id = gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    const uint row = id / push.items, item = id % push.items;
    if (row >= push.rows) return;
    const uint batch = row / push.queries;
    const int position = int(row % push.queries) + (POSITIONS != 0 ? positions[batch] : 0);
    const bool stored = position >= 0 && uint(position) < push.capacity;
    const uint cache_row = batch * push.capacity + uint(position);
    const uint first = gl_WorkGroupID.z * push.heads_at_once;
    const uint last = min(first + push.heads_at_once, push.heads + push.kv_heads);
    if (item < push.pairs) {
        turn(row, item, position, stored, cache_row, first, last);
    } else if (CACHE != 0 && stored) {
        const uint kept = push.head_size - 2 * push.pairs, other = item - push.pairs;
        const uint from = other < kept ? push.k_from + 2 * push.pairs + other : push.v_from + other - kept;
        const uint to = other < kept ? push.cache_k_from + 2 * push.pairs + other : push.cache_v_from + other - kept;
        for (uint h = max(first, push.heads); h < last; ++h) {
            const uint at = (h - push.heads) * push.head_size;
            cache[cache_row * push.cache_stride + to + at] = x[row * push.x_stride + from + at];
        }
    }
}
