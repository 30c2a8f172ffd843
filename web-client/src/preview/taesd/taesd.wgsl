// The passes of a decoder. `real` is f32 or f16 (`mod.rs` writes it above), sums are f32. `plan.rs` says which pass
// reads and writes what, `packing.rs` how weights lie, `oracle.rs` is the same maths without passes.
//
// A buffer holds some rows of a picture, `[group, row, column]` with four channels a group: neighbours in a row lie
// side by side, so that the lanes of a workgroup read and write whole lines of memory.

struct Layer {
    width: u32,        // columns of the picture that is read
    source_first: u32, // the first row that `source` holds
    source_rows: u32,  // and how many
    drawn_first: u32,  // the first row that `drawn` holds
    drawn_rows: u32,   // and how many
    first: u32,        // the first row to work on, of the picture that is read
    rows: u32,         // and how many
    groups_in: u32,
    groups_out: u32,
    ending: u32,       // 1: ReLU; 2: what `drawn` holds is added before
    scale: f32,        // of a texel of the latent
    offset: f32,
}

// Taps along a side of a kernel: 3, or 2 where each pixel becomes four, which are then four phases.
override side: u32 = 3u;
// Pixels along a side that come out of one.
override zoom: u32 = 1u;
// Lanes of a workgroup that share its pixels, each with two groups of outputs.
override lanes: u32 = 8u;

@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> source: array<vec4<real>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<real>>;
@group(0) @binding(3) var<storage, read_write> drawn: array<vec4<real>>;
@group(0) @binding(4) var latent: texture_2d<f32>;

// Unpacks a latent and clamps it as `DecoderTiny.forward` does. Channels that only pad meet weights of zero.
@compute @workgroup_size(8, 8)
fn enter(@builtin(global_invocation_id) cell: vec3<u32>) {
    if (cell.x >= layer.width || cell.y >= layer.rows) {
        return;
    }
    let texel = textureLoad(latent, vec2<u32>(cell.x * layer.groups_out + cell.z, cell.y), 0);
    // Beyond 10 the hyperbolic tangent is 1 to the last bit, and some GPUs overflow on their way there.
    let x = clamp((texel * layer.scale + layer.offset) / 3.0, vec4<f32>(-10.0), vec4<f32>(10.0));
    drawn[(cell.z * layer.drawn_rows + cell.y) * layer.width + cell.x] = vec4<real>(tanh(x) * 3.0);
}

// A workgroup works on a tile of 16 × 4 pixels. Its lanes hold the four pixels of a column with two groups of outputs,
// and the tile with its border lies in shared memory, some groups of inputs at a time.
const COLUMNS = 16u;
const ROWS = 4u;
const TILE_COLUMNS = COLUMNS + 2u;
const TILE = TILE_COLUMNS * (ROWS + 2u);
const DEPTH = 4u;

var<workgroup> tile: array<vec4<real>, TILE * DEPTH>;

fn matrix(at: u32) -> mat4x4<real> {
    return mat4x4<real>(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]);
}

// Products of a column of taps are summed in `real`, columns in f32.
fn wide(sum: vec4<real>) -> vec4<f32> {
    return vec4<f32>(sum);
}

fn finish(sum: vec4<f32>, group: u32, row: u32, column: u32) {
    let at = (group * layer.drawn_rows + row - layer.drawn_first) * layer.width * zoom + column;
    var value = sum + vec4<f32>(weights[group]);
    if ((layer.ending & 2u) != 0u) {
        value += vec4<f32>(drawn[at]);
    }
    if ((layer.ending & 1u) != 0u) {
        value = max(value, vec4<f32>(0.0));
    }
    drawn[at] = vec4<real>(value);
}

