use super::*;

fn check(values: &[f32], width: u32, rgb: &[u8]) {
    let height = rgb.len() as u32 / 3 / width;
    let drawn =
        CleanLatent { width, height, values }.linear(&[[0.5, 0.0, 0.25], [0.0, -1.0, 0.125]], [0.25, 0.5, 0.75]);
    assert_eq!(drawn, Picture { width, height, rgb: rgb.to_vec() });
}

#[test]
fn a_cell_is_a_pixel_of_the_linear_map() {
    // 0.25, 0.5 and 0.75 of 255 are 63.75, 127.5 and 191.25.
    check(&[0.0, 0.0], 1, &[64, 128, 191]);
    // [0.75, 0.25, 1.03125], then [-0.25, 1.5, 0.375]: what lies outside is cut off.
    check(&[1.0, 0.25, -1.0, -1.0], 2, &[191, 64, 255, 0, 255, 96]);
    check(&[1.0, 0.25, -1.0, -1.0], 1, &[191, 64, 255, 0, 255, 96]);
    check(&[f32::NAN, 0.0], 1, &[0, 0, 0]);
}

#[test]
fn channels_without_a_row_show_nothing() {
    check(&[0.0, 0.0, 9.0], 1, &[64, 128, 191]);
}
