// Counter-based random words, the same function as espl_philox of host/base/number.c: Philox 4x32-10, Salmon et al.
// 2011.
#ifndef ESPL_RNG_GLSL
#define ESPL_RNG_GLSL

// seed, stream and index are 64-bit numbers, low word first.
uvec4 philox(uvec2 seed, uvec2 stream, uvec2 index)
{
    uvec4 c = uvec4(index, stream);
    uvec2 k = seed;
    for (int round = 0; round < 10; round++) {
        uint high0, low0, high1, low1;
        umulExtended(0xD2511F53u, c.x, high0, low0);
        umulExtended(0xCD9E8D57u, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
        k += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

#endif
