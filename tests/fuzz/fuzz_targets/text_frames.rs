//! libFuzzer around [`sd_fuzz::text_frames`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::text_frames(data));
