/* Words of the step buffer's first tensor, for C and GLSL alike: what changes from one submission to the next without
 * recording. A word is a uint; those marked f hold the bits of a float. */
#ifndef ESPL_STEP_H
#define ESPL_STEP_H

#define ESPL_STEP_SEED_LOW 0      /* of dropout */
#define ESPL_STEP_SEED_HIGH 1
#define ESPL_STEP_COUNTER 2       /* submissions of phase MICRO so far: stream of the random numbers */
#define ESPL_STEP_LOSS_SCALE 3    /* f: 1 / label tokens in the whole step */
#define ESPL_STEP_LEARNING_RATE 4 /* f */
#define ESPL_STEP_BETA1 5         /* f */
#define ESPL_STEP_BETA2 6         /* f */
#define ESPL_STEP_EPSILON 7       /* f */
#define ESPL_STEP_WEIGHT_DECAY 8  /* f: of the decayed group */
#define ESPL_STEP_MAX_NORM 9      /* f: 0 means no clipping */
#define ESPL_STEP_ROWS 10         /* rows of this submission that are in use */
#define ESPL_STEP_WORDS 16

/* Words of the statistics tensor (role STATE, f32) that the optimiser's nodes write and the host reads after END. */
#define ESPL_STATS_LOSS 0        /* sum of token losses times LOSS_SCALE */
#define ESPL_STATS_GRAD_NORM 1   /* before clipping */
#define ESPL_STATS_CLIP 2        /* factor that AdamW multiplies gradients with; 0 if not finite */
#define ESPL_STATS_FINITE 3      /* 1 or 0 */
#define ESPL_STATS_STEPS 4       /* AdamW steps applied so far; not reset */
#define ESPL_STATS_SKIPPED 5     /* steps skipped for non-finite gradients so far; not reset */
#define ESPL_STATS_BIAS1 6       /* 1 - beta1^t of this step */
#define ESPL_STATS_BIAS2 7       /* 1 - beta2^t */
#define ESPL_STATS_WORDS 8

#endif
