// Gates of the hard concrete distribution (op_hard_concrete.h). After lib/exp.glsl and lib/rng.glsl.
#ifndef ESPL_CONCRETE_GLSL
#define ESPL_CONCRETE_GLSL

// log(u / (1 - u)) of the number that a random word stands for.
float concrete_noise(uint word)
{
    const float u = clamp(float(word) * 2.3283064365386963e-10, 1e-6, 1.0 - 1e-6);
    return espl_log(u) - espl_log(1.0 - u);
}

#endif
