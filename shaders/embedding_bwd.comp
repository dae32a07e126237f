#version 450
#extension GL_GOOGLE_include_directive : require
// dtable[row of t] += scale * dy[t] for every token t, in the order of tokens. The workgroup of the first token that
// has a row adds all of them; workgroups of later ones have nothing to do. So no two write one row and nothing is
// atomic; the price is a search through the ids, tokens^2 / 2 cheap loads in all. With dy in windows (whole sequences)
// this holds within each, and they come in order.
#include "embedding.h"
layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;
layout(constant_id = EMBEDDING_BWD_SPEC_OF_POSITIONS) const uint OF_POSITIONS = 0;
layout(constant_id = EMBEDDING_SPEC_POSITIONS) const uint POSITIONS = 0;
#include "lib/each.glsl"
#include "lib/quad.glsl"

layout(std430, set = 0, binding = EMBEDDING_BWD_BIND_IDS) restrict readonly buffer embedding_ids { uint ids[]; };
layout(std430, set = 0, binding = EMBEDDING_BWD_BIND_POSITIONS) restrict readonly buffer embedding_positions
{
    uint positions[];
};
layout(std430, set = 0, binding = EMBEDDING_BWD_BIND_DY) restrict readonly buffer embedding_dy { vec4 dy[]; };
layout(std430, set = 0, binding = EMBEDDING_BWD_BIND_DTABLE) restrict buffer embedding_dtable { vec4 dtable[]; };

uint first_position(uint sequence)
{
    return push.position_from + (POSITIONS != 0 ? positions[sequence] : 0);
}

void add(uint row, uint token)
{
    const uint quads = (push.cols + 3) / 4;
    for (uint i = 0; i < ITEMS; i++) {
        const uint q = each_quad(i), at = row * push.table_stride + q;
        if (q >= quads)
            break;
        const vec4 v = dtable[at] + push.scale * dy[(token - push.from) * push.y_stride + q];
        QUAD_STORE(dtable, at, v, push.cols - 4 * q)
    }
}

void add_id(uint token)
{
    const uint id = ids[token];
    if (id >= push.vocabulary || id < push.first || id - push.first >= push.count)
        return;
    for (uint t = push.from; t < token; t++)
        if (ids[t] == id)
            return;
    for (uint t = token; t < push.tokens; t++)
        if (ids[t] == id)
            add(id - push.first, t);
}

// A token without a row in the table of ids is all zeros, so it adds nothing here.
void add_position(uint token)
{
    const uint position = first_position(token / push.sequence) + token % push.sequence;
    if (position >= push.position_count || position < push.first || position - push.first >= push.count)
        return;
    const uint sequences = push.tokens / push.sequence;
    for (uint b = push.from / push.sequence; b < token / push.sequence; b++)
        if (position - first_position(b) < push.sequence)
            return;
    for (uint b = token / push.sequence; b < sequences; b++) {
        const uint i = position - first_position(b);
        if (i < push.sequence && ids[b * push.sequence + i] < push.vocabulary)
            add(position - push.first, b * push.sequence + i);
    }
}

void main()
{
    for (uint token = push.from + each_row(); token < push.tokens; token += each_row_step()) {
        if (OF_POSITIONS != 0)
            add_position(token);
        else
            add_id(token);
    }
}
