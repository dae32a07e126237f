#include "tests/ref/ref.h"
#include <math.h>

double ref_round(double x, int mantissa_bits, int least_exponent) {
    int exponent;
    if (x == 0 || isnan(x) || isinf(x)) return x;
    frexp(x, &exponent); /* |x| = [1/2, 1) * 2^exponent */
    if (exponent - 1 < least_exponent) exponent = least_exponent + 1;
    const double unit = ldexp(1, exponent - mantissa_bits);
    const double rounded = rint(x / unit) * unit; /* the default rounding mode is to nearest even */
    const double largest = mantissa_bits == 11 ? 65504 : 0x1.fep127;
    return fabs(rounded) > largest ? copysign(INFINITY, x) : rounded;
}

void ref_cast(const double *x, size_t count, int mantissa_bits, int least_exponent, double *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = ref_round(x[i], mantissa_bits, least_exponent);
}
