//! libFuzzer around [`sd_fuzz::lora_files`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sd_fuzz::lora_files(data));
