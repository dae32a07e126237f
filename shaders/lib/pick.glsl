// Which row of its sequence pick takes: the first, or the last of `lengths` (of an empty one the first).
layout(constant_id = PICK_SPEC_LAST) const uint LAST = 0;
layout(constant_id = PICK_SPEC_LENGTHS) const uint LENGTHS = 0;
layout(std430, set = 0, binding = PICK_BIND_LENGTHS) restrict readonly buffer pick_lengths { int lengths[]; };

uint picked(uint b)
{
    if (LAST == 0)
        return 0;
    return LENGTHS != 0 ? uint(clamp(lengths[push.first + b], 1, int(push.sequence))) - 1 : push.sequence - 1;
}
