// Rotary embedding in place. Pair i of each query head and key head of the row at position t is turned by t * f_i:
//   (a, b) -> magnitude * (a cos - b sin, b cos + a sin)
// and, where there is a cache, the row's keys (turned) and values are stored in its row t.
//
// An invocation has one item of one row, for heads_at_once of its heads: item i < pairs is a pair, whose cos and sin it
// computes once; the items after are copied to the cache: the key dimensions that are not turned, then the values.
// Workgroups x and y run over rows * items, z over the heads: the query heads and then the key heads. Of 16-bit operands an
// invocation has items_at_once neighbouring items, whose elements fill whole words.
#version 450
#include "lib/trig.glsl"
#include "lib/value.glsl"
#include "rotary.h"

layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = 3) const uint INTERLEAVED = 0;
layout(constant_id = 4) const uint POSITIONS = 0;
layout(constant_id = 5) const uint CACHE = 0;
layout(constant_id = 6) const uint BACK = 0;
layout(constant_id = 7) const uint X_TYPE = 0;
layout(constant_id = 8) const uint CACHE_TYPE = 0;

layout(std430, binding = ROTARY_BIND_FREQUENCIES) restrict readonly buffer frequencies_buffer { float frequencies[]; };
layout(std430, binding = ROTARY_BIND_POSITIONS) restrict readonly buffer positions_buffer { int positions[]; };
layout(std430, binding = ROTARY_BIND_X) restrict buffer x_buffer { float x[]; };
layout(std430, binding = ROTARY_BIND_X) restrict buffer x_16_buffer { uint x_16[]; };
layout(std430, binding = ROTARY_BIND_CACHE) restrict writeonly buffer cache_buffer { float cache[]; };
layout(std430, binding = ROTARY_BIND_CACHE) restrict buffer cache_16_buffer { uint cache_16[]; };

// Elements, not quads: pairs begin anywhere. Two 16-bit elements share a word, so neighbours belong to one invocation.
float load_x(uint at)
{
    return X_TYPE == TYPED_F32 ? x[at] : typed_unpack(X_TYPE, uvec2(x_16[at / 2], 0))[at % 2];
}

uint put_half(uint word, uint type, uint at, float value)
{
    const uint bits = value_pack(type, vec4(value)).x & 0xffffu;
    return at % 2 != 0 ? (word & 0xffffu) | (bits << 16) : (word & 0xffff0000u) | bits;
}

void store_x(uint at, float value)
{
    if (X_TYPE == TYPED_F32)
        x[at] = value;
    else
        x_16[at / 2] = put_half(x_16[at / 2], X_TYPE, at, value);
}

void store_cache(uint at, float value)
{
    if (CACHE_TYPE == TYPED_F32)
        cache[at] = value;
    else
        cache_16[at / 2] = put_half(cache_16[at / 2], CACHE_TYPE, at, value);
}

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
        const float a = load_x(head + da), b = load_x(head + db);
        const float ta = a * cos_sin.x - b * cos_sin.y, tb = b * cos_sin.x + a * cos_sin.y;
        store_x(head + da, ta);
        store_x(head + db, tb);
        if (CACHE != 0 && key && stored) {
            const uint to = cache_row * push.cache_stride + push.cache_k_from + kv_head * push.head_size;
            store_cache(to + da, ta);
            store_cache(to + db, tb);
        }
    }
}

// Item of a row that is not turned: first the other dimensions of keys, then values.
void copy(uint row, uint other, uint cache_row, uint first, uint last)
{
    const uint kept = push.head_size - 2 * push.pairs;
    const uint from = other < kept ? push.k_from + 2 * push.pairs + other : push.v_from + other - kept;
    const uint to = other < kept ? push.cache_k_from + 2 * push.pairs + other : push.cache_v_from + other - kept;
    for (uint h = max(first, push.heads); h < last; ++h) {
        const uint at = (h - push.heads) * push.head_size;
        store_cache(cache_row * push.cache_stride + to + at, load_x(row * push.x_stride + from + at));
    }
}

void main()
{
    const uint id = gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    const uint at_once = X_TYPE == TYPED_F32 && CACHE_TYPE == TYPED_F32 ? 1 : push.items_at_once;
    const uint blocks = push.items / at_once;
    const uint row = id / blocks, item = id % blocks * at_once;
    if (row >= push.rows) return;
    const uint batch = push.first + row / push.queries;
    const int position = int(row % push.queries) + (POSITIONS != 0 ? positions[batch] : 0);
    const bool stored = position >= 0 && uint(position) < push.capacity;
    const uint cache_row = batch * push.capacity + uint(position);
    const uint first = gl_WorkGroupID.z * push.heads_at_once;
    const uint last = min(first + push.heads_at_once, push.heads + push.kv_heads);
    for (uint i = item; i < item + at_once; ++i) {
        if (i < push.pairs)
            turn(row, i, position, stored, cache_row, first, last);
        else if (CACHE != 0 && stored)
            copy(row, i - push.pairs, cache_row, first, last);
    }
}
