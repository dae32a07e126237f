// What dropout leaves of the weights of attention: a factor for each, 0 or 1 / (1 - p), by the bits of dropout_mask.comp.
// Include with KEPT_SPEC and KEPT_BIND defined; the push block has mask_stride, mask_words (of a row; of one of its heads)
// and kept_scale. Call only where DROPOUT is not 0: without it nothing is bound.
layout(constant_id = KEPT_SPEC) const uint DROPOUT = 0;
layout(std430, binding = KEPT_BIND) restrict readonly buffer kept_buffer { uint kept_bits[]; };

uint kept_row(uint row, uint head)
{
    return row * push.mask_stride + head * push.mask_words;
}

// For key j of the row and head whose words begin at `at`.
float kept_factor(uint at, uint j)
{
    return (kept_bits[at + j / 32] >> (j % 32) & 1) != 0 ? push.kept_scale : 0.0;
}
