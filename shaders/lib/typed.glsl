// Tensors whose element type is a specialization constant: bound as uvec2, read as quads of f32. A quad of f32 is two
// uvec2, one of f16 or bf16 is one. For kernels that memory bounds; the products have a variant per type (dtype.glsl).
// The numbers are those of espl_dtype.
#ifndef ESPL_TYPED_GLSL
#define ESPL_TYPED_GLSL

#define TYPED_F32 0
#define TYPED_F16 1
#define TYPED_BF16 2

vec4 typed_unpack(uint type, uvec2 w)
{
    return type == TYPED_F16 ? vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y))
                             : uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}

// Quad number `quad` of a buffer of uvec2.
#define TYPED_LOAD(source, type, quad)                                                                    \
    ((type) == TYPED_F32 ? vec4(uintBitsToFloat(source[2 * (quad)]), uintBitsToFloat(source[2 * (quad) + 1])) \
                         : typed_unpack(type, source[quad]))

// Round to nearest even, as espl_f16_from_f32 and espl_bf16_from_f32: packHalf2x16 may round otherwise.
uvec4 typed_f16(vec4 value)
{
    const uvec4 bits = floatBitsToUint(value), magnitude = bits & 0x7fffffffu;
    const uvec4 normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const uvec4 small = floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u;
    uvec4 half_bits = mix(normal, small, lessThan(magnitude, uvec4(0x38800000u)));
    half_bits = mix(half_bits, uvec4(0x7c00u), greaterThanEqual(magnitude, uvec4(0x47800000u)));
    half_bits = mix(half_bits, uvec4(0x7e00u), greaterThan(magnitude, uvec4(0x7f800000u)));
    return ((bits >> 16) & 0x8000u) | half_bits;
}

uvec4 typed_bf16(vec4 value)
{
    const uvec4 bits = floatBitsToUint(value);
    return mix((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, (bits >> 16) | 0x40u,
               greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u)));
}

uvec2 typed_pack(uint type, vec4 v)
{
    const uvec4 w = type == TYPED_F16 ? typed_f16(v) : typed_bf16(v);
    return uvec2(w.x | (w.y << 16), w.z | (w.w << 16));
}

// The first `left` of four packed elements, the others as they were.
uvec2 typed_merge(uvec2 before, uvec2 w, uint left)
{
    const uvec2 first = (before & 0xffff0000u) | (w & 0xffffu);
    return uvec2(left > 1 ? w.x : first.x, left > 3 ? w.y : left == 3 ? first.y : before.y);
}

#endif
