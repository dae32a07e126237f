#version 450
// A colour of whole numbers from the pixel and the frame; pixel_at in engine.c says the same.
layout(push_constant) uniform Push {
    uint frame;
    uint size;
} push;
layout(location = 0) out uvec4 color;

void main() {
    const uvec2 at = uvec2(gl_FragCoord.xy);
    color = uvec4(at.x * 3 + push.frame, at.y * 5 + push.frame, at.x ^ at.y, push.frame) & 255;
}
