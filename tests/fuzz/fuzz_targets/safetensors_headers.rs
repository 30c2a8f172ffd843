//! libFuzzer around [`sd_fuzz::safetensors_headers`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::safetensors_headers(data));