@compute @workgroup_size(COLUMNS, 1, lanes)
fn convolve(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slices = (layer.groups_out + 2u * lanes - 1u) / (2u * lanes);
    let phase = vec2<u32>(workgroup.z / slices) / vec2<u32>(1u, 2u) % 2u;
    // The last group of outputs may have no second one: it is then computed and not kept.
    let group_a = (workgroup.z % slices * lanes + local.z) * 2u;
    let group_b = min(group_a + 1u, layer.groups_out - 1u);
    let is_of_use = group_a < layer.groups_out;
    let first_column = workgroup.x * COLUMNS;
    let first_row = layer.first + workgroup.y * ROWS;

    var a0 = vec4<f32>(); var a1 = vec4<f32>(); var a2 = vec4<f32>(); var a3 = vec4<f32>();
    var b0 = vec4<f32>(); var b1 = vec4<f32>(); var b2 = vec4<f32>(); var b3 = vec4<f32>();
    let phase_at = layer.groups_out + (workgroup.z / slices) * layer.groups_in * side * side * layer.groups_out * 4u;
    for (var base = 0u; base < layer.groups_in; base += DEPTH) {
        let depth = min(DEPTH, layer.groups_in - base);
        workgroupBarrier();
        for (var at = lane; at < depth * TILE; at += COLUMNS * lanes) {
            let cell = at % TILE;
            let column = first_column + cell % TILE_COLUMNS - 1u;
            // Rows before the first wrap around, and are beyond the last one.
            let row = first_row + cell / TILE_COLUMNS - 1u - layer.source_first;
            var pixel = vec4<real>();
            if (column < layer.width && row < layer.source_rows) {
                pixel = source[((base + at / TILE) * layer.source_rows + row) * layer.width + column];
            }
            tile[at] = pixel;
        }
        workgroupBarrier();
        let steps = select(0u, depth * side, is_of_use);
        for (var step = 0u; step < steps; step++) {
            let at = step / side * TILE + phase.y * TILE_COLUMNS + local.x + step % side + phase.x;
            let x0 = tile[at];
            let x1 = tile[at + TILE_COLUMNS];
            let x2 = tile[at + 2u * TILE_COLUMNS];
            let x3 = tile[at + 3u * TILE_COLUMNS];
            let x4 = tile[at + 4u * TILE_COLUMNS];
            let row = layer.groups_out * 4u;
            let taps = phase_at + (base * side + step) * side * row;
            let first_a = matrix(taps + group_a * 4u);
            let second_a = matrix(taps + row + group_a * 4u);
            let first_b = matrix(taps + group_b * 4u);
            let second_b = matrix(taps + row + group_b * 4u);
            if (side == 3u) {
                let x5 = tile[at + 5u * TILE_COLUMNS];
                let third_a = matrix(taps + 2u * row + group_a * 4u);
                let third_b = matrix(taps + 2u * row + group_b * 4u);
                a0 += wide(first_a * x0 + second_a * x1 + third_a * x2);
                a1 += wide(first_a * x1 + second_a * x2 + third_a * x3);
                a2 += wide(first_a * x2 + second_a * x3 + third_a * x4);
                a3 += wide(first_a * x3 + second_a * x4 + third_a * x5);
                b0 += wide(first_b * x0 + second_b * x1 + third_b * x2);
                b1 += wide(first_b * x1 + second_b * x2 + third_b * x3);
                b2 += wide(first_b * x2 + second_b * x3 + third_b * x4);
                b3 += wide(first_b * x3 + second_b * x4 + third_b * x5);
            } else {
                a0 += wide(first_a * x0 + second_a * x1);
                a1 += wide(first_a * x1 + second_a * x2);
                a2 += wide(first_a * x2 + second_a * x3);
                a3 += wide(first_a * x3 + second_a * x4);
                b0 += wide(first_b * x0 + second_b * x1);
                b1 += wide(first_b * x1 + second_b * x2);
                b2 += wide(first_b * x2 + second_b * x3);
                b3 += wide(first_b * x3 + second_b * x4);
            }
        }
    }

    if (!is_of_use || first_column + local.x >= layer.width) {
        return;
    }
    let column = (first_column + local.x) * zoom + phase.x;
    let a = array<vec4<f32>, 4>(a0, a1, a2, a3);
    let b = array<vec4<f32>, 4>(b0, b1, b2, b3);
    for (var down = 0u; down < min(ROWS, layer.first + layer.rows - first_row); down++) {
        let row = (first_row + down) * zoom + phase.y;
        finish(a[down], group_a, row, column);
        if (group_b > group_a) {
            finish(b[down], group_b, row, column);
        }
    }
}

// One triangle that covers the canvas.
@vertex
fn cover(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

// The last convolution, whose three outputs are the display RGB of a pixel.
@fragment
fn show(@builtin(position) pixel: vec4<f32>) -> @location(0) vec4<f32> {
    var sum = vec4<f32>(weights[0]);
    for (var tap = 0u; tap < 9u; tap++) {
        let column = u32(pixel.x) + tap / 3u - 1u;
        let row = u32(pixel.y) + tap % 3u - 1u - layer.source_first;
        if (column < layer.width && row < layer.source_rows) {
            for (var group = 0u; group < layer.groups_in; group++) {
                let x = source[(group * layer.source_rows + row) * layer.width + column];
                sum += wide(matrix(1u + (group * 9u + tap) * 4u) * x);
            }
        }
    }
    return vec4<f32>(clamp(sum.rgb, vec3<f32>(0.0), vec3<f32>(1.0)), 1.0);
}
