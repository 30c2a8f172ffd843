// One full-screen pass from a latent to display RGB; `basis.rs` fills `latent` and `params`, `oracle.rs` is the
// same maths in Rust, `sampling.rs` says why this filter.

struct Params {
    cells: vec2<u32>,          // width and height of the latent
    groups: u32,               // texels of four channels in a cell
    cell_px: u32,              // canvas pixels along one side of a cell
    bias: vec4<f32>,           // RGB of the zero texel
    rows: array<vec4<f32>, 64>, // RGB of one unit of each channel
}

@group(0) @binding(0) var latent: texture_2d<f32>;
@group(0) @binding(1) var<uniform> params: Params;

// One triangle that covers the canvas.
@vertex
fn cover(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

// Display RGB of one cell, not clamped yet: filtering comes first.
fn rgb_from_cell(cell: vec2<u32>) -> vec3<f32> {
    var rgb = params.bias.rgb;
    for (var group = 0u; group < params.groups; group++) {
        let texel = textureLoad(latent, vec2<u32>(cell.x * params.groups + group, cell.y), 0);
        let row = group * 4u;
        rgb += texel.x * params.rows[row].rgb + texel.y * params.rows[row + 1u].rgb
            + texel.z * params.rows[row + 2u].rgb + texel.w * params.rows[row + 3u].rgb;
    }
    return rgb;
}

// Mitchell–Netravali with B = C = 1/3 at the four cells around a position `t` past the second of them.
fn weights(t: f32) -> vec4<f32> {
    let t2 = t * t;
    let t3 = t2 * t;
    return vec4<f32>(
        -7.0 * t3 + 15.0 * t2 - 9.0 * t + 1.0,
        21.0 * t3 - 36.0 * t2 + 16.0,
        -21.0 * t3 + 27.0 * t2 + 9.0 * t + 1.0,
        7.0 * t3 - 6.0 * t2,
    ) / 18.0;
}

@fragment
fn paint(@builtin(position) pixel: vec4<f32>) -> @location(0) vec4<f32> {
    let position = pixel.xy / f32(params.cell_px) - 0.5;
    let first = floor(position);
    let across = weights(position.x - first.x);
    let down = weights(position.y - first.y);
    let last = vec2<i32>(params.cells) - 1;
    var rgb = vec3<f32>(0.0);
    for (var y = 0; y < 4; y++) {
        var line = vec3<f32>(0.0);
        for (var x = 0; x < 4; x++) {
            let cell = clamp(vec2<i32>(first) + vec2<i32>(x - 1, y - 1), vec2<i32>(0), last);
            line += across[x] * rgb_from_cell(vec2<u32>(cell));
        }
        rgb += down[y] * line;
    }
    return vec4<f32>(clamp(rgb, vec3<f32>(0.0), vec3<f32>(1.0)), 1.0);
}
