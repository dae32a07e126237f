#version 450
// One triangle over the upper left half of the image: pixels with x + y < size, whatever rounding does.
layout(push_constant) uniform Push {
    uint frame;
    uint size;
} push;

void main() {
    const float far = 1 + 1.0 / float(push.size);
    const vec2 corners[] = vec2[](vec2(-1, -1), vec2(far, -1), vec2(-1, far));
    gl_Position = vec4(corners[gl_VertexIndex], 0, 1);
}
