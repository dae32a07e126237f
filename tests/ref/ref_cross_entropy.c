#include "tests/ref/ref.h"
#include <math.h>

void ref_cross_entropy(const double *h, const double *w, const double *bias, const double *labels, size_t tokens, size_t vocabulary, size_t d,
                       double *loss) {
    for (size_t t = 0; t < tokens; t++) {
        double highest = -INFINITY, sum = 0, picked = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t j = 0; j < vocabulary; j++) {
                double logit = bias ? bias[j] : 0;
                for (size_t c = 0; c < d; c++) logit += h[t * d + c] * w[j * d + c];
                if (pass == 0) highest = fmax(highest, logit);
                else sum += exp(logit - highest);
                if (labels[t] == (double)j) picked = logit;
            }
        }
        loss[t] = labels[t] < 0 ? 0 : highest + log(sum) - picked;
    }
}
