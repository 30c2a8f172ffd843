//! libFuzzer around [`sd_fuzz::prompts`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::prompts(data));
