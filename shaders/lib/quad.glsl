// Rows are taken in quads of four columns. The last quad of a row may reach into padding, which may hold NaN and is
// never written; `left` is the number of columns from the quad's first to the end of the row. Spec id 3, TAIL, is 0
// where rows are whole quads: software drivers run both sides of a branch.
#ifndef ESPL_QUAD_GLSL
#define ESPL_QUAD_GLSL

layout(constant_id = 3) const uint TAIL = 1;

// Columns beyond the row become 0.
vec4 quad_keep(vec4 v, uint left)
{
    if (TAIL == 0)
        return v;
    return vec4(v.x, left > 1 ? v.y : 0.0, left > 2 ? v.z : 0.0, left > 3 ? v.w : 0.0);
}

float quad_sum(vec4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}

// target[at] = v without touching padding; a macro because a buffer cannot be an argument.
#define QUAD_STORE(target, at, v, left)      \
    {                                        \
        const vec4 quad_ = v;                \
        if (TAIL == 0 || left >= 4) {        \
            target[at] = quad_;              \
        } else {                             \
            target[at].x = quad_.x;          \
            if (left > 1)                    \
                target[at].y = quad_.y;      \
            if (left > 2)                    \
                target[at].z = quad_.z;      \
        }                                    \
    }

#endif
