//! libFuzzer around [`sd_fuzz::pictures`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::pictures(data));
